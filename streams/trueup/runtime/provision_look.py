"""What `trueup apply` and `trueup resync` look at before they plan: sources, and what was applied of their tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trueup.adapters import postgres_source_sql as sql
from trueup.adapters.kafka_connect import KafkaConnect
from trueup.adapters.kafka_topics import KafkaTopics
from trueup.adapters.postgres_source import PostgresSource
from trueup.adapters.project_files import refuse_problems
from trueup.adapters.schema_registry import SchemaRegistry
from trueup.adapters.secret_references import Secrets
from trueup.core.column_rules import problems_with_columns
from trueup.core.connector_config import CaptureLogin, connector_name
from trueup.core.evolution import ColumnChanges
from trueup.core.source_rules import (
    problems_between_writers,
    problems_with_defaults,
    problems_with_server,
    problems_with_source,
)
from trueup.model.columns import CapturedTable
from trueup.model.problem import Problem
from trueup.model.registration import Project, System, Table
from trueup.model.settings import Settings
from trueup.model.source_table import SourceServer, SourceState, SourceTable
from trueup.runtime.capture_login import capture_login
from trueup.runtime.evolve_plan import Applied, look_at_applied, schema_steps
from trueup.runtime.provision_steps import Step
from trueup.runtime.truth_schema_file import truth_schema_path


@dataclass
class Parts:
    """The outside systems of an installation. Sources are opened once, at the first look."""

    kafka: KafkaTopics
    connect: KafkaConnect
    registry: SchemaRegistry
    secrets: Secrets
    sources: dict[str, PostgresSource] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, secrets: Secrets) -> Parts:
        """The parts that settings name."""
        return cls(
            kafka=KafkaTopics(settings.kafka.bootstrap_servers),
            connect=KafkaConnect(settings.connect.url),
            registry=SchemaRegistry(settings.registry.url),
            secrets=secrets,
        )

    def source(self, system: System) -> PostgresSource:
        """The source of a system, as its owner."""
        if system.system not in self.sources:
            self.sources[system.system] = PostgresSource(system.system, self.secrets.owner_dsn(system))
        return self.sources[system.system]

    def close(self) -> None:
        """Close all connections."""
        for source in self.sources.values():
            source.close()
        self.connect.close()
        self.registry.close()


@dataclass(frozen=True)
class SystemView:
    """A system with its registered tables, as its source is now.

    :param log_end: where its log ended when the columns had been looked at.
    """

    system: System
    tables: list[Table]
    found: dict[str, SourceTable]
    server: SourceServer
    state: SourceState
    login: CaptureLogin
    applied: dict[str, Applied]
    log_end: int

    @property
    def name(self) -> str:
        return connector_name(self.system.system)

    def captured(self, table: Table) -> CapturedTable:
        return _columns(table, self.found[table.table], self.server, self.applied[table.table])

    def added(self, table: Table) -> frozenset[str]:
        """Columns that came to an applied table since."""
        return self.applied[table.table].added(self.captured(table))

    def evolved(self, table: Table) -> bool:
        return self.applied[table.table].evolved(table, self.captured(table))

    def changes(self) -> dict[str, ColumnChanges]:
        """By table, what changed since it was applied."""
        return {table.table: self.applied[table.table].changes(self.captured(table)) for table in self.tables}

    def schema_steps(
        self, table: Table, settings: Settings, parts: Parts, log_ends: Mapping[str, int], *, reread: bool = False
    ) -> list[Step]:
        schema = self.applied[table.table].schema(table, self.captured(table), log_ends, reread=reread)
        return schema_steps(table, schema, truth_schema_path(settings, table.table), parts.registry)

    @property
    def published(self) -> set[tuple[str, str]]:
        return {table.source.name for table in self.tables}


def look(settings: Settings, project: Project, parts: Parts) -> list[SystemView]:
    """Every system that owns tables. Raises ConfigurationError with all mistakes that the sources show."""
    problems: list[Problem] = []
    views = []
    for system in project.systems.values():
        if tables := project.tables_owned_by(system.system):
            view, mistakes = _look_at(system, tables, settings, parts)
            views.append(view)
            problems += mistakes
    for table in project.tables.values():
        if table.several_writers:
            found = {view.system.system: view.captured(table) for view in views if table.table in view.found}
            problems += problems_between_writers(table, found) if len(found) > 1 else []
    refuse_problems(settings.project_dir, problems)
    return views


def _columns(table: Table, facts: SourceTable, server: SourceServer, applied: Applied) -> CapturedTable:
    now = facts.captured(table.table, tuple(table.key), generated=server.publishes_generated)
    return applied.registered(now, table)


def _look_at(system: System, tables: list[Table], settings: Settings, parts: Parts) -> tuple[SystemView, list[Problem]]:
    source = parts.source(system)
    server = source.server()
    login = capture_login(system, settings, parts.secrets, failover=server.keeps_slots_on_failover)
    role = source.capture_role(login.user)
    shared_first = sorted(tables, key=lambda table: not table.several_writers)  # what only they need is asked, too
    problems = problems_with_server(shared_first[0], system.system, server, role, login.user)
    found: dict[str, SourceTable] = {}
    applied = {table.table: look_at_applied(table, parts.registry) for table in tables}
    for table in tables:
        facts = source.table(table.source.schema_name, table.source.table_name)
        problems += problems_with_source(table, facts, server, role)
        if facts is not None:
            found[table.table] = facts
            columns = _columns(table, facts, server, applied[table.table])
            problems += [*problems_with_columns(table, columns), *problems_with_defaults(table, facts, columns)]
    needed = sql.privileges(server, [(facts.schema, facts.table) for facts in found.values()])
    state = source.state(connector_name(system.system), login.user, needed if role is not None else ())
    return SystemView(system, tables, found, server, state, login, applied, source.log_end()), problems
