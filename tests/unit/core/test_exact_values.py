"""Numbers and times of rows, exactly: what a comparison sees, and what a rule function is given."""

import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.replica_batches import column
from trueup.core.exact_values import exact_reader, family_of, ordered_reader, time_us
from trueup.rules import INFINITY_US

DAY_US = 86_400_000_000


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("1970-01-01Z", 0),
        ("1970-01-02", DAY_US),
        ("2000-02-29T00:00:00Z", 951_782_400_000_000),
        ("2026-01-05T10:00:00.123456Z", 1_767_607_200_123_456),
        ("2026-01-05T10:00:00.123Z", 1_767_607_200_123_000),
        ("2026-01-05 10:00:00.123456000", 1_767_607_200_123_456),
        ("2026-01-05T10:00:00+02:00", 1_767_600_000_000_000),
        ("2026-01-05 10:00:00-05", 1_767_625_200_000_000),
        ("2026-01-05T10:00Z", 1_767_607_200_000_000),
        ("0001-01-01 BC", -62_167_219_200_000_000),  # the year before the year 1
        ("0000-01-01T00:00:00Z", -62_167_219_200_000_000),  # the same, as Java writes it
        ("-4713-11-24T00:00:00Z", -210_866_803_200_000_000),  # the first timestamp of PostgreSQL
        ("+294276-12-31T23:59:59.999999Z", 9_224_318_015_999_999_999),  # and the last one
        ("infinity", INFINITY_US),
        ("-infinity", -INFINITY_US),
    ],
)
def test_a_time_is_read_to_the_microsecond_in_every_year(text: str, us: int) -> None:
    assert time_us(text) == us


@given(st.datetimes(timezones=st.just(datetime.UTC)))
def test_times_agree_with_the_calendar(moment: datetime.datetime) -> None:
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    assert time_us(moment.isoformat()) == (moment - epoch) // datetime.timedelta(microseconds=1)


@pytest.mark.parametrize(
    "value", ["", "now", "2026-13-01", "2026-01-32", "2026-1-5", "1e3", "2026-01-05T10:00:00.1234567Z"]
)
def test_what_is_no_time_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"time|date|microsecond"):
        time_us(value)


@pytest.mark.parametrize("value", [0, 1.5, None, b"2026-01-05"])
def test_a_time_is_text(value: Any) -> None:
    with pytest.raises(TypeError):
        time_us(value)


@pytest.mark.parametrize(
    ("pg_type", "value", "exact"),
    [
        ("bigint", 2**63 - 1, 2**63 - 1),
        ("numeric(30,10)", "12345678901234567890.1234567890", Decimal("12345678901234567890.1234567890")),
        ("numeric", "POSITIVE_INFINITY", Decimal("Infinity")),
        ("double precision", 0.1, Decimal.from_float(0.1)),
        ("timestamp with time zone", "2026-01-05T10:00:00.123456Z", 1_767_607_200_123_456),
        ("date", "1970-01-02Z", DAY_US),
        ("text", "x", "x"),
        ("bytea", b"\x00", b"\x00"),
        ("boolean", False, False),
        ("text[]", ["a", None], ("a", None)),
        ("interval", "P1D", "P1D"),
    ],
)
def test_a_function_is_given_exact_values(pg_type: str, value: Any, exact: Any) -> None:
    given_value = exact_reader(column("c", pg_type))(value)
    assert given_value == exact
    assert type(given_value) is type(exact)


def test_families_say_what_can_be_compared() -> None:
    def family(pg_type: str, kind: str = "b") -> str | None:
        return family_of(column("c", pg_type, kind=kind))

    assert family("integer") == family("numeric(12,2)") == family("real")
    assert family("date") == family("timestamp(3) without time zone")
    assert family("timestamp with time zone") not in {family("date"), None}
    assert family("text") == family("character varying(9)") != family("uuid")
    assert family("mood", "e") != family("size", "e")
    nothing = [family("text[]"), family("citext"), family("character(2)"), family("jsonb"), family("a.b", "d")]
    assert nothing == [None] * 5
    assert ordered_reader(column("c", "text")) is None
