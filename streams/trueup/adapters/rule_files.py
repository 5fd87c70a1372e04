"""Rule and test files of Prometheus: plain data to YAML that a person reads, with expressions as blocks."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

_WIDTH: Final = 4096  # an expression is broken where it was written so, not where a column ends


def yaml_text(document: Mapping[str, Any], head: str) -> str:
    """A document as YAML.

    :param head: what the file is; written as comments.
    """
    yaml = YAML()
    yaml.width = _WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(_with_blocks(document), stream)
    comments = "".join(f"# {line}\n" for line in head.splitlines())
    return comments + stream.getvalue()


def _with_blocks(value: Any) -> Any:
    """Text of several lines as a literal block."""
    if isinstance(value, str):
        return LiteralScalarString(value) if "\n" in value else value
    if isinstance(value, Mapping):
        return {key: _with_blocks(found) for key, found in value.items()}
    return [_with_blocks(found) for found in value] if isinstance(value, list) else value
