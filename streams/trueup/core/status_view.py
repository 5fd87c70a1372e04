"""What `trueup status` shows: one line per table and replica, worst first. Pure.

`runtime.status_read` collects it, `runtime.status_screen` draws it; what is wrong is `core.status_problems`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from trueup.core.copy_state import FINDINGS, RANK, CopyLook, CopyState, copy_state, next_command
from trueup.core.status_problems import Problem

_BUCKET = re.compile(r'trueup_convergence_seconds_bucket\{le="([^"]+)",replica="([^"]*)",table="([^"]*)"\} (\S+)')


class Filling(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the copy has had everything that was captured when status looked."""

    done: bool


class CopyLine(msgspec.Struct, frozen=True, kw_only=True):
    """A table at a replica. What only the replica knows is None while it does not answer, and so it is with Kafka.

    :param captured: records of the table that were decided, ever.
    :param lag: records that wait for the replica; `decide_lag` those that wait to be decided.
    :param as_of_age_s: how old what it is as of is; None before its first filling is complete.
    :param window_s: how old it may be before it is slow or stuck; None where nothing says how old it is.
    :param fresh: whether it is within its window, says the replica; None when no window is registered.
    :param proven_age_s: how long ago the copy was proven equal to its owner; None: never.
    :param next: the next command to run; None when all is fine.
    """

    table: str
    replica: str
    state: CopyState
    captured: int | None
    applied: int | None
    other: dict[str, int]
    decide_lag: int | None
    lag: int | None
    convergence_p50_s: float | None
    convergence_p99_s: float | None
    filling: Filling | None
    as_of_age_s: float | None = None
    window_s: float | None = None
    fresh: bool | None = None
    proven_age_s: float | None = None
    next: str | None = None


class DecideLine(msgspec.Struct, frozen=True, kw_only=True):
    """A table at the decide stage."""

    table: str
    counts: dict[str, int]
    lag: int
    cases_open: int
    cases_overdue: int


class StatusView(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer.

    :param problems: the cause before what follows from it.
    :param unreachable: parts that did not answer; what they know is missing from the rest.
    """

    problems: list[Problem]
    unreachable: list[str]
    tables: list[CopyLine]
    decide: list[DecideLine]

    @property
    def has_findings(self) -> bool:
        """Whether somebody has to look. A copy that is filling needs nobody."""
        return bool(self.problems) or any(line.state in FINDINGS for line in self.tables)


def line_of(
    look: CopyLook,
    problems: Iterable[Problem],
    workers: Mapping[tuple[str, str], str],
    convergence_s: tuple[float | None, float | None],
) -> CopyLine:
    """What a look says of a copy. What its replica counted is not among it.

    :param workers: names of the workers of this host by (kind, replica).
    :param convergence_s: p50 and p99.
    """
    problems = list(problems)
    state = copy_state(look, problems)
    return CopyLine(
        table=look.table,
        replica=look.replica,
        state=state,
        captured=look.seen,
        applied=None,
        other={},
        decide_lag=look.to_decide,
        lag=look.to_apply if look.answered else None,
        convergence_p50_s=convergence_s[0],
        convergence_p99_s=convergence_s[1],
        filling=Filling(done=bool(look.seen) and look.waiting == 0)
        if look.answered and look.waiting is not None
        else None,
        as_of_age_s=look.age_s,
        window_s=look.window_s if look.has_watermark else None,
        next=next_command(state, look, problems, workers),
    )


def worst_first(tables: Iterable[CopyLine]) -> list[CopyLine]:
    """By state, then those that wait for the most records."""
    return sorted(
        tables, key=lambda line: (RANK[line.state], -(line.decide_lag or 0) - (line.lag or 0), line.table, line.replica)
    )


def quantiles(metrics_text: str) -> dict[tuple[str, str], tuple[float | None, float | None]]:
    """p50 and p99 of convergence by (table, replica), in seconds, from a worker's /metrics."""
    buckets: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for bound, replica, table, count in _BUCKET.findall(metrics_text):
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
