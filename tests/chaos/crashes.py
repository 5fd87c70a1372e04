"""Workers that die or raise at one point of their work, found nowhere by chance (F-02, F-03, F-04, F-21, F-26)."""

import random
from collections.abc import Callable

from tests.chaos import failpoints
from tests.chaos.findings import Anomaly, Finding, Report
from tests.chaos.kills import BACK_WITHIN_S, DRAIN_WITHIN_S
from tests.chaos.rig import DECIDE, Rig, apply_worker
from tests.chaos.scenario import Inject
from tests.waiting import eventually

DEATHS = 4
DEATHS_WITHIN_S = 120.0
REPLICA = "warehouse"
KILLED, EXITED = -9, 70
STALL_S = 5
APPLY = apply_worker(REPLICA)


def dies_at(point: Callable[[failpoints.Fuse], None], worker: str) -> Inject:
    """The worker is killed each time it has passed the point some times."""

    def inject(rig: Rig, dice: random.Random, report: Report) -> None:
        _ends_at(rig, dice, report, point, worker, KILLED)

    inject.__name__ = f"{worker}_dies_when_{point.__name__}"
    return inject


def raises_at(point: Callable[[failpoints.Fuse], None], worker: str) -> Inject:
    """F-04: a programming error ends the process, nothing is skipped, and the restart tries the same batch."""

    def inject(rig: Rig, dice: random.Random, report: Report) -> None:
        said = _ends_at(rig, dice, report, point, worker, EXITED)
        if said.count(failpoints.PLANTED) < DEATHS:
            report.findings.append(Finding(Anomaly.UNCLEAN_EXIT, f"{worker} does not say what it ended for"))

    inject.__name__ = point.__name__
    return inject


def worker_blocked(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-26: a batch never ends. The watchdog ends the process, and the restart heals."""
    stall = {"TRUEUP_WORKER__STALL_TIMEOUT_S": str(STALL_S)}
    said = _ends_at(rig, dice, report, failpoints.blocked, DECIDE, EXITED, deaths=2, environment=stall)
    if "stands still" not in said:
        report.findings.append(Finding(Anomaly.UNCLEAN_EXIT, f"{DECIDE} does not say that it stood still"))


def _ends_at(
    rig: Rig,
    dice: random.Random,
    report: Report,
    point: Callable[[failpoints.Fuse], None],
    worker: str,
    code: int,
    *,
    deaths: int = DEATHS,
    environment: dict[str, str] | None = None,
) -> str:
    """Run the worker with the fault planted until it ended so often, then as it is. Returns what it logged."""
    processes = rig.processes
    arguments = (DECIDE,) if worker == DECIDE else ("apply", REPLICA)
    processes.terminate([worker], DRAIN_WITHIN_S)
    before, log_end = len(processes.ends), processes.log_path(worker).stat().st_size
    entry = failpoints.python_arguments(point, str(dice.random()))
    processes.start(worker, *arguments, entry=entry, doomed=True, environment=environment)

    def ended() -> list[int]:
        return [end.code for end in processes.ends[before:] if end.worker == worker]

    try:
        eventually(lambda: len(ended()) >= deaths, within_s=DEATHS_WITHIN_S, what=f"{worker} ends {deaths} times")
    finally:
        codes = ended()
        processes.terminate([worker], DRAIN_WITHIN_S)
        processes.start(worker, *arguments)
    report.facts["ends"] = f"{worker} at the point {entry[-2]}: {', '.join(map(str, codes))}"
    if set(codes) != {code}:
        report.findings.append(Finding(Anomaly.UNCLEAN_EXIT, f"{worker} ends with {codes}, {code} is due"))
    processes.all_ready(BACK_WITHIN_S)
    return processes.log_since(worker, log_end)
