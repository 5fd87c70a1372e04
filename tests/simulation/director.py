"""One run: sources are captured while workers, hosts and databases fail; then all heals, drains and is compared.

What the sources are and what must come of them is said by its two kinds, `owner_run` and `writers_run`.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from tests.simulation import tables
from tests.simulation.database import Database
from tests.simulation.desk import Desk, Told
from tests.simulation.group import Group
from tests.simulation.invariants import ApplyChecks, DecideChecks, check_end, check_same, check_stopped
from tests.simulation.log import SimulatedLog
from tests.simulation.schedule import Ended, FaultKind, Process, Stuck, World
from tests.simulation.source import Captured, Write
from tests.simulation.store import Disk, Fate
from tests.simulation.worker import Parts, Worker, capture_partitions, exits_end_their_process, truth_partitions
from trueup.model.registration import Table
from trueup.runtime.partition_memory import DECIDE_GROUP

_DRAIN_S_MAX: Final = 400.0  # what a run may take after its last fault: session, backoffs, lock timeouts, several times
LOOK_S: Final = 1.0
_CONNECT_TIMEOUT_S: Final = 30.0
_RESTART_S_MAX: Final = 4.0
_FATES: Final[tuple[Fate, ...]] = ("intact", "stale", "lost")


class Report(msgspec.Struct):
    """What a run showed."""

    seed: int
    findings: list[str]
    hit: dict[tuple[str, FaultKind], int]
    events: dict[str, int]
    ended_at_s: float
    trace: list[str]


class Slot:
    """A worker that a supervisor keeps running."""

    def __init__(self, name: str, start: Callable[[Process], Worker], disk: Disk | None) -> None:
        self.name, self.start, self.disk = name, start, disk
        self.worker: Worker | None = None
        self.restart_at = 0.0


class Run(ABC):
    """One seed."""

    def __init__(self, seed: int, parts: type[Parts] = Parts, *, keeps_trace: bool = False) -> None:
        self.world = World(seed, keeps_trace=keeps_trace)
        self.rng = self.world.rng
        self.log = SimulatedLog(self.world, tables.TOPICS, tables.PARTITIONS)
        self.table = self._registered()
        self.parts = parts(self.log, self.table)
        self.desk = Desk(self.log, self.table, self._told)
        self._prepare()
        self.decide_group = Group(self.log, capture_partitions(self.table))
        self.decide_checks = DecideChecks(self.log, self.table)
        self.databases = {replica: self._database(replica) for replica in tables.PLANS}
        self.apply_checks = {name: self._checks(database) for name, database in self.databases.items()}
        self.slots: list[Slot] = []
        self.events: dict[str, int] = {}
        self._is_calm = False
        self._connect_epoch = 0

    def report(self) -> Report:
        """Runs it."""
        director = self.world.process("director")
        director.immune = True
        with exits_end_their_process():
            try:
                self.world.run(director.start(self._main(director), "main"), deadline_s=3_000)
            except Stuck as error:
                self.world.finding(f"stuck: {error}")
            except Ended:
                pass
            finally:
                self.world.close()
        return Report(
            self.world.seed,
            self.world.findings,
            dict(self.world.faults.hit),
            self.events,
            self.world.now,
            self.world.trace(),
        )

    def _database(self, replica: str) -> Database:
        may_crash = self.rng.random() < 0.15
        return self.parts.database(
            Database(
                self.world, tables.PLANS[replica], lambda row: tables.refused_by(replica, row), may_crash=may_crash
            )
        )

    # --- what the kinds say ---

    @abstractmethod
    def _registered(self) -> Table:
        """The table as it is registered."""

    @abstractmethod
    def _prepare(self) -> None:
        """The sources."""

    @abstractmethod
    def _captures(self) -> Mapping[str, Iterable[Write]]:
        """What each connector writes, by its name as a producer; each write is made when its turn comes."""

    @abstractmethod
    def _checks(self, database: Database) -> ApplyChecks: ...

    def _told(self, partition: int, offset: int, told: Told) -> None:  # noqa: B027 - a kind may have nothing to add
        """Somebody decided a case."""

    def _appended(self, write: Write, written: list[tuple[Captured, int]]) -> None:  # noqa: B027 - a kind may have nothing to add
        """Records of the sources are in the log; what wrote them is about to be committed."""

    async def _captured(self, write: Write, connect: Process) -> None:  # noqa: B027 - a kind may have nothing to add
        """And it was committed."""

    async def _ends(self, director: Process) -> bool:
        """Whether the run is over; if not, a second passes."""
        if self._is_drained():
            return True
        await director.passes(LOOK_S)
        return False

    @abstractmethod
    def _compare(self) -> None:
        """All is drained: what the copies and cases must be now."""

    # --- the story ---

    async def _main(self, director: Process) -> None:
        self._hire()
        supervising = director.start(self._supervise(director), "supervise")
        capturing = [
            director.start(self._capture(director, name, writes), name) for name, writes in self._captures().items()
        ]
        disturbing = director.start(self._disturb(director), "disturb")
        judging = director.start(self._judge(director), "judge")
        for task in (*capturing, disturbing, judging):
            await task
        self.world.faults.planned.clear()
        self._is_calm = True
        calm_at = self.world.now
        while not await self._ends(director):
            if self.world.now - calm_at > _DRAIN_S_MAX:
                self.world.finding(f"stuck: {self._what_is_missing() or 'a copy is not marked'}")
                break
            if self.world.findings:
                break
        else:
            self._compare()
            await self._fill_anew(director)
        supervising.cancel()

    def _hire(self) -> None:
        for number in range(self.rng.choice((1, 2, 2, 3))):
            disk = Disk(self.rng)
            start = functools.partial(self.parts.decide, group=self.decide_group, disk=disk)
            self._slot(f"decide-{number}", start, disk)
        for replica, database in self.databases.items():
            group = Group(self.log, truth_partitions())
            for number in range(self.rng.choice((1, 1, 2))):
                start = functools.partial(self.parts.apply, group=group, database=database)
                self._slot(f"{replica}-{number}", start, None)

    def _slot(self, name: str, start: Callable[[Process], Worker], disk: Disk | None) -> None:
        slot = Slot(name, start, disk)
        slot.restart_at = self.rng.choice((0.0, 0.0, 0.0, self.rng.uniform(0, 20)))
        self.slots.append(slot)

    def _event(self, what: str) -> None:
        self.events[what] = self.events.get(what, 0) + 1
        self.world.note("director", what)

    async def _supervise(self, director: Process) -> None:
        """Starts what ended; looks, at every look, whether anybody believes more than is committed."""
        while True:
            for slot in self.slots:
                if slot.worker is None:
                    if self.world.now >= slot.restart_at:
                        self._start(slot)
                elif not slot.worker.process.alive:
                    check_end(slot.worker)
                    slot.worker = None
                    slot.restart_at = self.world.now + self.rng.random() * _RESTART_S_MAX
                    if slot.disk is not None and not self._is_calm:
                        fate = self.rng.choices(_FATES, (60, 25, 15))[0]
                        self._event(f"state {fate}")
                        slot.disk.meets(fate)
                else:
                    self._look_at(slot)
            await director.passes(0.5)

    def _start(self, slot: Slot) -> None:
        process = self.world.process(slot.name)
        process.slowness = self.rng.choice((1, 1, 1, 1, 20)) if not self._is_calm else 1
        slot.worker = slot.start(process)
        self.world.note(slot.name, "start")
        process.start(slot.worker.main(), "main")

    def _look_at(self, slot: Slot) -> None:
        assert slot.worker is not None
        check_stopped(slot.worker)
        if slot.worker.process.world.now < slot.worker.process.paused_until:
            return
        if slot.disk is not None:
            self.decide_checks.is_durable(slot.worker)
        else:
            self.apply_checks[slot.name.rpartition("-")[0]].is_durable(slot.worker)

    async def _capture(self, connect: Process, name: str, writes: Iterable[Write]) -> None:
        """Kafka Connect: each write is a transaction; an attempt that failed was aborted, or expires."""
        pace_s = self.rng.choice((0.05, 0.5, 2.0))
        epoch = self.log.init_producer(name)
        for write in writes:
            await connect.passes(self.rng.expovariate(1 / pace_s))
            if write.aborted_first:
                self._append(name, epoch, write)
                await connect.passes(self.rng.random())
                if self.rng.random() < 0.7:
                    self.log.end(name, epoch, commit=False)
                while not self.log.is_free(name):
                    await connect.passes(0.5)
                epoch = self.log.init_producer(name)
            self._connect_epoch = epoch
            self._commit(name, epoch, write)
            await self._captured(write, connect)
            while not self.log.is_free(name):
                await connect.passes(0.05)

    def _commit(self, name: str, epoch: int, write: Write) -> None:
        self._appended(write, self._append(name, epoch, write))
        self.log.end(name, epoch, commit=True)

    def _append(self, name: str, epoch: int, write: Write) -> list[tuple[Captured, int]]:
        """The records with their offsets."""
        places = [(captured.topic, captured.partition) for captured in write.records]
        return [
            (captured, self.log.append(name, epoch, _CONNECT_TIMEOUT_S, place, [captured.record]))
            for captured, place in zip(write.records, places, strict=True)
        ]

    async def _judge(self, person: Process) -> None:
        """Somebody looks at cases now and then."""
        for _ in range(self.rng.choice((0, 2, 5, 9))):
            await person.passes(self.rng.expovariate(0.5))
            await self._decide_case(person)

    async def _decide_case(self, person: Process) -> None:
        if await self.desk.judge(person):
            self._event("case decided")

    async def _disturb(self, director: Process) -> None:
        """What does not strike at a point of a worker's code: the world around it."""
        await director.passes(self.rng.uniform(0, 8))
        for _ in range(self.rng.choice((0, 1, 1, 2, 4))):
            await director.passes(self.rng.expovariate(0.3))
            kinds = (
                self._stop_one,
                self._compact,
                self._crash_database,
                self._forget_progress,
                self._delete_offsets,
                self._kill_all,
            )
            self.rng.choices(kinds, (30, 15, 20, 20, 10, 5))[0]()

    def _running(self) -> list[Worker]:
        return [slot.worker for slot in self.slots if slot.worker is not None and slot.worker.process.alive]

    def _stop_one(self) -> None:
        running = self._running()
        if running:
            self._event("SIGTERM")
            self.rng.choice(running).consumer.is_stopping = True

    def _compact(self) -> None:
        self._event("compaction")
        for topic, number in truth_partitions():
            self.log.partitions[topic, number].compact()
            self.log.partitions[self.table.cases_topic, number].compact()

    def _crash_database(self) -> None:
        self._event("database crash")
        self.rng.choice(list(self.databases.values())).crash()

    def _forget_progress(self) -> None:
        """An operator stops the workers of a replica and lets it read a partition from the beginning."""
        self._event("replica reads anew")
        tp = self.rng.choice(truth_partitions())
        replica = self.rng.choice(list(self.databases))
        self._kill(replica)
        self.databases[replica].forget_progress((tp.topic, tp.partition))

    def _delete_offsets(self) -> None:
        """The group's offsets are gone, which needs an empty group; nobody commits on from memory (F-23)."""
        if not self.log.is_quiet():
            return
        self._event("group offsets deleted")
        self._kill("decide")
        for group, topic, number in list(self.log.committed):
            if group == DECIDE_GROUP:
                del self.log.committed[group, topic, number]
        self.decide_checks.offsets_deleted()

    def _kill_all(self) -> None:
        self._event("all killed")
        self._kill("")

    def _kill(self, names: str) -> None:
        """The workers whose names begin so."""
        for slot in self.slots:
            if slot.worker is not None and slot.name.startswith(names):
                self.world.kill(slot.worker.process)

    # --- the end ---

    def _is_drained(self) -> bool:
        return not self._what_is_missing()

    def _what_is_missing(self) -> str:
        if not self.log.is_quiet():
            return "a transaction is open"
        for topic, number in capture_partitions(self.table):
            end = self.log.partitions[topic, number].end
            offset = self.log.committed.get((DECIDE_GROUP, topic, number), (0, ""))[0]
            if offset != end:
                return f"decided {offset} of {end} in {topic}/{number}"
        for database in self.databases.values():
            for topic, number in truth_partitions():
                end = self.log.partitions[topic, number].end
                progress = database.tables.progress.get((topic, number))
                if end and (progress is None or progress.next_offset != end):
                    return f"{database.plan.replica} is at {progress} of {end} in {topic}/{number}"
        return ""

    async def _fill_anew(self, director: Process) -> None:
        """A replica that nobody knew before, from the truth topic alone."""
        replica = self.rng.choice(list(tables.PLANS))
        followed = self.databases[replica]
        filled = self._database(replica)
        self._checks(filled)
        group = Group(self.log, truth_partitions())
        process = self.world.process("latecomer")
        process.immune = True
        worker = self.parts.apply(process, group, filled)
        process.start(worker.main(), "main")
        self.databases = {replica: filled}
        for _ in range(100):
            if self._is_drained():
                check_same(self.log, [filled, followed])
                return
            await director.passes(LOOK_S)
        self.world.finding(f"stuck: {self._what_is_missing()} when it was filled anew")
