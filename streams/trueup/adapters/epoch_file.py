"""Raises the epoch in a system's registration file; comments and everything else stay as they were written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from trueup.adapters.whole_file import write_whole
from trueup.model.errors import Refused

_WIDTH = 10_000  # no line is broken that was none before


def write_epoch(path: Path, epoch: int) -> None:
    """Write the epoch, whole or not at all. Raises Refused when the file cannot be written."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    hint = f"make it writable, or write epoch: {epoch} there by hand; then run the command again"
    try:
        registration: Any = yaml.load(path.read_text(encoding="utf-8"))
        registration["epoch"] = epoch
        text = io.StringIO()
        yaml.dump(registration, text)
    except OSError as exc:
        raise Refused(f'cannot read "{path}"', detail=exc.strerror, hint=hint) from exc
    write_whole(path, text.getvalue(), hint)
