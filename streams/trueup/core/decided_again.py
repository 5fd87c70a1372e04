"""The records between a truncate and its control record, decided once more as after the truncate. Pure.

They were decided while the rows of before were still held. `settled` says what differs; `core.truncation` has what is
asked of each record, `runtime.truncate_run` publishes.

What people decided meanwhile lies among the records (`core.control`). A decision takes an image, and stands if that is
there after the truncate as well: judged once more, it makes the row that is held. One that took a row of before falls,
and its case waits again, with the images there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from trueup.core import cases
from trueup.core.case_decision import Obeyed, judge
from trueup.core.control import DecisionOrder, Truncate, decision_in, segments
from trueup.core.decode import decode
from trueup.core.ordering import Guard
from trueup.core.pipeline import DecidePlan, decide_batch, held_of
from trueup.core.truncation import (
    case_over,
    deletion,
    is_before,
    is_case_of_before,
    is_row_of_before,
    keys_of,
    version_deleted,
)
from trueup.model.case import Case, CaseDecision
from trueup.model.decision import DELETED_HASH, Held, TruthRecord
from trueup.model.event import ChangeEvent, LogRecord, Op
from trueup.model.version import Version, make_version, offset_of, split_version

GONE: Final = "the row it took was truncated at the source"


class Settled(msgspec.Struct, frozen=True):
    """What is to be published for the keys that were written between a truncate and its control record.

    :param cases: of keys whose open case has other sides than it would have had, or would not be over.
    """

    truths: list[TruthRecord]
    cases: dict[bytes, Case]


class Stretch(msgspec.Struct, frozen=True):
    """The records of a partition from where a truncate would stand to its control record.

    :param boundary: the first one's offset.
    """

    records: Sequence[LogRecord]
    boundary: int
    order: Truncate

    def is_before(self, version: Version) -> bool:
        """Whether a version is from before the truncate."""
        return is_before(version, self.order.epoch, self.boundary)


class _Replay:
    """What deciding once more makes of the keys.

    :param now: what is held of the keys, and `cases_now` their newest cases: so it shows which decisions were obeyed.
    :ivar fallen: keys of which is held what was decided about something that is gone.
    """

    def __init__(
        self, stretch: Stretch, plan: DecidePlan, now: Mapping[bytes, Held], cases_now: Mapping[bytes, Case]
    ) -> None:
        order = stretch.order
        self._stretch, self._plan, self._now, self._cases_now = stretch, plan, now, cases_now
        self._written = {(record.key, record.offset) for record in stretch.records}
        self._obeyed: set[tuple[bytes, int]] = set()
        self.guard = Guard(order.epoch, order.position, order.time_us).truncated(order.position)
        self.held: dict[bytes, Held] = {}
        self.cases: dict[bytes, Case] = {}
        self.truths: dict[bytes, TruthRecord] = {}
        self.fallen: set[bytes] = set()

    def begin(self) -> None:
        """What is known of the keys where the truncate would stand."""
        order, boundary = self._stretch.order, self._stretch.boundary
        for key, version in self._versions_then().items():
            known, case = self._now[key], self._cases_now.get(key)
            is_gone = known.content_hash == DELETED_HASH
            if is_gone and self._stretch.is_before(known.version):
                # It was gone already: so it is still, and what a person kept out of it stays out.
                self.held[key] = msgspec.structs.replace(known, refused_at=-1)
                if case is not None and not case.is_open:
                    self.cases[key] = case
            elif self._plan.version_column is not None:
                # Only a table ordered by a column asks what the row of before was: as after a delete, its rank counts.
                epoch, rank, offset = split_version(version)
                is_known = self._stretch.is_before(version) or (is_gone and (epoch, offset) == (order.epoch, boundary))
                gone = make_version(order.epoch, max(boundary - 1, 0), rank if is_known else 0)
                self.held[key] = held_of(deletion(key, gone, order), self._plan)

    def _versions_then(self) -> dict[bytes, Version]:
        """What was held before people decided: what a decision made is held, or named by the next one."""
        then = {key: self._now[key].version for key in keys_of(self._stretch.records) if key in self._now}
        for record in reversed(self._stretch.records):
            key = record.key
            if key is None or key not in then or offset_of(then[key]) != record.offset:
                continue
            if (decision := decision_in(record)) is not None:
                self._obeyed.add((key, record.offset))
                then[key] = Version(bytes.fromhex(decision.based_on[0])) or then[key]
        return then

    def decide(self) -> None:
        """Changes and decisions, in their order."""
        for part in segments(self._stretch.records, self._stretch.boundary, self._stretch.boundary):
            batch = decide_batch(part.records, self.held, self.guard, self._plan, self.cases)
            self.guard = batch.guard
            self.held |= batch.held
            self.cases |= batch.cases
            self.truths |= {truth.key: truth for truth in batch.truths}
            if part.control is not None and (decision := decision_in(part.control)) is not None:
                self._judge(part.control.key or b"", part.control.offset, decision)

    def _judge(self, key: bytes, offset: int, decision: CaseDecision) -> None:
        """A decision stands if it was obeyed, and the image it took is there."""
        now, case, order = self._now.get(key), self.cases.get(key), self._stretch.order
        if now is None:
            return
        is_its_own = (key, offset) in self._obeyed and offset_of(now.version) == offset
        if case is not None and case.is_open:
            upon_these = msgspec.structs.replace(decision, case=case.id, based_on=case.versions)
            again = DecisionOrder(order.epoch, offset, order.time_us, key, upon_these)
            answer = judge(case, again, self.held.get(key), self._plan)
            if isinstance(answer, Obeyed) and self._is_there(key, offset, decision, case, answer.truth):
                self.truths[key] = answer.truth
                self.held[key] = now if is_its_own else held_of(answer.truth, self._plan)
                self.cases[key] = cases.decided(case, upon_these, self.held[key].version)
                newest = self._cases_now.get(key)
                if newest is not None and newest.decision is not None and newest.decision.id == decision.id:
                    self.cases[key] = newest  # it has the images the person saw
                return
            if is_its_own:
                self.cases[key] = cases.refused(case, decision, GONE)
        if is_its_own:
            self.fallen.add(key)

    def _is_there(self, key: bytes, offset: int, decision: CaseDecision, case: Case, made: TruthRecord) -> bool:
        """Whether a decision was obeyed and took one of these images, or made what is held since.

        A row may have been written once more since, so that no decision is seen in what is held; then it has to be
        about the same change. A deleted row may be gone for many reasons; and what an earlier truncate deleted, under
        its own offset, nobody decided.
        """
        now, side = self._now[key], 0 if decision.take == "A" else 1
        is_same = made.content_hash == now.content_hash
        if (key, offset) in self._obeyed:
            return is_same or decision.based_on[side] == case.versions[side]
        written = (key, offset_of(now.version))
        is_since = not is_before(now.version, self._stretch.order.epoch, offset) and written in self._written
        return is_same and is_since and made.row is not None and decision.based_on[1:] == case.versions[1:]


def settled(
    records: Sequence[LogRecord],
    boundary: int,
    order: Truncate,
    held: Mapping[bytes, Held],
    known_cases: Mapping[bytes, Case],
    plan: DecidePlan,
) -> Settled:
    """What is to be published for the keys of the records that lie between the truncate and its control record.

    They were decided while the rows of before were still held. Decided once more, as after the truncate, they say which
    rows are there; only what differs from what is held is published. Nothing is counted a second time.

    :param records: the partition's, from `boundary` to the control record.
    :param held: what is held of their keys now; `known_cases` their newest cases, those that are open or decided.
    """
    stretch = Stretch(records, boundary, order)
    keys = dict.fromkeys(record.key for record in records if record.key is not None)
    again = _Replay(stretch, plan, held, known_cases)
    again.begin()
    again.decide()
    truths, read = [], _keys_read(records, plan)
    for key in keys:
        known = held.get(key)
        if known is None or not is_row_of_before(known, order):
            continue
        before, wanted = stretch.is_before(known.version), again.held.get(key)
        if wanted is not None and wanted.content_hash != DELETED_HASH:
            if before:  # unchanged by what came after, so nothing was published: but it is there again
                truths.append(again.truths[key])
            elif key in again.fallen:  # the same content perhaps; but a person's word is not what it rests on
                version = version_deleted(known.version, order)
                truths.append(msgspec.structs.replace(again.truths[key], version=version, encoded=None))
        elif before and key in again.truths:
            truths.append(again.truths[key])
        elif before and key not in read:
            truths.append(deletion(key, _version_gone(known.version, stretch), order))
        else:
            truths.append(deletion(key, version_deleted(known.version, order), order))
    changed = {}
    for key in keys:
        known, case, now = held.get(key), known_cases.get(key), again.cases.get(key)
        if known is not None and not is_before(known.version, order.epoch, order.offset):
            continue  # met again: all is done, since cases go first, or a later truth ended it
        was = case if case is not None and case.is_open else None
        if was is not None and not is_case_of_before(was, order):
            continue
        if now is not None and now.is_open:
            if was is None or _shows(was) != _shows(now):
                changed[key] = now
        elif was is not None:
            changed[key] = case_over(was, order)
    return Settled(truths, changed)


def _shows(case: Case) -> tuple[str, str]:
    """What a decision is about: what is held, whichever record says so, and the newest image."""
    held, came = case.sides
    return held.content_hash, came.version


def _keys_read(records: Iterable[LogRecord], plan: DecidePlan) -> set[bytes]:
    """Keys with a row of a snapshot; it was read before the truncate: nothing was made of it. Who decides all once
    more, because the group's offsets were lost, must not take it for newer than its deletion."""
    events = (decode(record, plan.decoders) for record in records if record.key is not None)
    return {event.key for event in events if isinstance(event, ChangeEvent) and event.op is Op.READ}


def _version_gone(version: Version, stretch: Stretch) -> Version:
    """Above all that came before the truncate, and below what came after: a dead letter of then can still be replayed.
    Where nothing lies between the two, above what is held."""
    epoch, rank, offset = split_version(version)
    order, boundary = stretch.order, stretch.boundary
    is_last = boundary == 0 or (epoch == order.epoch and offset == boundary - 1)
    return make_version(order.epoch, boundary if is_last else boundary - 1, rank)
