"""Alerts about worker processes and what is around them: missing, not ready, parts, disk, memory. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from trueup.model.alerting import Alert, RuleGroup
from trueup.model.registration import Project

RESIDENT_BYTES_MAX: Final = 1 << 30  # a worker of a million keys has a quarter of it (make bench-drain)
DISK_SHARE_MIN: Final = 0.1
_MISSING_S: Final = 30  # a killed worker is back after some 10 s
_NOT_READY_S: Final = 300
_OUTAGE_S: Final = 120
_RESTARTS_MAX: Final = 3
_NAMED: Final = "and on (job, instance) trueup_worker_info"
_WHO: Final = 'worker at "{{ $labels.instance }}"'


class ExpectedWorker(msgspec.Struct, frozen=True):
    """A worker that must run somewhere. `replica` is empty but for apply workers."""

    kind: str
    replica: str
    tables: tuple[str, ...]

    @property
    def selector(self) -> str:
        replica = f',replica="{self.replica}"' if self.replica else ""
        return f'trueup_worker_info{{kind="{self.kind}"{replica}}}'


def expected_workers(project: Project) -> list[ExpectedWorker]:
    """One of each kind that has something to do."""
    tables = tuple(project.tables)
    copies = {name: tuple(table.table for table, _ in project.tables_copied_to(name)) for name in project.replicas}
    if not tables:
        return []
    return [
        ExpectedWorker("decide", "", tables),
        *(ExpectedWorker("apply", name, copied) for name, copied in copies.items() if copied),
        ExpectedWorker("capture", "", tables),
    ]


def worker_groups(project: Project) -> list[RuleGroup]:
    """What each worker shows by itself, and who is missing."""
    missing = tuple(_missing(worker) for worker in expected_workers(project))
    return [
        RuleGroup(name="trueup missing workers", rules=missing),
        RuleGroup(name="trueup workers", rules=tuple(_of_all())),
    ]


def _missing(worker: ExpectedWorker) -> Alert:
    """A killed or stopped worker cannot be scraped: what it said of itself ends."""
    labels = {"kind": worker.kind} | ({"replica": worker.replica} if worker.replica else {})
    who = " ".join(filter(None, (worker.kind, worker.replica)))
    named = ", ".join(f'"{table}"' for table in worker.tables)
    return Alert(
        alert="TrueUpWorkerMissing",
        expr=f"absent({worker.selector})",
        for_s=_MISSING_S,
        severity="page",
        summary=f"no {who} worker answers: tables {named} stand still there",
        runbook="A worker is missing",
        labels=labels,
    )


def _of_all() -> Iterator[Alert]:
    yield Alert(
        alert="TrueUpWorkerNotReady",
        expr="trueup_worker_ready == 0",
        for_s=_NOT_READY_S,
        severity="page",
        summary=f"{_WHO} is not ready for {_NOT_READY_S // 60} minutes",
        runbook="A worker is not ready",
    )
    yield Alert(
        alert="TrueUpWorkerRestarts",
        expr=f"changes(process_start_time_seconds[30m]) > {_RESTARTS_MAX} {_NAMED}",
        severity="ticket",
        summary=f"{_WHO} ends again and again",
        runbook="A worker is missing",
    )
    yield Alert(
        alert="TrueUpPartUnreachable",
        expr="max by (part) (trueup_outage) == 1",
        for_s=_OUTAGE_S,
        severity="page",
        summary='"{{ $labels.part }}" does not answer; every table that needs it stands still',
        runbook="A part is not there",
    )
    yield Alert(
        alert="TrueUpDiskFull",
        expr=f"trueup_state_disk_free_bytes < {DISK_SHARE_MIN:g} * trueup_state_disk_size_bytes\n"
        "or predict_linear(trueup_state_disk_free_bytes[1h], 4 * 3600) < 0",
        for_s=120,
        severity="page",
        summary=f"the disk of the {_WHO} is nearly full",
        runbook="The disk is nearly full",
    )
    yield Alert(
        alert="TrueUpMemory",
        expr=f"process_resident_memory_bytes > {RESIDENT_BYTES_MAX} {_NAMED}",
        for_s=300,
        severity="ticket",
        summary=f"{_WHO} holds more than {RESIDENT_BYTES_MAX >> 30} GiB of memory",
        runbook="A worker holds too much memory",
    )
