"""A row as JSON and back, without loss: how cases keep their images. Values are those of the captured types.

JSON has no bytes and no NaN: bytes travel as base64, numbers that are none by their names. The field's type tells them
from texts on the way back.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any, Final

_FLOATS: Final = frozenset({"float", "double"})
_NAMES: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class RowJson:
    """The rows of one table.

    :param row_schema: the Avro record of the row, as `core.truth_schema` makes it.
    """

    def __init__(self, row_schema: dict[str, Any]) -> None:
        self.primitives: dict[str, str] = {field["name"]: _primitive(field["type"]) for field in row_schema["fields"]}

    def written(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row for JSON."""
        return {name: _to_json(value) for name, value in row.items()}

    def read(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row from JSON. Columns that were added meanwhile are null, those that are gone are left out.

        :raises ValueError: a value that this type does not have.
        """
        return {name: _from_json(row.get(name), primitive) for name, primitive in self.primitives.items()}


def _primitive(union: list[Any]) -> str:
    """The primitive of `["null", type]`, or of an array's elements."""
    value = union[1]
    return str(value["items"][1]) if isinstance(value, dict) else str(value)


def _to_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return next(name for name, number in _NAMES.items() if str(number) == str(value))
    return value


def _from_json(value: Any, primitive: str) -> Any:
    if isinstance(value, list):
        return [_from_json(item, primitive) for item in value]
    if not isinstance(value, str):
        return value
    if primitive == "bytes":
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error as exc:
            raise ValueError("no base64") from exc
    return _NAMES[value] if primitive in _FLOATS and value in _NAMES else value
