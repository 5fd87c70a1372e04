"""Rules for checks that need the source's columns: what a check names exists, with a type it can be asked of.

A check by itself: `core.check_rules`. Other things a registration says of columns: `core.column_rules`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from trueup.core.avro_types import base_type, is_array
from trueup.core.check_rules import Mistake
from trueup.core.check_tests import COMPARISONS, EQUALITIES
from trueup.core.exact_values import INSTANTS, INTEGERS, NUMBERS, TEXTS, family_of, ordered_reader
from trueup.model.columns import Column
from trueup.model.problem import FieldPath
from trueup.model.registration import Check, Comparison

_TIMES: Final = INSTANTS | {"timestamp without time zone"}
_CLEAR_VALUE: Final = ("min", "max", "one_of", "matches", "length", "compare", "age")


class CheckedColumns(msgspec.Struct, frozen=True):
    """The columns checks can name.

    :param place: whose they are, for messages: `source table "public.orders"`.
    :param by_name: the column of the source behind each name.
    :param masked: names whose clear value is not there.
    """

    place: str
    by_name: Mapping[str, Column]
    masked: frozenset[str] = frozenset()


def check_column_mistakes(check: Check, columns: CheckedColumns, path: FieldPath) -> Iterator[Mistake]:
    """All mistakes of a check that show only beside the columns."""
    if check.column is None:
        return
    yield from _absent(check.column, columns, (*path, "column"))
    column = columns.by_name.get(check.column)
    if column is None:
        return
    if check.column in columns.masked:
        for field in _CLEAR_VALUE:
            if getattr(check, field) is not None:
                primary = f'"{field}" asks for the clear value of column "{check.column}", which is masked there'
                yield (*path, field), primary, "put the check at the table; a masked column can be asked for not_null"
        return
    yield from _bound_mistakes(check, column, path)
    yield from _text_mistakes(check, column, path)
    if check.compare is not None:
        yield from _comparison_mistakes(check.compare, column, columns, (*path, "compare"))
    if check.age is not None and (is_array(column) or base_type(column.pg_type) not in _TIMES):
        primary = f'"age" is of a time, and column "{column.name}" has type {column.pg_type}'
        yield (*path, "age"), primary, "name a timestamp column, or remove age"


def _absent(name: str, columns: CheckedColumns, path: FieldPath) -> Iterator[Mistake]:
    if name not in columns.by_name:
        close = difflib.get_close_matches(name, list(columns.by_name), n=1)
        guess = f'did you mean "{close[0]}"? ' if close else ""
        primary = f'column "{name}" does not exist in {columns.place}'
        yield path, primary, f"{guess}columns there: {', '.join(columns.by_name)}"


def _bound_mistakes(check: Check, column: Column, path: FieldPath) -> Iterator[Mistake]:
    is_number = column.kind == "b" and column.pg_type.partition("(")[0] in NUMBERS
    for field, bound in (("min", check.min), ("max", check.max)):
        if bound is not None and not is_number:
            primary = f'"{field}" compares numbers, and column "{column.name}" has type {column.pg_type}'
            yield (*path, field), primary, f"use one_of or not_null, or name a number column; remove {field}"
    if check.one_of:
        accepts, wanted = _one_of_values(column)
        if accepts is None:
            primary = f'"one_of" cannot be asked of column "{column.name}" of type {column.pg_type}'
            yield (*path, "one_of"), primary, "name a text, enum, whole number or boolean column"
            return
        for index, value in enumerate(check.one_of):
            if not accepts(value):
                primary = f'value {index + 1} of "one_of" is not {wanted}, and column "{column.name}" is'
                yield (*path, "one_of", index), primary, f"write {wanted}; text is put in quotes"


def _one_of_values(column: Column) -> tuple[Callable[[object], bool] | None, str]:
    if is_array(column):
        return None, ""
    base = base_type(column.pg_type)
    if base == "boolean":
        return lambda value: isinstance(value, bool), "true or false"
    if base in INTEGERS:
        return lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"
    if column.kind == "e" or base in TEXTS:
        return lambda value: isinstance(value, str), "text"
    return None, ""


def _text_mistakes(check: Check, column: Column, path: FieldPath) -> Iterator[Mistake]:
    base = base_type(column.pg_type)
    is_text = column.kind == "e" or base in TEXTS
    if check.matches is not None and (is_array(column) or not is_text):
        primary = f'"matches" is of text, and column "{column.name}" has type {column.pg_type}'
        yield (*path, "matches"), primary, "name a text or enum column, or remove matches"
    if check.length is not None and not (is_array(column) or is_text or base == "bytea"):
        primary = f'"length" is of text, bytea and arrays, and column "{column.name}" has type {column.pg_type}'
        yield (*path, "length"), primary, "name such a column, or remove length"


def _comparison_mistakes(
    compare: Comparison, column: Column, columns: CheckedColumns, path: FieldPath
) -> Iterator[Mistake]:
    for name, other_name in compare.columns.items():
        here = (*path, name)
        yield from _absent(other_name, columns, here)
        other = columns.by_name.get(other_name)
        if other is None:
            continue
        family = family_of(column)
        if other_name in columns.masked:
            yield (
                here,
                f'column "{other_name}" is masked there',
                "put the check at the table, which has its clear value",
            )
        elif family is None or family != family_of(other):
            primary = f"columns of type {column.pg_type} and {other.pg_type} cannot be compared exactly"
            hint = (
                "compare numbers with numbers, times with time zone with such, times without with such, text with text"
            )
            yield here, primary, hint
        elif name not in EQUALITIES and ordered_reader(column) is None:
            primary = f'"{name}" asks for an order, and type {column.pg_type} has none that is the same everywhere'
            words = ", ".join(sorted(COMPARISONS.keys() & EQUALITIES))
            yield here, primary, f"use {words}, or name number or time columns"
