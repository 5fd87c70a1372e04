"""Step 4 of a table with several writers: does a change follow what is held, or does it contradict it, and who wins?

Kafka's log is the one order of what all writers did, but a writer may have made its change without knowing of another's
that stands before it. A change is **sequential** when it was made upon what is held: then it is accepted, whatever its
clock says. Else it is **concurrent**, and the registered policy decides. Same content is never a conflict. A change
that loses leaves its own database different from the truth, so the held truth is published once more (`Again`).

Why a sequential change needs no clock: it is made by the system whose change is held (one log, one order), or the row
it was made upon (`before`, hence REPLICA IDENTITY FULL) is the held one, byte for byte.
"""

from __future__ import annotations

from typing import Final, assert_never

import msgspec

from trueup.core.truth_codec import operation_of, published_again
from trueup.model.decision import DELETED_HASH, Again, Escalate, Held, Outcome, Skip, TruthRecord
from trueup.model.event import ChangeEvent, Op
from trueup.model.registration import ColumnVersion, Conflicts, Table, duration_ms
from trueup.model.version import Version, epoch_of, make_version, place_of, rank_in

HINT: Final = "see both sides and decide"


class Change(msgspec.Struct, frozen=True, gc=False):
    """A change as the policies see it.

    :param epoch: the highest that began in the partition, at least the event's own. It is that of the version: writers
        have epochs of their own, and versions must not fall when one of them speaks.
    :param offset: in the capture topic; of a replayed letter that of the original.
    :param rank: of the row by the version column, of a delete that of the row before it; 0 without a version column.
    :param base_rank: of the row it was made upon; None for an insert, a row of a snapshot, or without a version column.
    :param before_hash: content of the row it was made upon; None where there is none.
    """

    event: ChangeEvent
    epoch: int
    offset: int
    rank: int
    content_hash: bytes
    base_rank: int | None
    before_hash: bytes | None


class ConflictRules(msgspec.Struct, frozen=True):
    """The policy of a table. `column` is the version column, for people; `uncertainty_us`: in microseconds."""

    policy: Conflicts
    column: str | None
    uncertainty_us: int

    @classmethod
    def of(cls, table: Table, version: ColumnVersion | None) -> ConflictRules:
        """Raises ValueError for a registration that was not checked."""
        if table.conflicts is None:
            raise ValueError("several writers need a policy for conflicts")
        uncertainty = None if version is None else version.uncertainty
        return cls(
            table.conflicts,
            None if version is None else version.column,
            0 if uncertainty is None else duration_ms(uncertainty) * 1000,
        )


def settle(change: Change, held: Held | None, rules: ConflictRules) -> Version | Skip | Escalate | Again:
    """The version of a change that is accepted, or what becomes of it instead."""
    if held is None:
        return make_version(change.epoch, change.offset, change.rank)
    same = change.content_hash == held.content_hash
    # Unchanged rows of a new epoch are published all the same: the sweep would take them for rows not brought.
    if same and epoch_of(held.version) == change.epoch and not change.offset > held.refused_at >= 0:
        return Skip(Outcome.UNCHANGED, "same content")
    version = make_version(change.epoch, change.offset, max(change.rank, rank_in(held.version)))
    # A replayed letter may be older by its version. What stands in the log before the held truth was decided before it,
    # with a rank that may be higher: it is read once more where the group's offsets were deleted (F-23).
    read_again = (change.epoch, change.event.offset) <= place_of(held.version)
    if version <= held.version or read_again:
        return Skip(Outcome.STALE, "older than what is held")
    if same or is_sequential(change, held):
        return version
    verdict = _concurrent(change, held, rules)
    if isinstance(verdict, Escalate):
        return verdict
    return version if verdict else _again(change, held)


def is_sequential(change: Change, held: Held) -> bool:
    """Whether a change was made upon what is held. A row of a snapshot says what is, not what it was made upon."""
    event = change.event
    if event.op is Op.READ:
        # Within an epoch Debezium fits it in between the changes of its system; a new epoch may bring a restored row.
        return held.origin == event.system and epoch_of(held.version) == change.epoch
    if held.origin == event.system:
        return True
    if event.op is Op.CREATE:
        return held.content_hash == DELETED_HASH
    return change.before_hash is not None and change.before_hash == held.content_hash


def _concurrent(change: Change, held: Held, rules: ConflictRules) -> bool | Escalate:
    """True: the change wins; False: what is held wins."""
    event, column = change.event, rules.column
    newer_by = change.rank - rank_in(held.version)
    if event.op is Op.READ and column is not None and newer_by <= 0:
        if held.content_hash == DELETED_HASH:
            return False  # the row that was deleted, read before the delete got there
        if held.origin == event.system:
            return newer_by == 0
    match rules.policy.policy:
        case "last_write_wins":
            if abs(newer_by) <= rules.uncertainty_us and not (event.op is Op.READ and held.origin == event.system):
                why = "two writers changed the row too close to each other to say which is newer"
                return Escalate(f"last write wins by {column}", why, HINT)
            return newer_by > 0
        case "version_comparison":
            return _compared(change, held, newer_by, column)
        case "prefer":
            preferred = rules.policy.system
            return event.system == preferred or held.origin != preferred  # of two others: the order of the log
        case "escalate":
            if event.op is Op.READ and held.origin == event.system:
                return True
            return Escalate("escalate", "two writers changed the row without knowing of each other", HINT)
        case policy:
            assert_never(policy)


def _compared(change: Change, held: Held, newer_by: int, column: str | None) -> bool | Escalate:
    rule = f"version comparison by {column}"
    if newer_by == 0:
        return Escalate(rule, "two writers gave different rows the same version", HINT)
    if change.event.op is Op.READ:
        return newer_by > 0
    if change.base_rank is None or change.base_rank < rank_in(held.version):
        return Escalate(rule, "two writers changed the row from the same base", HINT)
    return True


def _again(change: Change, held: Held) -> Again | Skip:
    """The held truth once more, above everything before: it has to reach the loser's database."""
    reason = "another writer's change wins"
    if held.record is None:
        return Skip(Outcome.STALE, reason)
    version = make_version(change.epoch, change.offset, rank_in(held.version))
    event = change.event
    return Again(again(event.key, held, held.record, version, event.commit_time_us, held.origin), reason)


def again(
    key: bytes, held: Held, record: bytes, version: Version, commit_time_us: int, origin: str | None
) -> TruthRecord:
    """The held truth under a newer version.

    :param record: its bytes.
    :param commit_time_us: when what makes this necessary happened; freshness and convergence are measured from it.
    :param origin: as held, or None: then the row is written at every writer, the one it came from included.
    """
    return TruthRecord(
        key=key,
        version=version,
        content_hash=held.content_hash,
        op=operation_of(record),
        commit_time_us=commit_time_us,
        position=None,
        cause=None,
        flags=(),
        row=None,
        row_bytes=None,
        origin=origin,
        encoded=published_again(record, version, commit_time_us, origin=origin is not None),
    )
