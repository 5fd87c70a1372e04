"""Follows the heartbeats of the systems and tells the partitions of a decide worker which of them they have passed.

The order is the guarantee (design 10): a beat is read committed, then the ends of the capture partitions are taken, and
a partition has passed the beat when everything below its end is durable in truth. Connect commits in the order of the
source's log, so what was committed there before the beat lies below these ends.

The end is that of everything written, not the last stable offset: Kafka makes a transaction visible partition by
partition, so a beat may be seen before the changes of its own transaction are (found by the simulation).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, Protocol

import structlog
from faust.types import TP

from trueup.adapters.schema_registry import SchemaRegistry
from trueup.core.connector_config import heartbeat_topic
from trueup.core.decode import EnvelopeDecoder, decode, schema_ids
from trueup.core.ordering import Guard, check_position
from trueup.core.watermark import Pending, may_mark, speaks_of
from trueup.model.decision import Skip
from trueup.model.errors import Retryable, SourceWentBack, Stop
from trueup.model.event import ChangeEvent, LogRecord, Op
from trueup.model.registration import Table
from trueup.model.watermark import Beat
from trueup.runtime.lane import Lane
from trueup.runtime.partition_memory import PartitionMemory

_POLL_S: Final = 0.1  # how long a beat that is passed may wait for its marker at most, while nothing else happens
_BUSY_POLL_S: Final = 0.02
_TURNS_MAX: Final = 8  # idle partitions marked at a time: a marker is a transaction, and changes wait behind it
_BACKOFF_S: Final = 1.0

log = structlog.get_logger("trueup.watermarks")


class Heartbeats(Protocol):
    """What is asked of Kafka; `adapters.heartbeat_log` is the real one."""

    async def start(self, starts: Mapping[str, int]) -> None: ...

    async def poll(self, timeout_s: float) -> list[LogRecord]: ...

    async def ends(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]: ...

    async def stop(self) -> None: ...


class _System:
    """What is known of one system's heartbeats.

    :ivar since: from this offset on every beat was read; None before the first.
    :ivar next: where reading goes on after an outage.
    :ivar went_back: its log did; nothing may be said of its partitions until a new epoch begins.
    :ivar fell_in: the epoch in which it did. Partitions that are in a later one go on.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.guard = Guard()
        self.since: int | None = None
        self.next: int | None = None
        self.went_back: SourceWentBack | None = None
        self.fell_in = 0


class _Partition(NamedTuple):
    """What is known of an owned partition, by system that writes its table.

    :param marked: its mark is of the epoch it is in.
    :param epochs: it was in when it was taken over; 0: it met no record yet. A new epoch takes it over anew.
    """

    pending: dict[str, Pending[Beat]]
    marked: frozenset[str]
    epochs: dict[str, int]


class Watermarks:
    """Of one decide worker.

    :param tables: by capture topic. Each system that writes a table marks its partitions for itself.
    """

    def __init__(self, heartbeats: Heartbeats, registry: SchemaRegistry, tables: Mapping[str, Table]) -> None:
        self._heartbeats, self._registry, self._tables = heartbeats, registry, tables
        self._systems = {name: _System(name) for name in sorted({s for t in tables.values() for s in t.systems})}
        self._by_topic = {heartbeat_topic(name): system for name, system in self._systems.items()}
        self._decoders: dict[int, EnvelopeDecoder] = {}
        self._owned: dict[TP, _Partition] = {}
        self._restarts = True

    # --- asked by the handler ---

    def taken(self, tp: TP, memory: PartitionMemory) -> None:
        """A partition was taken over. The beats since its mark are read again: the log may have gone back meanwhile.
        Not those of an epoch that is over: it may have ended because the log went back."""
        names = self._tables[tp.topic].systems
        epochs = {name: memory.guard_of(name).epoch for name in names}
        marks = {name: mark for name in names if (mark := memory.marks.get(name)) and mark.epoch >= epochs[name]}
        self._owned[tp] = _Partition({name: Pending() for name in names}, frozenset(marks), epochs)
        for name, mark in marks.items():
            system = self._systems[name]
            if system.since is None or mark.offset < system.since:
                system.since = system.next = mark.offset
                self._restarts = True

    def released(self, tp: TP) -> None:
        self._owned.pop(tp, None)

    def passed(self, tp: TP, position: int, memory: PartitionMemory) -> list[Beat]:
        """The beats a partition is to be marked with when everything below a position is durable, one of a system.

        :param memory: as it will be committed together with the markers.
        """
        owned = self._owned.get(tp)
        taken = [] if owned is None else [pending.take(position) for pending in owned.pending.values()]
        return [beat for beat in taken if beat is not None and self._may_mark(beat, memory)]

    def _may_mark(self, beat: Beat, memory: PartitionMemory) -> bool:
        if self._systems[beat.system].went_back is not None:
            return False
        return may_mark(beat, memory.marks.get(beat.system), memory.guard_of(beat.system), memory.unswept)

    def check(self, tp: TP) -> None:
        """Raises SourceWentBack when the heartbeat of a system says so; the table itself may not have changed."""
        for fall in self._falls(tp):
            raise fall

    def _falls(self, tp: TP) -> list[SourceWentBack]:
        """Of logs that went back in the epoch of the partition."""
        epochs = self._owned[tp].epochs if tp in self._owned else {}
        systems = [(self._systems[name], epoch) for name, epoch in epochs.items()]
        return [s.went_back for s, epoch in systems if s.went_back is not None and s.fell_in >= epoch]

    # --- the work ---

    async def run(self, lane: Lane) -> None:
        """Until cancelled. What Kafka refuses is tried again: without beats copies grow old, and say so, but nothing
        else suffers; probes and partitions name the outage."""
        try:
            while True:
                try:
                    await self._step(lane)
                except (Retryable, Stop) as exc:
                    log.debug("heartbeats wait", error=exc.primary, detail=exc.detail)
                    self._restarts = True
                    await asyncio.sleep(_BACKOFF_S)
        finally:
            await self._heartbeats.stop()

    async def _step(self, lane: Lane) -> None:
        if not self._owned:
            await asyncio.sleep(_POLL_S)
            return
        if self._restarts:
            self._restarts = False
            await self._heartbeats.start({t: s.next for t, s in self._by_topic.items() if s.next is not None})
        more = self._turn_due(lane)
        records = await self._heartbeats.poll(_BUSY_POLL_S if more else _POLL_S)
        if records:
            await self._follow(records)

    async def _follow(self, records: list[LogRecord]) -> None:
        await self._learn_schemas(records)
        newest: dict[str, Beat] = {}
        filled: dict[str, str | None] = {}
        for record in records:
            found = self._beat_of(record)
            if found is not None:
                beat, filled[beat.system] = found
                newest[beat.system] = beat
        places = {tp: [name for name in newest if self._speaks_of(tp, name, filled[name])] for tp in self._owned}
        # After the beat was seen, not before: see the top of this file.
        ends = await self._heartbeats.ends([(tp.topic, tp.partition) for tp, speaking in places.items() if speaking])
        for tp, speaking in places.items():
            owned, end = self._owned.get(tp), ends.get((tp.topic, tp.partition))
            if owned is not None and end is not None:
                for name in speaking:
                    owned.pending[name].add(newest[name], end)

    def _speaks_of(self, tp: TP, system: str, filled: str | None) -> bool:
        """:param filled: what the newest beat of the system names."""
        owned = self._owned[tp]
        if system not in owned.pending:
            return False
        return speaks_of(filled, self._tables[tp.topic].table, is_marked=system in owned.marked)

    def _beat_of(self, record: LogRecord) -> tuple[Beat, str | None] | None:
        """The beat of a record, and which tables it names. Rows of a snapshot are none: the stream has not begun."""
        system = self._by_topic[record.topic]
        name, system.next = system.name, record.offset + 1
        system.since = record.offset if system.since is None else system.since
        event = decode(record, self._decoders)
        row = event.row or {} if isinstance(event, ChangeEvent) else {}
        if not isinstance(event, ChangeEvent) or event.system != name or row.get("system") != name:
            return None
        if event.epoch > system.guard.epoch:
            system.went_back = None
        try:
            moved = check_position(event, system.guard)
        except SourceWentBack as exc:
            if system.went_back is None:
                log.error("source went back", system=name, error=exc.primary, detail=exc.detail, hint=exc.hint)
            system.went_back, system.fell_in = exc, event.epoch
            return None
        if isinstance(moved, Skip) or event.op is not Op.UPDATE or event.position is None:
            return None
        system.guard = moved
        return Beat(name, event.epoch, event.position, event.commit_time_us, record.offset), row.get("filled")

    async def _learn_schemas(self, records: list[LogRecord]) -> None:
        for schema_id in schema_ids(records) - self._decoders.keys():
            try:
                schema = await asyncio.to_thread(self._registry.schema_by_id, schema_id)
                self._decoders[schema_id] = EnvelopeDecoder(schema)
            except (LookupError, ValueError):
                log.warning("a heartbeat cannot be read", schema_id=schema_id)

    def _turn_due(self, lane: Lane) -> bool:
        """Has idle partitions marked, a few at a time. Returns whether others wait."""
        due = [tp for tp in list(self._owned) if self._is_due(tp, lane)]
        for tp in due[:_TURNS_MAX]:
            lane.turn(tp)
        return bool(due)

    def _is_due(self, tp: TP, lane: Lane) -> bool:
        state = lane.partitions.get(tp)
        if state is None or not state.ready or state.in_flight is not None or state.stopped is not None:
            return False
        if any(pending.is_due(state.position) for pending in self._owned[tp].pending.values()):
            return True
        return bool(self._falls(tp))
