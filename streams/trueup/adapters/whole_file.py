"""Files that are there whole or not at all, whoever reads them meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from trueup.model.errors import Refused

_HINT: Final = "see who may write there, and whether the disk is full"


def write_whole(path: Path, content: str | bytes, hint: str = _HINT) -> None:
    """Write a file, and its folder; readers see the old one until then. Raises Refused where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.new")
        partial.write_bytes(content if isinstance(content, bytes) else content.encode())
        partial.replace(path)
    except OSError as error:
        raise Refused(f'cannot write "{path}"', detail=error.strerror, hint=hint) from error
