"""The part of a connector's settings that is the same for every system: connectors/debezium/<kind>.json."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

_PACKAGE: Final = Path(__file__).resolve().parent.parent
_PLACE: Final = "connectors/debezium"


def connector_template(kind: str) -> dict[str, str]:
    """The template of a kind of system. The wheel's own file is looked at first, then the checkout's."""
    packaged = _PACKAGE / "_data" / _PLACE / f"{kind}.json"
    path = packaged if packaged.exists() else _PACKAGE.parent.parent / _PLACE / f"{kind}.json"
    return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
