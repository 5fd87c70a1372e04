"""What one worker makes of a capture log that nothing ever happens to: what all disturbances must not have changed."""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.simulation import tables
from tests.simulation.group import Group
from tests.simulation.invariants import truths
from tests.simulation.log import SimulatedLog
from tests.simulation.schedule import Process, World
from tests.simulation.store import Disk
from tests.simulation.worker import Parts, capture_partitions, truth_partitions
from trueup.model.registration import Table
from trueup.model.version import Version
from trueup.runtime.partition_memory import DECIDE_GROUP

_DEADLINE_S: Final = 1_000.0


class Published(NamedTuple):
    """A truth: where it stands among those of its key, whose change it is, and the row; None: deleted."""

    key: bytes
    version: Version
    origin: str | None
    row: tables.Row | None


def decided_undisturbed(log: SimulatedLog, table: Table) -> SimulatedLog:
    """The capture topic of a log decided from its beginning by one worker, in another log. Raises Stuck."""
    world = World(0)
    world.faults.planned.clear()
    again = SimulatedLog(world, tables.TOPICS, tables.PARTITIONS)
    places = capture_partitions(table)
    for tp in places:
        captured, copied = log.partitions[tp], again.partitions[tp]
        copied.offsets, copied.entries, copied.end = list(captured.offsets), list(captured.entries), captured.end
    process = world.process("undisturbed")
    process.immune = True
    worker = Parts(again, table).decide(process, Group(again, places), Disk(world.rng))

    async def until_decided(looks: Process) -> None:
        while not again.is_quiet() or any(
            again.committed.get((DECIDE_GROUP, *tp), (0, ""))[0] < again.partitions[tp].end for tp in places
        ):
            await looks.passes(0.5)

    looks = world.process("looks")
    looks.immune = True
    process.start(worker.main(), "main")
    try:
        world.run(looks.start(until_decided(looks), "looks"), _DEADLINE_S)
    finally:
        world.close()
        for finding in world.findings:
            log.world.finding(f"undisturbed: {finding}")
    return again


def published(log: SimulatedLog) -> list[Published]:
    """Every committed truth, of each key in order."""
    reader, found = tables.truth_reader(), list[Published]()
    for tp in truth_partitions():
        for record in truths(log, tp):
            truth = reader.decode(record.key or b"", record.value or b"")
            found.append(Published(truth.key, truth.version, truth.origin, tables.row_of(truth.row)))
    return found


def newest(found: list[Published]) -> dict[bytes, Published]:
    """Of each key."""
    return {truth.key: truth for truth in found}
