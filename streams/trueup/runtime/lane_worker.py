"""The work of a decide or an apply worker: Faust on the batch lane until SIGTERM, watched over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Final

import structlog

from trueup.model.errors import Stalled
from trueup.runtime.app import LaneApp
from trueup.runtime.lane import Lane
from trueup.runtime.metrics import WorkerMetrics
from trueup.runtime.part_probes import PartProbes, Probe
from trueup.runtime.process_exit import exit_process
from trueup.runtime.watchdog import TakenOver, Watchdog
from trueup.runtime.worker import Worker

# SIGTERM to exit within 30 s: 12 for batches in flight, 12 for Faust, the rest for the kernel.
_DRAIN_S_MAX: Final = 12.0
_STOP_S_MAX: Final = 12.0

log = structlog.get_logger("trueup.worker")


async def run_lane(
    worker: Worker,
    app: LaneApp,
    metrics: WorkerMetrics,
    table_of: dict[str, str],
    probes: Mapping[str, Probe],
    taken_over: TakenOver | None = None,
    companion: Callable[[Lane], Coroutine[None, None, None]] | None = None,
) -> None:
    """Runs the app until SIGTERM, then drains: batches in flight finish, nothing new is fetched.

    :param table_of: the table a topic belongs to.
    :param probes: of the parts this worker needs (`runtime.part_probes`).
    :param taken_over: see `runtime.watchdog`.
    :param companion: more work of the worker, for as long as it runs.
    """
    watchdog = Watchdog(app.lane, metrics, table_of, worker.settings.worker.stall_timeout_s, taken_over)
    worker.reasons = watchdog.reasons
    app.lane.on_retry, app.lane.on_assigned = metrics.retried, metrics.rebalances.inc
    await app.start()
    watching = asyncio.create_task(watchdog.run(), name="watchdog")
    probing = asyncio.create_task(PartProbes(probes, worker.outages).run(), name="probes")
    holding = asyncio.create_task(app.lane.keep_hold(), name="hold")
    along = [] if companion is None else [asyncio.create_task(companion(app.lane), name="companion")]
    tables = sorted(set(table_of.values()))
    log.info("worker started", kind=worker.kind, tables=tables, metrics_port=worker.metrics_port)
    app_ended = asyncio.create_task(app.wait_until_stopped(), name="app")
    stopped = asyncio.create_task(worker.stopping.wait(), name="stop")
    await asyncio.wait({app_ended, stopped, watching, probing, holding, *along}, return_when=asyncio.FIRST_COMPLETED)
    if not worker.stopping.is_set():
        exit_process(_why_ended(watching, probing, holding, *along))
    log.info("worker drains")
    holding.cancel()
    app.lane.draining = True
    await app.lane.revoke_all(_DRAIN_S_MAX)
    for task in (watching, probing, *along):
        task.cancel()
    await asyncio.gather(*along, return_exceptions=True)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(app.stop(), _STOP_S_MAX)


def _why_ended(*tasks: asyncio.Task[None]) -> BaseException:
    """The error of a task that should have run on, else that of the app, which has logged its own."""
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            return error
    return Stalled("the stream processor ended by itself", hint="see the errors logged before")
