"""A key as a person types it, to values by column. Pure."""

from __future__ import annotations

from typing import Any

import msgspec


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
        found = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as exc:
        msg = f"it is no JSON object: {exc}"
        raise ValueError(msg) from exc
    if set(found) != set(columns):
        msg = f"it has columns {', '.join(sorted(found)) or 'none'}, the key has {', '.join(columns)}"
        raise ValueError(msg)
    return {column: _text(found[column], column) for column in columns}


def _text(value: Any, column: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    msg = f'column "{column}" is null or no single value'
    raise ValueError(msg)
