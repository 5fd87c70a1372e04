"""TRUNCATE: one record without a key says that every row of before is gone, in all partitions (ARCHITECTURE, 10).

The record lies in some one partition; in the others it has no place in the order. Its owner writes a control record
into each partition (`orders_of`), and there the rows of before are told from those that came after by their capture
records (`place_in`, `core.decided_again`). `runtime.truncate_run` carries it out; `core.control` says when it is
obeyed.

Why the capture log and not the truth: a row that was written again just as it had been is unchanged, so the truth still
names the record of before; and rows of a snapshot have no position in the source's log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from trueup.core.authority import check_authority
from trueup.core.cases import superseded
from trueup.core.control import Truncate, truncate_record
from trueup.core.decode import EnvelopeDecoder, decode
from trueup.core.ordering import Guard, check_position
from trueup.core.pipeline import DecidePlan
from trueup.core.route import row_gone
from trueup.model.case import Case
from trueup.model.decision import DELETED_HASH, Held, Reject, Skip, TruthRecord
from trueup.model.errors import TableTruncated
from trueup.model.event import ChangeEvent, LogRecord
from trueup.model.version import Version, make_version, place_of, split_version

_CAUSE: Final = "truncated at the source"


class Ordered(msgspec.Struct, frozen=True):
    """A truncate that was accepted: the control records to write, and the guard of its own partition after it."""

    records: tuple[LogRecord, ...]
    guard: Guard


def orders_of(
    event: ChangeEvent, plan: DecidePlan, guard: Guard, partitions: int, identity: bytes
) -> Ordered | Reject | Skip:
    """What becomes of a truncate.

    :param identity: of the capture topic.
    :raises TableTruncated: the table's policy is to stop.
    :raises SourceWentBack: as for any change.
    """
    table = plan.table
    refusal = check_authority(event, table)
    if refusal is not None:
        return refusal
    moved = check_position(event, guard)
    if isinstance(moved, Skip):
        return moved
    if table.truncate == "stop":
        raise TableTruncated(
            f'table "{table.source.table}" was truncated at the source',
            detail=f'offset {event.offset}; the registration of "{table.table}" says truncate: stop',
            hint=f"to empty the copies too write truncate: delete in schemas/tables/{table.table}.yaml, to keep their "
            "rows truncate: reject; then start the decide worker again",
        )
    assert event.position is not None
    order = Truncate(event.epoch, event.offset, event.commit_time_us, event.position)
    records = tuple(truncate_record(table.capture_topic, number, identity, order) for number in range(partitions))
    return Ordered(records, msgspec.structs.replace(moved, passed_on=event.position))


class Place(msgspec.Struct, frozen=True):
    """What a stretch of a partition says of where a truncate would stand in it.

    :param first_after: index of the first record that was captured after it; None: there is none.
    :param before: a record was captured before it.
    """

    first_after: int | None
    before: bool


def place_in(records: Sequence[LogRecord], order: Truncate, decoders: Mapping[int, EnvelopeDecoder]) -> Place:
    """Where a truncate would stand among records of a partition, by their positions in the source's log.

    Replays of dead letters say nothing, nor does another epoch, of which something may be repeated at any time. A
    change of before that is repeated behind a later one, by a capture without exactly-once, does not end the search.
    """
    first_after, before = None, False
    for index, record in enumerate(records):
        event = decode(record, decoders)
        if not isinstance(event, ChangeEvent) or event.replay_of is not None or event.epoch != order.epoch:
            continue
        at = event.position or event.read_at
        if at is not None and at > order.position:
            first_after = index if first_after is None else first_after
        elif at is not None and (event.position is not None or at < order.position):
            before = True
    return Place(first_after, before)


def is_before(version: Version, epoch: int, offset: int) -> bool:
    """Whether a version was given before an offset of an epoch."""
    return place_of(version) < (epoch, offset)


def is_row_of_before(known: Held, order: Truncate) -> bool:
    """Whether a row is held that was decided before the control record."""
    return known.content_hash != DELETED_HASH and is_before(known.version, order.epoch, order.offset)


def is_case_of_before(case: Case, order: Truncate) -> bool:
    """Whether a case was there before the control record. When a partition is read once more, what came afterwards is
    there already."""
    return is_before(case.sides[-1].order, order.epoch, order.offset)


def case_over(case: Case, order: Truncate) -> Case:
    """An open case of a key that was not written again: its row is gone, or never was."""
    return superseded(case, make_version(order.epoch, order.offset), order.time_us)


def version_deleted(version: Version, order: Truncate) -> Version:
    """The version of what a truncate deletes. As a delete, it has the rank of the row it deletes."""
    _, rank, _ = split_version(version)
    return make_version(order.epoch, order.offset, rank)


def deletion(key: bytes, version: Version, order: Truncate) -> TruthRecord:
    """The truth that a truncated row is gone."""
    return row_gone(key, version, order.time_us, _CAUSE, order.position)


def keys_of(records: Iterable[LogRecord]) -> set[bytes]:
    """The keys records name."""
    return {record.key for record in records if record.key is not None}
