"""A key as a person types it or as it was captured, to values by column that PostgreSQL reads. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trueup.core.exact_text import ExactRow
from trueup.model.columns import CapturedTable

# Numbers keep their digits: as a float, 0.10000000000000000001 would be another key.
_decode_object = msgspec.json.Decoder(dict[str, Any], float_hook=str).decode

_HEXADECIMAL: Final = "\\x"


def key_of_argument(text: str, columns: tuple[str, ...]) -> dict[str, str]:
    """Values as text by key column: from a JSON object, or a bare value where the key has one column.

    :raises ValueError: it names other columns, or a value that has no text.
    """
    if not text.lstrip().startswith("{"):
        if len(columns) != 1:
            msg = f"the key has {len(columns)} columns: {', '.join(columns)}"
            raise ValueError(msg)
        return {columns[0]: text}
    try:
        found = _decode_object(text)
    except msgspec.MsgspecError as exc:
        msg = f"it is no JSON object: {exc}"
        raise ValueError(msg) from exc
    if set(found) != set(columns):
        msg = f"it has columns {', '.join(sorted(found)) or 'none'}, the key has {', '.join(columns)}"
        raise ValueError(msg)
    return {column: _text(found[column], column) for column in columns}


def sought(key: Mapping[str, str], captured: CapturedTable) -> dict[str, str | bytes]:
    """The values of `key_of_argument` as PostgreSQL takes them: texts of each column's type, and bytes.

    A dead letter shows a key as it was captured, which not every type reads: bytea is base64, NaN has another name.
    Raises ValueError, Inexact among them where the row would be a dead letter whenever it is read again.
    """
    columns = [captured.column(name) for name in key]
    exact = ExactRow(columns, key, str).of(dict(key), snapshot=True)
    return {c.name: _bytes(c.name, key[c.name]) if c.pg_type == "bytea" else exact[c.name] for c in columns}


def _bytes(name: str, text: str) -> bytes:
    try:
        if text.startswith(_HEXADECIMAL):
            return bytes.fromhex(text.removeprefix(_HEXADECIMAL))
        return base64.b64decode(text, validate=True)
    except ValueError as exc:
        msg = f'column "{name}" is bytea: base64, as dead letters show it, or \\x and hexadecimal digits'
        raise ValueError(msg) from exc


def _text(value: Any, column: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    msg = f'column "{column}" is null or no single value'
    raise ValueError(msg)
