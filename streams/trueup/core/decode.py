"""Step 1: the bytes of a capture record to a change event, or to the reason why they are none.

Capture topics carry Debezium envelopes in Avro with Confluent framing (0x00, schema id, Avro) and keys in schemaless
JSON. Schemas are looked up before (`schema_ids`), so decoding itself waits for nothing. `core.truth_codec` is the
counterpart for truth topics.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any, Final

import fastavro
import msgspec
from fastavro.types import Schema

from trueup.model.decision import Reject
from trueup.model.event import ChangeEvent, Ignorable, LogRecord, Op, Position
from trueup.model.version import EPOCH_MAX

STAGE: Final = "decode"
EPOCH_HEADER: Final = "trueup.epoch"  # written by the connector on every record (InsertHeader)
REPLAY_HEADER: Final = "trueup.replay_of"  # written by `trueup deadletters replay`: the offset of the original record
FRAME_BYTES: Final = 5  # of the registry's wire format: a zero, and the schema's id
_HINT: Final = "read it with: trueup deadletters show"
_decode_sequence = msgspec.json.Decoder(list[str | None]).decode

# The parts of Debezium's source block that are obeyed; another connector's block (MariaDB's) lacks some of them.
_SOURCE_FIELDS: Final = ("name", "ts_ms", "schema", "table", "sequence")
_LSN_MAX: Final = (1 << 63) - 1  # travels as Avro long
_LSN_DIGITS_MAX: Final = 19
_OFFSET_DIGITS_MAX: Final = 18  # below 2**63, as Kafka's offsets are


def schema_ids(records: Iterable[LogRecord]) -> set[int]:
    """The schema ids the records are framed with; unframed values are left to `decode`."""
    values = (record.value for record in records)
    return {int.from_bytes(v[1:5], "big") for v in values if v is not None and len(v) > FRAME_BYTES and v[0] == 0}


class EnvelopeDecoder:
    """Decodes the envelopes of one writer schema.

    :param writer: the Avro schema as JSON data, as the registry has it: whatever its id may stand for.
    :raises ValueError: the schema is no Debezium envelope.
    """

    def __init__(self, writer: Any) -> None:
        if not isinstance(writer, dict):  # "string", a union: any producer may frame its records with such an id
            msg = "the schema is no record, so no Debezium envelope"
            raise ValueError(msg)
        fields = {field["name"]: field for field in writer.get("fields", ())}
        missing = {"before", "after", "source", "op"} - fields.keys()
        if "source" in fields:
            block = fields["source"]["type"]
            known = {field["name"] for field in block.get("fields", ())} if isinstance(block, dict) else set()
            missing |= {f"source.{name}" for name in _SOURCE_FIELDS} - {f"source.{name}" for name in known}
        if missing:
            msg = f'schema "{writer.get("name")}" is no Debezium envelope: it lacks {", ".join(sorted(missing))}'
            raise ValueError(msg)
        try:
            self._writer: Schema = fastavro.parse_schema(writer)
        except Exception as exc:
            msg = f"the schema cannot be read: {type(exc).__name__}"
            raise ValueError(msg) from exc
        self.row_schema = _row_of(fields["before"]["type"])
        self.row_fields: tuple[str, ...] = tuple(field["name"] for field in self.row_schema["fields"])

    def read(self, value: bytes) -> dict[str, Any]:
        """The envelope. Raises whatever fastavro raises on bytes that are none, ValueError on bytes left over."""
        stream = io.BytesIO(value)
        stream.seek(FRAME_BYTES)
        envelope: Any = fastavro.schemaless_reader(stream, self._writer, None)
        if stream.tell() != len(value):
            msg = f"{len(value) - stream.tell()} bytes are left over after the envelope"
            raise ValueError(msg)
        return envelope  # type: ignore[no-any-return]


def _row_of(union: Any) -> dict[str, Any]:
    row = next((branch for branch in union if isinstance(branch, dict)), None) if isinstance(union, list) else None
    if row is None or "fields" not in row:
        msg = "its before image is no row"
        raise ValueError(msg)
    return row


def decode(record: LogRecord, decoders: Mapping[int, EnvelopeDecoder]) -> ChangeEvent | Ignorable | Reject:
    """The change event of a record. Never raises on content: what cannot be decoded is a Reject."""
    value = record.value
    if value is None:
        return Ignorable("tombstone")
    if len(value) <= FRAME_BYTES or value[0] != 0:
        return _reject("NotFramed", "the value has no schema id in front")
    decoder = decoders.get(int.from_bytes(value[1:5], "big"))
    if decoder is None:
        schema_id = int.from_bytes(value[1:5], "big")
        return _reject("SchemaMissing", f"schema id {schema_id} is no schema of this table that the registry has")
    try:
        envelope = decoder.read(value)
    except Exception as exc:
        return _reject("NotAvro", f"the value does not follow its schema: {type(exc).__name__}")
    return _event(record, envelope)


def _event(record: LogRecord, envelope: dict[str, Any]) -> ChangeEvent | Ignorable | Reject:
    try:
        op = Op(envelope["op"])
    except ValueError:
        return _reject("OpMissing", "the envelope has no operation code that Debezium defines")
    if op is Op.MESSAGE:
        return Ignorable("logical message")
    if op is Op.TRUNCATE:
        return Reject(
            STAGE,
            "Truncate",
            "the source table was truncated, which its registration does not let copies follow",
            "compare with trueup verify; whether copies follow is the field truncate of the registration",
        )
    if record.key is None:
        return _reject("KeyMissing", "a change of a row has no key")
    epoch, replay_of = _headers(record)
    if epoch is None:
        return _reject("EpochMissing", f"header {EPOCH_HEADER} is missing: the record was not written by our connector")
    if replay_of is None and any(name == REPLAY_HEADER for name, _ in record.headers):
        return _reject("ReplayMalformed", f"header {REPLAY_HEADER} does not say which record is replayed")
    source = envelope["source"]
    try:
        position = _position(op, source)
    except (msgspec.MsgspecError, ValueError, TypeError):
        return _reject("PositionMissing", "source.sequence is missing or not two numbers")
    return ChangeEvent(
        op=op,
        system=source["name"],
        schema=source["schema"],
        table=source["table"],
        key=record.key,
        row=envelope["after"],
        before=envelope["before"],
        position=position,
        commit_time_us=_commit_time_us(source),
        epoch=epoch,
        offset=record.offset,
        replay_of=replay_of,
        read_at=_read_at(source) if op is Op.READ else None,
    )


def truncate_event(record: LogRecord, decoders: Mapping[int, EnvelopeDecoder]) -> ChangeEvent | None:
    """The truncate a record tells of; None for every other record, and for one that cannot be read."""
    value = record.value
    if record.key is not None or value is None or len(value) <= FRAME_BYTES or value[0] != 0:
        return None
    decoder = decoders.get(int.from_bytes(value[1:5], "big"))
    epoch, replay_of = _headers(record)
    if decoder is None or epoch is None or replay_of is not None:
        return None
    try:
        envelope = decoder.read(value)
        source = envelope["source"]
        if envelope["op"] != Op.TRUNCATE:
            return None
        position = _position(Op.TRUNCATE, source)
    except Exception:
        return None
    return ChangeEvent(
        op=Op.TRUNCATE,
        system=source["name"],
        schema=source["schema"],
        table=source["table"],
        key=b"",
        row=None,
        before=None,
        position=position,
        commit_time_us=_commit_time_us(source),
        epoch=epoch,
        offset=record.offset,
    )


def _headers(record: LogRecord) -> tuple[int | None, int | None]:
    epoch = replay_of = None
    for name, value in record.headers:
        if name == EPOCH_HEADER:
            epoch = _number(value, EPOCH_MAX)
        elif name == REPLAY_HEADER:
            replay_of = _number(value, 10**_OFFSET_DIGITS_MAX)
    return epoch, replay_of


def epoch_of_headers(record: LogRecord) -> int | None:
    """The epoch a record was captured in; None when it does not say."""
    return _headers(record)[0]


def age_of(record: LogRecord) -> int:
    """The offset that says what a record is newer than: of a replayed letter that of the record it began as."""
    replay_of = _headers(record)[1]
    return record.offset if replay_of is None else min(replay_of, record.offset)


def _number(value: bytes | None, highest: int) -> int | None:
    """A header as a number; None for anything else: foreign producers write what they like."""
    if value is None or not value.isdigit() or len(value) > _OFFSET_DIGITS_MAX:
        return None
    number = int(value)
    return number if number <= highest else None


def _position(op: Op, source: dict[str, Any]) -> Position | None:
    """`source.sequence` is a JSON text of two texts; the first is null only before the first commit (design 5)."""
    if op is Op.READ:
        return None
    commit, change = _decode_sequence(source["sequence"])
    if change is None:
        msg = "no position of the change"
        raise ValueError(msg)
    return Position(_lsn(commit or "0"), _lsn(change))


def _read_at(source: dict[str, Any]) -> Position | None:
    """Where the log was when a row of a snapshot was sent; None where that is not said."""
    try:
        return _position(Op.UPDATE, source)
    except (msgspec.MsgspecError, ValueError, TypeError):
        return None


def _lsn(text: str) -> int:
    if not text.isdigit() or len(text) > _LSN_DIGITS_MAX or int(text) > _LSN_MAX:
        msg = "no position in a log"
        raise ValueError(msg)
    return int(text)


def _commit_time_us(source: dict[str, Any]) -> int:
    ts_us = source.get("ts_us")
    return int(ts_us) if ts_us is not None else int(source["ts_ms"]) * 1000


def _reject(error_class: str, reason: str) -> Reject:
    return Reject(STAGE, error_class, reason, _HINT)
