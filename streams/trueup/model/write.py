"""What goes to a replica: the plan of a copy, the writes of a batch, and what the replica answers.

`core.rules_copy` makes plans and writes, `core.reduce` chooses which records become writes, `adapters.postgres_replica`
and `adapters.fakes` apply them.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal, Protocol

import msgspec

from trueup.model.decision import Outcome
from trueup.model.errors import TransientReplica
from trueup.model.topic import truth_topic
from trueup.model.version import Version
from trueup.model.watermark import AsOf

VERSION_COLUMN: Final = "_trueup_version"

REPLICA_OUTCOMES: Final = (
    Outcome.APPLIED,
    Outcome.DUPLICATE,
    Outcome.STALE,
    Outcome.UNCHANGED,
    Outcome.COALESCED,
    Outcome.REJECTED,
    Outcome.ESCALATED,
    Outcome.IGNORED,
)
"""How a record can end at a replica; a bigint column each in `trueup.progress`."""

Counts = dict[Outcome, int]


class TargetColumn(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a copy.

    :param name: at the replica.
    :param source: the column's name at the source; `field` is the same in the truth record.
    :param staged_type: what values are sent as.
    :param via_type: the source's type, which a staged value becomes before the cast (rounding, time zones and padding
        then happen as they would at the source); text where the replica cannot have that type.
    :param target_type: at the replica.
    """

    name: str
    source: str
    field: str
    staged_type: str
    via_type: str
    target_type: str
    mask: Literal["sha256"] | None = None


class CopyPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One copy of a table at one replica, compiled from the registration and the source's columns.

    :param key: names of the key columns at the replica, in the order of the registered key.
    :param whole: every captured column is copied unmasked: whoever may read this copy may read a truth record.
    :param writer: the table is the users' own, at one of several writers: it gets no column, and is written by
        `adapters.postgres_writer`.
    :param rank_column: at a writer: the version column of the registration, where there is one.
    """

    table: str
    replica: str
    target_schema: str
    target_table: str
    key: tuple[str, ...]
    columns: tuple[TargetColumn, ...]
    whole: bool
    writer: bool = False
    rank_column: str | None = None

    @property
    def target(self) -> str:
        """schema.table, as people write it and as the tables in schema trueup name it. Not for SQL."""
        return f"{self.target_schema}.{self.target_table}"

    @property
    def truth_topic(self) -> str:
        """Where its rows come from."""
        return truth_topic(self.table)

    @property
    def key_columns(self) -> tuple[TargetColumn, ...]:
        by_name = {column.name: column for column in self.columns}
        return tuple(by_name[name] for name in self.key)

    @property
    def fingerprint(self) -> str:
        """Changes whenever the content of the copy would change."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


class Write(msgspec.Struct, frozen=True, gc=False):
    """The newest change of one key in a batch, ready for staging.

    :param values: one per column of the plan; for a delete only the key columns count, the others are None.
    :param offset: of the record in the truth topic; `record_value` are its bytes, for a dead letter.
    :param flags: what the row violates, of the table's checks and of the copy's own (`on_violation: flag`).
    :param own: at a writer: the change was made there.
    :param position: of an own change in the log of its database, -1 where it has none (a row of a snapshot).
    """

    key: bytes
    version: Version
    deleted: bool
    values: tuple[Any, ...]
    offset: int
    record_value: bytes
    flags: tuple[str, ...] = ()
    own: bool = False
    position: int = -1


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A dead letter of the apply stage. `reason` holds no column value.

    :param stage: `transform` (before the replica), `rules` (the checks of the copy) or `replica`.
    :param record_value: None where the copy does not show everything the record holds (masks, columns not copied); the
        truth topic has it, at the offset.
    """

    key: bytes
    version: Version
    offset: int
    record_value: bytes | None
    stage: Literal["transform", "rules", "replica"]
    error_class: str
    sqlstate: str | None
    reason: str
    outcome: Literal[Outcome.REJECTED, Outcome.ESCALATED] = Outcome.REJECTED


class ReplicaBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive records of one truth partition, reduced to one write per key and sorted by key.

    :param start_offset: where this batch begins to read: `Claim.next_offset`, then `next_offset` of the batch before.
    :param next_offset: the fetch position after the batch, markers and gaps included.
    :param records: how many records the batch holds; each ends in exactly one outcome.
    :param refused: records that could not be made into writes.
    :param counts: outcomes known before the replica sees the batch: coalesced, ignored.
    :param as_of: what the partition of the copy is as of once the batch is applied; None: nothing new.
    """

    plan: CopyPlan
    topic: str
    partition: int
    token: int
    start_offset: int
    next_offset: int
    records: int
    writes: tuple[Write, ...]
    refused: tuple[Refusal, ...] = ()
    counts: Counts = {}
    as_of: AsOf | None = None


class Claim(msgspec.Struct, frozen=True):
    """The right to write one partition into one replica, until somebody else claims it.

    :param next_offset: where reading has to start; None: from the beginning of the partition.
    :param as_of_us: what the partition of the copy is as of; None when it is not known, as before its first filling.
    :param topic_identity: of the topic that `next_offset` counts in.
    """

    token: int
    next_offset: int | None
    totals: Counts
    as_of_us: int | None = None
    topic_identity: str = ""


class BatchResult(msgspec.Struct, frozen=True):
    """How each record of a committed batch ended; the sum is the number of records."""

    counts: Counts
    refused: tuple[Refusal, ...]


class ClaimLost(TransientReplica):
    """The connection a claim was made on is gone. What was committed last is known to the replica only: wait with
    backoff, claim again, read on from `Claim.next_offset`. Other TransientReplica errors leave the claim intact."""


class CopyReplaced(TransientReplica):
    """The copy was made anew from another registration since the partition was claimed: claim again, then ask the
    replica what the copy is now (`Replica.recorded`)."""


class Replica(Protocol):
    """The seam to a replica: `adapters.postgres_replica`, and `adapters.fakes` in memory."""

    async def claim(self, topic: str, partition: int, topic_identity: str) -> Claim:
        """Become the one writer of a partition; whoever wrote it before is fenced.

        :param topic_identity: which topic has this name now. It is kept where none is kept yet and where reading starts
            from the beginning; else the kept one stays.
        """
        ...

    async def recorded(self, registered: CopyPlan) -> CopyPlan:
        """What the copy was made as, which is what its rows must go on to be until it is rebuilt. Ask after claiming:
        as long as the claim holds, the answer does."""
        ...

    async def apply(self, batch: ReplicaBatch) -> BatchResult:
        """Apply a batch and its progress in one transaction."""
        ...

    async def ping(self) -> None:
        """Ask whether it is there. A connection that turns out to be gone is opened anew; claims on it are void."""
        ...

    async def hold(self, topic: str, partition: int, token: int) -> None:
        """Raises ClaimLost when the connection of the claim is gone, TransientReplica when it does not answer."""
        ...

    async def close(self) -> None:
        """Give the connection back; claims made on it are void."""
        ...
