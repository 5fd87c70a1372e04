"""The faults, by their ids in the list of faults: what is done to the rig while writers write and readers look.

To add one: a function (rig, dice, report) here or in a neighbour, and its line in FAULTS.
"""

import random
import shutil
import threading
from pathlib import Path

from tests.chaos.findings import Anomaly, Finding, Report
from tests.chaos.rig import DECIDE, Rig
from tests.chaos.scenario import Inject
from tests.chaos.zombies import apply_zombie, decide_zombie
from tests.waiting import NeverBecameTrueError, eventually

KILLS = 10
DRAIN_WITHIN_S = 30.0
"""What a worker promises: from SIGTERM to its exit."""

BACK_WITHIN_S = 90.0
"""Two session timeouts, the start of four workers on two cores, and some patience."""


def workers_killed(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-01: every worker is killed ten times, each by a killer of its own: in work, at its start, while preparing."""
    before = len(rig.processes.ends)
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


def workers_terminated(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-05: SIGTERM under load. Each worker finishes what it has in flight and ends with 0 in time."""
    threading.Event().wait(dice.uniform(2, 6))
    ends = rig.processes.terminate(rig.processes.names(), DRAIN_WITHIN_S)
    report.facts["drained"] = ", ".join(f"{end.worker} {end.code} in {end.seconds:.1f} s" for end in ends)
    report.findings += [
        Finding(Anomaly.UNCLEAN_EXIT, f"{end.worker}: {end.code} after {end.seconds:.1f} s") for end in ends if end.code
    ]
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


FAULTS: dict[str, Inject] = {
    "F-01": workers_killed,
    "F-05": workers_terminated,
    "F-06-decide": decide_zombie,
    "F-06-apply": apply_zombie,
    "F-21": local_state_lost,
}
