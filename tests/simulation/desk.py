"""People who decide cases, and the model of what must come of everything in the capture topic, decisions included.

The model walks the log once, at the end. Whether a decision was obeyed it takes from what was committed, and asks of
each whether that was right: one that was obeyed took what was there, one that was not had been overtaken. What was
decided between a truncate and its control record stands only if the row that was taken is there after the truncate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.simulation import tables
from tests.simulation.log import Offered, SimulatedLog
from tests.simulation.schedule import Process
from tests.simulation.source import Effect, Emptied
from trueup.core.cases import decode_case
from trueup.core.control import CONTROL_HEADER, POSITION_HEADER, TRUNCATE, decision_record
from trueup.core.decode import EPOCH_HEADER
from trueup.model.case import Case, CaseDecision, Side
from trueup.model.event import Position
from trueup.model.registration import Table
from trueup.model.version import epoch_of, offset_of
from trueup.runtime.partition_memory import DECIDE_GROUP, PartitionMemory

CAPTURE_IDENTITY = "capture-id"
_TIMEOUT_S = 30.0


class Image(NamedTuple):
    """An undecided row, and where it was captured."""

    epoch: int
    offset: int
    row: tables.Row
    is_unsure: bool = False


class Declined(NamedTuple):
    """Rows that a person saw, which nobody is asked about again until something else is accepted.

    A refused change leaves a mark, so that the row before it is published once more when the owner takes the change
    back: then something was accepted since. A truncate that finds the row deleted already publishes nothing.
    """

    epoch: int
    rows: tuple[tables.Row | None, ...]
    is_marked: bool = False
    is_unsure: bool = False


class CarriedOut(NamedTuple):
    """The control record of a truncate."""

    epoch: int
    position: Position


class Told(NamedTuple):
    """A decision in the log, and the case as its author saw it."""

    seen: Case
    decision: CaseDecision
    order_id: int
    epoch: int


class Model:
    """What must be accepted, and what must wait, once everything is decided."""

    def __init__(self, log: SimulatedLog) -> None:
        self._log = log
        self._entries: dict[tuple[int, float], Effect | Emptied | CarriedOut | Told] = {}
        self.obeyed: set[str] = set()
        self.accepted: dict[int, tables.Row | None] = {}
        self.waiting: dict[int, Image] = {}
        self._declined: dict[int, Declined] = {}
        self._epochs = [0] * tables.PARTITIONS
        self._emptied: list[Emptied | None] = [None] * tables.PARTITIONS  # and the control record was not met yet

    def add(self, partition: int, offset: float, entry: Effect | Emptied | Told) -> None:
        """What happened at an offset, or between two."""
        self._entries[partition, offset] = entry

    def walk(self) -> None:
        """Everything that was captured and decided, in the order of the log."""
        if any(isinstance(entry, Emptied) for entry in self._entries.values()):
            self._add_carried_out()
        for (partition, offset), entry in sorted(self._entries.items(), key=lambda pair: pair[0]):
            if isinstance(entry, Told):
                self._told(entry, partition, int(offset))
            elif isinstance(entry, CarriedOut):
                waiting = self._emptied[partition]
                if waiting is not None and waiting <= entry:
                    self._emptied[partition] = None
            else:
                if entry.epoch > self._epochs[partition]:  # a truncate of before is not carried out any more
                    self._epochs[partition], self._emptied[partition] = entry.epoch, None
                if isinstance(entry, Effect):
                    self._captured(entry, int(offset))
                else:
                    self._emptied[partition] = entry
                    self._empty(entry, partition)

    def _add_carried_out(self) -> None:
        """The control records of truncates."""
        topic = tables.ORDERS.capture_topic
        for number in range(tables.PARTITIONS):
            for record in self._log.partitions[topic, number].committed():
                headers = dict(record.headers)
                if headers.get(CONTROL_HEADER) == TRUNCATE:
                    commit, change, _ = map(int, headers[POSITION_HEADER].split(b"/"))
                    epoch = int(headers[EPOCH_HEADER])
                    self._entries[number, record.offset] = CarriedOut(epoch, Position(commit, change))

    def _empty(self, emptied: Emptied, partition: int) -> None:
        """What people saw before may be asked about again or not: a decision of then may lie on either side."""
        for order_id in self.accepted.keys() | self.waiting.keys():
            if order_id % tables.PARTITIONS == partition:
                self._accept(Effect(order_id, None, emptied.epoch))
                if (declined := self._declined.get(order_id)) is not None:
                    self._declined[order_id] = declined._replace(is_unsure=True)

    def _captured(self, effect: Effect, offset: int) -> None:
        row, order_id = effect.row, effect.order_id
        declined = self._declined.get(order_id)
        if row is not None and row[1] < 0:  # a dead letter
            if declined is not None:
                self._declined[order_id] = declined._replace(is_marked=True)
        elif row is None or row[1] <= tables.AMOUNT_UNDECIDED_ABOVE or row == self.accepted.get(order_id):
            self._accept(effect)
        else:
            image = self.waiting.get(order_id)
            was_seen = declined is not None and declined.epoch == effect.epoch and row in declined.rows
            if not was_seen or (image is not None and not image.is_unsure):
                self.waiting[order_id] = Image(effect.epoch, offset, row)
            elif declined is not None and declined.is_unsure:
                self.waiting[order_id] = Image(effect.epoch, offset, row, is_unsure=True)

    def _accept(self, effect: Effect) -> None:
        order_id, declined = effect.order_id, self._declined.get(effect.order_id)
        image = self.waiting.get(order_id)
        is_same = effect.row == self.accepted.get(order_id) and (image is None or image.is_unsure)
        if declined is None or not is_same or declined.epoch != effect.epoch:
            self._declined.pop(order_id, None)
        elif declined.is_marked or image is not None:
            self._declined[order_id] = declined._replace(is_unsure=True)
        self.accepted[order_id] = effect.row
        self.waiting.pop(order_id, None)

    def _told(self, told: Told, partition: int, offset: int) -> None:
        order_id, image = told.order_id, self.waiting.get(told.order_id)
        held, came = map(_row, told.seen.sides)
        accepted = self.accepted.get(order_id)
        is_same = image is not None and (held, came) == (accepted, image.row)
        what = f"the decision at offset {offset} about {told.seen.id}"
        if told.decision.id not in self.obeyed:
            if (
                is_same
                and image is not None
                and not image.is_unsure
                and told.epoch >= self._epochs[partition]
                and self._is_last(told.seen.sides[1], partition, offset)
            ):
                self._log.world.finding(f"{what} was not obeyed, and nothing had changed")
            return
        taken, there = (held, accepted) if told.decision.take == "A" else (came, image and image.row)
        if self._emptied[partition] is None and not is_same:
            self._log.world.finding(f"{what} was obeyed, and was about something else")
        elif image is None or taken != there:  # it took a row of before the truncate
            self._declined[order_id] = Declined(told.epoch, (held, came), is_unsure=True)
        else:
            self._declined[order_id] = Declined(told.epoch, (held, came))
            self.accepted[order_id] = taken
            self.waiting.pop(order_id, None)

    def _is_last(self, came: Side, partition: int, offset: int) -> bool:
        """Whether no record of the key lies between the image and the decision."""
        records = self._log.partitions[tables.ORDERS.capture_topic, partition].committed(below=offset)
        decided = next(
            r for r in self._log.partitions[tables.ORDERS.capture_topic, partition].committed() if r.offset == offset
        )
        return max((r.offset for r in records if r.key == decided.key), default=-1) == offset_of(came.order)

    def check_cases(self) -> None:
        """The cases that are open are those that must wait, with both images."""
        found = newest_cases(self._log, tables.ORDERS.cases_topic)
        is_open = {key: case for key, case in found.items() if case.is_open}
        for order_id in [order_id for order_id, image in self.waiting.items() if image.is_unsure]:
            if tables.key_of(order_id) not in is_open:
                del self.waiting[order_id]
        must = {tables.key_of(order_id): (self.accepted.get(order_id), i) for order_id, i in self.waiting.items()}
        for key in is_open.keys() ^ must.keys():
            state = "is open" if key in is_open else "is lost"
            self._log.world.finding(f"the case of {key.decode()} {state}")
        for key in is_open.keys() & must.keys():
            held, came = is_open[key].sides
            accepted, image = must[key]
            if (_row(held), _row(came), epoch_of(came.order)) != (accepted, image.row, image.epoch):
                self._log.world.finding(f"the case of {key.decode()} has {held} and {came}, the model {must[key]}")


def _row(side: Side) -> tables.Row | None:
    return tables.row_of(side.row)


def newest_cases(log: SimulatedLog, topic: str) -> dict[bytes, Case]:
    """By key, as they were committed."""
    return {
        record.key or b"": decode_case(record.value or b"")
        for number in range(tables.PARTITIONS)
        for record in log.partitions[topic, number].committed()
    }


class Desk:
    """Looks at what is committed and writes decisions, as `trueup cases decide` does.

    :param told: hears of each, with its partition and offset.
    """

    def __init__(self, log: SimulatedLog, table: Table, told: Callable[[int, int, Told], None]) -> None:
        self._log, self._table, self._told = log, table, told
        self._rng = log.world.rng
        self._count = 0

    def look(self) -> Case | None:
        """Some open case."""
        found: dict[bytes, Case] = {}
        for number in range(tables.PARTITIONS):
            records, _ = self._log.partitions[self._table.cases_topic, number].read(0, 1_000)
            found |= {record.key or b"": decode_case(record.value or b"") for record in records}
        waiting = [case for case in found.values() if case.is_open]
        return self._rng.choice(waiting) if waiting else None

    async def judge(self, person: Process) -> bool:
        """Somebody decides what he saw: at once, or after a while. False: there is nothing to see."""
        seen = self.look()
        if seen is None:
            return False
        if self._rng.random() < 0.4:
            await person.passes(self._rng.expovariate(0.5))
        while not self._log.is_free("desk"):
            await person.passes(0.05)
        self.decide(seen)
        return True

    def decide(self, seen: Case) -> None:
        """Writes a decision about a case as it was seen."""
        topic = self._table.capture_topic
        _, metadata = self._log.committed.get((DECIDE_GROUP, topic, seen.partition), (0, ""))
        epoch = PartitionMemory.read(metadata).guard.epoch
        self._count += 1
        decision = CaseDecision(
            id=str(self._count),
            case=seen.id,
            based_on=seen.versions,
            take=self._rng.choice("AB"),
            because="seen",
            by="desk",
            at_us=0,
        )
        record = decision_record(topic, seen.partition, epoch, CAPTURE_IDENTITY.encode(), seen.key.encode(), decision)
        producer = self._log.init_producer("desk")
        offered = Offered(record.key, record.value, record.headers)
        offset = self._log.append("desk", producer, _TIMEOUT_S, (topic, seen.partition), [offered])
        order_id = tables.order_id_of(seen.key.encode())
        self._told(seen.partition, offset, Told(seen, decision, order_id, epoch))
        self._log.end("desk", producer, commit=True)
