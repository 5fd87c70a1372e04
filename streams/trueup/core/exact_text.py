"""What Debezium writes, as PostgreSQL itself would write it: the names of special numbers, times out of the ordinary,
bits, hstore; and the values that cannot be told from others, which are refused by name instead of guessed.

Measured with Debezium 3.7.0, time.precision.mode=isostring, in the snapshot and in the stream (schemas/README.md has
the table). Which types travel at all is `core.avro_types`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from trueup.core.avro_types import base_type, is_array
from trueup.model.columns import Column

# Debezium's SpecialValueDecimal.toString -> numeric's own text.
SPECIAL_NUMBERS: Final = {"NAN": "NaN", "POSITIVE_INFINITY": "Infinity", "NEGATIVE_INFINITY": "-Infinity"}

_MOMENTS: Final = frozenset({"timestamp without time zone", "timestamp with time zone"})

# Java's calendar of the snapshot, and of arrays, has no BC and skips ten days of 1582: 1582-10-10 arrives as
# 1582-10-20. From this day on a text means one day; texts of years from 0001 to 9999 sort as their days.
_ONE_MEANING_FROM: Final = "1582-10-25"
_AFTER_DIGITS: Final = ":"

# The years of the constants that stand for infinities. The last is year -292269055 without its era; PostgreSQL's own
# years end at 5874897 and 294276.
_INFINITE_YEARS: Final = {
    "+292278994": "infinity",
    "+5877611": "infinity",
    "-292275055": "-infinity",
    "-5877611": "-infinity",
    "+292269055": "-infinity",
}
_YEAR_MAX: Final = 5_874_897
_ISO: Final = re.compile(r"(?P<year>[+-]?[0-9]{4,10})(?P<day>-[0-9]{2}-[0-9]{2})(T(?P<time>[0-9:.]+))?Z?")
_JAVA_OBJECT: Final = re.compile(r"\[+L[\w.$]+;@[0-9a-f]+")

_decode_hstore = msgspec.json.Decoder(dict[str, str | None]).decode


class Inexact(ValueError):
    """A value that may stand for another one. The text names the reason and holds no value."""

    def __init__(self, field: str, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.field, self.reason, self.hint = field, reason, hint


def temporal_text(value: str) -> str:
    """A date or timestamp as PostgreSQL reads it: infinities, BC and years beyond 9999; others as they are.

    Raises ValueError for a text that is none.
    """
    if _ONE_MEANING_FROM <= value < _AFTER_DIGITS or value in {"infinity", "-infinity"}:
        return value
    parts = _ISO.fullmatch(value)
    if parts is None:
        raise ValueError("no date or timestamp in ISO 8601")
    if parts["year"] in _INFINITE_YEARS:
        return _INFINITE_YEARS[parts["year"]]
    year = int(parts["year"])
    if year > _YEAR_MAX:
        raise ValueError("a year that PostgreSQL does not have")
    if year > 0 and not value.startswith("+"):
        return value
    day = f"{year if year > 0 else 1 - year:04d}{parts['day']}"
    moment = day if parts["time"] is None else f"{day} {parts['time']}+00"
    return moment if year > 0 else f"{moment} BC"


def hstore_text(value: str) -> str:
    """A JSON object as hstore writes it: pairs in hstore's order, by length of the key and then by its bytes."""
    pairs = sorted(_decode_hstore(value).items(), key=lambda pair: (len(pair[0].encode()), pair[0].encode()))
    return ", ".join(f"{_hstore_word(key)}=>{'NULL' if text is None else _hstore_word(text)}" for key, text in pairs)


def _hstore_word(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def bits_text(value: bool | bytes, length: int) -> str:
    """A bit string of known length; Debezium writes one bit as boolean, more as little-endian bytes without the end."""
    number = int(value) if isinstance(value, bool) else int.from_bytes(value, "little")
    return format(number, f"0{length}b")


def _bits_of(column: Column) -> Callable[[Any], str]:
    length = int(column.pg_type.partition("(")[2].rstrip(")") or 1)
    return lambda value: bits_text(value, length)


class ExactRow:
    """The rows of one table, made exact. Costs one comparison per number and time where nothing is special."""

    def __init__(self, columns: Iterable[Column], key: Iterable[str], names: Callable[[str], str]) -> None:
        self._numbers: list[str] = []
        self._moments: list[str] = []
        self._days: list[str] = []
        self._arrays: list[tuple[str, bool]] = []
        self._rewritten: list[tuple[str, Callable[[Any], str]]] = []
        for column in columns:
            field, base = names(column.name), base_type(column.pg_type)
            if is_array(column):
                self._arrays.append((field, base in _MOMENTS or base == "date"))
            elif base == "numeric":
                self._numbers.append(field)
            elif base in _MOMENTS:
                self._moments.append(field)
            elif base == "date":
                self._days.append(field)
            elif base == "hstore":
                self._rewritten.append((field, hstore_text))
            elif base == "bit":
                self._rewritten.append((field, _bits_of(column)))
        self._key_days = frozenset(map(names, key)) & frozenset(self._days)

    def of(self, row: dict[str, Any], *, snapshot: bool) -> dict[str, Any]:
        """The row with PostgreSQL's own texts: the same object when nothing had to change.

        Raises Inexact for a value that may stand for another one, TypeError and ValueError for one of another type.
        """
        changed: dict[str, Any] = {}
        for field in self._numbers:
            value = row.get(field)
            if value is not None and value[:1] > "9":
                changed[field] = SPECIAL_NUMBERS.get(value, value)
        for field in self._moments:
            value = row.get(field)
            if value is not None and not _ONE_MEANING_FROM <= value < _AFTER_DIGITS:
                changed[field] = temporal_text(value)
        for field in self._days:
            value = row.get(field)
            if value is not None and not _ONE_MEANING_FROM <= value < _AFTER_DIGITS:
                changed[field] = self._day(field, value, snapshot=snapshot)
        for field, rewrite in self._rewritten:
            value = row.get(field)
            if value is not None:
                changed[field] = rewrite(value)
        for field, temporal in self._arrays:
            value = row.get(field)
            if value:
                exact = _array(field, value, temporal=temporal)
                if exact is not value:
                    changed[field] = exact
        return row | changed if changed else row

    def _day(self, field: str, value: str, *, snapshot: bool) -> str:
        if snapshot and _is_ambiguous(value):
            raise _early_day(field)
        text = temporal_text(value)
        if snapshot and field in self._key_days:
            reason = "the snapshot writes an infinite date in another way than the log, and the key has it"
            raise Inexact(field, reason, "keep infinity out of the key")
        return text


def _is_ambiguous(value: str) -> bool:
    return value[:1].isdigit() and value < _ONE_MEANING_FROM


def _early_day(field: str) -> Inexact:
    reason = f"a day before {_ONE_MEANING_FROM}, or BC, cannot be read from a snapshot or an array"
    return Inexact(field, reason, "update the row once at the source: the log carries a date exactly (arrays never)")


def _array(field: str, values: list[Any], *, temporal: bool) -> list[Any]:
    """One dimension, in which every element is itself. Debezium writes the rows of a matrix as nulls, or as the names
    Java has for objects."""
    nested = all(value is None for value in values) or any(
        isinstance(value, str) and value.startswith("[") and _JAVA_OBJECT.fullmatch(value) for value in values
    )
    if nested:
        reason = "an array of several dimensions, or of nulls alone, cannot be told from another one"
        raise Inexact(field, reason, "keep it as jsonb at the source")
    if not temporal:
        return values
    if any(value is not None and _is_ambiguous(value) for value in values):
        raise _early_day(field)
    return [None if value is None else temporal_text(value) for value in values]
