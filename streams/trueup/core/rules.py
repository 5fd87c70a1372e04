"""Step 5: what the registration demands of a row: declarative checks (reject or flag), and why it changed (cause).

What a replica makes of a row (rename, cast, mask) is `core.rules_copy`: it belongs to the copy, not to the truth.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from typing import Any, Final

from trueup.core.truth_schema import avro_name
from trueup.model.decision import Reject
from trueup.model.registration import Check, Table

STAGE: Final = "rules"

# Names numeric takes beside digits, as Debezium writes them (SpecialValueDecimal.toString) and as Decimal reads them.
_SPECIAL_NUMBERS: Final = {"NAN": "NaN", "POSITIVE_INFINITY": "Infinity", "NEGATIVE_INFINITY": "-Infinity"}


class CompiledCheck:
    """One check with its column looked up and its text for people."""

    def __init__(self, check: Check) -> None:
        self.field = avro_name(check.column)
        self.rejects = check.on_violation == "reject"
        self._tests: list[tuple[str, Callable[[Any], bool]]] = _tests(check)

    def violation(self, row: dict[str, Any]) -> str | None:
        """What the row violates, without its value; None when all is well."""
        value = row.get(self.field)
        for text, holds in self._tests:
            if not holds(value):
                return f"{self.field} {text}"
        return None


def _tests(check: Check) -> list[tuple[str, Callable[[Any], bool]]]:
    tests: list[tuple[str, Callable[[Any], bool]]] = []
    if check.not_null:
        tests.append(("must not be null", lambda value: value is not None))
    if check.min is not None:
        low = decimal.Decimal(str(check.min))
        tests.append((f"must be at least {check.min}", lambda value: value is None or _number(value) >= low))
    if check.max is not None:
        high = decimal.Decimal(str(check.max))
        tests.append((f"must be at most {check.max}", lambda value: value is None or _number(value) <= high))
    if check.one_of is not None:
        allowed = frozenset(check.one_of)
        tests.append(("must be one of the registered values", lambda value: value is None or value in allowed))
    return tests


def _number(value: Any) -> decimal.Decimal:
    if isinstance(value, str):
        return decimal.Decimal(_SPECIAL_NUMBERS.get(value, value))
    return decimal.Decimal(value)


def check_row(row: dict[str, Any], checks: tuple[CompiledCheck, ...]) -> Reject | tuple[str, ...]:
    """The flags of a row, or the first check that rejects it. A check that cannot be computed rejects, too."""
    flags = []
    for check in checks:
        try:
            violation = check.violation(row)
        except (decimal.InvalidOperation, TypeError, ValueError):
            violation = f"{check.field} cannot be checked"
        if violation is None:
            continue
        if check.rejects:
            return Reject(
                STAGE, "CheckViolated", violation, "correct the row at the owner; the correction replaces this"
            )
        flags.append(violation)
    return tuple(flags)


def cause_of(row: dict[str, Any] | None, table: Table) -> str | None:
    """Why the row changed, as the owner says; None without a registered cause or for a delete without before."""
    if table.cause is None or row is None:
        return None
    value = row.get(avro_name(table.cause.column))
    return None if value is None else str(value)
