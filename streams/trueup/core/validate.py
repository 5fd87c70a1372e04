"""Step 2: is the event whole? Its key has the registered columns, its row is there, and no value is a placeholder."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trueup.model.decision import Reject
from trueup.model.event import ChangeEvent, Op

STAGE: Final = "validate"
_decode_key = msgspec.json.Decoder(dict[str, Any]).decode


def key_values(key: bytes) -> dict[str, Any]:
    """The captured key (schemaless JSON object) as values by column. Raises msgspec.MsgspecError."""
    return _decode_key(key)


def validate(event: ChangeEvent, key_columns: frozenset[str], toastable: tuple[str, ...], hole: str) -> Reject | None:
    """None when the event can be used.

    :param toastable: Avro names of the columns PostgreSQL may store out of line.
    :param hole: the connector's unavailable.value.placeholder; such a value was not in the log (design 6).
    """
    try:
        key = _decode_key(event.key)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Reject(STAGE, "KeyMalformed", "the key is not a JSON object", "see key.converter of the connector")
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
        if _is_hole(row.get(column), hole):
            return Reject(
                STAGE,
                "ValueUnavailable",
                f'column "{column}" was not in the log (TOAST)',
                "set REPLICA IDENTITY FULL on the source table, then update the row once",
            )
    return None


def _is_hole(value: object, hole: str) -> bool:
    """The placeholder in each of the shapes Debezium gives it: text, bytes, a one-element array of these."""
    if isinstance(value, list):
        return len(value) == 1 and _is_hole(value[0], hole)
    return value == hole or (isinstance(value, bytes) and value == hole.encode())
