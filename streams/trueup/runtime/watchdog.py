"""The watchdog of a worker: lag, readiness, and the end of a process that makes no progress (faust#175, #523, #629).

A worker is alive when its work moves, not when its process exists. Idle is no stall: lag is 0 when the read position
equals the last stable offset and nothing is in flight.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from faust.types import TP

from trueup.model.errors import Fenced, Retryable, Stalled
from trueup.runtime.lane import Lane
from trueup.runtime.metrics import WorkerMetrics
from trueup.runtime.process_exit import exit_process

_TICK_S: Final = 1.0
_STOPPED_LOOK_S: Final = 5.0  # how long after a resync a stopped worker notices; one request per stopped partition

TakenOver = Callable[[TP], Awaitable[bool]]


class Watchdog:
    """Looks once a second.

    :param table_of: the table a topic belongs to, for labels.
    :param taken_over: whether a command was run that may have cured what stopped a partition.
    """

    def __init__(
        self,
        lane: Lane,
        metrics: WorkerMetrics,
        table_of: Mapping[str, str],
        stall_timeout_s: float,
        taken_over: TakenOver | None = None,
    ) -> None:
        self._lane, self._metrics, self._table_of = lane, metrics, table_of
        self._stall_timeout_s = stall_timeout_s
        self._taken_over = taken_over
        self._asked_at = 0.0
        self._moved: dict[TP, tuple[int, float]] = {}
        self._preparing: dict[TP, float] = {}
        self.assigned = False

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            try:
                await self.look()
                await self.look_at_stopped()
            except (Stalled, Fenced) as exc:
                exit_process(exc)

    async def look(self) -> None:
        """One look. Raises Stalled."""
        now = asyncio.get_running_loop().time()
        lane = self._lane
        ends = {} if lane.consumer is None else await lane.consumer.last_stable_offsets()
        lags: dict[str, int] = defaultdict(int)
        for tp, state in list(lane.partitions.items()):
            if state.ready and state.in_flight is None and tp in ends and ends[tp] < state.position:
                lane.prepare_anew(tp)  # a log never becomes shorter: it is another one, which prepare says
            lag = max(0, ends.get(tp, 0) - state.position) if state.ready else 0
            lags[self._table_of[tp.topic]] += lag
            waits = state.trouble is not None or bool(lane.outages.reasons())
            excused = state.stopped is not None or waits or lane.draining
            self._check(tp, state.position, now, busy=not excused and (lag > 0 or state.in_flight is not None))
        for table in set(self._table_of.values()):
            self._metrics.lag(table, lags[table])
            states = [s for tp, s in lane.partitions.items() if self._table_of[tp.topic] == table]
            self._metrics.stopped(table, [s.stopped for s in states if s.stopped is not None])
        self._look_at_preparing(now)
        self._metrics.ready.set(0 if self.reasons() or lane.outages.reasons() else 1)

    def _look_at_preparing(self, now: float) -> None:
        """For how long partitions of a table are being taken over (producer, offsets, recovery of the state)."""
        waiting = {tp for tp, s in self._lane.partitions.items() if not s.ready and s.stopped is None}
        self._preparing = {tp: self._preparing.get(tp, now) for tp in waiting}
        longest = dict.fromkeys(self._table_of.values(), 0.0)
        for tp, since in self._preparing.items():
            table = self._table_of[tp.topic]
            longest[table] = max(longest[table], now - since)
        for table, seconds in longest.items():
            self._metrics.preparing(table, seconds)

    async def look_at_stopped(self) -> None:
        """Nobody tries a stopped partition again; but a command that cured it lets this process start anew."""
        now = asyncio.get_running_loop().time()
        stopped = [tp for tp, state in self._lane.partitions.items() if state.stopped is not None]
        if self._taken_over is None or not stopped or now - self._asked_at < _STOPPED_LOOK_S:
            return
        self._asked_at = now
        try:
            cured = [tp for tp in stopped if await self._taken_over(tp)]
        except Retryable:
            return
        if cured:
            raise Fenced(
                f'what stopped partition {cured[0].partition} of "{cured[0].topic}" may be gone',
                detail="a new epoch has begun there, or trueup apply took other columns over",
                hint="the worker ends and is started anew",
            )

    def _check(self, tp: TP, position: int, now: float, *, busy: bool) -> None:
        seen, since = self._moved.get(tp, (-1, now))
        if not busy or position != seen:
            self._moved[tp] = (position, now)
        elif now - since > self._stall_timeout_s:
            raise Stalled(
                f'partition {tp.partition} of "{tp.topic}" stands still',
                detail=f"at {position} for {now - since:.0f} s although there is work",
                hint="the worker ends and is started anew; see what its last batch waited for",
            )

    def reasons(self) -> list[str]:
        """Why the worker is not ready; empty when it is."""
        lane = self._lane
        if lane.draining:
            return ["draining"]
        reasons = []
        if not self.assigned and not lane.partitions:
            reasons.append("waiting for partitions")
        for tp, state in lane.partitions.items():
            where = f"{tp.topic}/{tp.partition}"
            if state.stopped is not None:
                reasons.append(f"stopped: {where}: {state.stopped.primary} -> {state.stopped.hint or 'see its log'}")
            elif state.trouble is not None:
                reasons.append(f"retrying: {where}: {state.trouble.primary}")
            elif not state.ready:
                reasons.append(f"preparing: {where}")
        return reasons
