"""What Debezium writes becomes what PostgreSQL writes, or is refused by name. The inputs were measured (3.7.0)."""

from typing import Any

import pytest

from trueup.core.exact_text import ExactRow, Inexact, bits_text, hstore_text, temporal_text
from trueup.core.truth_schema import avro_name
from trueup.model.columns import Column


def exact(pg_type: str, value: Any, *, snapshot: bool = False, key: tuple[str, ...] = ()) -> Any:
    column = Column(name="c", pg_type=pg_type, nullable=True)
    return ExactRow([column], key, avro_name).of({"c": value}, snapshot=snapshot)["c"]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("2026-01-05Z", "2026-01-05Z"),
        ("2026-01-05T10:00:00.000001Z", "2026-01-05T10:00:00.000001Z"),
        ("0001-01-01Z", "0001-01-01Z"),
        ("1582-10-10T01:02:03.000004Z", "1582-10-10T01:02:03.000004Z"),
        ("-0043-03-15Z", "0044-03-15 BC"),
        ("0000-12-31Z", "0001-12-31 BC"),
        ("-4712-01-01T00:00:00.000000Z", "4713-01-01 00:00:00.000000+00 BC"),
        ("-0043-03-15T12:00:00.5Z", "0044-03-15 12:00:00.5+00 BC"),
        ("0000-12-31T23:59:59.999999Z", "0001-12-31 23:59:59.999999+00 BC"),
        ("+294276-12-31T23:59:59.999999Z", "294276-12-31 23:59:59.999999+00"),
        ("+5874897-12-31Z", "5874897-12-31"),
        ("infinity", "infinity"),
        ("-infinity", "-infinity"),
        ("+292278994-08-16Z", "infinity"),
        ("+292278994-08-17Z", "infinity"),
        ("+292269055-12-02Z", "-infinity"),
        ("+5877611-06-21Z", "infinity"),
        ("-5877611-06-22Z", "-infinity"),
        ("+292278994-08-16T23:00:00Z", "infinity"),
        ("-292275055-05-16T23:00:00Z", "-infinity"),
    ],
)
def test_f39_times_out_of_the_ordinary(written: str, text: str) -> None:
    assert temporal_text(written) == text


@pytest.mark.parametrize("written", ["", "soon", "+5874898-01-01Z", "+99999999-01-01Z", "Infinity", "1", "-1-1-1"])
def test_a_text_that_is_no_time_is_no_time(written: str) -> None:
    with pytest.raises(ValueError, match=r"date|year"):
        temporal_text(written)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("NAN", "NaN"),
        ("POSITIVE_INFINITY", "Infinity"),
        ("NEGATIVE_INFINITY", "-Infinity"),
        ("-1.10", "-1.10"),
        ("0", "0"),
        (None, None),
    ],
)
def test_f38_names_of_numbers(written: str | None, text: str | None) -> None:
    assert exact("numeric(10,2)", written) == text


@pytest.mark.parametrize("day", ["0044-03-15Z", "1582-10-20Z", "1582-10-24Z", "0001-01-01Z"])
def test_f39_an_early_day_is_refused_from_a_snapshot_and_taken_from_the_log(day: str) -> None:
    with pytest.raises(Inexact, match="snapshot") as refusal:
        exact("date", day, snapshot=True)
    assert refusal.value.field == "c"
    assert day not in str(refusal.value)
    assert exact("date", day) == day


def test_an_infinite_day_in_a_key_is_refused_from_a_snapshot() -> None:
    with pytest.raises(Inexact, match="key"):
        exact("date", "+292278994-08-16Z", snapshot=True, key=("c",))
    assert exact("date", "+292278994-08-16Z", snapshot=True) == "infinity"
    assert exact("date", "+5877611-06-21Z", key=("c",)) == "infinity"


@pytest.mark.parametrize(
    ("pg_type", "value"),
    [
        ("integer[]", [None, None]),
        ("text[]", ["[Ljava.lang.String;@c545f10", "[Ljava.lang.String;@126b2077"]),
        ("text[]", ["[[Ljava.lang.String;@61fddc5c"]),
        ("inet[]", ["[Ljava.lang.Object;@374be32f"]),
        ("uuid[]", ["[Ljava.util.UUID;@931dabc"]),
        ("date[]", ["2026-01-05Z", "0044-03-15Z"]),
        ("timestamp with time zone[]", ["0044-03-15T00:00:00.000000Z"]),
    ],
)
def test_arrays_that_may_be_others_are_refused(pg_type: str, value: list[str | None]) -> None:
    with pytest.raises(Inexact, match="array"):
        exact(pg_type, value)


@pytest.mark.parametrize(
    ("pg_type", "value", "text"),
    [
        ("integer[]", [], []),
        ("integer[]", [1, None], [1, None]),
        ("text[]", ["[a", "@", None], ["[a", "@", None]),
        ("date[]", ["2026-01-05Z", None, "+292269055-12-02Z"], ["2026-01-05Z", None, "-infinity"]),
        ("bit(1)", True, "1"),
        ("bit(8)", b"\x01", "00000001"),
        ("bit(8)", b"", "00000000"),
        ("bit(12)", b"\x00\x08", "100000000000"),
        ("bit(8)", None, None),
    ],
)
def test_values_that_have_one_meaning(pg_type: str, value: Any, text: Any) -> None:
    assert exact(pg_type, value) == text


def test_an_ordinary_row_is_handed_on_untouched() -> None:
    columns = [Column(name=n, pg_type=t, nullable=True) for n, t in (("a", "numeric"), ("b", "date"), ("c", "text[]"))]
    row = {"a": "1.10", "b": "2026-01-05Z", "c": ["x"]}
    assert ExactRow(columns, (), avro_name).of(row, snapshot=True) is row


def test_hstore_keeps_its_order_and_tells_null_from_its_name() -> None:
    assert hstore_text('{"aa":null,"b":"1","NULL":"NULL","":"\\"\\\\"}') == (
        '""=>"\\"\\\\", "b"=>"1", "aa"=>NULL, "NULL"=>"NULL"'
    )
    assert hstore_text("{}") == ""


def test_one_bit_is_a_boolean() -> None:
    assert [bits_text(bit, 1) for bit in (False, True)] == ["0", "1"]
