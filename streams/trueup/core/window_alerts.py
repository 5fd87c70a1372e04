"""Consistency windows as Prometheus rules: how much of the error budget burns, and stuck as against idle. Pure.

Burn rates over several windows are Google's SRE Workbook, chapter 5 ("Multiwindow, Multi-Burn-Rate Alerts"): a long
window proves that it matters, a short one that it still goes on. Few late changes are no burn: one late change of two
would be half of everything. What does not arrive at all has no convergence; that is what the age of `as_of` is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from trueup.core.window_edges import edge_label, edges_of, window_of, within_s
from trueup.model.alerting import Alert, Recording, Rule, RuleGroup, Severity
from trueup.model.registration import Project

WINDOW: Final = "trueup:window_seconds"
BUDGET: Final = "trueup:error_budget:ratio"
BURNED: Final = "trueup:error_budget_burned:ratio_3d"
AS_OF_AT: Final = "trueup:as_of:timestamp_seconds"
AS_OF_AGE: Final = "trueup:as_of_age:seconds"
RANGES: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
LONG_RANGES: Final = ("1h", "6h", "1d", "3d")
_NOT_PROVEN_S: Final = 300
LATE_MIN: Final = 10  # changes over the long window; arbitrary, see above

# (long window, short window, how many times too fast), of a budget of 30 days.
FAST: Final = (("1h", "5m", 14.4), ("6h", "30m", 6.0))
SLOW: Final = (("1d", "2h", 3.0), ("3d", "6h", 1.0))
# Times a large budget the factors would ask for more than everything; then nearly everything late is what they mean.
FAST_SHARE_MAX: Final = 0.95
SLOW_SHARE_MAX: Final = 0.9

_COPY: Final = "table, replica"
_BUCKET: Final = "trueup_convergence_seconds_bucket"
_COUNT: Final = "trueup_convergence_seconds_count"
_AGE: Final = "trueup_as_of_age_seconds"  # +Inf: not known yet; NaN: of a worker that holds nothing of the table
_PLACE: Final = 'table "{{ $labels.table }}" at replica "{{ $labels.replica }}"'


def missed_ratio(span: str) -> str:
    """The series of the share of changes that missed their window."""
    return f"trueup:window_missed:ratio_rate{span}"


def missed_count(span: str) -> str:
    """The series of how many changes missed their window."""
    return f"trueup:window_missed:increase{span}"


def budget_of(objective: str) -> float:
    """The share of changes that may be late: "99.9%" leaves 0.001."""
    return round(1 - float(objective.rstrip("%")) / 100, 6)


def window_groups(project: Project, scrape_s: float) -> list[RuleGroup]:
    """The registered windows, what missed them, and the alerts about it.

    :param scrape_s: how often workers are scraped.
    """
    return [
        RuleGroup(name="trueup windows", rules=(*_registered(project), *_missed(edges_of(project)))),
        RuleGroup(name="trueup copies", rules=tuple(_of_copies(scrape_s))),
    ]


def _registered(project: Project) -> Iterator[Rule]:
    """Registrations as series, so that one rule serves all copies."""
    for table in project.tables.values():
        for copy in table.copies:
            window, labels = window_of(table, copy), {"table": table.table, "replica": copy.replica}
            yield Recording(record=WINDOW, expr=f"vector({within_s(window):g})", labels=labels)
            yield Recording(record=BUDGET, expr=f"vector({budget_of(window.objective):g})", labels=labels)


def _missed(edges_s: Iterable[float]) -> Iterator[Rule]:
    """A window is an edge of the buckets, so these count exactly the changes that kept the window of their copy."""

    def kept(function: str, span: str) -> str:
        return "\n  or ".join(
            f'sum by ({_COPY}) ({function}({_BUCKET}{{le="{edge_label(edge_s)}"}}[{span}]))'
            f" and on ({_COPY}) {WINDOW} == {edge_s:g}"
            for edge_s in edges_s
        )

    def everything(function: str, span: str) -> str:
        return f"sum by ({_COPY}) ({function}({_COUNT}[{span}]))"

    for span in RANGES:
        expr = f"1 - (\n  {kept('rate', span)}\n) / {everything('rate', span)}"
        yield Recording(record=missed_ratio(span), expr=expr)
    for span in LONG_RANGES:
        expr = f"{everything('increase', span)} - (\n  {kept('increase', span)}\n)"
        yield Recording(record=missed_count(span), expr=expr)


def _of_copies(scrape_s: float) -> Iterator[Rule]:
    yield Recording(record=BURNED, expr=f"{missed_ratio('3d')} / on ({_COPY}) {BUDGET}")
    yield Recording(
        record=AS_OF_AT,
        expr=f"max by ({_COPY}) (timestamp({_AGE}) - ({_AGE} < +Inf))",
    )
    # Goes on growing when nobody can be asked any more: a stopped worker says no age.
    yield Recording(
        record=AS_OF_AGE,
        expr=f"time() - max by ({_COPY}) (last_over_time({AS_OF_AT}[1d])) and on ({_COPY}) {WINDOW}",
    )
    yield _burns("Fast", "page", FAST, FAST_SHARE_MAX)
    yield _burns("Slowly", "ticket", SLOW, SLOW_SHARE_MAX)
    # Two scrapes: as old is what is known from here, however fresh the copy is.
    yield Alert(
        alert="TrueUpCopyStuck",
        expr=f"max by ({_COPY}) ({_AGE} < +Inf) > on ({_COPY}) {WINDOW}\n"
        f"or\n{AS_OF_AGE} > on ({_COPY}) ({WINDOW} + {2 * scrape_s:g})",
        for_s=5,
        severity="page",
        summary=f"{_PLACE} is older than its window: it is not known to show what its owner shows",
        runbook="A copy is stuck",
    )
    yield Alert(
        alert="TrueUpCopyNotProven",
        expr=f"max by ({_COPY}) ({_AGE}) == +Inf",
        for_s=_NOT_PROVEN_S,
        severity="ticket",
        summary=f"{_PLACE} is not known to be as of any time: its first filling is not complete",
        runbook="A copy is not filled yet",
    )


def _burns(how: str, severity: Severity, pairs: tuple[tuple[str, str, float], ...], share_max: float) -> Alert:
    def pair(long: str, short: str, factor: float) -> str:
        limit = f"on ({_COPY}) clamp_max({factor:g} * {BUDGET}, {share_max:g})"
        return (
            f"(\n  {missed_ratio(long)} > {limit}\n  and {missed_ratio(short)} > {limit}\n"
            f"  and {missed_count(long)} >= {LATE_MIN}\n)"
        )

    return Alert(
        alert=f"TrueUpBudgetBurns{how}",
        expr="\nor\n".join(pair(*each) for each in pairs),
        severity=severity,
        summary=f"{_PLACE} misses its window so often that its error budget burns {how.lower()}",
        runbook="The error budget burns",
    )
