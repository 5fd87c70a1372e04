"""A worker process: health server and signals first, then its parts one by one with patience, then its work.

The work on partitions is `runtime.lane_worker`, that on connectors `runtime.capture_worker`.

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
from prometheus_client import CollectorRegistry

from trueup.adapters.scrape_targets import remove_target, write_target
from trueup.adapters.whole_file import write_whole
from trueup.model.errors import Retryable
from trueup.model.settings import Settings
from trueup.runtime.backoff import backoff_s
from trueup.runtime.health import HealthServer
from trueup.runtime.outages import Outages
from trueup.runtime.process_metrics import ProcessMetrics, register_process

_BACKOFF_S_MAX: Final = 15.0

ValueT = TypeVar("ValueT")
log = structlog.get_logger("trueup.worker")


class Worker:
    """One worker of a kind ("decide", "apply", "capture") under a name that is its own on this host.

    :ivar outages: what it waits for now.
    :ivar reasons: why it is not ready although nothing is waited for; set by who does the work.
    :ivar stopping: set by SIGTERM and SIGINT.
    """

    def __init__(self, kind: str, name: str, settings: Settings, metrics_port: int, replica: str = "") -> None:
        self.kind, self.name, self.settings, self.replica = kind, name, settings, replica
        self.registry = CollectorRegistry()
        self.state_dir = settings.state_dir / "workers" / name
        self.outages = Outages()
        process = ProcessMetrics(kind=kind, name=name, replica=replica, state_dir=self.state_dir, outages=self.outages)
        register_process(self.registry, process)
        self.reasons: Callable[[], list[str]] = lambda: ["starting"]
        self.stopping = asyncio.Event()
        self._health = HealthServer(settings.worker.metrics_host, metrics_port, self.registry, self.readiness)

    def readiness(self) -> list[str]:
        return [*(f"waiting for {outage}" for outage in self.outages.reasons()), *self.reasons()]

    async def patiently(self, doing: Callable[[], Awaitable[ValueT]]) -> ValueT | None:
        """Tries until it works; None when the worker was told to stop meanwhile. Only Retryable is waited out."""
        failures = 0
        while not self.stopping.is_set():
            try:
                value = await doing()
            except Retryable as exc:
                self.outages.begin("start", exc)
                failures += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.stopping.wait(), backoff_s(failures, _BACKOFF_S_MAX))
            else:
                self.outages.end("start")
                return value
        return None

    async def start_health(self) -> None:
        """Signals and health come first: a worker that waits must say for what, and must be stoppable."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.stopping.set)
        self.state_dir.mkdir(parents=True, exist_ok=True)
        await self._health.start()
        self._register()

    @property
    def metrics_port(self) -> int:
        """The port really listened on."""
        return self._health.port

    def _register(self) -> None:
        """Leaves word for `trueup status` and for Prometheus on this host."""
        entry = {
            "name": self.name,
            "kind": self.kind,
            "replica": self.replica,
            "pid": os.getpid(),
            "url": f"http://{self.settings.worker.metrics_host}:{self._health.port}",
        }
        write_whole(_entry_path(self.settings, self.name), json.dumps(entry) + "\n")
        address = f"{self.settings.worker.metrics_host}:{self._health.port}"
        write_target(self.settings.state_dir, self.name, address)

    async def close(self) -> None:
        await self._health.stop()
        _entry_path(self.settings, self.name).unlink(missing_ok=True)
        remove_target(self.settings.state_dir, self.name)
        log.info("worker ended")


def _entry_path(settings: Settings, name: str) -> Path:
    folder = settings.state_dir / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.json"
