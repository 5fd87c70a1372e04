"""Workers killed, told to end, robbed of what they keep (F-01, F-05, F-21)."""

import random
import shutil
import threading
import time
from pathlib import Path

import psycopg

from tests.chaos.findings import Anomaly, Finding, Report
from tests.chaos.rig import CABLED_REPLICA, DECIDE, SESSION_TIMEOUT_S, Rig, apply_worker
from tests.waiting import NeverBecameTrueError, eventually

KILLS = 4
"""Of each worker: twenty in all. Many more only make many rounds long."""

DRAIN_WITHIN_S = 30.0
"""What a worker promises: from SIGTERM to its exit."""

START_WITHIN_S = 20.0
"""Of a worker by itself: 3 s on two idle cores, and they are not idle."""

MOVES_WITHIN_S = 2 * SESSION_TIMEOUT_S + START_WITHIN_S
"""F-01: the partitions of a killed worker move again within two sessions and a start."""

BACK_WITHIN_S = 90.0
"""The starts of all workers at once, on two cores, and some patience."""


def workers_killed(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-01: recovery is measured for one at a time; then every worker is killed four times, each by its own killer."""
    before = len(rig.processes.ends)
    _measure_recovery(rig, report)
    failures: list[NeverBecameTrueError] = []
    never = threading.Event()

    def kill_often(name: str, own: random.Random) -> None:
        try:
            for number in range(KILLS):
                if number % 2 == 0:  # in work; otherwise at any moment of its way back
                    eventually(lambda: rig.processes.is_ready(name), within_s=BACK_WITHIN_S, what=f"{name} is back")
                    never.wait(own.uniform(0, 3))
                else:
                    never.wait(own.uniform(0, 9))
                rig.processes.kill(name)
        except NeverBecameTrueError as error:
            failures.append(error)

    names = rig.processes.names()
    killers = [threading.Thread(target=kill_often, args=[n, random.Random(dice.random())], daemon=True) for n in names]
    for killer in killers:
        killer.start()
    for killer in killers:
        killer.join()
    report.findings += [Finding(Anomaly.STUCK, str(error)) for error in failures]
    rig.processes.all_ready(BACK_WITHIN_S)
    killed = [end.worker for end in rig.processes.ends[before:] if end.code == -9]
    report.facts["kills"] = ", ".join(f"{name} {killed.count(name)}" for name in names)


def _measure_recovery(rig: Rig, report: Report) -> None:
    """Raises NeverBecameTrueError when the bound is not kept."""
    measured = []
    for name, moved in (
        (DECIDE, rig.decided),
        (apply_worker(CABLED_REPLICA), lambda: rig.applied(CABLED_REPLICA)),
    ):
        rig.processes.all_ready(BACK_WITHIN_S)
        rig.processes.kill(name)
        began, seen = time.monotonic(), moved()
        eventually(lambda: moved() > seen, within_s=MOVES_WITHIN_S, what=f"the partitions of {name} move again")  # noqa: B023 - called at once
        measured.append(f"{name} {time.monotonic() - began:.1f} s")
    report.facts["moves again after a kill"] = f"{', '.join(measured)}; bound {MOVES_WITHIN_S:.0f} s"


def workers_terminated(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-05: SIGTERM under load. Each worker finishes what it has in flight and ends with 0 in time."""
    threading.Event().wait(dice.uniform(2, 6))
    _terminate_all(rig, report)
    _start_all(rig)


def workers_terminated_in_a_write(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-05: SIGTERM while batches wait inside their transactions for a lock that somebody holds."""
    (table, *_) = rig.copies
    with psycopg.connect(rig.dsn("warehouse")) as holder:
        holder.execute(f"LOCK TABLE {table.source} IN EXCLUSIVE MODE".encode())
        eventually(
            lambda: _waiting_for_locks(rig, "warehouse"),
            within_s=BACK_WITHIN_S,
            what="a batch waits for the lock",
        )
        threading.Event().wait(dice.uniform(0, 1))
        _terminate_all(rig, report)
    _start_all(rig)


def _waiting_for_locks(rig: Rig, replica: str) -> int:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = %s"
    with psycopg.connect(rig.superuser_dsn(replica), autocommit=True) as connection:
        row = connection.execute(sql, (f"trueup apply {replica}",)).fetchone()
    return int(row[0]) if row is not None else 0


def _terminate_all(rig: Rig, report: Report) -> None:
    ends = rig.processes.terminate(rig.processes.names(), DRAIN_WITHIN_S)
    report.facts["drained"] = ", ".join(f"{end.worker} {end.code} in {end.seconds:.1f} s" for end in ends)
    report.findings += [
        Finding(Anomaly.UNCLEAN_EXIT, f"{end.worker}: {end.code} after {end.seconds:.1f} s") for end in ends if end.code
    ]


def _start_all(rig: Rig) -> None:
    rig.start_missing_workers()
    rig.processes.all_ready(BACK_WITHIN_S)


def local_state_lost(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-21: workers stopped, everything they keep on their disk deleted, started again under load."""
    rig.processes.terminate(rig.processes.names(), DRAIN_WITHIN_S)
    state = rig.folder.state_dir / "workers"
    stores = _stores(state)
    shutil.rmtree(state)
    threading.Event().wait(dice.uniform(0, 3))
    rig.start_missing_workers()
    rig.processes.all_ready(BACK_WITHIN_S)
    report.facts["deleted"] = f"{len(stores)} stores of {DECIDE}"
    if not stores:
        report.findings.append(Finding(Anomaly.STUCK, f"no local state was found in {state}"))


def _stores(state: Path) -> list[Path]:
    return [path for path in state.glob(f"{DECIDE}/truth/*/*") if path.is_dir()]
