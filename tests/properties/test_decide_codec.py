"""Property: any truth record comes back from its bytes as it was, and equal bytes mean equal content."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.envelopes import CAPTURED, ORDERS, TRUTH_SCHEMA_ID, orders_codec
from trueup.core.truth_codec import TruthReader, hash_row, peek
from trueup.core.truth_schema import truth_schema
from trueup.model.decision import DELETED_HASH, Held, TruthRecord
from trueup.model.event import Op, Position
from trueup.model.version import EPOCH_MAX, RANK_MAX, RANK_MIN, make_version

CODEC = orders_codec()
READER = TruthReader()
READER.learn(TRUTH_SCHEMA_ID, truth_schema(ORDERS, CAPTURED))

LONG = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ROWS = st.fixed_dictionaries(
    {
        "order_id": LONG,
        "customer": st.none() | TEXT,
        "amount": st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
        "state": st.none() | st.sampled_from(["open", "paid"]),
        "tags": st.none() | st.lists(st.none() | TEXT, max_size=3),
        "photo": st.none() | st.binary(max_size=20),
        "weight": st.none() | st.floats(allow_nan=False),
        "change_reason": st.none() | TEXT,
        "updated_at": st.none() | TEXT,
        "row_version": st.none() | LONG,
    }
)


@st.composite
def truths(draw: st.DrawFn) -> TruthRecord:
    row: dict[str, Any] | None = draw(st.none() | ROWS)
    row_bytes = None if row is None else CODEC.encode_row(row)
    position = draw(st.none() | st.builds(Position, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)))
    return TruthRecord(
        key=draw(st.binary(max_size=30)),
        version=make_version(
            draw(st.integers(0, EPOCH_MAX)), draw(st.integers(0, 2**64 - 1)), draw(st.integers(RANK_MIN, RANK_MAX))
        ),
        content_hash=DELETED_HASH if row_bytes is None else hash_row(row_bytes),
        op=Op.DELETE if row is None else draw(st.sampled_from([Op.CREATE, Op.UPDATE, Op.READ])),
        commit_time_us=draw(LONG),
        position=position,
        cause=draw(st.none() | TEXT),
        flags=tuple(draw(st.lists(TEXT, max_size=3))),
        row=row,
        row_bytes=row_bytes,
    )


@given(truths())
def test_a_truth_comes_back(truth: TruthRecord) -> None:
    value = CODEC.encode(truth)
    assert READER.decode(truth.key, value) == msgspec.structs.replace(truth, row_bytes=None)
    assert peek(value) == Held(truth.version, truth.content_hash)


@given(ROWS, ROWS)
def test_equal_bytes_mean_equal_content(left: dict[str, Any], right: dict[str, Any]) -> None:
    same = repr(sorted(left.items())) == repr(sorted(right.items()))  # repr tells -0.0 from 0.0, as the bytes do
    assert (CODEC.encode_row(left) == CODEC.encode_row(right)) is same
