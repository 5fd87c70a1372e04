"""Values of a decoded row as they can be compared exactly: numbers as Decimal, times as microseconds since 1970.

Numbers and times travel as text (`core.avro_types`); neither is read through float or datetime, which would lose
digits, years beyond 9999 and before Christ, and infinity. Floats arrive as floats; their Decimal is their exact value.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Callable
from typing import Any, Final

from trueup.core.avro_types import base_type, is_array
from trueup.core.exact_text import SPECIAL_NUMBERS
from trueup.model.columns import Column
from trueup.model.rule_row import INFINITY_US

INTEGERS: Final = frozenset({"smallint", "integer", "bigint"})
NUMBERS: Final = INTEGERS | {"numeric", "real", "double precision"}
INSTANTS: Final = frozenset({"timestamp with time zone"})
LOCAL_TIMES: Final = frozenset({"timestamp without time zone", "date"})
TEXTS: Final = frozenset({"text", "character varying", "character", "name", "citext", "uuid"})
# Whose equality is that of the text: citext folds case, character ignores the padding.
_PLAIN: Final = frozenset({"text", "character varying", "name", "uuid", "boolean"})

_INFINITIES: Final = {"infinity": INFINITY_US, "-infinity": -INFINITY_US}

# ISO 8601 as Debezium writes it, and PostgreSQL's own form: 2026-01-05T10:00:00.123456Z, 2026-01-05Z, 0044-03-15 BC.
_TIME: Final = re.compile(
    r"([+-]?\d{4,9})-(\d\d)-(\d\d)"
    r"(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?"
    r"(?:Z|([+-])(\d\d)(?::?(\d\d)(?::?(\d\d))?)?)?"
    r"( BC)?",
    re.ASCII,
)
_DAY_US: Final = 86_400_000_000


def number_of(value: Any) -> decimal.Decimal:
    """The exact number. Raises decimal.InvalidOperation, TypeError or ValueError for what is none."""
    if isinstance(value, str):
        return decimal.Decimal(SPECIAL_NUMBERS.get(value, value))
    return decimal.Decimal(value)


def comparable_number(value: Any) -> decimal.Decimal:
    """As `number_of`; NaN, which has no place among numbers, raises ValueError."""
    number = number_of(value)
    if number.is_nan():
        raise ValueError("NaN is not compared")
    return number


def time_us(value: Any) -> int:
    """A timestamp or a date as microseconds since 1970, infinity as +-INFINITY_US. Raises TypeError, ValueError."""
    if type(value) is not str:
        raise TypeError("a time is text")
    if value in _INFINITIES:
        return _INFINITIES[value]
    match = _TIME.fullmatch(value)
    if match is None:
        raise ValueError("no time")
    year_text, month, day, hour, minute, second, fraction, sign, *offset, christ = match.groups()
    year = int(year_text) if christ is None else 1 - int(year_text)
    us = _days(year, int(month), int(day)) * _DAY_US
    if hour is not None:
        us += ((int(hour) * 60 + int(minute)) * 60 + int(second or 0)) * 1_000_000
    if fraction is not None:
        if fraction[6:].strip("0"):
            raise ValueError("finer than a microsecond")
        us += int(fraction[:6].ljust(6, "0"))
    if sign is not None:
        hours, minutes, seconds = (int(part or 0) for part in offset)
        shift = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000
        us += shift if sign == "-" else -shift
    return us


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar, which PostgreSQL and Java share.

    Howard Hinnant, chrono-compatible low-level date algorithms, days_from_civil.
    """
    if not (1 <= month <= 12 and 1 <= day <= 31):  # noqa: PLR2004 - the calendar
        raise ValueError("no date")
    year -= month <= 2  # noqa: PLR2004 - years begin in March here
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1  # noqa: PLR2004
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * 146_097 + day_of_era - 719_468


def exact_reader(column: Column) -> Callable[[Any], Any]:
    """What makes a column's value exact for a rule function; lists become tuples, so that nobody changes a row."""
    if is_array(column):
        return tuple
    family = family_of(column)
    if family in {"instant", "local time"}:
        return time_us
    if family == "number" and base_type(column.pg_type) not in INTEGERS:
        return number_of
    return _as_it_is


def _as_it_is(value: Any) -> Any:
    return value


def family_of(column: Column) -> str | None:
    """Columns of one family can be compared with each other; None: with none."""
    base = base_type(column.pg_type)
    if is_array(column):
        return None
    if column.kind == "e":
        return f"enum {column.pg_type}"
    if column.kind != "b":
        return None
    if base in NUMBERS:
        return "number"
    if base in INSTANTS:
        return "instant"
    if base in LOCAL_TIMES:
        return "local time"
    return base if base in {"boolean", "uuid"} else "text" if base in _PLAIN else None


def ordered_reader(column: Column) -> Callable[[Any], Any] | None:
    """What makes a column's values comparable by order; None: the order depends on a collation, or there is none."""
    match family_of(column):
        case "number":
            return comparable_number
        case "instant" | "local time":
            return time_us
        case _:
            return None
