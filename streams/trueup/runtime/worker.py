"""A worker process: health server first, then its parts one by one with patience, then Faust until SIGTERM.

Parts that do not answer are named once, /readyz says 503 and why, and the worker tries again with backoff by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import structlog
from prometheus_client import GC_COLLECTOR, CollectorRegistry
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from trueup.model.errors import Retryable, Stalled
from trueup.model.settings import Settings
from trueup.runtime.app import LaneApp
from trueup.runtime.health import HealthServer
from trueup.runtime.metrics import WorkerMetrics
from trueup.runtime.process_exit import exit_process
from trueup.runtime.watchdog import Watchdog

_BACKOFF_S_FIRST: Final = 0.5
_BACKOFF_S_MAX: Final = 15.0
_DRAIN_S_MAX: Final = (
    12.0  # SIGTERM to exit within 30 s: 12 for batches in flight, 12 for Faust, the rest for the kernel
)
_STOP_S_MAX: Final = 12.0

ValueT = TypeVar("ValueT")
log = structlog.get_logger("trueup.worker")


class Worker:
    """One worker of a kind ("decide", "apply") under a name that is its own on this host."""

    def __init__(self, kind: str, name: str, settings: Settings, metrics_port: int, replica: str = "") -> None:
        self.kind, self.name, self.settings, self.replica = kind, name, settings, replica
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(GC_COLLECTOR)
        self.state_dir = settings.state_dir / "workers" / name
        self._waiting_for: str | None = "starting"
        self._watchdog: Watchdog | None = None
        self._stop = asyncio.Event()
        self._health = HealthServer(settings.worker.metrics_host, metrics_port, self.registry, self.readiness)

    def readiness(self) -> list[str]:
        if self._waiting_for is not None:
            return [f"waiting for {self._waiting_for}"]
        return [] if self._watchdog is None else self._watchdog.reasons()

    async def patiently(self, doing: Callable[[], Awaitable[ValueT]]) -> ValueT | None:
        """Tries until it works; None when the worker was told to stop meanwhile. Only Retryable is waited out."""
        delay_s, named = _BACKOFF_S_FIRST, False
        while not self._stop.is_set():
            try:
                value = await doing()
            except Retryable as exc:
                if not named:
                    log.warning("waiting", error=exc.primary, detail=exc.detail, hint=exc.hint)
                named, self._waiting_for = True, exc.primary
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), delay_s)
                delay_s = min(_BACKOFF_S_MAX, delay_s * 2)
            else:
                if named:
                    log.info("goes on", after=self._waiting_for)
                self._waiting_for = None
                return value
        return None

    async def start_health(self) -> None:
        """Signals and health come first: a worker that waits must say for what, and must be stoppable."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._stop.set)
        self.state_dir.mkdir(parents=True, exist_ok=True)
        await self._health.start()
        self._register()

    def _register(self) -> None:
        """Leaves word for `trueup status` on this host."""
        entry = {
            "name": self.name,
            "kind": self.kind,
            "replica": self.replica,
            "pid": os.getpid(),
            "url": f"http://{self.settings.worker.metrics_host}:{self._health.port}",
        }
        _entry_path(self.settings, self.name).write_text(json.dumps(entry) + "\n", encoding="utf-8")

    async def run(self, app: LaneApp, metrics: WorkerMetrics, table_of: dict[str, str]) -> None:
        """Runs the app until SIGTERM, then drains: batches in flight finish, nothing new is fetched."""
        self._watchdog = Watchdog(app.lane, metrics, table_of, self.settings.worker.stall_timeout_s)
        await app.start()
        watching = asyncio.create_task(self._watchdog.run(), name="watchdog")
        holding = asyncio.create_task(app.lane.keep_hold(), name="hold")
        log.info(
            "worker started", kind=self.kind, tables=sorted(set(table_of.values())), metrics_port=self._health.port
        )
        app_ended = asyncio.create_task(app.wait_until_stopped(), name="app")
        stopped = asyncio.create_task(self._stop.wait(), name="stop")
        await asyncio.wait({app_ended, stopped, watching, holding}, return_when=asyncio.FIRST_COMPLETED)
        if not self._stop.is_set():
            exit_process(Stalled("the stream processor ended by itself", hint="see the errors logged before"))
        log.info("worker drains")
        holding.cancel()
        app.lane.draining = True
        await app.lane.revoke_all(_DRAIN_S_MAX)
        watching.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(app.stop(), _STOP_S_MAX)

    async def close(self) -> None:
        await self._health.stop()
        _entry_path(self.settings, self.name).unlink(missing_ok=True)
        log.info("worker ended")


def _entry_path(settings: Settings, name: str) -> Path:
    folder = settings.state_dir / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.json"
