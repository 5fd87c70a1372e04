"""A consumer group: its coordinator, and the consumer of one member, which feeds the real lane.

The protocol is the classic eager one: whoever is heard of joins anew at every rebalance, after giving up everything;
who is not heard of for the session is left out, and may go on for a while without knowing.
"""

from __future__ import annotations

import asyncio
from typing import Any

from faust.types import TP

from tests.simulation.log import SimulatedLog
from tests.simulation.schedule import Process
from trueup.runtime.batch_lane import BatchConsumer
from trueup.runtime.lane import Batch, Lane

SESSION_S = 10.0  # worker default: kafka.session_timeout_ms
_HEARTBEAT_S = SESSION_S / 5  # as runtime.app sets it
_JOIN_POLL_S = 0.3
_FETCH_WAIT_S = 3.0


class Member:
    """What the coordinator knows of a member."""

    def __init__(self, now: float) -> None:
        self.heard_at = now
        self.joined = True


class Group:
    """The coordinator's books."""

    def __init__(self, log: SimulatedLog, tps: list[TP]) -> None:
        self.log, self.tps = log, tps
        self.generation = 0
        self.is_stable = False
        self.members: dict[Process, Member] = {}
        self.assignment: dict[Process, list[TP]] = {}

    def join(self, process: Process) -> None:
        self._rebalance()
        self.members[process] = Member(self.log.world.now)

    def leave(self, process: Process) -> None:
        if self.members.pop(process, None) is not None:
            self._rebalance()

    def _rebalance(self) -> None:
        if self.is_stable:
            self.is_stable = False
            for member in self.members.values():
                member.joined = False

    def heard(self, process: Process) -> bool:
        """A heartbeat. False: somebody joins or left, or the member itself was left out."""
        self._look()
        member = self.members.get(process)
        if member is None:
            return False
        member.heard_at = self.log.world.now
        return self.is_stable

    def assigned(self, process: Process) -> list[TP] | None:
        """While joining: None until the generation is formed."""
        self._look()
        member = self.members.get(process)
        if member is None:
            self.join(process)
            return None
        member.heard_at = self.log.world.now
        if self.is_stable:
            return self.assignment[process]
        member.joined = True  # although the generation it waited for fell apart meanwhile
        return None

    def _look(self) -> None:
        now = self.log.world.now
        silent = [process for process, member in self.members.items() if now - member.heard_at > SESSION_S]
        for process in silent:
            self.leave(process)
        if not self.is_stable and self.members and all(member.joined for member in self.members.values()):
            self.generation += 1
            self.is_stable = True
            members = list(self.members)
            first = self.log.world.rng.randrange(len(members))
            self.assignment = {process: [] for process in members}
            for number, tp in enumerate(self.tps):
                self.assignment[members[(first + number) % len(members)]].append(tp)
            self.log.world.note("group", "generation", self.generation, [process.name for process in members])


class _Flag:
    """An event that is never set: a consumer here ends with its process."""

    def is_set(self) -> bool:
        return False


class SimulatedConsumer:
    """Faust's consumer on the batch lane: the real `_drain_messages` and `_drop`, with fetches from the simulated log.

    It is its own app, thread and fetcher, as far as these methods ask.
    """

    _drain_messages: Any = BatchConsumer._drain_messages
    _drop: Any = BatchConsumer._drop

    def __init__(self, log: SimulatedLog, group: Group, process: Process, lane: Lane, batch_rows_max: int) -> None:
        self.log, self.group, self.process, self.lane = log, group, process, lane
        self.batch_rows_max = batch_rows_max
        self.app = self._thread = self
        self._stopped = _Flag()
        self.flow_active = False
        self.consumer_generation_id = -1
        self.is_stopping = False
        self._positions: dict[TP, int] = {}
        self._woken: asyncio.Future[None] | None = None
        lane.consumer = self

    # --- what the lane asks of a consumer ---

    def wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def seek_to(self, tp: TP, position: int) -> None:
        await self.process.reach("before seek")
        if self.flow_active:
            self._positions[tp] = position
        self.process.strike("after seek")  # without a pause: see LaneConsumer

    async def last_stable_offsets(self) -> dict[TP, int]:
        return {tp: self.log.partitions[tp].stable_end() for tp in self._positions}

    # --- what draining asks of Faust ---

    async def fetch_batches(self, tps: set[TP], rows_max: int, generation: int) -> list[Batch]:
        await self.process.reach("before fetch")
        batches = self._take(tps, rows_max, generation)
        if not batches:
            self._woken = self.process.loop.create_future()
            self.log.tell_when_moved(self.group.tps[0].topic, self.wake)
            timer = self.process.loop.call_later(_FETCH_WAIT_S, self.wake)
            await self._woken
            timer.cancel()
            batches = self._take(tps, rows_max, generation)
        await self.process.reach("after fetch")
        return batches

    def _take(self, tps: set[TP], rows_max: int, generation: int) -> list[Batch]:
        batches = []
        for tp in sorted(tps & self._positions.keys()):
            start = self._positions[tp]
            records, end = self.log.partitions[tp].read(start, rows_max)
            if end > start:
                self._positions[tp] = end
                batches.append(Batch(tp, records, start, end, generation, self.log.partitions[tp].stable_end()))
        return batches

    async def wait(self, _: object) -> None:
        await self.process.passes(_JOIN_POLL_S)

    can_resume_flow = None

    async def callback(self, message: Any) -> None:
        """Through Faust's streams to the agent, which hands it to the lane."""
        await self.process.reach("before hand over")
        if message.generation_id == self.consumer_generation_id:
            self.lane.begin(message.value)
        await self.process.reach("after hand over")

    # --- membership ---

    async def run(self) -> None:
        """Joins, works until there is a rebalance, gives everything up, joins again; leaves when told to stop."""
        self.process.start(self._drain_messages(self), "drain")
        while not self.is_stopping:
            await self.process.reach("before join group")
            self.group.join(self.process)
            await self.process.reach("after join group")
            while (tps := self.group.assigned(self.process)) is None:
                await self.process.passes(_JOIN_POLL_S)
            self.consumer_generation_id = self.group.generation
            self.flow_active = True
            self.lane.assigned(tps)
            await self._stays()
            self.flow_active = False
            self._positions.clear()
            await self.process.reach("before revoke")
            self.lane.draining = self.is_stopping
            await self.lane.revoke_all()
            await self.process.reach("after revoke")
        await self.process.reach("before leave group")
        self.group.leave(self.process)
        await self.process.reach("after leave group")

    async def _stays(self) -> None:
        while not self.is_stopping:
            await self.process.passes(_HEARTBEAT_S)
            if self.process.world.now >= self.process.cut_until and not self.group.heard(self.process):
                return
