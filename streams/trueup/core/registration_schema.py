"""JSON Schemas of the registration files, for editors: made from the Structs, so the two agree."""

from __future__ import annotations

import inspect
import json
from typing import Any, Final

import msgspec

from trueup.model.registration import Replica, System, Table

_KINDS: Final[dict[str, type[System | Replica | Table]]] = {
    "system.schema.json": System,
    "replica.schema.json": Replica,
    "table.schema.json": Table,
}


def json_schema_texts() -> dict[str, str]:
    """File name in schemas/ -> its text."""
    return {name: _schema_text(name, kind) for name, kind in _KINDS.items()}


def _schema_text(name: str, kind: type[System | Replica | Table]) -> str:
    schema: dict[str, Any] = msgspec.json.schema(kind)
    for definition in schema["$defs"].values():
        if "description" in definition:
            definition["description"] = " ".join(inspect.cleandoc(definition["description"]).split())
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"TrueUp registration: {name.partition('.')[0]}",
    }
    return json.dumps(head | schema, indent=2, ensure_ascii=False) + "\n"
