"""What becomes of a case: every change of its state is here, as functions from case to case.

    nothing  --an undecided change-->                 open
    open     --a newer change of a side-->            open, with that image in the side's place
    open     --a change the rules accept-->           superseded      (one owner: the log's order says it is newer)
    open     --a change after which all sides agree--> superseded     (several writers)
    open     --a sweep that did not bring the key-->  superseded
    open     --a decision based on what is there-->   decided
    open     --any other decision-->                  open, and says which one was refused

A case that is not open stays as it is; the next undecided change of its key opens another one. No clock: times are
those of the changes. Who writes cases down is `runtime.case_table`.
"""

from __future__ import annotations

import msgspec

from trueup.core.row_json import RowJson
from trueup.model.case import Case, CaseDecision, CaseStatus, RefusedDecision, Side
from trueup.model.decision import DELETED_HASH, Escalate, Held, Outcome, Skip, TruthRecord
from trueup.model.event import LogRecord
from trueup.model.version import Version, epoch_of, place_of, split_version

_decode = msgspec.json.Decoder(Case).decode


def encode_case(case: Case) -> bytes:
    """The record's value."""
    return msgspec.json.encode(case)


def decode_case(value: bytes) -> Case:
    """The inverse of `encode_case`. Raises msgspec.MsgspecError."""
    return _decode(value)


def side_of(truth: TruthRecord, origin: str | None, rows: RowJson) -> Side:
    """An image as a case keeps it."""
    return Side(
        version=truth.version.hex(),
        origin=origin,
        op=truth.op,
        row=None if truth.row is None else rows.written(truth.row),
        content_hash=truth.content_hash.hex(),
        commit_time_us=truth.commit_time_us,
        cause=truth.cause,
        flags=truth.flags,
    )


def nothing_held() -> Side:
    """Side A of a key that the truth never had."""
    return Side(content_hash=DELETED_HASH.hex())


def opened(table: str, record: LogRecord, why: Escalate, held: Side, contender: Side, decide_within_us: int) -> Case:
    """A new case between what is held and what came."""
    epoch, _, offset = split_version(contender.order)
    return Case(
        id=f"{table}/{epoch}/{record.partition}/{offset}",
        table=table,
        partition=record.partition,
        key=(record.key or b"").decode(),
        status=CaseStatus.OPEN,
        rule=why.rule,
        reason=why.reason,
        opened_at_us=contender.commit_time_us,
        deadline_us=contender.commit_time_us + decide_within_us,
        sides=(held, contender),
    )


def side_index(case: Case, origin: str, *, several: bool) -> int | None:
    """Which side a further change of a system takes the place of; None: it is a side of its own.

    With one owner every change is the owner's newest, so B. With several writers it is what the system itself has: what
    came from it, else what is held from it.

    :param several: the table has several writers.
    """
    if not several:
        return 1
    came = [i for i, side in enumerate(case.sides) if i > 0 and side.origin == origin]
    if came:
        return came[0]
    return 0 if case.sides[0].origin == origin else None


def passed_over(
    case: Case, origin: str, version: Version, content_hash: bytes, held: Held | None, *, several: bool
) -> Skip | None:
    """Skip for what says nothing beside the image it would replace: a record read again, a letter replayed, an update
    that changes nothing. The image stays, so a decision that was based on it may be obeyed.

    :param held: with the mark of the newest refused change: behind a newer one the same content is said anew.
    """
    index = side_index(case, origin, several=several)
    if index is None:
        return _older_than_held(version, content_hash, held)
    image = case.sides[index]
    (epoch, offset), (image_epoch, image_offset) = place_of(version), place_of(image.order)
    if (epoch, offset) <= (image_epoch, image_offset):
        outcome = Outcome.DUPLICATE if version == image.order else Outcome.STALE
        return Skip(outcome, "the case has this change or a newer one")
    said_anew = held is not None and image_offset < held.refused_at < offset
    if content_hash.hex() == image.content_hash and epoch == image_epoch and not said_anew:
        return Skip(Outcome.UNCHANGED, "same content as in the case")
    return None


def _older_than_held(version: Version, content_hash: bytes, held: Held | None) -> Skip | None:
    """Of a system without an image: what stands before the held truth was decided with it."""
    if held is None:
        return None
    if place_of(version) <= place_of(held.version):
        return Skip(Outcome.STALE, "older than what is held")
    return Skip(Outcome.UNCHANGED, "same content") if content_hash == held.content_hash else None


def refused_by_case(held: Held, case: Case) -> Held:
    """What is held of a key with an open case, with the mark of a refused change: the owner may take it back, and the
    local store, which has the mark too, may have been lost."""
    _, _, offset = split_version(case.sides[1].order)
    return held if offset <= held.refused_at else msgspec.structs.replace(held, refused_at=offset)


def agrees(case: Case, origin: str, content_hash: bytes) -> bool:
    """Whether with this content of a system all sides of several writers say the same."""
    index = side_index(case, origin, several=True)
    others = [side for i, side in enumerate(case.sides) if i != index]
    return all(side.content_hash == content_hash.hex() for side in others)


def is_settled(case: Case, held: Held | None, version: Version, content_hash: bytes) -> bool:
    """Whether a person declined this very content, and nothing happened since: the same image is not asked about twice.

    A new epoch asks again: its snapshot has to bring the key, or the sweep would take it for gone.
    """
    if case.decision is None or held is None or held.version.hex() != case.closed_by:
        return False
    return epoch_of(version) == epoch_of(held.version) and content_hash.hex() in {s.content_hash for s in case.sides}


def remember(known: dict[bytes, Case], key: bytes, case: Case) -> None:
    """Keeps what has to be known of a case while it is the newest of its key; of a decided one not its rows."""
    known.pop(key, None)
    if case.is_open:
        known[key] = case
    elif case.status is not CaseStatus.SUPERSEDED:
        sides = tuple(msgspec.structs.replace(side, row=None) for side in case.sides)
        known[key] = msgspec.structs.replace(case, sides=sides)


def with_image(case: Case, image: Side, why: Escalate, *, several: bool) -> Case:
    """The case with the newest image of a side, or with one more side. The deadline stays: people wait since then."""
    assert case.is_open
    assert image.origin is not None
    index = side_index(case, image.origin, several=several)
    sides = list(case.sides)
    if index is None:
        sides.append(image)
    else:
        sides[index] = image
    changed = msgspec.structs.replace(case, sides=tuple(sides))
    return changed if several else msgspec.structs.replace(changed, rule=why.rule, reason=why.reason)


def superseded(case: Case, by: Version, at_us: int) -> Case:
    """The case when a later truth of its key was published."""
    assert case.is_open
    return msgspec.structs.replace(case, status=CaseStatus.SUPERSEDED, closed_at_us=at_us, closed_by=by.hex())


def decided(case: Case, decision: CaseDecision, by: Version) -> Case:
    """The case when a decision was obeyed."""
    assert case.is_open
    assert decision.based_on == case.versions
    return msgspec.structs.replace(
        case, status=CaseStatus.DECIDED, decision=decision, closed_at_us=decision.at_us, closed_by=by.hex()
    )


def refused(case: Case, decision: CaseDecision, why: str) -> Case:
    """The case when a decision was not obeyed; it waits on."""
    assert case.is_open
    return msgspec.structs.replace(case, refused=RefusedDecision(id=decision.id, why=why))


def is_brought(case: Case, epoch: int) -> bool:
    """Whether a snapshot of the epoch brought the key of an open case: the row exists, only nobody has decided."""
    return any(place_of(side.order)[0] == epoch for side in case.sides)
