"""What stands on each dashboard: the question a panel answers, and its queries. Pure; the form is `core.dashboards`."""

from __future__ import annotations

from typing import Final

from trueup.core.operation_panels import capture_panels, hop_quantile, worker_panels
from trueup.core.window_alerts import BUDGET, BURNED, WINDOW, missed_ratio
from trueup.model.dashboard import Dashboard, Panel
from trueup.model.registration import Project

_QUARTER = 6

_AGE: Final = "max by (table, replica) (trueup_as_of_age_seconds)"
_COPY: Final = "{{table}} at {{replica}}"
_PLACE: Final = "{{table}} {{stage}} {{replica}}"


def _convergence(share: float, of: str) -> str:
    buckets = f"sum by (le, table, replica) (rate(trueup_convergence_seconds_bucket{of}[5m]))"
    return f"histogram_quantile({share:g}, {buckets})"


def _rate(metric: str, by: str, of: str) -> str:
    return f"sum by ({by}) (rate({metric}{of}[1m]))"


def dashboards_of(project: Project) -> list[Dashboard]:
    """All of them."""
    systems = [name for name in project.systems if project.tables_owned_by(name)]
    copies = [name for name in project.replicas if project.tables_copied_to(name)]
    return [
        Dashboard(
            uid="trueup-overview",
            title="TrueUp overview",
            description="Is every copy in its window? If not: which table, which stage?",
            panels=_overview(),
        ),
        Dashboard(
            uid="trueup-table",
            title="TrueUp table",
            description="A table from its owner to every copy, hop by hop.",
            panels=_table(),
            choices={"table": list(project.tables)},
        ),
        Dashboard(
            uid="trueup-replica",
            title="TrueUp replica",
            description="Everything one replica holds, and how its worker does.",
            panels=_replica(),
            choices={"replica": copies},
        ),
        Dashboard(
            uid="trueup-workers",
            title="TrueUp workers",
            description="The processes: ready, restarts, memory, CPU, disk, what they wait for.",
            panels=worker_panels(),
        ),
        Dashboard(
            uid="trueup-capture",
            title="TrueUp capture",
            description="Connectors and tasks at Connect, slots and log at the sources.",
            panels=capture_panels(),
            choices={"system": systems},
        ),
    ]


def _at_a_glance() -> tuple[Panel, ...]:
    return (
        Panel(
            title="Copies beyond their window",
            says="How many copies are not known to be younger than their window.",
            queries={"copies": f"count({_AGE} > on (table, replica) {WINDOW}) or vector(0)"},
            kind="stat",
            width=_QUARTER,
            red_from=1,
        ),
        Panel(
            title="Tables stopped",
            says="They wait for a person.",
            queries={"stopped": "sum(max by (stage, table, replica) (trueup_table_stopped))"},
            kind="stat",
            width=_QUARTER,
            red_from=1,
        ),
        Panel(
            title="Workers that answer",
            says="Decide, one apply per replica, capture.",
            queries={"workers": "count(trueup_worker_info)"},
            kind="stat",
            width=_QUARTER,
        ),
        Panel(
            title="Cases overdue",
            says="Conflicts that nobody decided in time.",
            queries={"cases": "sum(trueup_cases_overdue)"},
            kind="stat",
            width=_QUARTER,
            red_from=1,
        ),
    )


def _overview() -> tuple[Panel, ...]:
    return (
        *_at_a_glance(),
        Panel(
            title="Age of what a copy shows, in windows",
            says="1 is the promise; a line that rises without an end is stuck.",
            queries={_COPY: f"{_AGE} / on (table, replica) {WINDOW}"},
            red_from=1,
        ),
        Panel(
            title="Error budget burned in three days",
            says="Share of the changes that may be late and were; 1 is all of it, at the pace of 30 days a tenth is.",
            queries={_COPY: BURNED},
            unit="percentunit",
            red_from=1,
        ),
        Panel(
            title="Convergence, p99",
            says="From the source's commit to the replica's commit.",
            queries={_COPY: _convergence(0.99, "")},
            unit="s",
        ),
        Panel(
            title="Changes a second, by stage",
            says="Records that ended as applied.",
            queries={_PLACE: _rate("trueup_records_total", "stage, table, replica", '{outcome="applied"}')},
            unit="cps",
        ),
        Panel(
            title="Records that wait",
            says="0 is idle. Rising with nothing applied is stuck, rising with much applied is slow.",
            queries={_PLACE: "sum by (stage, table, replica) (trueup_lag_records)"},
        ),
        Panel(
            title="Dead letters in an hour",
            says="Changes that could not be used.",
            queries={_PLACE: 'sum by (stage, table, replica) (increase(trueup_records_total{outcome="rejected"}[1h]))'},
        ),
        Panel(
            title="Cases open",
            says="Conflicts that wait for a person; their keys wait with them.",
            queries={"{{table}}": "sum by (table) (trueup_cases_open)"},
        ),
        Panel(
            title="Parts that somebody waits for",
            says="1 while a worker waits for Kafka, the registry, Connect, a source or a replica.",
            queries={"{{part}}": "max by (part) (trueup_outage)"},
            red_from=1,
        ),
    )


def _table() -> tuple[Panel, ...]:
    of = '{table=~"$table"}'
    return (
        Panel(
            title="Age of what the copies show",
            says="Beside the window that was registered.",
            queries={
                _COPY: f"max by (table, replica) (trueup_as_of_age_seconds{of})",
                "window of " + _COPY: f"{WINDOW}{of}",
            },
            unit="s",
        ),
        Panel(
            title="Changes that missed their window",
            says="Over an hour, beside the share that may.",
            queries={_COPY: f"{missed_ratio('1h')}{of}", "may: " + _COPY: f"{BUDGET}{of}"},
            unit="percentunit",
        ),
        Panel(
            title="Convergence by hop, p99",
            says="Capture: commit to Kafka. Decide: Kafka to truth. Apply: truth to the replica's commit.",
            queries={"{{hop}} {{table}} {{replica}}": hop_quantile(of)},
            unit="s",
        ),
        Panel(
            title="Convergence, p50 and p99",
            says="From the source's commit to the replica's commit.",
            queries={"p50 " + _COPY: _convergence(0.5, of), "p99 " + _COPY: _convergence(0.99, of)},
            unit="s",
        ),
        Panel(
            title="Outcomes a second",
            says="Each record that came in ends in exactly one.",
            queries={_PLACE + " {{outcome}}": _rate("trueup_records_total", "stage, table, replica, outcome", of)},
            unit="cps",
        ),
        Panel(
            title="Records that wait",
            says="0 is idle.",
            queries={_PLACE: f"sum by (stage, table, replica) (trueup_lag_records{of})"},
        ),
        Panel(
            title="Seconds of a batch by step",
            says="Where the time of a batch goes, on average.",
            queries={
                _PLACE + " {{step}}": f"{_rate('trueup_batch_seconds_sum', 'stage, table, replica, step', of)}"
                f" / {_rate('trueup_batch_seconds_count', 'stage, table, replica, step', of)}"
            },
            unit="s",
        ),
        Panel(
            title="Keys with an open dead letter",
            says="Of the decide stage; copies show what they were before. Those of a replica: its trueup.freshness.",
            queries={"{{table}} {{stage}}": f"sum by (table, stage) (trueup_dead_letters_open{of})"},
        ),
        Panel(
            title="Stopped, or being recovered",
            says="1 while stopped, by why; seconds since a partition was to be taken over.",
            queries={
                _PLACE + " {{error_class}}": f"max by (stage, table, replica, error_class) (trueup_table_stopped{of})",
                "recovery of " + _PLACE: f"max by (stage, table, replica) (trueup_preparing_seconds{of})",
            },
        ),
    )


def _replica() -> tuple[Panel, ...]:
    of, part = '{replica=~"$replica"}', '{part=~"replica ($replica)"}'
    return (
        Panel(
            title="Age of what it shows, in windows",
            says="1 is the promise.",
            queries={
                _COPY: f"max by (table, replica) (trueup_as_of_age_seconds{of}) / on (table, replica) {WINDOW}{of}"
            },
            red_from=1,
        ),
        Panel(
            title="Convergence, p99",
            says="From the source's commit to this replica's commit.",
            queries={_COPY: _convergence(0.99, of)},
            unit="s",
        ),
        Panel(
            title="Applied a second",
            says="Rows written.",
            queries={_COPY: _rate("trueup_records_total", "table, replica", '{outcome="applied",replica=~"$replica"}')},
            unit="cps",
        ),
        Panel(
            title="Records that wait",
            says="0 is idle.",
            queries={_COPY: f"sum by (table, replica) (trueup_lag_records{of})"},
        ),
        Panel(
            title="Retries a second, by class",
            says="Failures that were tried again: the replica was away, locked or busy.",
            queries={"{{replica}} {{error_class}}": _rate("trueup_retries_total", "replica, error_class", of)},
            unit="cps",
        ),
        Panel(
            title="Breaker",
            says="Open: the replica is away, and partitions wait. Half-open: one asks whether it is back.",
            queries={"{{part}} {{state}}": f"max by (part, state) (trueup_breaker_state{part}) == 1"},
        ),
        Panel(
            title="Records per batch",
            says="Larger under load: that is how a slow replica keeps up.",
            queries={
                _COPY: f"{_rate('trueup_batch_records_sum', 'table, replica', of)}"
                f" / {_rate('trueup_batch_records_count', 'table, replica', of)}"
            },
        ),
    )
