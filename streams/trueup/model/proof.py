"""Proof of equality: what a comparison looks at, what it finds, and what it may say of a copy afterwards.

`core.suspects` judges keys, `runtime.verify_pass` goes through a copy, `adapters.postgres_proofs` keeps the results.
"""

from __future__ import annotations

import enum
import json

import msgspec

Key = tuple[str, ...]
"""Values of a key as PostgreSQL writes them, in the order of the registered key."""


class Difference(enum.StrEnum):
    """How a key of a copy is not what its owner has."""

    CHANGED = "changed"
    MISSING = "missing"
    EXTRA = "extra"


class Seen(msgspec.Struct, frozen=True, gc=False):
    """A row as it was seen at one side.

    :param hash: of its content, as the copy has to show it.
    :param mark: is another one whenever the row was written, also when that changed nothing: it tells a row that
        rested from one that left and came back.
    """

    hash: str
    mark: str


class Finding(msgspec.Struct, frozen=True):
    """A key that differs, proven.

    :param key: as text: a JSON array of the texts of its values.
    :param source_hash: what the owner had, and did not change while it was looked at; None: no row.
    """

    key: str
    kind: Difference
    source_hash: str | None = None


class KeyRange(msgspec.Struct, frozen=True):
    """Keys behind one and up to another, that one included; None: no bound."""

    after: Key | None = None
    through: Key | None = None


class PassState(msgspec.Struct, frozen=True, kw_only=True):
    """How far one pass through a copy is, so that another process can go on.

    :param began_at: time of the source at which the pass began, with zone; `position` is that of its log.
    :param fingerprint: of the copy's plan: a copy that was made anew is compared from its beginning.
    :param after: everything up to this key was looked at.
    :param doubtful: keys that looked different so far, as text; they are looked at again.
    """

    began_at: str
    position: str
    fingerprint: str
    after: Key | None = None
    rows_source: int = 0
    rows_replica: int = 0
    doubtful: tuple[str, ...] = ()


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What the last complete pass through a copy says.

    :param through: source time at which the pass began, when nothing differed: whatever the owner had then, the copy
        has been seen to have since, held and unproven keys aside. Else that of the last pass that found nothing.
    :param position: in the source's log at that time.
    :param unproven_keys: these never rested while they were looked at.
    :param held_keys: these differ, and an open dead letter or case says why.
    """

    table: str
    target: str
    through: str | None
    position: str | None
    rows: int
    differing_keys: int
    unproven_keys: int
    held_keys: int


def key_text(key: Key) -> str:
    """A key as text, written as jsonb writes it."""
    return json.dumps(list(key), separators=(", ", ": "), ensure_ascii=False)


def key_of_text(text: str) -> Key:
    """The key back from its text."""
    return tuple(json.loads(text))
