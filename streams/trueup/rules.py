"""For the rules module of a project: `@rule` marks its functions, `Row` is what they are given.

    # rules.py, named in trueup.toml: [rules] module = "rules.py"
    from trueup.rules import Row, rule

    @rule
    def vat_matches_country(row: Row) -> str | None:
        \"\"\"The VAT id begins with the customer's country.\"\"\"
        if row["vat_id"] is not None and not row["vat_id"].startswith(row["country"]):
            return "the VAT id is of another country"
        return None

A rule takes `row: Row` and, if it wants to, `before: Row | None` and `commit_time_us: int | None`; it returns None, or
says what is violated, without any value of the row: that text reaches topics and replicas.

A rule runs in the decide worker (in an apply worker, for a copy), once per change, and holds up the partition while it
runs. So it is pure: the same row, the same answer; no I/O, no clock, no state. A replay or a second worker judges the
row again. What it raises makes the row a dead letter.

The checks that need no code are `model.registration.Check`; how both are run is `core.rules`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from trueup.model.rule_row import INFINITY_US, Row

MARK: Final = "__trueup_rule__"

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def rule(function: FunctionT) -> FunctionT:
    """Marks a function as one that registrations may name: `checks: [{function: vat_matches_country}]`."""
    setattr(function, MARK, True)
    return function


__all__ = ["INFINITY_US", "MARK", "Row", "rule"]
