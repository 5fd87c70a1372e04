"""What `trueup status` shows: one line per table and replica, worst first. Pure; `runtime.status_read` collects."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from trueup.core.case_view import CaseCounts

_BUCKET = re.compile(r'trueup_convergence_seconds_bucket\{le="([^"]+)",replica="([^"]*)",table="([^"]*)"\} (\S+)')
_BUCKET_OTHER_ORDER = re.compile(
    r'trueup_convergence_seconds_bucket\{table="([^"]*)",replica="([^"]*)",le="([^"]+)"\} (\S+)'
)


class Filling(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the copy has had everything that was captured when status looked."""

    done: bool


class CopyLine(msgspec.Struct, frozen=True, kw_only=True):
    """A table at a replica.

    :param as_of_age_s: how old what it is as of is; None before its first filling is complete.
    :param fresh: whether that is within its window; None when no window is registered.
    :param proven_age_s: how long ago the copy was proven equal to its owner; None: never.
    """

    table: str
    replica: str
    captured: int
    applied: int
    other: dict[str, int]
    lag: int
    convergence_p50_s: float | None
    convergence_p99_s: float | None
    filling: Filling
    as_of_age_s: float | None = None
    fresh: bool | None = None
    proven_age_s: float | None = None


class DecideLine(msgspec.Struct, frozen=True, kw_only=True):
    """A table at the decide stage."""

    table: str
    counts: dict[str, int]
    lag: int
    cases_open: int
    cases_overdue: int


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something is wrong, and the next command to run."""

    what: str
    next: str


class StatusView(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer.

    :param problems: the cause before what follows from it.
    :param unreachable: parts that did not answer; what they know is missing from the rest.
    """

    problems: list[Problem]
    unreachable: list[str]
    tables: list[CopyLine]
    decide: list[DecideLine]


def worst_first(tables: Iterable[CopyLine]) -> list[CopyLine]:
    """Unfilled and lagging copies first."""
    return sorted(tables, key=lambda line: (line.filling.done, -line.lag, line.table, line.replica))


def quantiles(metrics_text: str) -> dict[tuple[str, str], tuple[float | None, float | None]]:
    """p50 and p99 of convergence by (table, replica), in seconds, from a worker's /metrics."""
    buckets: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for bound, replica, table, count in _BUCKET.findall(metrics_text):
        buckets.setdefault((table, replica), []).append((float(bound.replace("+Inf", "inf")), float(count)))
    for table, replica, bound, count in _BUCKET_OTHER_ORDER.findall(metrics_text):
        buckets.setdefault((table, replica), []).append((float(bound.replace("+Inf", "inf")), float(count)))
    return {key: (quantile(series, 0.5), quantile(series, 0.99)) for key, series in buckets.items()}


def quantile(cumulative: list[tuple[float, float]], share: float) -> float | None:
    """A quantile of a histogram, linear within its bucket; None without observations.

    :param cumulative: (upper bound, count up to it), as Prometheus has it.
    """
    series = sorted(cumulative)
    total = series[-1][1]
    if total == 0:
        return None
    wanted, low, below = total * share, 0.0, 0.0
    for bound, count in series:
        if count >= wanted:
            if bound == float("inf") or count == below:
                return low
            return low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return low


def losses_first(problems: Iterable[Problem]) -> list[Problem]:
    """What lost changes comes before what only stands still: the first repairs itself never, the second often."""
    return sorted(problems, key=lambda problem: "trueup resync" not in problem.next)


def unready(worker: str, reasons: Iterable[str]) -> list[Problem]:
    """The problems of a worker that is not ready, from its /readyz; a stopped partition names its cure."""
    stopped: dict[tuple[str, str], int] = {}
    others = []
    for reason in reasons:
        kind, _, rest = reason.partition(": ")
        if kind == "stopped":
            cause, _, cure = rest.partition(": ")[2].partition(" -> ")
            stopped[cause, cure] = stopped.get((cause, cure), 0) + 1
        else:
            others.append(reason)
    problems = [
        Problem(what=f"stopped at worker {worker}: {cause} ({count} partitions)", next=cure or "see its log")
        for (cause, cure), count in stopped.items()
    ]
    if others:
        problems.append(Problem(what=f"worker {worker} is not ready: {'; '.join(others[:2])}", next="see its log"))
    return problems


def case_problems(table: str, found: CaseCounts) -> list[Problem]:
    """Open cases always ask for somebody; an overdue one lets its key wait for longer than was agreed."""
    if not found.open:
        return []
    overdue = f", {found.overdue} of them overdue" if found.overdue else ""
    plural = "" if found.open == 1 else "s"
    return [Problem(what=f"{found.open} open case{plural} of {table}{overdue}", next="trueup cases list")]


def difference_problems(table: str, replica: str, differing_keys: int) -> list[Problem]:
    """What the last complete comparison found."""
    if not differing_keys:
        return []
    keys = "1 key" if differing_keys == 1 else f"{differing_keys} keys"
    cure = f"trueup repair {table} --replica {replica} --dry-run"
    return [Problem(what=f"{keys} of {table} at {replica} differ from the owner", next=cure)]
