"""From settings and registrations to a running worker: the one place where adapters meet handlers."""

from __future__ import annotations

import asyncio
from functools import partial

from trueup.adapters.heartbeat_log import HeartbeatLog
from trueup.adapters.kafka_topics import KafkaTopics
from trueup.adapters.postgres_replica import PostgresReplica
from trueup.adapters.project_files import TABLES_FOLDER
from trueup.adapters.schema_registry import SchemaRegistry
from trueup.adapters.secret_references import Secrets
from trueup.adapters.truth_log import TruthLog
from trueup.core.boundary import compile_copy_checks
from trueup.core.capture_topic import cases_problem, partitions_problem
from trueup.core.connector_config import heartbeat_topic, unavailable_value
from trueup.core.pipeline import DecidePlan
from trueup.core.rules_copy import compile_copy
from trueup.core.truth_codec import TruthCodec, TruthReader
from trueup.core.truth_schema import captured_table
from trueup.core.window_edges import edges_of
from trueup.model.errors import ConfigurationError, TopicChanged
from trueup.model.registration import Project, Table
from trueup.model.settings import Settings
from trueup.model.topic import TopicFacts
from trueup.runtime.app import build_app
from trueup.runtime.apply_agent import ApplyHandler, ApplyTable
from trueup.runtime.breaker import Breaker
from trueup.runtime.decide_agent import DecideHandler, TableTopics
from trueup.runtime.lane_worker import run_lane
from trueup.runtime.metrics import ApplyMetrics, DecideMetrics
from trueup.runtime.part_probes import Probe
from trueup.runtime.partition_memory import DECIDE_GROUP, topic_identity
from trueup.runtime.process_metrics import BreakerMetrics
from trueup.runtime.truth_schema_file import read_truth_schema, truth_schema_path
from trueup.runtime.watermarks import Watermarks
from trueup.runtime.worker import Worker


class Kafka:
    """What a worker asks Kafka once, before it starts: who is it, and are the topics what was applied?"""

    def __init__(self, settings: Settings) -> None:
        self._topics = KafkaTopics(settings.kafka.bootstrap_servers)
        self._settings = settings
        self.cluster_id = ""

    async def look(self, tables: list[Table]) -> None:
        """Raises Unreachable; TopicChanged when a topic is missing. Added partitions stop their table only."""
        self.cluster_id = (await asyncio.to_thread(self._topics.cluster)).cluster_id
        for table in tables:
            facts = await self._facts(table)
            if None in facts and (problem := partitions_problem(table, *map(_partitions, facts))) is not None:
                raise problem

    async def look_at_cases(self, tables: list[Table]) -> None:
        """Raises Unreachable; TopicChanged when a table has nowhere to keep its cases."""
        found = await asyncio.to_thread(self._topics.describe, [table.cases_topic for table in tables])
        for table in tables:
            if table.cases_topic not in found:
                raise cases_problem(table)

    async def topics_of(self, table: Table) -> TableTopics:
        """Which topics a table has now. Raises Unreachable; TopicChanged when they do not fit each other."""
        capture, truth = await self._facts(table)
        problem = partitions_problem(table, _partitions(capture), _partitions(truth))
        if problem is not None or capture is None or truth is None:
            raise problem or TopicChanged(f'the topics of table "{table.table}" are gone')
        return TableTopics(
            topic_identity(self.cluster_id, capture.topic_id), topic_identity(self.cluster_id, truth.topic_id)
        )

    async def identity_of(self, topic: str) -> str:
        """Which topic has this name now. Raises Unreachable; TopicChanged when there is none."""
        found = await asyncio.to_thread(self._topics.describe, [topic])
        if topic not in found:
            raise TopicChanged(
                f'topic "{topic}" does not exist',
                detail="it was there when this worker started, and was deleted since",
                hint="restore it, else run trueup apply and publish its table anew: trueup resync SYSTEM",
            )
        return topic_identity(self.cluster_id, found[topic].topic_id)

    async def _facts(self, table: Table) -> tuple[TopicFacts | None, TopicFacts | None]:
        found = await asyncio.to_thread(self._topics.describe, [table.capture_topic, table.truth_topic])
        return found.get(table.capture_topic), found.get(table.truth_topic)


def _partitions(facts: TopicFacts | None) -> int | None:
    return None if facts is None else facts.partitions


async def run_decide(settings: Settings, project: Project, name: str, metrics_port: int) -> None:
    """The decide worker until SIGTERM."""
    worker = Worker("decide", name, settings, metrics_port)
    await worker.start_health()
    tables = list(project.tables.values())
    kafka, registry = Kafka(settings), SchemaRegistry(settings.registry.url)

    async def plans() -> dict[str, DecidePlan]:
        await kafka.look(tables)
        await kafka.look_at_cases(tables)
        return {
            table.capture_topic: await asyncio.to_thread(_decide_plan, table, kafka, registry, settings, project)
            for table in tables
        }

    found = await worker.patiently(plans)
    if found is not None:
        metrics = DecideMetrics(worker.registry, [table.table for table in tables])
        log = TruthLog(settings.kafka.bootstrap_servers)
        systems = {system for table in tables for system in table.systems}
        beats = HeartbeatLog(settings.kafka.bootstrap_servers, sorted(map(heartbeat_topic, systems)))
        watermarks = Watermarks(beats, registry, {table.capture_topic: table for table in tables})
        handler = DecideHandler(
            found, settings, log, registry, metrics, worker.state_dir, kafka.topics_of, watermarks=watermarks
        )
        app = build_app(DECIDE_GROUP, found, handler, settings, worker.state_dir / "faust", worker.outages)
        probes: dict[str, Probe] = {"kafka": log.ping, "registry": partial(asyncio.to_thread, registry.ping)}
        table_of = {table.capture_topic: table.table for table in tables}
        await run_lane(worker, app, metrics, table_of, probes, handler.taken_over, watermarks.run)
        await log.stop()
    await worker.close()


def _decide_plan(
    table: Table, kafka: Kafka, registry: SchemaRegistry, settings: Settings, project: Project
) -> DecidePlan:
    schema = read_truth_schema(settings, table.table)
    schema_id = registry.id_of(f"{table.truth_topic}-value", schema)
    if schema_id is None:
        raise ConfigurationError(
            f'the truth schema of table "{table.table}" is not the registered one',
            file=str(truth_schema_path(settings, table.table)),
            hint="run: trueup apply",
        )
    hole, *more_holes = (unavailable_value(kafka.cluster_id, system) for system in table.systems)
    try:
        return DecidePlan(table, TruthCodec(schema, schema_id), hole, project.functions, more_holes=more_holes)
    except ValueError as error:
        raise _not_applied(table, settings, error) from error


def _not_applied(table: Table, settings: Settings, error: ValueError) -> ConfigurationError:
    return ConfigurationError(
        f'the registration of table "{table.table}" does not fit what was applied: {error}',
        file=str(settings.project_dir / TABLES_FOLDER / f"{table.table}.yaml"),
        hint="run: trueup apply",
    )


def apply_group(replica: str) -> str:
    """The consumer group of a replica: one each, so that a slow or dead replica stops nobody else."""
    return f"trueup-apply-{replica}"


async def run_apply(
    settings: Settings, project: Project, secrets: Secrets, replica: str, name: str, metrics_port: int
) -> None:
    """The apply worker of a replica until SIGTERM."""
    if replica not in project.replicas:
        raise ConfigurationError(
            f'replica "{replica}" is not registered',
            file=str(settings.project_dir / "connectors" / "replicas"),
            hint=f"registered are: {', '.join(project.replicas) or 'none'}",
        )
    worker = Worker("apply", name, settings, metrics_port, replica)
    await worker.start_health()
    copies = project.tables_copied_to(replica)
    kafka, registry = Kafka(settings), SchemaRegistry(settings.registry.url)
    dsn = secrets.writer_dsn(project.replicas[replica])
    tables = {}
    for table, copy in copies:
        captured = captured_table(read_truth_schema(settings, table.table))
        try:
            copy_plan = compile_copy(table, copy, captured)
            checks = compile_copy_checks(copy, copy_plan, captured, project.functions)
        except ValueError as error:
            raise _not_applied(table, settings, error) from error
        tables[table.truth_topic] = ApplyTable(copy_plan, table.systems, TruthReader(), checks)

    async def ready() -> bool:
        await kafka.look([table for table, _ in copies])
        return True

    if await worker.patiently(ready):
        names = [table.table for table, _ in copies]
        metrics = ApplyMetrics(worker.registry, names, replica, edges_of(project))
        log = TruthLog(settings.kafka.bootstrap_servers)
        cap = settings.worker.dead_letters_per_table_max
        writes = any(made.plan.writer for made in tables.values())
        handler = ApplyHandler(
            tables,
            lambda: PostgresReplica(replica, dsn, dead_letters_per_table_max=cap, writes_users_tables=writes),
            log,
            registry,
            metrics,
            kafka.identity_of,
        )
        breaker = Breaker(f"replica {replica}")
        worker.registry.register(BreakerMetrics(breaker))
        faust_dir = worker.state_dir / "faust"
        app = build_app(apply_group(replica), tables, handler, settings, faust_dir, worker.outages, breaker)
        probes: dict[str, Probe] = {
            "kafka": log.ping,
            "registry": partial(asyncio.to_thread, registry.ping),
            breaker.part: handler.ping,
        }
        await run_lane(worker, app, metrics, {table.truth_topic: table.table for table, _ in copies}, probes)
        await handler.close()
        await log.stop()
    await worker.close()
