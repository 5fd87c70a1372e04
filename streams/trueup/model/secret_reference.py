"""Secrets by reference: `${env:NAME}` and `${file:PATH}`. The values: `adapters.secret_references`."""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

# The whole text is one reference: half a DSN beside a reference would leave host and user in a public file.
_REFERENCE: Final = re.compile(r"\$\{(?:env:(?P<env>[A-Za-z_][A-Za-z0-9_]*)|file:(?P<file>[^{}\0]+))\}")


class SecretReference(msgspec.Struct, frozen=True):
    """Where a secret is: a variable of the environment, or a file."""

    kind: Literal["env", "file"]
    name: str


def parse_reference(text: str) -> SecretReference | None:
    """None: the text is no reference, so it may be a secret; do not show it."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return None
    if match["env"] is not None:
        return SecretReference("env", match["env"])
    return SecretReference("file", match["file"])
