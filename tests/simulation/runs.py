"""Which kind of run a seed is."""

from __future__ import annotations

from tests.simulation.director import Report
from tests.simulation.owner_run import OwnerRun
from tests.simulation.worker import Parts
from tests.simulation.writers_run import WritersRun

_EVERY = 5


def run_seed(seed: int, parts: type[Parts] = Parts, *, keeps_trace: bool = False) -> Report:
    """One seed, from beginning to end. In every fifth the table has two writers."""
    kind = WritersRun if seed % _EVERY == 0 else OwnerRun
    return kind(seed, parts, keeps_trace=keeps_trace).report()
