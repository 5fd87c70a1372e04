"""Truth records to bytes and back. The round trip of any row is a property: tests/properties/test_decide_codec.py."""

import io

import fastavro
import msgspec
import pytest

from tests.envelopes import CAPTURED, ORDERS, TRUTH_SCHEMA_ID, key_of, order, orders_codec
from tests.several_writers import table_of
from trueup.core.truth_codec import (
    HELD_SLICE,
    TruthCodec,
    TruthReader,
    hash_row,
    held_whole,
    operation_of,
    peek,
    peek_origin,
    peek_version,
    published_again,
)
from trueup.core.truth_schema import truth_schema
from trueup.model.decision import DELETED_HASH, Held, TruthRecord
from trueup.model.event import Op, Position
from trueup.model.version import make_version

CODEC = orders_codec()


def truth(row: dict[str, object] | None = None) -> TruthRecord:
    row = order() if row is None else row
    row_bytes = CODEC.encode_row(row)
    return TruthRecord(
        key=key_of(1),
        version=make_version(3, 77, -4),
        content_hash=hash_row(row_bytes),
        op=Op.UPDATE,
        commit_time_us=1_767_607_200_123_456,
        position=Position(2**40, 2**41),
        cause="ordered",
        flags=("amount must be at least 0", "state must not be null"),
        row=row,
        row_bytes=row_bytes,
    )


DELETED = TruthRecord(
    key=key_of(1),
    version=make_version(3, 78),
    content_hash=DELETED_HASH,
    op=Op.DELETE,
    commit_time_us=1,
    position=None,
    cause=None,
    flags=(),
    row=None,
    row_bytes=None,
)


def reader() -> TruthReader:
    made = TruthReader()
    made.learn(TRUTH_SCHEMA_ID, truth_schema(ORDERS, CAPTURED))
    return made


@pytest.mark.parametrize("record", [truth(), DELETED, truth(dict.fromkeys(order()) | {"order_id": 1})])
def test_a_record_comes_back_as_it_was(record: TruthRecord) -> None:
    back = reader().decode(record.key, CODEC.encode(record))
    assert back == msgspec.structs.replace(record, row_bytes=None)


def test_a_flag_and_a_cause_survive() -> None:
    back = reader().decode(b"", CODEC.encode(truth()))
    assert back.flags == ("amount must be at least 0", "state must not be null")
    assert back.cause == "ordered"


def test_any_avro_reader_reads_it_to_the_last_byte() -> None:
    """The codec writes the record in pieces; what it writes must be the schema's Avro, nothing else."""
    value = CODEC.encode(truth())
    stream = io.BytesIO(value[5:])
    schema = fastavro.parse_schema(truth_schema(ORDERS, CAPTURED))
    data = fastavro.schemaless_reader(stream, schema, None)
    assert isinstance(data, dict)
    assert stream.tell() == len(value) - 5
    assert data["row"] == order()


def test_the_frame_names_the_schema() -> None:
    assert CODEC.encode(DELETED)[:5] == b"\x00" + TRUTH_SCHEMA_ID.to_bytes(4, "big")


@pytest.mark.parametrize("record", [truth(), DELETED])
def test_version_and_hash_are_read_without_decoding(record: TruthRecord) -> None:
    value = CODEC.encode(record)
    assert peek(value) == Held(record.version, record.content_hash)
    assert peek_version(value) == record.version
    assert value[HELD_SLICE] == record.version + record.content_hash


def test_the_hash_sees_every_column() -> None:
    plain = hash_row(CODEC.encode_row(order()))
    for column, value in order().items():
        other = None if value is not None else "x"
        assert hash_row(CODEC.encode_row(order() | {column: other})) != plain, column


def test_the_hash_of_a_row_is_not_that_of_no_row() -> None:
    assert hash_row(CODEC.encode_row(order())) != DELETED_HASH
    assert hash_row(b"") != DELETED_HASH
    assert len(hash_row(b"")) == len(DELETED_HASH)


def test_null_and_empty_are_different_contents() -> None:
    assert CODEC.encode_row(order(customer=None)) != CODEC.encode_row(order(customer=""))
    assert CODEC.encode_row(order(tags=[])) != CODEC.encode_row(order(tags=None))


def test_a_reader_asks_for_schemas_before_it_reads() -> None:
    values = [CODEC.encode(truth()), CODEC.encode(DELETED)]
    empty = TruthReader()
    assert empty.unknown_ids(values) == {TRUTH_SCHEMA_ID}
    assert reader().unknown_ids(values) == set()
    with pytest.raises(KeyError):
        empty.decode(b"", values[0])


# --- several writers --------------------------------------------------------------------------------------------------

SHARED = table_of("escalate")
SHARED_CODEC = TruthCodec(truth_schema(SHARED, CAPTURED), 43)


@pytest.mark.parametrize("origin", ["shop", "a", "x" * 40, None])
def test_the_origin_stands_next_to_the_hash_and_comes_back(origin: str | None) -> None:
    record = msgspec.structs.replace(truth(), origin=origin)
    value = SHARED_CODEC.encode(record)
    assert peek_origin(value) == origin
    made = TruthReader()
    made.learn(43, truth_schema(SHARED, CAPTURED))
    assert made.decode(record.key, value).origin == origin
    assert held_whole(value) == Held(record.version, record.content_hash, record=value, origin=origin)


@pytest.mark.parametrize("op", list("rcud"))
def test_a_record_of_a_time_before_several_writers_has_no_origin(op: str) -> None:
    value = CODEC.encode(msgspec.structs.replace(truth(), op=Op(op)))
    assert peek_origin(value) is None
    assert operation_of(value) is Op(op)


@pytest.mark.parametrize("codec", [CODEC, SHARED_CODEC], ids=["one owner", "several writers"])
@pytest.mark.parametrize("origin", ["shop", None])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("time_us", [0, -1, 63, 64, -(2**62), 1_767_607_200_123_456])
def test_a_record_published_again_differs_in_version_time_and_perhaps_origin_alone(
    codec: TruthCodec, origin: str | None, keep: bool, time_us: int
) -> None:
    table = SHARED if codec is SHARED_CODEC else ORDERS
    record = msgspec.structs.replace(truth(), origin=origin if codec is SHARED_CODEC else None)
    again = published_again(codec.encode(record), make_version(4, 90, 2), time_us, origin=keep)
    made = TruthReader()
    made.learn(codec.schema_id, truth_schema(table, CAPTURED))
    assert made.decode(record.key, again) == msgspec.structs.replace(
        record,
        version=make_version(4, 90, 2),
        commit_time_us=time_us,
        row_bytes=None,
        origin=record.origin if keep else None,
    )
    assert operation_of(again) is Op.UPDATE


def test_bytes_that_are_known_are_not_made_again() -> None:
    assert CODEC.encode(msgspec.structs.replace(truth(), encoded=b"as they are")) == b"as they are"
