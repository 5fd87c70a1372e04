"""Step 1: bytes to events. Each malformed value (F-41) is one Reject, whatever it is; nothing is raised."""

import copy
from typing import Any

import pytest

from tests.envelopes import (
    COMMIT_TIME_US,
    SCHEMA_ID,
    SECRET,
    change,
    envelope,
    envelope_schema,
    framed,
    key_of,
    log_record,
    order,
)
from trueup.core.decode import EPOCH_HEADER, REPLAY_HEADER, EnvelopeDecoder, decode, schema_ids
from trueup.model.decision import Reject
from trueup.model.event import ChangeEvent, Ignorable, LogRecord, Op, Position

DECODERS = {SCHEMA_ID: EnvelopeDecoder(envelope_schema())}


def rejected(record: LogRecord) -> str:
    answer = decode(record, DECODERS)
    assert isinstance(answer, Reject)
    assert answer.stage == "decode"
    assert answer.reason
    assert answer.hint
    assert SECRET not in f"{answer.reason} {answer.hint}"
    return answer.error_class


def event(record: LogRecord) -> ChangeEvent:
    answer = decode(record, DECODERS)
    assert isinstance(answer, ChangeEvent), answer
    return answer


def with_value(record: LogRecord, value: bytes | None) -> LogRecord:
    return log_record(record.offset, value, key=record.key, headers=record.headers)


def test_an_update_arrives_whole() -> None:
    record = change(12, "u", order(5, amount="7.50"), before=order(5), position=(900, 950), epoch=3)
    assert event(record) == ChangeEvent(
        op=Op.UPDATE,
        system="shop",
        schema="public",
        table="orders",
        key=key_of(5),
        row=order(5, amount="7.50"),
        before=order(5),
        position=Position(900, 950),
        commit_time_us=COMMIT_TIME_US + 12_000,
        epoch=3,
        offset=12,
    )


def test_a_delete_has_its_row_before_and_none_after() -> None:
    deleted = event(change(4, "d", order(8)))
    assert (deleted.op, deleted.row, deleted.before) == (Op.DELETE, None, order(8))


def test_a_snapshot_row_has_no_position_although_debezium_writes_one() -> None:
    assert event(change(0, "r")).position is None


def test_the_first_element_of_the_position_is_null_before_the_first_commit() -> None:
    assert event(change(0, position=(None, 17))).position == Position(0, 17)


def test_positions_are_integers_not_text() -> None:
    assert event(change(0, position=(99, 100))).position == Position(99, 100)
    assert Position(99, 100) < Position(100, 9)


def test_the_commit_time_falls_back_to_milliseconds() -> None:
    record = change(0, source={"ts_us": None, "ts_ms": 1_234})
    assert event(record).commit_time_us == 1_234_000


def test_a_replayed_record_names_its_original() -> None:
    assert event(change(50, replay_of=7)).replay_of == 7
    assert event(change(50)).replay_of is None


def test_other_headers_do_not_matter() -> None:
    record = change(0)
    headers = (("x", b"\xff"), (EPOCH_HEADER, b"2"), ("trueup.reason", b"words"))
    assert event(log_record(0, record.value, key=record.key, headers=headers)).epoch == 2


# --- ignored ----------------------------------------------------------------------------------------------------------


def test_a_tombstone_is_ignored_even_without_headers() -> None:
    assert decode(log_record(0, None, headers=()), DECODERS) == Ignorable("tombstone")


def test_a_logical_message_is_ignored() -> None:
    assert decode(change(0, "m"), DECODERS) == Ignorable("logical message")


# --- malformed (F-41) -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [b"", b"\x00", b"\x00\x00\x00\x00\x07", b"\x01\x00\x00\x00\x07rest", b'{"op":"c","after":{"a":1}}', b"\xff" * 9],
)
def test_a_value_without_framing_is_rejected(value: bytes) -> None:
    assert rejected(log_record(0, value)) == "NotFramed"


def test_an_unknown_schema_id_is_rejected_and_named() -> None:
    value = b"\x00" + (99).to_bytes(4, "big") + (change(0).value or b"")[5:]
    answer = decode(log_record(0, value), DECODERS)
    assert isinstance(answer, Reject)
    assert answer.error_class == "SchemaMissing"
    assert "99" in answer.reason


def test_truncated_avro_is_rejected_wherever_it_ends() -> None:
    record = change(0, row=order(customer=SECRET))
    value = record.value or b""
    for end in range(6, len(value)):
        assert rejected(with_value(record, value[:end])) == "NotAvro", end


def test_bytes_left_over_are_rejected() -> None:
    record = change(0)
    assert rejected(with_value(record, (record.value or b"") + b"\x00")) == "NotAvro"


def test_any_one_wrong_byte_is_an_answer_and_no_exception() -> None:
    record = change(0, row=order(customer=SECRET))
    value = record.value or b""
    for index in range(5, len(value)):
        for wrong in (0x00, 0x7F, 0x80, 0xFF):
            broken = value[:index] + bytes([wrong]) + value[index + 1 :]
            answer = decode(with_value(record, broken), DECODERS)
            assert isinstance(answer, ChangeEvent | Ignorable | Reject)


@pytest.mark.parametrize("op", ["", "x", "C", "create", "rr"])
def test_an_unknown_operation_is_rejected(op: str) -> None:
    assert rejected(change(0, op, order())) == "OpMissing"


def test_a_truncate_is_rejected_with_the_cure() -> None:
    answer = decode(change(0, "t"), DECODERS)
    assert isinstance(answer, Reject)
    assert answer.error_class == "Truncate"
    assert "field truncate" in answer.hint


def test_a_row_without_key_is_rejected() -> None:
    record = change(0)
    assert rejected(LogRecord(record.topic, 0, 0, 0, None, record.value, record.headers)) == "KeyMissing"


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("epoch", b"1"),),
        ((EPOCH_HEADER, b""),),
        ((EPOCH_HEADER, b"one"),),
        ((EPOCH_HEADER, b"-1"),),
        ((EPOCH_HEADER, b"1.0"),),
        ((EPOCH_HEADER, "¹".encode()),),
        ((REPLAY_HEADER, b"1"),),
    ],
)
def test_a_record_without_epoch_is_rejected(headers: tuple[tuple[str, bytes], ...]) -> None:
    record = change(0)
    assert rejected(log_record(0, record.value, headers=headers)) == "EpochMissing"


@pytest.mark.parametrize("header", [EPOCH_HEADER, REPLAY_HEADER])
def test_a_header_without_value_is_no_number(header: str) -> None:
    """Kafka's header values may be null; a foreign producer's are when it likes."""
    record = change(0, epoch=None)
    nothing: Any = None
    answer = decode(log_record(0, record.value, headers=((header, nothing),)), DECODERS)
    assert isinstance(answer, Reject)
    assert answer.error_class == "EpochMissing"


@pytest.mark.parametrize("epoch", [b"4294967296", b"9" * 20, b"9" * 5_000])
def test_an_epoch_beyond_the_version_is_rejected(epoch: bytes) -> None:
    assert rejected(log_record(0, change(0).value, headers=((EPOCH_HEADER, epoch),))) == "EpochMissing"


@pytest.mark.parametrize(
    "replay_of",
    [b"", b"x", b"-1", b"18446744073709551616", b"9" * 5_000],
    ids=["empty", "text", "negative", "2**64", "long"],
)
def test_a_replay_without_the_age_of_its_original_is_rejected(replay_of: bytes) -> None:
    """Taken as no replay it would be the newest change of its key: an old value would come back."""
    headers = ((EPOCH_HEADER, b"1"), (REPLAY_HEADER, replay_of))
    assert isinstance(decode(log_record(0, change(0).value, headers=headers), DECODERS), Reject)


@pytest.mark.parametrize(
    "sequence",
    [
        None,
        "",
        "null",
        "[]",
        '["1"]',
        '["1",null]',
        '["1","2","3"]',
        '["a","b"]',
        "[1,2]",
        '{"a":"b"}',
        '["1","2"',
        '["","1"]' + "x",
        '["1",""]',
        "[" * 5_000,
    ],
)
@pytest.mark.parametrize("op", ["c", "u", "d"])
def test_a_missing_position_is_rejected(sequence: str | None, op: str) -> None:
    assert rejected(change(0, op, source={"sequence": sequence})) == "PositionMissing"


def test_a_snapshot_row_needs_no_position() -> None:
    assert event(change(0, "r", source={"sequence": None})).position is None


# --- writer schemas ---------------------------------------------------------------------------------------------------


def test_schema_ids_are_those_of_framed_values() -> None:
    records = [change(0), log_record(1, None), log_record(2, b"\x01abcdefgh"), log_record(3, b"\x00\x00\x00\x01\x00zz")]
    assert schema_ids(records) == {SCHEMA_ID, 256}


def test_a_schema_that_is_no_envelope_is_refused() -> None:
    truth = {"type": "record", "name": "Truth", "fields": [{"name": "op", "type": "string"}]}
    with pytest.raises(ValueError, match="after, before, source"):
        EnvelopeDecoder(truth)


@pytest.mark.parametrize("schema", ["string", ["null", "string"], {"type": "array", "items": "string"}, 7, None])
def test_a_schema_that_is_no_record_is_refused(schema: Any) -> None:
    """Ids are global in the registry: any producer may frame its records with one of these."""
    with pytest.raises(ValueError, match="no Debezium envelope"):
        EnvelopeDecoder(schema)


def test_a_schema_that_avro_refuses_is_refused() -> None:
    schema = copy.deepcopy(envelope_schema())
    schema["fields"].append({"name": "more", "type": "no such type"})
    with pytest.raises(ValueError, match="cannot be read"):
        EnvelopeDecoder(schema)


def test_an_envelope_without_a_row_is_refused() -> None:
    """`_learn_schemas` expects ValueError; anything else ends the worker, and its successor."""
    schema = envelope_schema()
    schema["fields"][0] = {"name": "before", "type": ["null", "string"], "default": None}
    schema["fields"][1] = {"name": "after", "type": ["null", "string"], "default": None}
    with pytest.raises(ValueError, match=r".+"):
        EnvelopeDecoder(schema)


@pytest.mark.parametrize("gone", ["name", "schema", "table", "sequence"])
def test_an_envelope_of_another_connector_is_rejected(gone: str) -> None:
    """MariaDB's source block has neither schema nor sequence."""
    schema = copy.deepcopy(envelope_schema())
    source = next(field for field in schema["fields"] if field["name"] == "source")
    source["type"]["fields"] = [field for field in source["type"]["fields"] if field["name"] != gone]
    data = envelope(0)
    del data["source"][gone]
    try:
        decoders = {SCHEMA_ID: EnvelopeDecoder(schema)}
    except ValueError:
        return  # refused as a schema: each of its records is then SchemaMissing
    assert isinstance(decode(log_record(0, framed(data, schema)), decoders), Reject)


def test_the_row_of_the_decoder_is_what_the_table_has() -> None:
    assert DECODERS[SCHEMA_ID].row_fields == tuple(order())
