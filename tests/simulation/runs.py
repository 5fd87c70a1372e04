"""Which kind of run a seed is."""

from __future__ import annotations

from tests.simulation.director import Report
from tests.simulation.owner_run import OwnerRun
from tests.simulation.worker import Parts
from tests.simulation.writers_run import WritersRun

EVERY = 10
"""Of so many seeds one is a run of two writers."""


def run_seed(seed: int, parts: type[Parts] = Parts, *, keeps_trace: bool = False) -> Report:
    """One seed, from beginning to end."""
    kind = WritersRun if seed % EVERY == 0 else OwnerRun
    return kind(seed, parts, keeps_trace=keeps_trace).report()
