"""A key as a person types it."""

import pytest

from trueup.core.exact_text import Inexact
from trueup.core.key_argument import key_of_argument, sought
from trueup.model.columns import CapturedTable, Column


@pytest.mark.parametrize(
    ("text", "columns", "found"),
    [
        ("4711", ("order_id",), {"order_id": "4711"}),
        ("O'Neill", ("name",), {"name": "O'Neill"}),
        ('{"order_id":4711}', ("order_id",), {"order_id": "4711"}),
        ('{"a":1,"b":"x"}', ("b", "a"), {"a": "1", "b": "x"}),
        ('{"a":true}', ("a",), {"a": "true"}),
        ('{"a":0.10000000000000000001}', ("a",), {"a": "0.10000000000000000001"}),
    ],
)
def test_a_value_or_the_json_of_a_dead_letter(text: str, columns: tuple[str, ...], found: dict[str, str]) -> None:
    assert key_of_argument(text, columns) == found


@pytest.mark.parametrize("text", ["1", "{", '{"a":1}', '{"a":1,"b":null}', '{"a":1,"b":2,"c":3}', '{"a":[1],"b":2}'])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        key_of_argument(text, ("a", "b"))


def keyed(**types: str) -> CapturedTable:
    columns = tuple(Column(name=name, pg_type=pg_type, nullable=False) for name, pg_type in types.items())
    return CapturedTable(
        table="t", columns=(*columns, Column(name="v", pg_type="money", nullable=True)), key=tuple(types)
    )


@pytest.mark.parametrize(
    ("pg_type", "captured", "value"),
    [
        ("bytea", "AAE=", b"\0\1"),
        ("bytea", "", b""),
        ("bytea", "\\x00fF", b"\0\xff"),
        ("numeric(10,2)", "1.10", "1.10"),
        ("numeric(10,2)", "NAN", "NaN"),
        ("date", "2026-01-05Z", "2026-01-05Z"),
        ("text", "AAE=", "AAE="),
        ("bigint", "7", "7"),
        ("boolean", "true", "true"),
    ],
)
def test_a_captured_key_is_read_as_its_column_has_it(pg_type: str, captured: str, value: str | bytes) -> None:
    assert sought({"k": captured}, keyed(k=pg_type)) == {"k": value}
    assert sought({"a": "1", "k": captured}, keyed(k=pg_type, a="bigint")) == {"a": "1", "k": value}


@pytest.mark.parametrize(
    ("pg_type", "text", "why"),
    [
        ("bytea", "AAE", "bytea: base64"),
        ("bytea", "\\x0", "bytea: base64"),
        ("bytea", "ä", "bytea: base64"),
        ("date", "January 5, 2026", "ISO 8601"),
    ],
)
def test_a_key_that_cannot_be_read_is_refused(pg_type: str, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        sought({"k": text}, keyed(k=pg_type))


@pytest.mark.parametrize("day", ["0044-03-15Z", "-0043-03-15Z", "infinity", "+5877611-06-21Z"])
def test_a_day_that_no_snapshot_brings_is_refused_with_its_cure(day: str) -> None:
    with pytest.raises(Inexact) as refused:
        sought({"k": day}, keyed(k="date"))
    assert (refused.value.field, bool(refused.value.hint)) == ("k", True)
