"""The capture worker: watches connectors, the parts they need, added columns, and tables that are being filled, until
SIGTERM. One is enough; two do no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import structlog

from trueup.adapters.kafka_connect import PART as KAFKA_CONNECT
from trueup.adapters.kafka_connect import KafkaConnect
from trueup.adapters.postgres_source import PostgresSource
from trueup.adapters.schema_registry import SchemaRegistry
from trueup.adapters.secret_references import Secrets
from trueup.adapters.topic_reader import TopicReader
from trueup.model.errors import Stop, TrueUpError
from trueup.model.registration import Project, System
from trueup.model.settings import Settings
from trueup.model.source_table import CapturePlace, Filling
from trueup.runtime.additions import Additions, take_over
from trueup.runtime.capture_look import look_at_capture, place_of_capture
from trueup.runtime.capture_metrics import CaptureMetrics
from trueup.runtime.capture_watch import CaptureWatch
from trueup.runtime.filling_watch import FillingWatch
from trueup.runtime.part_probes import PartProbes, Probe
from trueup.runtime.process_exit import exit_process
from trueup.runtime.scan_read import ScanReader
from trueup.runtime.slot_watch import SlotWatch
from trueup.runtime.worker import Worker

AnswerT = TypeVar("AnswerT")
log = structlog.get_logger("trueup.worker")


async def run_capture(settings: Settings, project: Project, secrets: Secrets, name: str, metrics_port: int) -> None:
    """The capture worker until SIGTERM."""
    worker = Worker("capture", name, settings, metrics_port)
    await worker.start_health()
    systems = [system for system in project.systems.values() if project.tables_owned_by(system.system)]
    names = [system.system for system in systems]
    connect, registry = KafkaConnect(settings.connect.url), SchemaRegistry(settings.registry.url)
    sources = {f"source {system.system}": _Source(system, secrets) for system in systems}
    probes: dict[str, Probe] = {part: partial(asyncio.to_thread, source.ping) for part, source in sources.items()}
    probes["registry"] = partial(asyncio.to_thread, registry.ping)
    lost = partial(_lost, {system.system: system for system in systems}, secrets, connect)
    metrics = CaptureMetrics(worker.registry, names)
    watch = CaptureWatch(names, connect, worker.outages, metrics, lost)
    measured = {system.system: _Source(system, secrets) for system in systems}  # asked from another thread than pings
    slots = SlotWatch(names, lambda name: measured[name].place(connect), metrics)
    filled = {system.system: _Source(system, secrets) for system in systems}
    fillings = FillingWatch(filled, ScanReader(TopicReader(settings.kafka.bootstrap_servers), registry))
    worker.outages.expect(KAFKA_CONNECT, *(f"capture of {name}" for name in names))
    worker.reasons = watch.reasons
    log.info("worker started", kind=worker.kind, systems=names, metrics_port=worker.metrics_port)
    tables = project.tables.values()
    additions = Additions(settings, tables, registry, partial(take_over, settings, project, secrets))
    work = (watch.run(), slots.run(), PartProbes(probes, worker.outages).run(), additions.run(), fillings.run())
    working = [asyncio.create_task(task) for task in work]
    stopped = asyncio.create_task(worker.stopping.wait(), name="stop")
    await asyncio.wait({stopped, *working}, return_when=asyncio.FIRST_COMPLETED)
    for task in working:
        if task.done() and (error := task.exception()) is not None:
            exit_process(error)
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    for source in (*sources.values(), *measured.values(), *filled.values()):
        source.close()
    connect.close()
    registry.close()
    await worker.close()


def _lost(systems: dict[str, System], secrets: Secrets, connect: KafkaConnect, name: str) -> Stop | None:
    """By a connection of its own: it is asked rarely, from another thread than the pings."""
    source = PostgresSource(name, secrets.owner_dsn(systems[name]))
    try:
        return look_at_capture(name, source, connect)
    finally:
        source.close()


class _Source:
    """A source that is asked now and then; its connection is kept between."""

    def __init__(self, system: System, secrets: Secrets) -> None:
        self._system, self._secrets = system, secrets
        self._source: PostgresSource | None = None

    def ping(self) -> None:
        """Raises Unreachable, or Refused by a server that does not let us in."""
        self._ask(lambda source: source.server())

    def place(self, connect: KafkaConnect) -> CapturePlace:
        """Where the capture of this source stands. Raises as `ping` does."""
        return self._ask(lambda source: place_of_capture(self._system.system, source, connect))

    def fillings(self) -> list[Filling]:
        """Tables that are being filled. Raises as `ping` does."""
        return self._ask(lambda source: source.fillings())

    def execute(self, *statements: str) -> None:
        """Statements in one transaction. Raises as `ping` does."""
        self._ask(lambda source: source.execute(*statements))

    def _ask(self, question: Callable[[PostgresSource], AnswerT]) -> AnswerT:
        if self._source is None:
            self._source = PostgresSource(self._system.system, self._secrets.owner_dsn(self._system))
        try:
            return question(self._source)
        except TrueUpError:
            self.close()
            raise

    def close(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()
