"""What happens to the partitions of a worker: prepared, one batch in flight each, retried, stopped, revoked.

Only this file changes a partition's state. `runtime.batch_lane` is how Faust's consumer feeds it, and has the rules.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import msgspec
import structlog
from faust.types import TP

from trueup.model.errors import Retryable, Stop
from trueup.runtime.backoff import backoff_s
from trueup.runtime.breaker import Breaker
from trueup.runtime.outages import Outages
from trueup.runtime.process_exit import exit_process

_REVOKED_GRACE_S: Final = 10.0  # a revoked batch has so long to finish, then it is rolled back (design 7)
_BACKOFF_S_MAX: Final = 15.0
_HOLD_S: Final = 5.0  # how long an idle partition may not know that its claim is gone; arbitrary, a small query each

log = structlog.get_logger("trueup.lane")


class LaneConsumer(Protocol):
    """What the lane asks of the consumer."""

    def wake(self) -> None:
        """Ends an idle wait."""
        ...

    async def seek_to(self, tp: TP, position: int) -> None:
        """Reading goes on there. Once it does, this returns without a pause: a fetch of an older generation may take
        from there, and only a partition that is ready by then is read again from its position.
        """
        ...

    async def last_stable_offsets(self) -> dict[TP, int]:
        """Ends of the assigned partitions, as of the latest fetch."""
        ...


class Batch(msgspec.Struct, frozen=True):
    """Consecutive records of one partition; `end` is the read position behind them. Records may be empty (markers).

    :param stable_end: where the partition ended for readers of committed records when these were fetched, or later;
        None where that is not known.
    """

    tp: TP
    records: list[Any]
    start: int
    end: int
    generation: int
    stable_end: int | None = None


class Handler(Protocol):
    """What a worker does with partitions; the decide and the apply agent are the two of them."""

    async def prepare(self, tp: TP) -> int:
        """Takes the partition over; returns where reading starts."""
        ...

    async def process(self, batch: Batch) -> None:
        """Makes the batch durable, position included, or raises."""
        ...

    async def hold(self, tp: TP) -> None:
        """Looks whether the partition is still held as it was prepared. Raises Retryable when it is not."""
        ...

    async def release(self, tp: TP) -> None:
        """Gives the partition up; whatever was not durable is void."""
        ...


class PartitionState:
    """Where one assigned partition stands. Only the lane changes it."""

    def __init__(self) -> None:
        self.position = -1
        self.ready = False
        self.stopped: Stop | None = None
        self.in_flight: Batch | None = None
        self.in_flight_since = 0.0
        self.task: asyncio.Task[None] | None = None
        self.process_failures = 0
        self.prepare_failures = 0
        self.trouble: Retryable | None = None
        self.named: str | None = None  # the trouble that was met since the latest success


class Lane:
    """The partitions of one worker and what happens to them.

    :param breaker: of the part that `handler.prepare` takes partitions over at.
    """

    def __init__(self, handler: Handler, outages: Outages | None = None, breaker: Breaker | None = None) -> None:
        self.handler = handler
        self.outages = outages or Outages()
        self.breaker = breaker
        self.on_retry: Callable[[Retryable], None] = lambda _: None  # for metrics, as is the next
        self.on_assigned: Callable[[], None] = lambda: None
        self.partitions: dict[TP, PartitionState] = {}
        self.consumer: LaneConsumer | None = None
        self.draining = False
        self.alive_at = 0.0
        self._turns: set[TP] = set()

    def fetchable(self) -> set[TP]:
        """Partitions that may deliver their next batch."""
        if self.draining:
            return set()
        return {tp for tp, p in self.partitions.items() if p.ready and p.in_flight is None and p.stopped is None}

    def turn(self, tp: TP) -> None:
        """Asks that the handler gets an empty batch of an idle partition: it has work that no record brings."""
        self._turns.add(tp)
        self._wake()

    def give_turns(self) -> None:
        """Between two fetches: one that is under way would bring records that the partition may not take."""
        turns, self._turns = self._turns, set()
        for tp in sorted(turns & self.fetchable()):
            state = self.partitions[tp]
            batch = Batch(tp, [], state.position, state.position, -1)
            if self.accept(batch):
                self.begin(batch)

    def accept(self, batch: Batch) -> bool:
        """Books a fetched batch; False when it does not continue where the partition stands."""
        state = self.partitions.get(batch.tp)
        if state is None or not state.ready or state.in_flight is not None or state.position != batch.start:
            return False
        state.in_flight = batch
        state.in_flight_since = asyncio.get_running_loop().time()
        return True

    def begin(self, batch: Batch) -> None:
        """Called by the agent: works on the batch in a task of its own, so that partitions overlap."""
        state = self.partitions.get(batch.tp)
        if state is not None and state.in_flight is batch:
            state.task = asyncio.create_task(
                self._work(batch, state), name=f"batch-{batch.tp.topic}-{batch.tp.partition}"
            )

    async def _work(self, batch: Batch, state: PartitionState) -> None:
        try:
            await self.handler.process(batch)
        except asyncio.CancelledError:
            raise
        except Stop as exc:
            self._stop(batch.tp, state, exc)
        except Retryable as exc:
            state.ready, state.in_flight = False, None
            state.process_failures += 1
            self._prepare_later(batch.tp, state, exc, state.process_failures)
        except BaseException as exc:
            exit_process(exc)
        else:
            if self.breaker is not None:
                self.breaker.answered()
            if state.named is not None:
                log.info("partition goes on", partition=_name(batch.tp), after_failures=state.process_failures)
            state.position, state.in_flight, state.process_failures = batch.end, None, 0
            state.trouble = state.named = None
            self._wake()

    def _stop(self, tp: TP, state: PartitionState, exc: Stop) -> None:
        self.outages.forget(_name(tp))
        state.ready, state.stopped, state.in_flight = False, exc, None
        log.error(
            "table stopped", topic=tp.topic, partition=tp.partition, error=exc.primary, detail=exc.detail, hint=exc.hint
        )

    def _prepare_later(self, tp: TP, state: PartitionState, exc: Retryable, failures: int) -> None:
        if self.partitions.get(tp) is not state:
            return  # given up meanwhile: preparing it would fence its new owner
        self.outages.begin(_name(tp), exc, named=state.named == exc.primary)
        self.on_retry(exc)
        state.trouble, state.named = exc, exc.primary
        delay_s = backoff_s(failures, _BACKOFF_S_MAX)
        if self.breaker is not None and self.breaker.concerns(exc):
            self.breaker.failed()
            if not state.process_failures:
                delay_s = 0.0  # it waits for its turn; after a batch that failed, for longer and longer besides
        state.task = asyncio.create_task(self._prepare(tp, state, delay_s), name=f"prepare-{tp.topic}-{tp.partition}")

    async def _prepare(self, tp: TP, state: PartitionState, delay_s: float = 0.0) -> None:
        try:
            await asyncio.sleep(delay_s)
            async with self.breaker.asking() if self.breaker is not None else contextlib.nullcontext():
                position = await self.handler.prepare(tp)
        except asyncio.CancelledError:
            raise
        except Retryable as exc:
            state.prepare_failures += 1
            self._prepare_later(tp, state, exc, state.prepare_failures)
            return
        except Stop as exc:
            self._stop(tp, state, exc)
            return
        except BaseException as exc:
            exit_process(exc)
        if self.partitions.get(tp) is not state or self.consumer is None:
            return
        if state.process_failures:  # a part may answer and then refuse: only a batch proves more
            self.outages.forget(_name(tp))
        else:
            self.outages.end(_name(tp))
            state.named = None
        await self.consumer.seek_to(tp, position)
        # Failures of batches are forgotten by a batch that went through, not by a part that answers and then refuses.
        state.position, state.ready, state.trouble, state.prepare_failures = position, True, None, 0
        self._wake()

    async def keep_hold(self) -> None:
        """Asks for ever, for partitions without work, what a batch would find out for the others."""
        while True:
            await asyncio.sleep(_HOLD_S)
            for tp, state in list(self.partitions.items()):
                if state.ready and state.in_flight is None:
                    await self._hold(tp, state)

    async def _hold(self, tp: TP, state: PartitionState) -> None:
        try:
            await self.handler.hold(tp)
        except Retryable as exc:
            if state.ready and state.in_flight is None:  # else a batch began meanwhile, and finds out by itself
                state.ready = False
                state.prepare_failures += 1
                self._prepare_later(tp, state, exc, state.prepare_failures)

    def prepare_anew(self, tp: TP) -> None:
        """The log is not where the partition stands: whether it still is the same one is for `prepare` to say."""
        state = self.partitions.get(tp)
        if state is not None and state.ready and state.in_flight is None:
            state.ready = False
            state.task = asyncio.create_task(self._prepare(tp, state), name=f"prepare-{tp.topic}-{tp.partition}")

    def _wake(self) -> None:
        if self.consumer is not None:
            self.consumer.wake()

    def assigned(self, tps: Iterable[TP]) -> None:
        """Every rebalance prepares every partition anew: rule 3 has no exceptions to get wrong."""
        self.on_assigned()
        for tp in tps:
            state = self.partitions[tp] = PartitionState()
            state.task = asyncio.create_task(self._prepare(tp, state), name=f"prepare-{tp.topic}-{tp.partition}")

    async def revoke_all(self, grace_s: float = _REVOKED_GRACE_S) -> None:
        """Lets batches in flight finish for a while, rolls back the others, and releases every partition."""
        states, self.partitions = self.partitions, {}
        working = [s.task for s in states.values() if s.task is not None and not s.task.done() and s.in_flight]
        if working:
            await asyncio.wait(working, timeout=grace_s)
        leftover = [s.task for s in states.values() if s.task is not None and not s.task.done()]
        for task in leftover:
            task.cancel()
        await asyncio.gather(*leftover, return_exceptions=True)
        for tp in states:
            self.outages.forget(_name(tp))
            try:
                await self.handler.release(tp)
            except Retryable as exc:  # a goodbye to a dead part keeps no other partition
                log.warning("partition given up", topic=tp.topic, partition=tp.partition, error=exc.primary)


def _name(tp: TP) -> str:
    return f"{tp.topic}/{tp.partition}"
