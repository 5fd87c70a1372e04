"""Truth records to bytes and back, in Confluent framing: 0x00, schema id (4 bytes), Avro.

`core.decode` is its counterpart for capture topics.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterable
from typing import Any, Final

import fastavro
from fastavro.types import Schema

from trueup.core.truth_schema import captured_table, passed_ids, passed_until
from trueup.model.columns import CapturedTable
from trueup.model.decision import DELETED_HASH, HASH_BYTES, Held, TruthRecord
from trueup.model.event import Op, Position
from trueup.model.version import VERSION_BYTES, Version

_FRAME: Final = struct.Struct(">bI")
_HEAD_START: Final = _FRAME.size
_HASH_START: Final = _HEAD_START + VERSION_BYTES
_HEAD_END: Final = _HASH_START + HASH_BYTES
HELD_SLICE: Final = slice(_HEAD_START, _HEAD_END)  # version and content hash side by side, as the store keeps them
_SALT_BYTES: Final = hashlib.blake2b.SALT_SIZE
_ABSENT: Final = b"\x00"  # Avro union index 0, zigzag
_PRESENT: Final = b"\x02"  # Avro union index 1, zigzag
_MORE: Final = 0x80  # the bit of a varint's byte that says that it goes on
_OPERATIONS: Final = frozenset(b"rcud")


def peek(value: bytes) -> Held:
    """Version and content hash of a truth record's bytes, without decoding the rest."""
    return Held(Version(value[_HEAD_START:_HASH_START]), value[_HASH_START:_HEAD_END])


def peek_version(value: bytes) -> Version:
    """The version alone."""
    return Version(value[_HEAD_START:_HASH_START])


def peek_origin(value: bytes) -> str | None:
    """The origin of a truth record's bytes; None where it has none, or is of a time before several writers.

    Without the field the operation follows, a text of one character. It cannot be taken for an origin: its character is
    odd (c, u), or would be the length of a longer name than systems may have (r: 57, d: 50).
    """
    if value[_HEAD_END : _HEAD_END + 1] != _PRESENT or value[_HEAD_END + 1] in _OPERATIONS:
        return None
    length = value[_HEAD_END + 1] >> 1
    return value[_HEAD_END + 2 : _HEAD_END + 2 + length].decode()


def held_whole(value: bytes) -> Held:
    """What is held of a key where its truth record is kept."""
    head = peek(value)
    return Held(head.version, head.content_hash, record=value, origin=peek_origin(value))


def published_again(value: bytes, version: Version, commit_time_us: int, *, origin: bool = True) -> bytes:
    """A truth record's bytes under another version, as the effect of another commit; the row stays as it is written.

    :param origin: keep it. Without it the record is for every database, the one the row came from included.
    """
    behind = _HEAD_END
    has_origin = value[behind : behind + 1] == _ABSENT or peek_origin(value) is not None
    if has_origin:
        behind += 1 if value[behind : behind + 1] == _ABSENT else 2 + (value[behind + 1] >> 1)
    named = value[_HEAD_END:behind] if origin or not has_origin else _ABSENT
    operation, rest = value[behind : behind + 2], behind + 2
    while value[rest] & _MORE:  # the old commit time, a varint
        rest += 1
    head = value[:_HEAD_START] + version + value[_HASH_START:_HEAD_END]
    return b"".join((head, named, operation, _long(commit_time_us), value[rest + 1 :]))


def operation_of(value: bytes) -> Op:
    """The operation of a truth record's bytes."""
    behind = _HEAD_END
    if value[behind : behind + 1] == _ABSENT:
        behind += 1
    elif peek_origin(value) is not None:
        behind += 2 + (value[behind + 1] >> 1)
    return Op(chr(value[behind + 1]))


def _long(number: int) -> bytes:
    """A long in Avro: zigzag, then seven bits a byte, the lowest first."""
    left = (number << 1) ^ (number >> 63)
    out = bytearray()
    while left >= _MORE:
        out.append(left & (_MORE - 1) | _MORE)
        left >>= 7
    out.append(left)
    return bytes(out)


def hash_row(row_bytes: bytes, columns: bytes = b"") -> bytes:
    """The content hash of a row's Avro bytes.

    :param columns: `TruthCodec.columns_hash`: the same bytes under other columns are another content.
    """
    return hashlib.blake2b(row_bytes, digest_size=HASH_BYTES, salt=columns).digest()


def _columns_hash(schema: dict[str, Any], captured: CapturedTable) -> bytes:
    """Empty until the columns of a table changed for the first time. Bytes have no names: after a rename or a change of
    type the same bytes say something else, and every row read again has to be published again.
    """
    if not passed_ids(schema):
        return b""
    text = "\0".join(f"{column.name}\0{column.pg_type}" for column in captured.columns)
    return hashlib.blake2b(text.encode(), digest_size=_SALT_BYTES).digest()


class TruthCodec:
    """Encodes the truth records of one table under its registered schema id."""

    def __init__(self, schema: dict[str, Any], schema_id: int) -> None:
        self.schema = schema
        self.schema_id = schema_id
        self.captured: CapturedTable = captured_table(schema)
        self.passed = passed_ids(schema)
        self.passed_until = passed_until(schema)
        self.columns_hash = _columns_hash(schema, self.captured)
        self._frame = _FRAME.pack(0, schema_id)
        fields = schema["fields"]
        self._tail: Schema = fastavro.parse_schema({**schema, "name": "Tail", "fields": fields[2:-1]})
        self.row_schema: dict[str, Any] = fields[-1]["type"][1]
        self._row: Schema = fastavro.parse_schema({**self.row_schema, "namespace": schema["namespace"]})

    def encode_row(self, row: dict[str, Any]) -> bytes:
        """A row's Avro bytes. `row` is keyed by Avro field name, as decoded from the capture topic."""
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self._row, row)
        return out.getvalue()

    def encode(self, record: TruthRecord) -> bytes:
        """The record's bytes, framed."""
        if record.encoded is not None:
            return record.encoded
        out = io.BytesIO()
        fastavro.schemaless_writer(
            out,
            self._tail,
            {
                "origin": record.origin,
                "op": record.op.value,
                "commit_time_us": record.commit_time_us,
                "position_commit": record.position.commit if record.position else None,
                "position_change": record.position.change if record.position else None,
                "cause": record.cause,
                "flags": record.flags,
            },
        )
        row = _ABSENT if record.row_bytes is None else _PRESENT + record.row_bytes
        return b"".join((self._frame, record.version, record.content_hash, out.getvalue(), row))


class TruthReader:
    """Decodes truth records of one table, whichever of its schemas they were written in."""

    def __init__(self) -> None:
        self._schemas: dict[int, Schema] = {}

    def unknown_ids(self, values: Iterable[bytes]) -> set[int]:
        """Schema ids that are still to be learned before `decode`."""
        return {int.from_bytes(value[1:_HEAD_START], "big") for value in values} - self._schemas.keys()

    def learn(self, schema_id: int, schema: dict[str, Any]) -> None:
        """Makes the records of a schema id readable."""
        self._schemas[schema_id] = fastavro.parse_schema(schema)

    def decode(self, key: bytes, value: bytes) -> TruthRecord:
        """The record of framed bytes. Raises KeyError for an id not learned, what fastavro raises for foreign bytes."""
        stream = io.BytesIO(value)
        stream.seek(_HEAD_START)
        data: Any = fastavro.schemaless_reader(stream, self._schemas[int.from_bytes(value[1:_HEAD_START], "big")], None)
        commit, change = data["position_commit"], data["position_change"]
        return TruthRecord(
            key=key,
            version=Version(data["version"]),
            content_hash=data["content_hash"],
            op=Op(data["op"]),
            commit_time_us=data["commit_time_us"],
            position=None if change is None else Position(commit, change),
            cause=data["cause"],
            flags=tuple(data["flags"]),
            row=data["row"],
            row_bytes=None,
            origin=data.get("origin"),
        )


__all__ = ["DELETED_HASH", "HELD_SLICE", "TruthCodec", "TruthReader", "hash_row", "peek", "peek_version"]
