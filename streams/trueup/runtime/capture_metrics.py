"""The capture worker's metrics: connectors and tasks at Connect, slots and log at the sources.

The metrics of the other workers are `runtime.metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from trueup.adapters.kafka_connect import ConnectorStatus
from trueup.model.errors import SlotLost, SourceWentBack, Stop
from trueup.model.source_table import CapturePlace

ABSENT: Final = "ABSENT"
UNKNOWN: Final = "UNKNOWN"  # Connect does not answer, or says a word of a later version
STATES: Final = ("RUNNING", "PAUSED", "STOPPED", "FAILED", "UNASSIGNED", "RESTARTING", ABSENT, UNKNOWN)
LOSSES: Final = (SlotLost.__name__, SourceWentBack.__name__)


class CaptureMetrics:
    """Connectors, tasks and slots of some systems; NaN for what is not known."""

    def __init__(self, registry: CollectorRegistry, systems: Iterable[str]) -> None:
        def gauge(name: str, documentation: str, *labels: str) -> Gauge:
            return Gauge(name, documentation, ["system", *labels], registry=registry)

        self._running = gauge("trueup_capture_running", "1 while connector and task of a system run.")
        self._failed = gauge("trueup_capture_failed", "1 while the connector of a system or its task is FAILED.")
        self._state = gauge("trueup_capture_state", "1 for the state of connector and task.", "part", "state")
        self._restarts = Counter(
            "trueup_capture_restarts", "Restarts of what failed of a connector.", ["system"], registry=registry
        )
        self._lost = gauge(
            "trueup_capture_lost", "1 while capture may not go on without a resync, by why.", "error_class"
        )
        self._active = gauge("trueup_slot_active", "1 while the connector reads the slot of a system.")
        self._retained = gauge("trueup_slot_retained_bytes", "Log that the source keeps for the slot.")
        self._headroom = gauge(
            "trueup_slot_headroom_bytes", "Log until the source gives the slot up (+Inf: it has no such limit)."
        )
        self._behind = gauge("trueup_capture_behind_bytes", "Log of the source that is not captured yet.")
        for system in systems:
            self.connector(system, None, is_known=False)
            self._restarts.labels(system)
            self.not_known(system)
            self.lost(system, None)

    def connector(self, system: str, status: ConnectorStatus | None, *, is_known: bool = True) -> None:
        """How a connector is; None: there is none, or, when not known, Connect does not answer."""
        self._running.labels(system).set(status is not None and status.running)
        self._failed.labels(system).set(status is not None and status.failed)
        nothing = ABSENT if is_known else UNKNOWN
        connector = {nothing} if status is None else {status.connector}
        tasks = {nothing} if status is None else set(status.tasks) or {ABSENT}
        for part, states in (("connector", connector), ("task", tasks)):
            said = {state if state in STATES else UNKNOWN for state in states}
            for state in STATES:
                self._state.labels(system, part, state).set(state in said)

    def restarted(self, system: str) -> None:
        self._restarts.labels(system).inc()

    def place(self, system: str, place: CapturePlace) -> None:
        """Where slot and connector stand in the log of a system."""
        slot = place.slot
        self._active.labels(system).set(slot is not None and slot.active)
        self._retained.labels(system).set(math.nan if slot is None else max(0, place.log_end - slot.restart))
        headroom = math.inf if slot is None or slot.headroom_bytes is None else max(0, slot.headroom_bytes)
        self._headroom.labels(system).set(math.nan if slot is None else 0 if slot.lost else headroom)
        behind = math.nan if place.captured is None else max(0, place.log_end - place.captured)
        self._behind.labels(system).set(behind)

    def not_known(self, system: str) -> None:
        """The source or Connect does not answer: an old number would be a wrong one."""
        for gauge in (self._active, self._retained, self._headroom, self._behind):
            gauge.labels(system).set(math.nan)

    def lost(self, system: str, why: Stop | None) -> None:
        """Why capture may not go on; None: it may."""
        for error_class in LOSSES:
            self._lost.labels(system, error_class).set(type(why).__name__ == error_class)
