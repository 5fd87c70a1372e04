"""What `core.pipeline.decide` answers, as values. Each input record ends in exactly one of them, counted by Outcome."""

from __future__ import annotations

import enum
from typing import Any, Final

import msgspec

from trueup.model.event import Op, Position
from trueup.model.version import Version

HASH_BYTES: Final = 16  # 128 bits: a chance collision of two contents of one key needs about 2**64 versions of it
DELETED_HASH: Final = bytes(HASH_BYTES)  # the content of a deleted row


class Outcome(enum.StrEnum):
    """The one counted end of an input record at a stage (design 9)."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    STALE = "stale"
    UNCHANGED = "unchanged"
    COALESCED = "coalesced"
    REJECTED = "rejected"
    ESCALATED = "escalated"
    IGNORED = "ignored"


class Held(msgspec.Struct, frozen=True, gc=False):
    """What the truth table knows of a key.

    :param refused_at: capture offset of a newer change of the key that became a dead letter; -1 when there is none.
        The next change is published even if it only says again what is held, so that the letter is superseded and its
        replay cannot win.
    :param record: the truth record's bytes, where the table keeps them (`Table.keeps_rows`).
    :param origin: the system whose change it is; None where that is not kept, and for what people decided.
    """

    version: Version
    content_hash: bytes
    refused_at: int = -1
    record: bytes | None = None
    origin: str | None = None


class TruthRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of a truth topic: the decided state of a key.

    :param row: the full row in the captured types; None when op is d.
    :param row_bytes: the same row in Avro; its hash is `content_hash`.
    :param flags: descriptions of checks with `on_violation: flag` that the row violates.
    :param origin: of a table with several writers: the system whose change it is; None for what people decided.
    :param encoded: the record's bytes in its topic, where they are known already; then row and row_bytes may be absent.
    """

    key: bytes
    version: Version
    content_hash: bytes
    op: Op
    commit_time_us: int
    position: Position | None
    cause: str | None
    flags: tuple[str, ...]
    row: dict[str, Any] | None
    row_bytes: bytes | None
    origin: str | None = None
    encoded: bytes | None = None


class Apply(msgspec.Struct, frozen=True, gc=False):
    """Publish this truth."""

    truth: TruthRecord


class Skip(msgspec.Struct, frozen=True, gc=False):
    """Nothing to publish: duplicate, stale, unchanged or ignored."""

    outcome: Outcome
    reason: str


class Again(msgspec.Struct, frozen=True, gc=False):
    """A change lost against what is held, so its own database differs now: the held truth is published once more, under
    a newer version, and so gets there. The record itself is stale."""

    truth: TruthRecord
    reason: str


class Reject(msgspec.Struct, frozen=True, gc=False):
    """Dead letter: `stage` and `error_class` are bounded sets, `reason` is for people and holds no column value."""

    stage: str
    error_class: str
    reason: str
    hint: str


class Escalate(msgspec.Struct, frozen=True, gc=False):
    """A case: rules cannot decide between the held truth and this event, or leave a violated check to a person.

    :param rule: the rule that could not decide; a bounded set, part of the error class of a replica's dead letter.
    :param contender: the truth the event would have been; None at a replica's boundary, where there are no cases.
    """

    rule: str
    reason: str
    hint: str
    stage: str = "order"
    contender: TruthRecord | None = None

    @property
    def error_class(self) -> str:
        return f"Undecided: {self.rule}"


Decision = Apply | Again | Skip | Reject | Escalate
