"""A run of a table with one owner: a shop with heartbeats and truncates, and a model of what must come of all that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from faust.types import TP

from tests.simulation import tables
from tests.simulation.database import Database
from tests.simulation.desk import Model, Told
from tests.simulation.director import LOOK_S, Run
from tests.simulation.freshness_checks import ReaderChecks
from tests.simulation.heartbeats import BeatName
from tests.simulation.invariants import ApplyChecks, check_copy
from tests.simulation.schedule import Process
from tests.simulation.source import Captured, Emptied, Shop, Write
from tests.simulation.worker import capture_partitions
from trueup.model.registration import Table
from trueup.runtime.partition_memory import DECIDE_GROUP, PartitionMemory

_CONNECT = "connect"


class OwnerRun(Run):
    """One seed."""

    def _registered(self) -> Table:
        return tables.ORDERS

    def _prepare(self) -> None:
        self.shop = Shop(self.rng)
        self.model = Model(self.log)
        self._readers: dict[str, ReaderChecks] = {}
        self._beat_of_calm: BeatName | None = None

    def _captures(self) -> Mapping[str, Iterable[Write]]:
        return {_CONNECT: self._writes()}

    def _writes(self) -> Iterator[Write]:
        """The shop draws its life when the connector begins, not before."""
        yield from self.shop.capture()

    def _checks(self, database: Database) -> ApplyChecks:
        reader = ReaderChecks(self.shop, database, self.parts.as_of)
        self._readers.setdefault(database.plan.replica, reader)  # of one filled anew at the end nobody asks for marks
        return ApplyChecks(self.log, database, reader.look)

    def _told(self, partition: int, offset: int, told: Told) -> None:
        self.model.add(partition, offset, told)

    def _appended(self, write: Write, written: list[tuple[Captured, int]]) -> None:
        self._note_effects(written)
        if write.beat is not None:
            self.decide_checks.markers.due[write.beat] = {
                number: self.log.partitions[topic, number].end for topic, number in capture_partitions(self.table)
            }

    async def _ends(self, director: Process) -> bool:
        """No beat before all is drained: a marker would wake who forgot to look by itself."""
        beat = self._beat_of_calm
        if self._is_drained() and beat is not None and self._is_marked(beat):
            return True
        await director.passes(LOOK_S)
        if self._is_drained():
            newest = await self._beat(director)
            self._beat_of_calm = beat or newest
        return False

    def _compare(self) -> None:
        self.model.obeyed = self.decide_checks.obeyed
        self.model.walk()
        self.model.check_cases()
        for database in self.databases.values():
            check_copy(self.log, database, self.model.accepted)

    async def _beat(self, connect: Process) -> BeatName:
        """A heartbeat of a source at rest."""
        write = self.shop.beat()
        assert write.beat is not None
        self._commit(_CONNECT, self._connect_epoch, write)
        while not self.log.is_free(_CONNECT):
            await connect.passes(0.05)
        return write.beat

    def _note_effects(self, written: list[tuple[Captured, int]]) -> None:
        appended = [(captured, offset) for captured, offset in written if captured.topic != tables.HEARTBEATS]
        for index, (captured, offset) in enumerate(appended):
            if captured.effect is not None:
                self.model.add(captured.partition, offset, captured.effect)
            if captured.emptied is not None:
                self._truncated(captured.emptied, appended[index + 1 :])

    def _truncated(self, emptied: Emptied, later: Sequence[tuple[Captured, int]]) -> None:
        """In each partition before what was captured afterwards, and behind everything else."""
        for number in range(tables.PARTITIONS):
            end = self.log.partitions[self.table.capture_topic, number].end
            place = min((offset for captured, offset in later if captured.partition == number), default=end)
            self.model.add(number, place - 0.5, emptied)

    async def _captured(self, write: Write, connect: Process) -> None:
        """Who has to pass a truncate on stops for a while, and people decide what is decided in other partitions."""
        places = [TP(captured.topic, captured.partition) for captured in write.records if captured.emptied is not None]
        if not places or not self.shop.asks_people or self.rng.random() < 0.3:
            return
        owner = next((one for one, owned in self.decide_group.assignment.items() if places[0] in owned), None)
        seconds = self.rng.uniform(1, 8)
        if owner is not None and owner.alive:
            self._event("truncate late")
            owner.paused_until = max(owner.paused_until, self.world.now + seconds)
        for _ in range(self.rng.choice((1, 2, 3))):
            await connect.passes(self.rng.random() * seconds / 2)
            await self._decide_case(connect)

    def _is_marked(self, beat: BeatName) -> bool:
        """Every copy is as of a beat, idle partitions too. A partition whose newest epoch is another one says nothing:
        only `trueup resync` begins an epoch at all of them, which this capture does not do.
        """
        epochs = {self._epoch_of(topic, number) for topic, number in capture_partitions(self.table)}
        if epochs - {0, beat[0]}:
            return True
        return all((reader.as_of() or (0, 0))[:2] >= beat for reader in self._readers.values())

    def _epoch_of(self, topic: str, number: int) -> int:
        return PartitionMemory.read(self.log.committed.get((DECIDE_GROUP, topic, number), (0, ""))[1]).guard.epoch
