"""Alerts about capture, a rule per system, so that each names the tables that stand still with it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from trueup.model.alerting import Alert, RuleGroup
from trueup.model.registration import Project

SLOT_SHARE_MIN: Final = 0.2  # of what the source keeps for a slot, before it gives the slot up
SLOT_BYTES_MAX: Final = 10 << 30  # where a source has no limit of its own, its disk is the limit; arbitrary
_FAILED_S: Final = 120  # the capture worker restarts with a backoff up to so long
_NOT_RUNNING_S: Final = 300
_NOT_READ_S: Final = 420  # a snapshot does not read the slot before it is over
_RESTARTS_MAX: Final = 3


def capture_groups(project: Project) -> list[RuleGroup]:
    """A group per system that owns tables."""
    systems = {name: [table.table for table in project.tables_owned_by(name)] for name in project.systems}
    return [
        RuleGroup(name=f"trueup capture of {name}", rules=tuple(_of_system(name, tables)))
        for name, tables in systems.items()
        if tables
    ]


def _of_system(system: str, tables: list[str]) -> Iterator[Alert]:
    named = ", ".join(f'"{table}"' for table in tables)
    for alert in (*_slot(f'{{system="{system}"}}'), *_losses(system), *_connector(f'{{system="{system}"}}')):
        summary = f'system "{system}" with tables {named}: {alert.summary}'
        yield msgspec.structs.replace(alert, summary=summary, labels={"system": system})


def _losses(system: str) -> Iterator[Alert]:
    for name, error_class, says, runbook in (
        ("TrueUpSourceWentBack", "SourceWentBack", "the source went back; capture stops", "The source went back"),
        ("TrueUpSlotLost", "SlotLost", "the slot is lost; changes are missing", "The slot is lost"),
    ):
        expr = f'max by (system) (trueup_capture_lost{{system="{system}",error_class="{error_class}"}}) == 1'
        yield Alert(alert=name, severity="page", expr=expr, summary=says, runbook=runbook)


def _slot(of: str) -> Iterator[Alert]:
    retained, headroom = (f"max by (system) (trueup_slot_{what}_bytes{of})" for what in ("retained", "headroom"))
    yield Alert(
        alert="TrueUpSlotNearlyLost",
        severity="page",
        expr=f"{headroom} < {SLOT_SHARE_MIN:g} * ({headroom} + {retained})\n"
        f"or max by (system) (predict_linear(trueup_slot_headroom_bytes{of}[15m], 3600)) < 0",
        summary="the source is about to give up the slot",
        runbook="The slot is about to be lost",
        for_s=60,
    )
    yield Alert(
        alert="TrueUpSlotGrows",
        severity="ticket",
        expr=f"{retained} > {SLOT_BYTES_MAX}",
        summary=f"the source keeps more than {SLOT_BYTES_MAX >> 30} GiB of log for the slot",
        runbook="The slot is about to be lost",
        for_s=300,
    )
    yield Alert(
        alert="TrueUpSlotNotRead",
        severity="ticket",
        expr=f"max by (system) (trueup_slot_active{of}) == 0",
        summary="nobody reads the slot",
        runbook="The connector failed",
        for_s=_NOT_READ_S,
    )


def _connector(of: str) -> Iterator[Alert]:
    yield Alert(
        alert="TrueUpCaptureFailed",
        severity="page",
        expr=f"max by (system) (trueup_capture_failed{of}) == 1",
        summary="the connector or its task failed",
        runbook="The connector failed",
        for_s=_FAILED_S,
    )
    yield Alert(
        alert="TrueUpCaptureNotRunning",
        severity="page",
        expr=f"max by (system) (trueup_capture_running{of}) == 0",
        summary="the connector does not run",
        runbook="The connector failed",
        for_s=_NOT_RUNNING_S,
    )
    yield Alert(
        alert="TrueUpCaptureRestarts",
        severity="ticket",
        expr=f"sum by (system) (increase(trueup_capture_restarts_total{of}[30m])) > {_RESTARTS_MAX}",
        summary="the connector fails again and again",
        runbook="The connector failed",
    )
