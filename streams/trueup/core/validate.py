"""Step 2: is the event whole? Its key has the registered columns, its row is there, and no value is a placeholder."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any, Final

import msgspec

from trueup.model.decision import Reject
from trueup.model.event import ChangeEvent, Op

STAGE: Final = "validate"
_decode_key = msgspec.json.Decoder(dict[str, Any]).decode
_encode_key = msgspec.json.Encoder().encode


def key_values(key: bytes) -> dict[str, Any]:
    """The captured key (schemaless JSON object) as values by column. Raises msgspec.MsgspecError."""
    return _decode_key(key)


def _says_a_name_twice(key: bytes, values: dict[str, Any]) -> bool:
    """Such a key would be another key for the row it decodes to. Connect's own bytes are told by writing them again."""
    return _encode_key(values) != key and len(json.loads(key, object_pairs_hook=list)) != len(values)


class Hole:
    """The placeholder of a value that was not in the log (design 6), in each of the shapes Debezium gives it.

    Text, bytes, an hstore of one pair; arrays of one text, bytes or UUID, or of the placeholder's bytes as numbers.

    :param texts: the connector's unavailable.value.placeholder; of several writers those of all.
    """

    def __init__(self, *texts: str) -> None:
        pairs = [(text, text.encode()) for text in texts]
        self._values = tuple(
            shape for text, data in pairs for shape in (text, data, json.dumps({text: text}, separators=(",", ":")))
        )
        self._elements = tuple(shape for text, data in pairs for shape in (text, data, _name_uuid(data)))
        self._numbers = [list(data) for _, data in pairs]

    def is_in(self, value: object) -> bool:
        """Whether the value is the placeholder. A longer text that holds it is somebody's text."""
        if isinstance(value, list):
            return (len(value) == 1 and value[0] in self._elements) or value in self._numbers
        return value in self._values


def _name_uuid(data: bytes) -> str:
    """Java's UUID.nameUUIDFromBytes: MD5 without a namespace."""
    return str(uuid.UUID(bytes=hashlib.md5(data, usedforsecurity=False).digest(), version=3))


def validate(event: ChangeEvent, key_columns: frozenset[str], toastable: tuple[str, ...], hole: Hole) -> Reject | None:
    """None when the event can be used.

    :param key_columns: Avro names, as the captured key has them.
    :param toastable: Avro names of the columns PostgreSQL may store out of line.
    """
    try:
        key = _decode_key(event.key)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Reject(STAGE, "KeyMalformed", "the key is not a JSON object", "see key.converter of the connector")
    if _says_a_name_twice(event.key, key):
        return Reject(STAGE, "KeyMalformed", "the key names a column twice", "see who may write to the capture topic")
    if key.keys() != key_columns:
        return Reject(
            STAGE,
            "KeyChanged",
            f"the key has columns {', '.join(sorted(key))}, registered are {', '.join(sorted(key_columns))}",
            "set message.key.columns or the registration right, then: trueup apply",
        )
    if event.op is Op.DELETE:
        return None
    row = event.row
    if row is None:
        return Reject(STAGE, "RowMissing", f"operation {event.op} has no row after the change", "see the source's log")
    for column in toastable:
        if hole.is_in(row.get(column)):
            return Reject(
                STAGE,
                "ValueUnavailable",
                f'column "{column}" was not in the log (TOAST)',
                "read the row again: trueup resnapshot; to prevent it set REPLICA IDENTITY FULL on the source table",
            )
    return None
