"""What one worker makes of a capture log that nothing ever happens to: what all disturbances must not have changed."""

from __future__ import annotations

from typing import Final

from tests.simulation import tables
from tests.simulation.group import Group
from tests.simulation.log import SimulatedLog
from tests.simulation.schedule import Process, World
from tests.simulation.store import Disk
from tests.simulation.worker import Parts, capture_partitions, truth_partitions
from trueup.core.cases import decode_case
from trueup.core.watermark import is_marker_key
from trueup.model.case import Case
from trueup.model.registration import Table
from trueup.runtime.partition_memory import DECIDE_GROUP

_DEADLINE_S: Final = 1_000.0


def decided_undisturbed(log: SimulatedLog, table: Table) -> SimulatedLog:
    """The capture topic of a log decided from its beginning by one worker, in another log."""
    world = World(0)
    world.faults.planned.clear()
    again = SimulatedLog(world, tables.TOPICS, tables.PARTITIONS)
    for tp in capture_partitions(table):
        captured, copied = log.partitions[tp], again.partitions[tp]
        copied.offsets, copied.entries, copied.end = list(captured.offsets), list(captured.entries), captured.end
    process = world.process("undisturbed")
    process.immune = True
    worker = Parts(again, table).decide(process, Group(again, capture_partitions(table)), Disk(world.rng))

    async def until_decided(looks: Process) -> None:
        while any(
            again.committed.get((DECIDE_GROUP, *tp), (0, ""))[0] < again.partitions[tp].end
            for tp in capture_partitions(table)
        ):
            await looks.passes(0.5)
        while not again.is_quiet():
            await looks.passes(0.5)

    looks = world.process("looks")
    looks.immune = True
    process.start(worker.main(), "main")
    world.run(looks.start(until_decided(looks), "looks"), _DEADLINE_S)
    world.close()
    return again


def published(log: SimulatedLog) -> dict[bytes, tables.Row | None]:
    """The newest committed truth of each key; None: deleted."""
    newest: dict[bytes, tables.Row | None] = {}
    reader = tables.truth_reader()
    for tp in truth_partitions():
        for record in log.partitions[tp].committed():
            if not is_marker_key(record.key):
                truth = reader.decode(record.key or b"", record.value or b"")
                row = truth.row
                newest[truth.key] = None if row is None else (row["order_id"], row["amount"], row["note"])
    return newest


def open_cases(log: SimulatedLog, table: Table) -> dict[bytes, Case]:
    """The cases nobody decided, by key."""
    newest: dict[bytes, Case] = {}
    for number in range(tables.PARTITIONS):
        for record in log.partitions[table.cases_topic, number].committed():
            newest[record.key or b""] = decode_case(record.value or b"")
    return {key: case for key, case in newest.items() if case.is_open}
