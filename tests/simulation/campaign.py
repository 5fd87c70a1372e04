"""Many seeds: on several processes, with a report that says how often each crash point was hit."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec
import structlog

from tests.simulation.crash_points import POINTS
from tests.simulation.director import Report
from tests.simulation.runs import run_seed
from tests.simulation.schedule import FaultKind
from tests.simulation.worker import Parts

_CHUNK: Final = 25
_PROGRESS_SEEDS: Final = 500
_LOG_NOTHING: Final = 50  # above every level the workers use


class Summary(msgspec.Struct):
    """What a campaign showed."""

    seeds: int = 0
    failed: dict[int, list[str]] = {}
    hit: Counter[tuple[str, FaultKind]] = Counter()
    events: Counter[str] = Counter()
    simulated_s: float = 0.0

    def add(self, report: Report) -> None:
        self.seeds += 1
        self.hit.update(report.hit)
        self.events.update(report.events)
        self.simulated_s += report.ended_at_s
        if report.findings:
            self.failed[report.seed] = report.findings

    def never_hit(self) -> list[str]:
        """Crash points at which no process was killed: nothing is proved about them."""
        return [point for point in POINTS if not self.hit[point, "kill"]]


def silence() -> None:
    """The workers log as they always do; of thousands of crashes nobody wants to read."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_LOG_NOTHING))


def reports(seeds: Iterable[int], processes: int | None = None) -> Iterator[Report]:
    """In any order."""
    count = os.cpu_count() or 1 if processes is None else processes
    if count == 1:
        yield from map(run_seed, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(count, silence) as pool:
        yield from pool.imap_unordered(run_seed, seeds, _CHUNK)


def first_finding(seeds: Iterable[int], parts: type[Parts]) -> Report | None:
    """The first seed that finds something: for planted bugs."""
    return next((report for seed in seeds if (report := run_seed(seed, parts)).findings), None)


def lines_of(summary: Summary, took_s: float) -> Iterator[str]:
    """The report for people."""
    yield f"{'crash point':<32}{'killed':>8}{'stopped':>9}{'broken':>8}{'cut off':>9}"
    for point in POINTS:
        killed, stopped, broken, cut = (summary.hit[point, kind] for kind in ("kill", "pause", "error", "cut"))
        yield f"{point:<32}{killed:>8}{stopped:>9}{broken:>8}{cut:>9}"
    yield ""
    yield ", ".join(f"{what} {count}" for what, count in sorted(summary.events.items()))
    hours = summary.simulated_s / 3600
    yield f"{summary.seeds} seeds, {hours:.1f} simulated hours in {took_s:.0f} s"
    for point in summary.never_hit():
        yield f"never hit: {point}"
    for seed, findings in sorted(summary.failed.items()):
        yield f"seed {seed} failed: {findings[0]}"
        yield f"  replay: make simulate SEED={seed}"
    yield f"{summary.seeds - len(summary.failed)} passed, {len(summary.failed)} failed"


def timed(
    seeds: Iterable[int], processes: int | None = None, progress: Callable[[Summary], None] = lambda _: None
) -> tuple[Summary, float]:
    """The summary of the seeds and the seconds they took; `progress` hears of it now and then."""
    started, summary = time.monotonic(), Summary(failed={}, hit=Counter(), events=Counter())
    for report in reports(seeds, processes):
        summary.add(report)
        if summary.seeds % _PROGRESS_SEEDS == 0:
            progress(summary)
    return summary, time.monotonic() - started
