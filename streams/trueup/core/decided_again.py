"""The records between a truncate and its control record, decided once more as after the truncate. Pure.

They were decided while the rows of before were still held. `Replay` says what differs; `core.truncation` has what is
asked of each record, `runtime.truncate_run` reads the records and publishes.

There may be millions of them, so they come in batches, and of a key stays what the next record of it asks for
(`_Key`), never a row: a truth that has to be published is made once more from its record (`Replay.truth_of`). A record
decides nothing about another key; along the partition moves the guard alone, whatever is held. So the keys can be taken
in parts, each of which walks over all records.

What people decided meanwhile lies among the records (`core.control`). A decision takes an image, and stands if that is
there after the truncate as well: judged once more, it makes the row that is held. One that took a row of before falls,
and its case waits again, with the images there are.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from trueup.core import cases
from trueup.core.case_decision import Obeyed, judge
from trueup.core.control import DecisionOrder, Truncate, decision_in, is_control
from trueup.core.decode import decode
from trueup.core.ordering import Guard
from trueup.core.pipeline import DecidePlan, decide, decide_batch, held_of
from trueup.core.truncation import (
    case_over,
    deletion,
    is_before,
    is_case_of_before,
    is_row_of_before,
    version_deleted,
)
from trueup.model.case import Case, CaseDecision
from trueup.model.decision import DELETED_HASH, Apply, Escalate, Held, TruthRecord
from trueup.model.event import ChangeEvent, LogRecord, Op
from trueup.model.version import Version, make_version, offset_of, split_version

GONE: Final = "the row it took was truncated at the source"


class Stretch(msgspec.Struct, frozen=True):
    """The records of a partition from where a truncate would stand to its control record.

    :param boundary: the first one's offset.
    :param decisions: the records among them that decide a case (`core.control.decision_in`), in their order.
    :param written: key and offset of every record of a key that is decided about.
    """

    boundary: int
    order: Truncate
    decisions: Sequence[LogRecord] = ()
    written: AbstractSet[tuple[bytes, int]] = frozenset()

    def is_before(self, version: Version) -> bool:
        """Whether a version is from before the truncate."""
        return is_before(version, self.order.epoch, self.boundary)


class Part(msgspec.Struct, frozen=True):
    """The keys one replay is about: those of one of `parts` equal shares."""

    number: int = 0
    parts: int = 1

    def has(self, key: bytes) -> bool:
        """Whether a key is one of them."""
        return self.parts == 1 or zlib.crc32(key) % self.parts == self.number


class _Key(msgspec.Struct, gc=False):
    """What deciding once more made of a key so far: some 300 bytes with the key, and a row where the table keeps rows.

    :param made_at: offset of the record that made its newest truth; None: no record did.
    :param is_read: it has a row of a snapshot. Only asked where the row of before is held.
    :param is_wanted: that truth is to be published.
    """

    held: Held | None = None
    made_at: int | None = None
    is_read: bool = False
    is_wanted: bool = False


class Replay:
    """Decides the records of a stretch once more: `feed` takes them in their order, then `changed_cases` and `truths`
    say what is to be published, `truth_of` with the records in a second walk.

    :param known_cases: the newest cases of keys, those that are open or decided; not changed before `changed_cases` is
        asked.
    """

    def __init__(
        self, stretch: Stretch, plan: DecidePlan, known_cases: Mapping[bytes, Case], part: Part | None = None
    ) -> None:
        order = stretch.order
        self.part = part or Part()
        self._stretch, self._plan, self._known_cases = stretch, plan, known_cases
        self._guard = Guard(order.epoch, order.position, order.time_us).truncated(order.position)
        self._keys: dict[bytes, _Key] = {}
        self._cases: dict[bytes, Case] = {}  # as `cases.remember` keeps them
        self._decisions: dict[bytes, list[LogRecord]] = {}
        for record in stretch.decisions:
            self._decisions.setdefault(record.key or b"", []).append(record)
        self._obeyed: set[tuple[bytes, int]] = set()
        self._judged: dict[bytes, TruthRecord] = {}  # newest truths that decisions made, not records
        self._fallen: set[bytes] = set()  # of which is held what was decided about something that is gone
        self._versions: dict[bytes, Version] = {}  # under which wanted truths stand, where not under their own
        self.wants_records = False

    @property
    def keys(self) -> Collection[bytes]:
        """Those of its part that the records fed so far name, each once."""
        return self._keys.keys()

    @property
    def keys_of_cases(self) -> list[bytes]:
        """Those of `keys` that `changed_cases` may say something of."""
        waiting = (key for key, case in self._known_cases.items() if case.is_open)
        return [key for key in dict.fromkeys([*self._cases, *waiting]) if key in self._keys]

    def feed(self, records: Iterable[LogRecord], now: Mapping[bytes, Held]) -> None:
        """Changes and decisions, in their order.

        :param now: what is held of their keys; the same for a key until `truths` has been asked about it.
        :raises SourceWentBack: as for any change.
        """
        for record in records:
            key = record.key
            if key is None:
                continue  # no change of a row, so it moves no guard
            if not self.part.has(key):
                self._guard = decide(record, None, self._guard, self._plan)[1]
                continue
            held = now.get(key)
            known = self._keys.get(key)
            if known is None:
                known = self._keys[key] = _Key(None if held is None else self._then(key, held))
            if not is_control(record):
                self._decide(key, record, known)
                known.is_read = known.is_read or (self._asks(held) and _is_read(record, self._plan))
            elif held is not None and (decision := decision_in(record)) is not None:
                self._judge(key, record.offset, decision, held, known)

    def _then(self, key: bytes, now: Held) -> Held | None:
        """What is known of a key where the truncate would stand."""
        order, boundary = self._stretch.order, self._stretch.boundary
        version, case = self._version_then(key, now), self._known_cases.get(key)
        is_gone = now.content_hash == DELETED_HASH
        if is_gone and self._stretch.is_before(now.version):
            # It was gone already: so it is still, and what a person kept out of it stays out.
            if case is not None and not case.is_open:
                self._cases[key] = case
            return msgspec.structs.replace(now, refused_at=-1)
        if self._plan.version_column is None:
            return None
        # Only a table ordered by a column asks what the row of before was: as after a delete, its rank counts.
        epoch, rank, offset = split_version(version)
        is_known = self._stretch.is_before(version) or (is_gone and (epoch, offset) == (order.epoch, boundary))
        gone = make_version(order.epoch, max(boundary - 1, 0), rank if is_known else 0)
        return held_of(deletion(key, gone, order), self._plan)

    def _version_then(self, key: bytes, now: Held) -> Version:
        """What was held before people decided: what a decision made is held, or named by the next one."""
        then = now.version
        for record in reversed(self._decisions.get(key, ())):
            if offset_of(then) == record.offset and (decision := decision_in(record)) is not None:
                self._obeyed.add((key, record.offset))
                then = Version(bytes.fromhex(decision.based_on[0])) or then
        return then

    def _decide(self, key: bytes, record: LogRecord, known: _Key) -> None:
        held = {} if known.held is None else {key: known.held}
        batch = decide_batch([record], held, self._guard, self._plan, self._cases)
        self._guard = batch.guard
        known.held = batch.held.get(key, known.held)
        if batch.truths:
            known.made_at = record.offset
            self._judged.pop(key, None)
        if (case := batch.cases.get(key)) is not None:
            cases.remember(self._cases, key, case)

    def _judge(self, key: bytes, offset: int, decision: CaseDecision, now: Held, known: _Key) -> None:
        """A decision stands if it was obeyed, and the image it took is there."""
        case, order = self._cases.get(key), self._stretch.order
        is_its_own = (key, offset) in self._obeyed and offset_of(now.version) == offset
        if case is not None and case.is_open:
            upon_these = msgspec.structs.replace(decision, case=case.id, based_on=case.versions)
            again = DecisionOrder(order.epoch, offset, order.time_us, key, upon_these)
            answer = judge(case, again, known.held, self._plan)
            if isinstance(answer, Obeyed) and self._is_there(key, offset, decision, case, answer.truth, now):
                self._judged[key], known.made_at = answer.truth, None
                known.held = now if is_its_own else held_of(answer.truth, self._plan)
                newest = self._known_cases.get(key)
                if newest is not None and newest.decision is not None and newest.decision.id == decision.id:
                    cases.remember(self._cases, key, newest)  # it has the images the person saw
                else:
                    cases.remember(self._cases, key, cases.decided(case, upon_these, known.held.version))
                return
            if is_its_own:
                cases.remember(self._cases, key, cases.refused(case, decision, GONE))
        if is_its_own:
            self._fallen.add(key)

    def _is_there(
        self, key: bytes, offset: int, decision: CaseDecision, case: Case, made: TruthRecord, now: Held
    ) -> bool:
        """Whether a decision was obeyed and took one of these images, or made what is held since.

        A row may have been written once more since, so that no decision is seen in what is held; then it has to be
        about the same change. A deleted row may be gone for many reasons; and what an earlier truncate deleted, under
        its own offset, nobody decided.
        """
        side = 0 if decision.take == "A" else 1
        is_same = made.content_hash == now.content_hash
        if (key, offset) in self._obeyed:
            return is_same or decision.based_on[side] == case.versions[side]
        written = (key, offset_of(now.version))
        is_since = not is_before(now.version, self._stretch.order.epoch, offset) and written in self._stretch.written
        return is_same and is_since and made.row is not None and decision.based_on[1:] == case.versions[1:]

    def _asks(self, now: Held | None) -> bool:
        """Whether a row of before is held that was not written since: nothing that came after changed it."""
        return now is not None and is_row_of_before(now, self._stretch.order) and self._stretch.is_before(now.version)

    def changed_cases(self, now: Mapping[bytes, Held]) -> dict[bytes, Case]:
        """What becomes of the cases of keys.

        :param now: what is held of `keys_of_cases`.
        """
        order, changed = self._stretch.order, dict[bytes, Case]()
        for key in self.keys_of_cases:
            held, case, again = now.get(key), self._known_cases.get(key), self._cases.get(key)
            if held is not None and not is_before(held.version, order.epoch, order.offset):
                continue  # met again: all is done, since cases go first, or a later truth ended it
            was = case if case is not None and case.is_open else None
            if was is not None and not is_case_of_before(was, order):
                continue
            if again is not None and again.is_open:
                if was is None or _shows(was) != _shows(again):
                    changed[key] = again
            elif was is not None:
                changed[key] = case_over(was, order)
        return changed

    def truths(self, keys: Iterable[bytes], now: Mapping[bytes, Held]) -> list[TruthRecord]:
        """What is to be published of keys, as far as it can be told without their records; `wants_records` says whether
        `truth_of` has more.

        :param keys: some of `keys`; `now`: what is held of them.
        """
        order, found = self._stretch.order, list[TruthRecord]()
        for key in keys:
            known, again = now.get(key), self._keys[key]
            if known is None or not is_row_of_before(known, order):
                continue
            before = self._asks(known)
            is_made = again.made_at is not None or key in self._judged
            if again.held is not None and again.held.content_hash != DELETED_HASH:
                if before:  # unchanged by what came after, so nothing was published: but it is there again
                    found += self._newest(key, again)
                elif key in self._fallen:  # the same content perhaps; but a person's word is not what it rests on
                    self._versions[key] = version_deleted(known.version, order)
                    found += self._newest(key, again)
            elif before and is_made:
                found += self._newest(key, again)
            elif before and not again.is_read:
                found.append(deletion(key, _version_gone(known.version, self._stretch), order))
            else:
                found.append(deletion(key, version_deleted(known.version, order), order))
        return found

    def _newest(self, key: bytes, again: _Key) -> list[TruthRecord]:
        """The truth of a key where a decision made it; else it waits for its record."""
        if (judged := self._judged.get(key)) is not None:
            return [self._placed(judged)]
        again.is_wanted = self.wants_records = True
        return []

    def _placed(self, truth: TruthRecord) -> TruthRecord:
        version = self._versions.get(truth.key)
        return truth if version is None else msgspec.structs.replace(truth, version=version, encoded=None)

    def truth_of(self, record: LogRecord) -> TruthRecord | None:
        """What is to be published that a record says; None: nothing. Ask when `truths` was asked about all keys."""
        known = None if record.key is None else self._keys.get(record.key)
        if known is None or not known.is_wanted or known.made_at != record.offset:
            return None
        # With one owner nothing that was held is in the truth a change makes, so nothing has to be known of it.
        match decide(record, None, Guard(), self._plan)[0]:
            case Apply(truth=truth) | Escalate(contender=TruthRecord() as truth):
                return self._placed(truth)
            case _:
                raise AssertionError("a change that made a truth makes one by itself")


def written_in(records: Iterable[LogRecord], keys: AbstractSet[bytes]) -> set[tuple[bytes, int]]:
    """Key and offset of the records of some keys."""
    return {(record.key, record.offset) for record in records if record.key is not None and record.key in keys}


def _shows(case: Case) -> tuple[str, str]:
    """What a decision is about: what is held, whichever record says so, and the newest image."""
    held, came = case.sides
    return held.content_hash, came.version


def _is_read(record: LogRecord, plan: DecidePlan) -> bool:
    """Whether it is a row of a snapshot; it was read before the truncate: nothing was made of it. Who decides all once
    more, because the group's offsets were lost, must not take it for newer than its deletion."""
    event = decode(record, plan.decoders)
    return isinstance(event, ChangeEvent) and event.op is Op.READ


def _version_gone(version: Version, stretch: Stretch) -> Version:
    """Above all that came before the truncate, and below what came after: a dead letter of then can still be replayed.
    Where nothing lies between the two, above what is held."""
    epoch, rank, offset = split_version(version)
    order, boundary = stretch.order, stretch.boundary
    is_last = boundary == 0 or (epoch == order.epoch and offset == boundary - 1)
    return make_version(order.epoch, boundary if is_last else boundary - 1, rank)
