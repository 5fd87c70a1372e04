"""Time, processes and faults. One seed decides every latency, every fault and so the order of everything.

Each simulated process has an event loop of its own, but all loops book what is to happen in one timeline, and time
jumps along it. What a stopped process (SIGSTOP) has booked waits until it goes on; what a killed one has booked is
dropped. So the real code of the workers runs unchanged, with its tasks, timers and locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
import sys
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Literal, NamedTuple, NoReturn

from tests.simulation.crash_points import POINTS, SELDOM_REACHED

FaultKind = Literal["kill", "pause", "error", "cut"]
_LATENCY_S_MAX = 0.02  # of one effect; a network inside one site
_THROWS_MAX = 100


class Ended(BaseException):
    """The process of the code that meets this is dead: nothing it does any more has an effect."""


class Stuck(Exception):
    """Nothing will happen any more, or not before the deadline."""


class Fault(NamedTuple):
    """What happens at the nth time that any process reaches a point.

    :param seconds: how long a pause or a cut from the group lasts.
    """

    point: str
    nth: int
    kind: FaultKind
    seconds: float


class Faults:
    """The faults of one run, chosen before it starts, by point: rarely reached points are hit as often as others."""

    def __init__(self, planned: list[Fault]) -> None:
        self.planned = {(fault.point, fault.nth): fault for fault in planned}
        self.reached: Counter[str] = Counter()
        self.hit: Counter[tuple[str, FaultKind]] = Counter()

    @classmethod
    def chosen(cls, rng: random.Random) -> Faults:
        """One to seven faults: a run reaches a point between once in many seeds and some hundred times."""
        return cls([cls._one(rng) for _ in range(rng.randint(1, 7))])

    @staticmethod
    def _one(rng: random.Random) -> Fault:
        points, rate = rng.choice(((POINTS, 0.1), (POINTS, 1.5), (SELDOM_REACHED, 2.0)))
        return Fault(
            rng.choice(points),
            1 + int(rng.expovariate(rate)),
            rng.choices(("kill", "pause", "error", "cut"), (45, 25, 20, 10))[0],
            rng.uniform(2, 40),
        )

    def met(self, point: str) -> Fault | None:
        self.reached[point] += 1
        return self.planned.pop((point, self.reached[point]), None)


class World:
    """Everything that happens, and when."""

    def __init__(self, seed: int, *, keeps_trace: bool = False) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = 0.0
        self.processes: list[Process] = []
        self.ended: list[Process] = []  # to be buried
        self.faults = Faults.chosen(self.rng)
        self.findings: list[str] = []
        self.ready: deque[tuple[Process, asyncio.Handle]] = deque()
        self.timers: list[tuple[float, int, Process, asyncio.Handle]] = []
        self._number = self._started = 0
        self._trace: list[tuple[float, str, str, tuple[Any, ...]]] | None = [] if keeps_trace else None

    def note(self, who: str, what: str, *facts: Any) -> None:
        if self._trace is not None:
            self._trace.append((self.now, who, what, facts))

    def trace(self) -> list[str]:
        return [
            f"{at:9.4f} {who:<12} {what} {' '.join(str(fact) for fact in facts)}".rstrip()
            for at, who, what, facts in self._trace or ()
        ]

    def finding(self, text: str) -> None:
        """An invariant does not hold."""
        self.note("INVARIANT", text)
        if len(self.findings) < 20:
            self.findings.append(f"at {self.now:.3f} s: {text}")

    def process(self, name: str) -> Process:
        self._started += 1
        started = Process(self, name, self._started)
        self.processes.append(started)
        return started

    def run(self, main: asyncio.Task[None], deadline_s: float) -> None:
        """Until the main task ends. Raises what it raises, and Stuck."""
        before, hooks = asyncio._get_running_loop(), sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=_close_at_once)
        try:
            self._run(main, deadline_s)
        finally:
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(before)
        main.result()

    def _run(self, main: asyncio.Task[None], deadline_s: float) -> None:
        ready, timers = self.ready, self.timers
        current: Process | None = None
        while not main.done():
            if ready:
                process, handle = ready.popleft()
            elif timers and timers[0][0] <= deadline_s:
                when, _, process, handle = heapq.heappop(timers)
                self.now = max(self.now, when)
            else:
                raise Stuck(f"not done after {deadline_s:.0f} s" if timers else "everybody waits for ever")
            if not process.alive or handle.cancelled():
                continue
            if process.paused_until > self.now:
                self.at(process.paused_until, process, handle)
                continue
            if process is not current:  # setting it costs as much as running a small handle
                asyncio._set_running_loop(process.loop)
                current = process
            handle._run()
            while self.ended:
                self._bury(self.ended.pop())

    def _bury(self, process: Process) -> None:
        self.processes.remove(process)
        process.bury()

    def at(self, when: float, process: Process, handle: asyncio.Handle) -> None:
        self._number += 1
        heapq.heappush(self.timers, (when, self._number, process, handle))

    def kill(self, process: Process) -> None:
        """SIGKILL from outside."""
        if process.alive:
            process.alive = False
            self.note(process.name, "killed")
            self._bury(process)

    def close(self) -> None:
        """Ends what is left, so that nothing of this run is alive in the next."""
        for process in self.processes:
            process.alive = False
            process.bury()
        self.processes.clear()


class Process:
    """An operating system's process: tasks on a loop of their own, until killed.

    :ivar slowness: factor of all latencies.
    :ivar cut_until: till then the group's coordinator does not hear it, although it works on.
    :ivar at_end: what the rest of the world notices of its end: connections are closed.
    """

    def __init__(self, world: World, name: str, number: int) -> None:
        self.world = world
        self.name = name
        self.number = number
        self.alive = True
        self.immune = False
        self.paused_until = 0.0
        self.cut_until = 0.0
        self.slowness = 1.0
        self.ended_by: BaseException | None = None
        self.at_end: list[Callable[[], None]] = []
        self.loop = ProcessLoop(self)
        self._random = world.rng.random

    def start(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return self.loop.create_task(coroutine, name=name)

    async def passes(self, seconds: float) -> None:
        if not self.alive:
            raise Ended
        done = self.loop.create_future()
        self.loop.call_later(seconds, _resolve, done)
        await done

    async def reach(self, point: str, error: Callable[[], Exception] | None = None) -> None:
        """A place where time passes, others run, and a fault may strike.

        :param error: makes what the code there may have to expect of a broken connection.
        """
        if not self.alive:
            raise Ended
        if self._random() < 0.4:  # else at once: some effects follow each other without anybody between them
            await self.passes(self._random() * _LATENCY_S_MAX * self.slowness)
        if self.strike(point, error):
            await self.passes(0)

    def strike(self, point: str, error: Callable[[], Exception] | None = None) -> bool:
        """The fault that is planned here. True when the process is to stop before it goes on."""
        if not self.alive:
            raise Ended
        if self.immune:
            return False
        fault = self.world.faults.met(point)
        if fault is None:
            return False
        kind = "kill" if fault.kind == "error" and error is None else fault.kind
        self.world.faults.hit[point, kind] += 1
        self.world.note(self.name, f"FAULT {kind}", point, f"#{fault.nth}")
        match kind:
            case "kill":
                self.end(None)
            case "error":
                assert error is not None
                raise error()
            case "pause":
                self.paused_until = self.world.now + fault.seconds
                return True
            case "cut":
                self.cut_until = self.world.now + fault.seconds
        return False

    def end(self, cause: BaseException | None) -> NoReturn:
        """SIGKILL (None), or the process's own exit. Raises Ended: whoever runs in it runs no further."""
        if self.alive:
            self.world.ended.append(self)
        self.alive = False
        self.ended_by = cause
        if cause is not None:
            self.world.note(self.name, "exit", type(cause).__name__, cause)
        raise Ended

    def bury(self) -> None:
        """Unwinds what still waits; the dead can do nothing, and nobody is left to complain about their tasks."""
        for told in self.at_end:
            told()
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self.loop)
        try:
            for task in asyncio.all_tasks(self.loop):
                _unwind(task)
        finally:
            asyncio._set_running_loop(before)
        self.loop.close()


def _unwind(task: asyncio.Task[Any]) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine: Any = task.get_coro()
    try:
        for _ in range(_THROWS_MAX):
            coroutine.throw(Ended())
    except (Ended, StopIteration, RuntimeError):
        return
    raise AssertionError(f"{task.get_name()} outlives its process")


def _close_at_once(generator: AsyncGenerator[Any, Any]) -> None:
    """An asynchronous generator that nobody reads to its end any more; asyncio would close it in a task."""
    closing: Any = generator.aclose()
    with contextlib.suppress(Ended, StopIteration):
        for _ in range(_THROWS_MAX):
            closing.send(None)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class ProcessLoop(asyncio.BaseEventLoop):
    """The event loop of one process: it books what is to happen, the world makes it happen."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process
        self._world = process.world

    def time(self) -> float:
        return self._world.now

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._world.ready.append((self.process, handle))
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._world.at(when, self.process, handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._world.now + delay, callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """At once: a thread would bring its own time."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self.process.alive:
            cause = context.get("exception")
            self._world.finding(f"{self.process.name}: {context['message']}: {cause!r}")
