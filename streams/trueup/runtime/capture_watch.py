"""Connectors run on Connect and are restarted by nobody when they fail: this is who does it, with patience.

Debezium retries what it knows to be passing (a source that restarts). What it does not know, such as a registry that
was down when a task began, leaves the task FAILED for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import structlog

from trueup.adapters.kafka_connect import ConnectorStatus
from trueup.core.connector_config import connector_name
from trueup.model.errors import CaptureFailed, Stop, TrueUpError
from trueup.runtime.backoff import backoff_s
from trueup.runtime.capture_metrics import CaptureMetrics
from trueup.runtime.outages import Outages

_LOOK_S: Final = 3.0
# A task that fails again must not be started twice a second for hours: each start logs in at the source, and takes the
# slot. Ten seconds of running prove that the cause is gone.
_RESTART_S_FIRST: Final = 3.0
_RESTART_S_MAX: Final = 120.0
_PROVEN_S: Final = 10.0

log = structlog.get_logger("trueup.capture")


class Connectors(Protocol):
    """What is asked of Connect; `adapters.kafka_connect` is the real one."""

    def status(self, name: str) -> ConnectorStatus | None:
        """How a connector is; None: there is none."""
        ...

    def restart_failed(self, name: str) -> None:
        """Restart what failed of it."""
        ...


class _System:
    """What is known of one system's capture."""

    def __init__(self) -> None:
        self.restarts = 0  # since it last ran for long enough
        self.restart_at = 0.0
        self.running_since: float | None = None
        self.state = "not looked at yet"


class CaptureWatch:
    """Looks at the connectors of some systems again and again.

    :param lost: why a system may not be captured on without a new epoch. Such a connector is not restarted: Debezium
        would run on behind a slot that was advanced by hand (`core.capture_health`).
    """

    def __init__(
        self,
        systems: Iterable[str],
        connectors: Connectors,
        outages: Outages,
        metrics: CaptureMetrics,
        lost: Callable[[str], Stop | None] = lambda _: None,
    ) -> None:
        self._systems = {system: _System() for system in systems}
        self._connectors, self._outages, self._metrics = connectors, outages, metrics
        self._lost = lost

    def reasons(self) -> list[str]:
        """Why capture is not as it should be; empty when every system is captured."""
        return [f"capture of {name}: {system.state}" for name, system in self._systems.items() if system.state]

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """One look at every connector; restarts what failed and is due."""
        for name, system in self._systems.items():
            who = f"capture of {name}"
            try:
                status = await asyncio.to_thread(self._connectors.status, connector_name(name))
                await self._judge(name, system, status)
            except TrueUpError as exc:
                self._outages.begin(who, exc)
                system.running_since, system.state = None, "not known"
                self._metrics.connector(name, None, is_known=False)

    async def _judge(self, name: str, system: _System, status: ConnectorStatus | None) -> None:
        who, now = f"capture of {name}", asyncio.get_running_loop().time()
        running = status is not None and status.running
        self._metrics.connector(name, status)
        if status is None:
            system.state = "there is no connector; run trueup apply"
        elif status.running:
            system.state = ""
        else:
            system.state = f"{status.connector}, tasks {', '.join(status.tasks) or 'none yet'}"
        if not running:
            system.running_since = None
        if status is not None and status.failed:
            self._outages.begin(who, CaptureFailed(name, detail=status.trace))
            lost = await asyncio.to_thread(self._lost, name)
            if lost is not None:
                system.state = f"{lost.primary} -> {lost.hint}"
            elif now >= system.restart_at:
                system.restarts += 1
                system.restart_at = now + backoff_s(system.restarts, _RESTART_S_MAX, _RESTART_S_FIRST)
                await asyncio.to_thread(self._connectors.restart_failed, connector_name(name))
                self._metrics.restarted(name)
                log.info("capture restarted", system=name, attempt=system.restarts)
        elif running:
            system.running_since = now if system.running_since is None else system.running_since
            # One that fails while it starts is RUNNING for a moment each time.
            if system.restarts == 0 or now - system.running_since >= _PROVEN_S:
                system.restarts = 0
                self._outages.end(who)
