"""`make simulate SEEDS=20000`, and `make simulate SEED=123` for one seed with its trace.

Exit code: 0 all invariants held and every crash point was hit, 1 not so, 2 the arguments make no sense.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from tests.simulation import campaign
from tests.simulation.runs import run_seed

_TRACE_LINES: Final = 40
_SEEDS_FOR_EVERY_POINT: Final = 5_000
"""From so many seeds on, a crash point that was not hit is a finding: the rarest is hit about once in 400 seeds."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="this seed alone, with its trace")
    parser.add_argument("--processes", type=int, help="default: one per processor")
    given = parser.parse_args(arguments)
    if given.seeds < 1:
        parser.error("--seeds is at least 1")
    campaign.silence()
    if given.seed is not None:
        return _one(given.seed, lines_max=0)
    summary, took_s = campaign.timed(range(given.first, given.first + given.seeds), given.processes, _progress)
    _say(*campaign.lines_of(summary, took_s))
    if summary.failed:
        _one(min(summary.failed), _TRACE_LINES)
        return 1
    return 1 if given.seeds >= _SEEDS_FOR_EVERY_POINT and summary.never_hit() else 0


def _one(seed: int, lines_max: int) -> int:
    """Prints the end of the trace of a seed, or all of it (0), and what was found."""
    report = run_seed(seed, keeps_trace=True)
    _say(f"seed {seed}:", *report.trace[-lines_max:], *(f"FOUND {finding}" for finding in report.findings))
    return 1 if report.findings else 0


def _progress(summary: campaign.Summary) -> None:
    sys.stderr.write(f"{summary.seeds} seeds, {len(summary.failed)} failed {sorted(summary.failed)[:5]}\n")


def _say(*lines: str) -> None:
    sys.stdout.write("".join(line + "\n" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
