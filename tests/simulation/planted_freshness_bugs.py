"""Bugs made on purpose in what a copy says of its freshness; `planted_bugs` has those in the data."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from faust.types import TP

from tests.simulation.database import Mark
from tests.simulation.heartbeats import SimulatedHeartbeats
from tests.simulation.schedule import Process
from tests.simulation.worker import Parts
from trueup.model.event import LogRecord, Position
from trueup.model.watermark import AsOf, Beat
from trueup.runtime.apply_agent import ApplyHandler
from trueup.runtime.lane import Batch, Handler
from trueup.runtime.partition_memory import PartitionMemory
from trueup.runtime.watermarks import Watermarks


class MarkedOneBatchEarly(Parts):
    """The decide stage marks a partition with a beat when the batch before the one that reaches it is committed."""

    class _Watermarks(Watermarks):
        def passed(self, tp: TP, position: int, memory: PartitionMemory) -> list[Beat]:
            for pending in self._owned[tp].pending.values() if tp in self._owned else ():
                pending._waiting = type(pending._waiting)((beat, 0) for beat, _ in pending._waiting)
            return super().passed(tp, position, memory)

    def watermarks(self, heartbeats: SimulatedHeartbeats) -> Watermarks:
        return self.made_watermarks(self._Watermarks, heartbeats)


class EndsReadCommitted(Parts):
    """The ends of capture partitions are last stable offsets: a beat is seen before changes of its own transaction."""

    class _Heartbeats(SimulatedHeartbeats):
        sees_committed_ends = True

    def heartbeats(self, process: Process) -> SimulatedHeartbeats:
        return self._Heartbeats(self.log, process)


class EndsReadFirst(Parts):
    """The ends of capture partitions are those of the beat before."""

    class _Heartbeats(SimulatedHeartbeats):
        _before: dict[tuple[str, int], int]

        async def ends(self, places: Any) -> dict[tuple[str, int], int]:
            asked = list(places)
            now = await super().ends(asked)
            before = getattr(self, "_before", {})
            self._before = now
            return {place: before.get(place, 0) for place in asked}

    def heartbeats(self, process: Process) -> SimulatedHeartbeats:
        return self._Heartbeats(self.log, process)


class NewestPartitionSpeaks(Parts):
    """A table is as of what its newest partition is: max instead of min."""

    def as_of(self, marks: Sequence[Mark | None]) -> Mark | None:
        return max((mark for mark in marks if mark is not None), default=None)


class TruncatesForgotten(Parts):
    """A partition that did not carry out a truncate yet is believed all the same."""

    first_seed = 140

    def as_of(self, marks: Sequence[Mark | None]) -> Mark | None:
        known = [mark for mark in marks if mark is not None]
        return min(known) if len(known) == len(marks) and len({mark.epoch for mark in known}) == 1 else None


class OwnTruncateForgotten(Parts):
    """A partition is marked between the truncate it passes on and its own control record."""

    class _Watermarks(Watermarks):
        def _may_mark(self, beat: Beat, memory: PartitionMemory) -> bool:
            guard = msgspec.structs.replace(memory.guard, passed_on=Position(0, 0))
            return super()._may_mark(beat, msgspec.structs.replace(memory, guard=guard))

    def watermarks(self, heartbeats: SimulatedHeartbeats) -> Watermarks:
        return self.made_watermarks(self._Watermarks, heartbeats)


class UnmarkedPartitionForgotten(Parts):
    """A partition that met no marker yet has no say."""

    def as_of(self, marks: Sequence[Mark | None]) -> Mark | None:
        return min((mark for mark in marks if mark is not None), default=None)


class CompactionForgotten(Parts):
    """A marker is believed when it is met, although truths before it may have been compacted away."""

    first_seed = 280

    class _Handler(ApplyHandler):
        def _arrived(self, batch: Batch, markers: Sequence[LogRecord]) -> AsOf | None:
            arriving = self._arriving[batch.tp]
            arriving.meet(markers, batch.end)
            return arriving.take(batch.end)

    def apply_handler(self, handler: ApplyHandler) -> Handler:
        handler._arrived = functools.partial(self._Handler._arrived, handler)  # type: ignore[method-assign, arg-type]
        return handler


class IdlePartitionsUnmarked(Parts):
    """Markers come with records only: a table at rest grows old."""

    class _Watermarks(Watermarks):
        def _turn_due(self, _lane: object) -> bool:
            return False

    def watermarks(self, heartbeats: SimulatedHeartbeats) -> Watermarks:
        return self.made_watermarks(self._Watermarks, heartbeats)


PLANTED: Final[tuple[type[Parts], ...]] = (
    MarkedOneBatchEarly,
    EndsReadCommitted,
    EndsReadFirst,
    NewestPartitionSpeaks,
    TruncatesForgotten,
    OwnTruncateForgotten,
    UnmarkedPartitionForgotten,
    CompactionForgotten,
    IdlePartitionsUnmarked,
)
