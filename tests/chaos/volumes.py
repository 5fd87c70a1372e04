"""Large things: a huge transaction and a 10 MB row, with the memory of the workers watched (F-24)."""

import random
import threading

import psutil

from tests.chaos.findings import Anomaly, Finding, Report
from tests.chaos.outages import everything_moves
from tests.chaos.rig import CAPTURE, Rig
from tests.chaos.snapshots import ballast_arrives

HUGE_ROWS = 60_000
ROW_BYTES = 10_000_000
RSS_MB_MAX = 450
"""The benchmark's gate is 400 for a worker of one table; these have nine, and one of their rows may be of 10 MB."""

LARGE_RSS_MB_MAX = 700
LOOK_S = 0.5


class Memory(threading.Thread):
    """The largest resident set of each worker while it runs."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(name="memory", daemon=True)
        self.mb: dict[str, int] = {}
        self._rig = rig
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(LOOK_S):
            for name in self._rig.processes.names():
                try:
                    rss = psutil.Process(self._rig.processes.pid(name)).memory_info().rss
                except (psutil.Error, KeyError):
                    continue
                self.mb[name] = max(self.mb.get(name, 0), rss >> 20)

    def stop(self, report: Report, mb_max: int) -> None:
        self._over.set()
        self.join()
        report.facts["resident at most"] = ", ".join(f"{name} {mb} MB" for name, mb in sorted(self.mb.items()))
        over = {name: mb for name, mb in self.mb.items() if mb > mb_max and name != CAPTURE}
        if over:
            report.findings.append(Finding(Anomaly.STUCK, f"{over} MB of memory, {mb_max} are the bound"))


def huge_transaction(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-24: as many rows in one transaction as a batch holds fifteen times."""
    memory = Memory(rig)
    ended = len(rig.processes.ended_by_themselves())
    memory.start()
    try:
        ((highest,),) = rig.query(rig.ballast.system, "SELECT max(id) FROM public.ballast")
        rig.query(
            rig.ballast.system,
            f"INSERT INTO public.ballast SELECT {highest} + n, 'huge ' || n FROM generate_series(1, {HUGE_ROWS}) n",
        )
        ballast_arrives(rig)
    finally:
        memory.stop(report, RSS_MB_MAX)
    _nobody_ended(rig, report, ended)
    everything_moves(rig, report)


def huge_row(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-24: a row of 10 MB comes and goes."""
    memory = Memory(rig)
    ended = len(rig.processes.ended_by_themselves())
    memory.start()
    try:
        number = -dice.randrange(1, 1_000_000)
        sql = "INSERT INTO public.ballast VALUES (%s, %s)"
        rig.query(rig.ballast.system, sql, (number, f"{dice.getrandbits(64):016x}" * (ROW_BYTES // 16)))
        ballast_arrives(rig)
        rig.query(rig.ballast.system, "DELETE FROM public.ballast WHERE id = %s", (number,))
        ballast_arrives(rig)
    finally:
        memory.stop(report, LARGE_RSS_MB_MAX)
    _nobody_ended(rig, report, ended)
    everything_moves(rig, report)


def _nobody_ended(rig: Rig, report: Report, before: int) -> None:
    """No session is lost over it."""
    ended = rig.processes.ended_by_themselves()[before:]
    if ended:
        report.findings.append(Finding(Anomaly.UNCLEAN_EXIT, f"{[end.worker for end in ended]} ended by themselves"))
