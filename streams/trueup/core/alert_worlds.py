"""What Prometheus sees of a healthy installation, as the input of rule tests: idle, or busy. Pure.

`core.alert_tests` breaks one thing of it at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from trueup.core.window_edges import edge_label, edges_of, window_of, within_s
from trueup.core.worker_alerts import ExpectedWorker, expected_workers
from trueup.model.decision import Outcome
from trueup.model.registration import Project

STEP_S: Final = 60
STEPS: Final = 9  # eight minutes: longer than any alert waits, and short to evaluate
_BUSY: Final = 1000  # a step
_STOPS: Final = ("SchemaChanged", "SourceWentBack", "TopicChanged")
_LOSSES: Final = ("SlotLost", "SourceWentBack")


class Series(msgspec.Struct, frozen=True):
    """A series by name and labels, with its values in the notation of promtool ("0+60x9")."""

    name: str
    labels: dict[str, str]
    values: str

    @property
    def text(self) -> str:
        """As PromQL selects it."""
        labels = ",".join(f'{name}="{value}"' for name, value in self.labels.items() if value)
        return f"{self.name}{{{labels}}}"


def always(value: float) -> str:
    """The same value at every step."""
    return f"{value:g}+0x{STEPS}"


def rising(by: float, start: float = 0) -> str:
    """More at every step."""
    return f"{start:g}+{by:g}x{STEPS}"


def scraped_from(worker: ExpectedWorker) -> dict[str, str]:
    """The labels a scrape gives to all that a worker says."""
    name = "-".join(filter(None, (worker.kind, worker.replica)))
    return {"job": "trueup", "instance": f"{name}:1", "worker": name}


def healthy(project: Project, *, is_busy: bool) -> list[Series]:
    """Everything is as it should be.

    :param is_busy: changes come and arrive in their windows; otherwise nothing happens.
    """
    found: list[Series] = []
    for worker in expected_workers(project):
        target = scraped_from(worker)
        found += [Series(s.name, {**target, **s.labels}, s.values) for s in _of_worker(project, worker, is_busy)]
    return found


def _of_worker(project: Project, worker: ExpectedWorker, is_busy: bool) -> Iterator[Series]:
    yield Series("trueup_worker_info", {"kind": worker.kind, "replica": worker.replica}, always(1))
    yield Series("process_start_time_seconds", {}, always(1000))
    yield Series("process_resident_memory_bytes", {}, always(200e6))
    yield Series("trueup_state_disk_size_bytes", {}, always(100e9))
    yield Series("trueup_state_disk_free_bytes", {}, always(50e9))
    for part in ("kafka", "registry", *([f"replica {worker.replica}"] if worker.replica else ())):
        yield Series("trueup_outage", {"part": part}, always(0))
    if worker.kind == "capture":
        yield from _of_capture(project)
        return
    yield Series("trueup_worker_ready", {}, always(1))
    for table in worker.tables:
        yield from _of_stage({"stage": worker.kind, "table": table, "replica": worker.replica}, is_busy)
        if worker.replica:
            yield from _of_copy(project, table, worker.replica, is_busy)
        else:
            yield Series("trueup_cases_open", {"table": table}, always(1))
            yield Series("trueup_cases_overdue", {"table": table}, always(0))
            yield Series("trueup_dead_letters_open", {"stage": worker.kind, "table": table}, always(1))


def _of_stage(place: dict[str, str], is_busy: bool) -> Iterator[Series]:
    for outcome in Outcome:
        moves = is_busy and outcome is Outcome.APPLIED
        yield Series("trueup_records_total", {**place, "outcome": outcome.value}, rising(_BUSY if moves else 0, 7))
    yield Series("trueup_lag_records", place, always(3 if is_busy else 0))
    yield Series("trueup_preparing_seconds", place, always(0))
    for error_class in _STOPS:
        yield Series("trueup_table_stopped", {**place, "error_class": error_class}, always(0))


def _of_copy(project: Project, table: str, replica: str, is_busy: bool) -> Iterator[Series]:
    """Half of the changes take longer than the next narrower window: other edges than the copy's say something else."""
    registered = project.tables[table]
    copy = registered.copy_at(replica)
    assert copy is not None, f"{table} has no copy at {replica}"
    window_s, place = within_s(window_of(registered, copy)), {"table": table, "replica": replica}
    yield Series("trueup_as_of_age_seconds", place, always(0.4 * window_s))
    changes = _BUSY if is_busy else 0
    for edge_s in edges_of(project):
        kept = changes if edge_s >= window_s else changes // 2
        yield Series("trueup_convergence_seconds_bucket", {**place, "le": edge_label(edge_s)}, rising(kept))
    yield Series("trueup_convergence_seconds_bucket", {**place, "le": "+Inf"}, rising(changes))
    yield Series("trueup_convergence_seconds_count", place, rising(changes))


def _of_capture(project: Project) -> Iterator[Series]:
    owners = [name for name in project.systems if project.tables_owned_by(name)]
    for number, system in enumerate(owners):
        of = {"system": system}
        yield Series("trueup_capture_running", of, always(1))
        yield Series("trueup_capture_failed", of, always(0))
        yield Series("trueup_capture_restarts_total", of, always(2))
        yield Series("trueup_slot_active", of, always(1))
        yield Series("trueup_slot_retained_bytes", of, always(50e6))
        # The first source sets no limit.
        yield Series("trueup_slot_headroom_bytes", of, " ".join(["Inf"] * STEPS) if number == 0 else always(900e6))
        for error_class in _LOSSES:
            yield Series("trueup_capture_lost", {**of, "error_class": error_class}, always(0))
