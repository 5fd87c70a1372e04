"""How each alert comes about: what is broken of a healthy installation, and whom it is about. Pure.

`core.alert_tests` makes promtool's tests of it. A case breaks half of its subjects at a time, so that a rule that
takes one for another is found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from trueup.core.alert_worlds import STEP_S, STEPS, always, rising, scraped_from
from trueup.core.window_alerts import FAST, FAST_SHARE_MAX, SLOW, SLOW_SHARE_MAX, budget_of
from trueup.core.window_edges import edge_label, window_of, within_s
from trueup.core.worker_alerts import expected_workers
from trueup.model.registration import Project

_MANY: Final = 1_000_000  # changes a step: shares of a hundred-thousandth can be told apart


class Subject(msgspec.Struct, frozen=True):
    """Whom an alert is about.

    :param labels: of the series that are broken, and of the alert.
    """

    labels: dict[str, str]
    window_s: float = 0
    budget: float = 0

    @property
    def slow_share(self) -> float:
        """A share of late changes that is too many for long, and too few to wake somebody."""
        slow = min(min(factor * self.budget, SLOW_SHARE_MAX) for _, _, factor in SLOW)
        fast = min(min(factor * self.budget, FAST_SHARE_MAX) for _, _, factor in FAST)
        return (slow + fast) / 2


class Break(msgspec.Struct, frozen=True):
    """Other values for a series of a subject.

    :param also: more labels of the series.
    """

    name: str
    values: Callable[[Subject], str]
    also: Callable[[Subject], dict[str, str]] = lambda _: {}


class Case(msgspec.Struct, frozen=True):
    """One way to an alert.

    :param fires: whether the alert comes about; otherwise it looks like it and must not.
    :param silent: alerts that are near, and must not come about.
    :param adds: labels of the alert that are not the subject's.
    """

    alert: str
    what: str
    subjects: Callable[[Project], list[Subject]]
    breaks: tuple[Break, ...]
    fires: bool = True
    silent: tuple[str, ...] = ()
    adds: dict[str, str] = {}


def to(value: float) -> Callable[[Subject], str]:
    return lambda _: always(value)


def by(more: float) -> Callable[[Subject], str]:
    return lambda _: rising(more)


def having(**labels: str) -> Callable[[Subject], dict[str, str]]:
    return lambda _: labels


def copies(project: Project) -> list[Subject]:
    return [
        Subject(
            {"table": table.table, "replica": copy.replica},
            within_s(window_of(table, copy)),
            budget_of(window_of(table, copy).objective),
        )
        for table in project.tables.values()
        for copy in table.copies
    ]


def stages(project: Project) -> list[Subject]:
    decide = [Subject({"stage": "decide", "table": table, "replica": ""}) for table in project.tables]
    return decide + [Subject({"stage": "apply", **copy.labels}) for copy in copies(project)]


def tables(project: Project) -> list[Subject]:
    return [Subject({"table": table}) for table in project.tables]


def systems(project: Project) -> list[Subject]:
    return [Subject({"system": name}) for name in project.systems if project.tables_owned_by(name)]


def workers(project: Project) -> list[Subject]:
    return [Subject(scraped_from(worker)) for worker in expected_workers(project)]


def kinds(project: Project) -> list[Subject]:
    """Workers by what is missed of them."""
    return [
        Subject({"kind": worker.kind} | ({"replica": worker.replica} if worker.replica else {}))
        for worker in expected_workers(project)
    ]


def lanes(project: Project) -> list[Subject]:
    """Workers that have partitions."""
    return [Subject(scraped_from(worker)) for worker in expected_workers(project) if worker.kind != "capture"]


def parts(project: Project) -> list[Subject]:
    applying = [f"replica {worker.replica}" for worker in expected_workers(project) if worker.replica]
    return [Subject({"part": part}) for part in ("kafka", "registry", *applying)]


_BUCKET, _COUNT = "trueup_convergence_seconds_bucket", "trueup_convergence_seconds_count"


def _own_edge(subject: Subject) -> dict[str, str]:
    return {"le": edge_label(subject.window_s)}


def _kept_but_slow_share(subject: Subject) -> str:
    return rising(round(_MANY * (1 - subject.slow_share)))


def _once(changes: int) -> Callable[[Subject], str]:
    return lambda _: f"0 0 {changes}+0x{STEPS - 2}"


COPY_CASES: Final = (
    Case("TrueUpBudgetBurnsFast", "every change is late", copies, (Break(_BUCKET, to(0), _own_edge),)),
    Case(
        "TrueUpBudgetBurnsFast",
        "nine late changes of nine are too few to be a rate",
        copies,
        (Break(_BUCKET, to(0), _own_edge), Break(_COUNT, _once(9))),
        fires=False,
    ),
    Case(
        "TrueUpBudgetBurnsSlowly",
        "somewhat too many changes are late",
        copies,
        (Break(_BUCKET, _kept_but_slow_share, _own_edge), Break(_COUNT, by(_MANY))),
        silent=("TrueUpBudgetBurnsFast",),
    ),
    Case(
        "TrueUpCopyStuck",
        "as_of stands still",
        copies,
        (Break("trueup_as_of_age_seconds", lambda subject: rising(STEP_S, 2 * subject.window_s)),),
    ),
    Case(
        "TrueUpCopyStuck",
        "nobody says as_of any more, as when a worker is stopped",
        copies,
        (Break("trueup_as_of_age_seconds", lambda subject: f"{2 * subject.window_s:g}+{STEP_S}x3 stale"),),
    ),
    Case(
        "TrueUpCopyNotProven",
        "the first filling goes on",
        copies,
        (Break("trueup_as_of_age_seconds", lambda _: " ".join(["Inf"] * STEPS)),),
        silent=("TrueUpCopyStuck",),
    ),
    Case(
        "TrueUpCopyStuck",
        "a worker holds nothing of the table and another one says nothing",
        copies,
        (Break("trueup_as_of_age_seconds", lambda subject: f"{2 * subject.window_s:g} " + " ".join(["NaN"] * STEPS)),),
    ),
)
_LETTER: Final = having(outcome="rejected")
STAGE_CASES: Final = (
    Case("TrueUpNoProgress", "records wait and none is counted", stages, (Break("trueup_lag_records", to(5)),)),
    Case(
        "TrueUpNoProgress",
        "records wait and some are counted: slow, not stuck",
        stages,
        (
            Break("trueup_lag_records", to(5)),
            Break("trueup_records_total", by(1), having(outcome="applied")),
        ),
        fires=False,
    ),
    Case(
        "TrueUpTableStopped",
        "the columns changed at the source",
        stages,
        (Break("trueup_table_stopped", to(1), having(error_class="SchemaChanged")),),
        silent=("TrueUpTableWentBack",),
        adds={"error_class": "SchemaChanged"},
    ),
    Case(
        "TrueUpTableWentBack",
        "the source was restored",
        stages,
        (Break("trueup_table_stopped", to(1), having(error_class="SourceWentBack")),),
        silent=("TrueUpTableStopped",),
    ),
    Case("TrueUpRecoveryTooLong", "recovery does not end", stages, (Break("trueup_preparing_seconds", by(STEP_S)),)),
    Case(
        "TrueUpDeadLettersRise",
        "one change is rejected now and then",
        stages,
        (Break("trueup_records_total", by(1), _LETTER),),
        silent=("TrueUpDeadLettersFlood",),
    ),
    Case(
        "TrueUpDeadLettersFlood",
        "many changes are rejected",
        stages,
        (Break("trueup_records_total", by(50), _LETTER),),
    ),
    Case("TrueUpCasesOverdue", "a deadline passed", tables, (Break("trueup_cases_overdue", to(1)),)),
)
SYSTEM_CASES: Final = (
    Case(
        "TrueUpSourceWentBack",
        "its log ends before what was captured",
        systems,
        (Break("trueup_capture_lost", to(1), having(error_class="SourceWentBack")),),
        silent=("TrueUpSlotLost",),
    ),
    Case(
        "TrueUpSlotLost",
        "the source gave it up",
        systems,
        (Break("trueup_capture_lost", to(1), having(error_class="SlotLost")),),
        silent=("TrueUpSourceWentBack",),
    ),
    Case(
        "TrueUpSlotNearlyLost",
        "little is left",
        systems,
        (Break("trueup_slot_headroom_bytes", to(1e8)), Break("trueup_slot_retained_bytes", to(9e8))),
    ),
    Case(
        "TrueUpSlotNearlyLost",
        "much is left, and goes within the hour",
        systems,
        (Break("trueup_slot_headroom_bytes", lambda _: f"1000000000-40000000x{STEPS}"),),
    ),
    Case("TrueUpSlotGrows", "20 GB of log", systems, (Break("trueup_slot_retained_bytes", to(20e9)),)),
    Case("TrueUpSlotNotRead", "the connector is away", systems, (Break("trueup_slot_active", to(0)),)),
    Case("TrueUpCaptureFailed", "FAILED", systems, (Break("trueup_capture_failed", to(1)),)),
    Case("TrueUpCaptureNotRunning", "paused", systems, (Break("trueup_capture_running", to(0)),)),
    Case("TrueUpCaptureRestarts", "again", systems, (Break("trueup_capture_restarts_total", by(1)),)),
)
WORKER_CASES: Final = (
    Case("TrueUpWorkerMissing", "killed", kinds, (Break("trueup_worker_info", lambda _: "1+0x3 stale"),)),
    Case("TrueUpWorkerNotReady", "it waits", lanes, (Break("trueup_worker_ready", to(0)),)),
    Case("TrueUpWorkerRestarts", "again", workers, (Break("process_start_time_seconds", by(STEP_S)),)),
    Case("TrueUpPartUnreachable", "it is down", parts, (Break("trueup_outage", to(1)),)),
    Case(
        "TrueUpRecoveryTooLong",
        "recovery waits for a part: that is said by another alert",
        lanes,
        (Break("trueup_preparing_seconds", by(STEP_S)), Break("trueup_outage", to(1), having(part="kafka"))),
        fires=False,
    ),
    Case("TrueUpDiskFull", "five hundredths are left", workers, (Break("trueup_state_disk_free_bytes", to(5e9)),)),
    Case(
        "TrueUpDiskFull",
        "full in an hour",
        workers,
        (Break("trueup_state_disk_free_bytes", lambda _: f"50000000000-800000000x{STEPS}"),),
    ),
    Case("TrueUpMemory", "two gigabytes", workers, (Break("process_resident_memory_bytes", to(2e9)),)),
)
CASES: Final = (*COPY_CASES, *STAGE_CASES, *SYSTEM_CASES, *WORKER_CASES)
