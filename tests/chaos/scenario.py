"""A scenario: writers and readers run, a fault is done to the rig, all is drained and checked, a report is made."""

import random
import time
from collections.abc import Callable

from tests.chaos.drain import drain
from tests.chaos.findings import Anomaly, Finding, Report
from tests.chaos.negative_control import control
from tests.chaos.readers import CopyReader
from tests.chaos.register_check import check_seen
from tests.chaos.registers import Copy
from tests.chaos.rig import Rig
from tests.chaos.writers import Writers
from tests.waiting import NeverBecameTrueError

TRANSACTIONS_PER_S = 15.0
"""Of each of the four writers; some 120 changes per second in all. The machine also starts workers all the time."""

ENDS_MAX = 3
"""A worker may end by itself to be started anew; one that does so again and again cannot work."""

Inject = Callable[[Rig, random.Random, Report], None]


def run(
    rig: Rig, name: str, inject: Inject, seed: str, *, still_s_max: float | None = None, controls: bool = True
) -> Report:
    """Do a fault to the rig under load.

    :param seed: of everything random here; how the machine's own timing falls is not in it.
    :param still_s_max: how long a copy may stand still under load.
    :param controls: the checker's negative control is done, too.
    """
    report = Report(name)
    began = time.monotonic()
    ended_before = len(rig.processes.ends)
    dsns = {table.system: rig.dsn(table.system) for table in rig.ledgers}
    writers = Writers(dsns, rig.ledgers, seed=f"{seed}/writers", per_s=TRANSACTIONS_PER_S)
    readers = [(table, _reader(rig, copy)) for table, copy in rig.all_copies()]
    for _, reader in readers:
        reader.start()
    try:
        writers.start()
        for _, reader in readers:
            reader.under_load.set()
        try:
            inject(rig, random.Random(f"{seed}/fault"), report)
        except NeverBecameTrueError as error:
            report.findings.append(Finding(Anomaly.STUCK, str(error)))
        finally:
            for _, reader in readers:
                reader.under_load.clear()
            writers.stop()
        drained_at = time.monotonic()
        drain(rig, report)
    finally:
        for _, reader in readers:
            reader.stop()
    if not any(finding.anomaly is Anomaly.STUCK for finding in report.findings):  # nothing to spoil, nothing to compare
        controlled_at = time.monotonic()
        if controls:
            control(rig, report, random.Random(f"{seed}/control"))
        steps_s = (drained_at - began, controlled_at - drained_at, time.monotonic() - controlled_at)
        report.facts["seconds of fault, drain, control"] = ", ".join(f"{step_s:.0f}" for step_s in steps_s)
    for table, reader in readers:
        report.findings += reader.watch.findings + check_seen(reader.watch, rig.ledgers[table], reader.place)
    _add_facts(rig, report, [reader for _, reader in readers], ended_before)
    longest = max(reader.still_s_max for _, reader in readers)
    if still_s_max is not None and longest > still_s_max:
        report.findings.append(Finding(Anomaly.STUCK, f"a copy stood still for {longest:.1f} s, {still_s_max} at most"))
    report.facts["seconds"] = f"{time.monotonic() - began:.0f}, seed {seed}"
    return report


def _reader(rig: Rig, copy: Copy) -> CopyReader:
    return CopyReader(rig.dsn(copy.replica), copy, lambda: rig.crashes[copy.replica])


def _add_facts(rig: Rig, report: Report, readers: list[CopyReader], ended_before: int) -> None:
    for table, ledger in rig.ledgers.items():
        endings = ", ".join(f"{count} {ending}" for ending, count in sorted(ledger.endings.items()))
        report.facts[f"transactions on {table.name} so far"] = endings
    looks = sum(reader.watch.looks for reader in readers)
    report.facts["readers"] = f"{len(readers)}, {looks} looks, {sum(len(r.watch.numbers) for r in readers)} writes seen"
    report.facts["longest standstill of a copy under load"] = f"{max(reader.still_s_max for reader in readers):.1f} s"
    ends = [end for end in rig.processes.ends[ended_before:] if not end.asked]
    if ends:
        report.facts["ended by themselves"] = ", ".join(f"{end.worker} with {end.code}" for end in ends)
    for worker in {end.worker for end in ends}:
        count = sum(end.worker == worker for end in ends)
        if count > ENDS_MAX:
            report.findings.append(Finding(Anomaly.STUCK, f"{worker} ended {count} times by itself"))
