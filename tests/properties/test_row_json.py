"""Property: a row that a case keeps as JSON is the row that was, value by value and byte by byte."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.row_json import RowJson
from trueup.core.truth_codec import TruthCodec
from trueup.core.truth_schema import truth_schema
from trueup.model.columns import CapturedTable, Column
from trueup.model.registration import Owner, Source, Table

FLOATS = st.floats(allow_nan=False) | st.just(math.nan)  # PostgreSQL has one NaN
TYPES: dict[str, st.SearchStrategy[Any]] = {
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.booleans(),
    "double precision": FLOATS,
    "real": st.floats(width=32, allow_nan=False) | st.just(math.nan),
    "text": st.text() | st.sampled_from(["NaN", "Infinity", "AAAA", ""]),
    "bytea": st.binary(),
    "text[]": st.lists(st.none() | st.text(), max_size=3),
    "bytea[]": st.lists(st.none() | st.binary(), max_size=3),
    "double precision[]": st.lists(st.none() | FLOATS, max_size=3),
}
COLUMNS = tuple(Column(name=f"c{n}", pg_type=pg_type, nullable=True) for n, pg_type in enumerate(TYPES))
TABLE = Table(table="t", owner=Owner(system="s"), source=Source(table="public.t"), key=["c0"])
CODEC = TruthCodec(truth_schema(TABLE, CapturedTable(table="t", key=("c0",), columns=COLUMNS)), 1)
ROWS = st.fixed_dictionaries({f"c{n}": st.none() | values for n, values in enumerate(TYPES.values())})


@given(ROWS)
def test_a_row_comes_back(row: dict[str, Any]) -> None:
    rows = RowJson(CODEC.row_schema)
    again = rows.read(msgspec.json.decode(msgspec.json.encode(rows.written(row))))
    assert CODEC.encode_row(again) == CODEC.encode_row(row)


def test_a_column_that_came_later_is_null_and_one_that_is_gone_is_left_out() -> None:
    rows = RowJson(CODEC.row_schema)
    again = rows.read({"c0": 1, "gone": "x"})
    assert again == {"c0": 1} | {f"c{n}": None for n in range(1, len(TYPES))}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not_travel_by_name(number: float) -> None:
    assert msgspec.json.encode(RowJson(CODEC.row_schema).written({"c2": number})) != b'{"c2":null}'


def test_bytes_that_are_no_base64_are_refused() -> None:
    with pytest.raises(ValueError, match="base64"):
        RowJson(CODEC.row_schema).read({"c5": "#"})
