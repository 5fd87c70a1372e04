"""Declarative checks as tests of values: min, max, one_of, not_null, matches, length, compare, age.

`core.rules` runs them and says what a violation leads to; what is wrong with a check itself is `core.check_rules`.
"""

from __future__ import annotations

import decimal
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from trueup.core.exact_values import number_of, ordered_reader, time_us
from trueup.core.text_pattern import whole_text_matcher
from trueup.model.columns import Column
from trueup.model.registration import Age, Check, Number, duration_ms

ValueTest = tuple[str, Callable[[Any], bool]]
"""What a value must be, for people; and whether it is. Null violates `not_null` only."""

RowTest = tuple[str, Callable[[Any, dict[str, Any], int | None], bool]]
"""The same for a value that is not null, beside its row and the commit time (None: it has none)."""

COMPARISONS: Final[dict[str, tuple[str, Callable[[Any, Any], bool]]]] = {
    "equal": ("equal to", operator.eq),
    "not_equal": ("different from", operator.ne),
    "less_than": ("less than", operator.lt),
    "at_most": ("at most", operator.le),
    "at_least": ("at least", operator.ge),
    "more_than": ("more than", operator.gt),
}
"""The operators of `compare`: in words, and as functions."""

EQUALITIES: Final = frozenset({"equal", "not_equal"})
"""Those that ask for no order."""


def value_tests(check: Check) -> list[ValueTest]:
    """The tests that look at the column alone, in the order they are asked."""
    tests: list[ValueTest] = []
    if check.not_null:
        tests.append(("must not be null", lambda value: value is not None))
    if check.min is not None:
        low = bound(check.min)
        tests.append((f"must be at least {check.min}", lambda value: value is None or number_of(value) >= low))
    if check.max is not None:
        high = bound(check.max)
        tests.append((f"must be at most {check.max}", lambda value: value is None or number_of(value) <= high))
    if check.one_of is not None:
        allowed = frozenset(check.one_of)
        tests.append(("must be one of the registered values", lambda value: value is None or value in allowed))
    if check.matches is not None:
        matches = whole_text_matcher(check.matches)
        tests.append(("must match the registered pattern", lambda value: value is None or matches(value)))
    if check.length is not None:
        if (least := check.length.min) is not None:
            tests.append((f"must have a length of at least {least}", lambda v: v is None or len(v) >= least))
        if (most := check.length.max) is not None:
            tests.append((f"must have a length of at most {most}", lambda v: v is None or len(v) <= most))
    return tests


def row_tests(check: Check, field_of: Callable[[str], str], columns: Mapping[str, Column]) -> list[RowTest]:
    """The tests that need the rest of the row or the commit time.

    :param field_of: where a column's value stands in a row.
    :param columns: the columns a check can name, for their types. Raises KeyError for one that is not among them.
    """
    tests: list[RowTest] = []
    assert check.column is not None
    if check.compare is not None:
        for name, other in check.compare.columns.items():
            test = _comparison(name, field_of(other), columns[check.column], columns[other])
            tests.append((f"must be {COMPARISONS[name][0]} {other}", test))
    if check.age is not None:
        tests += _age_tests(check.age)
    return tests


def bound(written: Number) -> decimal.Decimal:
    """A registered number. A float is taken as it is written: 0.1 is 0.1."""
    return decimal.Decimal(str(written))


def _comparison(
    name: str, other_field: str, column: Column, other: Column
) -> Callable[[Any, dict[str, Any], int | None], bool]:
    holds = COMPARISONS[name][1]
    read, read_other = ordered_reader(column) or _as_it_is, ordered_reader(other) or _as_it_is

    def test(value: Any, row: dict[str, Any], _commit_time_us: int | None) -> bool:
        beside = row.get(other_field)
        return beside is None or holds(read(value), read_other(beside))

    return test


def _as_it_is(value: Any) -> Any:
    return value


def _age_tests(age: Age) -> list[RowTest]:
    tests: list[RowTest] = []
    if age.max is not None:
        max_us = duration_ms(age.max) * 1000
        tests.append(
            (
                f"must not lie more than {age.max} before the commit",
                lambda value, _row, commit_us: commit_us is None or commit_us - time_us(value) <= max_us,
            )
        )
    if age.ahead is not None:
        ahead_us = duration_ms(age.ahead) * 1000
        tests.append(
            (
                f"must not lie more than {age.ahead} after the commit",
                lambda value, _row, commit_us: commit_us is None or time_us(value) - commit_us <= ahead_us,
            )
        )
    return tests
