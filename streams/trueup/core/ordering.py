"""Step 4: which change of a key is newer, and has the source gone back? (design 5)

Kafka's log is the order: the version of a `log` table is (epoch, capture offset). A table ordered by a column carries
that column as rank in front of the offset. The source position decides nothing here; it guards.
"""

from __future__ import annotations

import datetime
import re
from typing import Any, Final

import msgspec

from trueup.model.decision import DELETED_HASH, Escalate, Held, Outcome, Reject, Skip
from trueup.model.errors import SourceWentBack
from trueup.model.event import ChangeEvent, Op, Position
from trueup.model.registration import ColumnVersion, duration_ms
from trueup.model.version import RANK_MAX, RANK_MIN, Version, epoch_of, make_version, offset_of, split_version

STAGE: Final = "order"
_EPOCH_START: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,20}")  # numeric arrives as text of up to 131,072 digits


class Guard(msgspec.Struct, frozen=True, gc=False):
    """The highest source position seen along a partition in an epoch, and its commit time.

    :param floor: position of the latest truncate that was carried out; what was changed before it is gone.
    :param chunk: `read_at` of the first rows of a snapshot that came after the truncate. They may have been read before
        it: Debezium drops a row of a chunk that is changed meanwhile, but not at a truncate.
    :param suspects: rows of that chunk may still come.
    :param passed_on: position of the latest truncate that lies in this partition and was passed on to all.
    :param writers: of a table with several writers: a guard for each, since each has a log and epochs of its own. The
        epoch beside it is the highest that began in the partition, and that of versions; the position means nothing.
    """

    epoch: int = 0
    position: Position = Position(0, 0)
    commit_time_us: int = 0
    floor: Position = Position(0, 0)
    chunk: Position = Position(0, 0)
    suspects: bool = False
    writers: dict[str, Guard] | None = None
    passed_on: Position = Position(0, 0)

    def of(self, system: str) -> Guard:
        """The guard of one of several writers."""
        return Guard() if self.writers is None else self.writers.get(system, Guard())

    def moved(self, system: str, guard: Guard) -> Guard:
        """The guard of the partition after that of one of several writers moved."""
        if self.writers is not None and self.writers.get(system) is guard:
            return self
        return Guard(max(self.epoch, guard.epoch), writers={**(self.writers or {}), system: guard})

    def truncated(self, floor: Position) -> Guard:
        """The guard when a truncate was carried out."""
        return Guard(self.epoch, self.position, self.commit_time_us, floor, suspects=True, passed_on=self.passed_on)


def check_position(event: ChangeEvent, guard: Guard) -> Skip | Guard:
    """The guard moved on, or Skip(duplicate) for an event that a capture without exactly-once repeated.

    What an epoch says is over when the next one has begun, and what was before a truncate when that was carried out,
    replayed dead letters included: a key that was found gone would come back. Within an epoch neither snapshot rows nor
    replays have a place in the log of the source.
    :raises SourceWentBack: lower position and newer commit time: the source was restored or failed over.
    """
    if event.epoch < guard.epoch:
        return Skip(Outcome.STALE, "epoch is over")
    if event.epoch > guard.epoch and event.replay_of is None:
        position = event.position
        return Guard(event.epoch) if position is None else Guard(event.epoch, position, event.commit_time_us)
    if guard.floor.change and (event.position or event.read_at or guard.floor) < guard.floor:
        return Skip(Outcome.STALE, "before the table was truncated")
    if event.replay_of is not None:
        return guard
    if event.position is None:
        return _after_chunk(event, guard) if guard.suspects else guard
    if event.position >= guard.position:
        now, at_us = event.position, event.commit_time_us
        return Guard(event.epoch, now, at_us, guard.floor, guard.chunk, guard.suspects, passed_on=guard.passed_on)
    if event.commit_time_us <= guard.commit_time_us:
        return Skip(Outcome.DUPLICATE, "repeated by the capture")
    raise SourceWentBack(
        f'the log of system "{event.system}" went back',
        detail=f"offset {event.offset} of {event.system}.{event.schema}.{event.table} is at {event.position}, "
        f"after {guard.position}, with a newer commit time",
        hint=f"the source was restored or failed over, so it needs a new epoch: trueup resync {event.system}",
    )


def _after_chunk(event: ChangeEvent, guard: Guard) -> Guard:
    """The second chunk after a truncate was read after it: its reading began when the first had been sent."""
    read_at = event.read_at
    if read_at is None or read_at <= max(guard.floor, guard.chunk):
        return guard
    if guard.chunk == Position(0, 0):
        return msgspec.structs.replace(guard, chunk=read_at)
    return msgspec.structs.replace(guard, suspects=False)


def outlived(event: ChangeEvent, held: Held | None, guard: Guard) -> Skip | None:
    """A row of a snapshot that may have been read before a truncate, and is not held: whatever was inserted after it
    came through the log, and so is held already, or has a refused change."""
    if not guard.suspects or event.op is not Op.READ:
        return None
    if held is not None and (held.content_hash != DELETED_HASH or held.refused_at >= 0):
        return None
    return Skip(Outcome.STALE, "read before the table was truncated")


def version_of(event: ChangeEvent, column: ColumnVersion | None) -> Version | Reject:
    """The version of an event. A replayed dead letter keeps the offset, so the age, of its original record."""
    offset = event.offset if event.replay_of is None else event.replay_of
    if column is None:
        return make_version(event.epoch, offset)
    image = event.before if event.op is Op.DELETE else event.row
    rank = rank_of(None if image is None else image.get(column.column))
    if rank is None:
        return Reject(
            STAGE,
            "VersionMissing",
            f'version column "{column.column}" holds no time and no integer',
            "set the column NOT NULL; deletes need REPLICA IDENTITY FULL",
        )
    return make_version(event.epoch, offset, rank)


def rank_of(value: Any) -> int | None:
    """A time (ISO 8601 text) as microseconds since 1970, an integer as itself; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if RANK_MIN <= value <= RANK_MAX else None
    if not isinstance(value, str):
        return None
    if _INTEGER.fullmatch(value):
        return rank_of(int(value))
    try:
        moment = datetime.datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return (moment - _EPOCH_START) // datetime.timedelta(microseconds=1)


def compare(
    event: ChangeEvent, version: Version, content_hash: bytes, held: Held | None, column: ColumnVersion | None
) -> Skip | Escalate | None:
    """None when the event is newer than what is held and changes something."""
    if held is None:
        return None
    # Unchanged rows of a new epoch are published all the same: the sweep would delete what carries the old epoch.
    if content_hash == held.content_hash and epoch_of(version) == epoch_of(held.version):
        if offset_of(version) > held.refused_at >= 0 and version > held.version:
            return None  # the owner took a refused change back: see Held
        return Skip(Outcome.UNCHANGED, "same content")
    if version == held.version:
        return Skip(Outcome.DUPLICATE, "same version")
    if column is None:
        return None if version > held.version else Skip(Outcome.STALE, "older than what is held")
    return _compare_ranks(event, version, held, column)


def _compare_ranks(event: ChangeEvent, version: Version, held: Held, column: ColumnVersion) -> Skip | Escalate | None:
    epoch, rank, _ = split_version(version)
    held_epoch, held_rank, _ = split_version(held.version)
    if epoch != held_epoch:
        return None if epoch > held_epoch else Skip(Outcome.STALE, "epoch is over")
    uncertainty_us = duration_ms(column.uncertainty) * 1000 if column.uncertainty else 0
    # A delete carries the version of the row it deletes, so an equal rank is the normal case and no conflict.
    # (Not of a replayed letter, which may be older than what is held: versions never decrease.)
    if event.op is Op.DELETE and rank >= held_rank and version > held.version:
        return None
    # Nor is what it deleted, or a change before that, when it is read once more: the owner's log says what came first.
    is_earlier = offset_of(version) < offset_of(held.version)
    if held.content_hash == DELETED_HASH and rank <= held_rank and is_earlier:
        return Skip(Outcome.STALE, "older than its deletion")
    if abs(rank - held_rank) <= uncertainty_us:
        return Escalate(
            f"version column {column.column}",
            "two changes with different content are too close to say which is newer",
            "decide which is right and write it at the owner",
        )
    return None if rank > held_rank else Skip(Outcome.STALE, "older than what is held")
