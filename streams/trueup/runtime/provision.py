"""Carries out what `runtime.provision_plan` says, in its order, and waits for connectors."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final, assert_never

from trueup.adapters import postgres_source_sql as sql
from trueup.adapters.connector_template import connector_template
from trueup.adapters.secret_references import Secrets
from trueup.adapters.topic_reader import TopicReader
from trueup.adapters.whole_file import write_whole
from trueup.core.capture_health import has_streamed
from trueup.core.connector_config import config_digest, notification_topic, notifies, silent
from trueup.core.truth_schema import canonical_text
from trueup.model.errors import Refused
from trueup.model.registration import Project
from trueup.model.settings import Settings
from trueup.runtime.provision_look import Parts, look
from trueup.runtime.provision_plan import plan
from trueup.runtime.provision_steps import (
    AlterTopic,
    CreateTopic,
    Fill,
    PutConnector,
    RebuildCopy,
    RegisterSchema,
    ReplicaSql,
    RestartConnector,
    SourceSql,
    Step,
    WriteSchema,
)
from trueup.runtime.rebuild import OnFill
from trueup.runtime.replica_steps import Replicas

OnStep = Callable[[Step], None]
OnWait = Callable[[str], None]

_RUNNING_DEADLINE_S: Final = 60.0  # Connect shares out connectors first; a task needs 2 to 5 s
_STREAMING_DEADLINE_S: Final = 60.0  # a restart of the task, its slot, and the first beat
_FIRST_SNAPSHOT_DEADLINE_S: Final = 120.0  # a table that joins waits for a first snapshot, which may take long
_PAUSE_S: Final = 0.2


class Provisioner:
    """One run of `trueup apply`.

    :param reread: tables whose columns were others for a while and are the registered ones again.
    """

    def __init__(
        self,
        settings: Settings,
        project: Project,
        secrets: Secrets,
        *,
        adopt: bool = False,
        rebuild: bool = False,
        reread: Collection[str] = (),
    ) -> None:
        self._settings = settings
        self._project = project
        self._replicas = Replicas(settings, project, secrets, adopt=adopt, rebuild=rebuild)
        self._parts = Parts.of(settings, secrets)
        self._reread = reread

    def close(self) -> None:
        """Close all connections."""
        self._parts.close()

    def plan(self) -> list[Step]:
        """What is to be done; changes nothing. Raises what refuses the registration as a whole."""
        self._parts.kafka.cluster()  # the part that most often is not there, asked first
        views = look(self._settings, self._project, self._parts)
        captured = {table.table: view.captured(table) for view in views for table in view.tables}
        added = {table.table: view.added(table) for view in views for table in view.tables}
        instances = {view.system.system: view.server.instance for view in views}
        made, rebuilt = self._replicas.steps(captured, added, instances)
        return plan(self._settings, views, self._parts, connector_template, made, rebuilt, self._reread)

    def carry_out(
        self, steps: list[Step], on_step: OnStep, on_wait: OnWait, on_fill: OnFill = lambda _done, _total: None
    ) -> None:
        """Do the steps in order; `on_step` is told before each, `on_fill` how far a rebuild is."""
        for step in steps:
            on_step(step)
            self._do(step, on_wait, on_fill)

    def _do(self, step: Step, on_wait: OnWait, on_fill: OnFill) -> None:
        parts = self._parts
        match step:
            case WriteSchema():
                write_whole(step.path, canonical_text(step.schema))
            case RegisterSchema():
                parts.registry.register(step.subject, step.schema)
                parts.registry.set_compatibility(step.subject, step.compatibility)
            case CreateTopic():
                parts.kafka.create(step.spec)
            case AlterTopic():
                parts.kafka.alter(step.name, step.config)
            case SourceSql():
                parts.source(self._project.systems[step.system]).execute(step.statement)
            case ReplicaSql():
                self._replicas.carry_out(step)
            case RebuildCopy():
                self._replicas.rebuild(step.rebuild, on_fill)
            case PutConnector():
                self._put(step, on_wait)
            case RestartConnector():
                before = parts.connect.status(step.name)
                parts.connect.restart_failed(step.name)
                parts.connect.wait_running(step.name, _RUNNING_DEADLINE_S, on_wait, before=before)
            case Fill():
                self._fill(step, on_wait)
            case _ as never:
                assert_never(never)

    def _fill(self, step: Fill, on_wait: OnWait) -> None:
        if step.is_first and not notifies(self._parts.connect.config(step.connector) or {}):
            raise Refused(
                f'connector "{step.connector}" cannot say yet when the rows of "{step.table}" have been read',
                detail="it had failed before its first snapshot was over",
                hint="run trueup apply again",
            )
        self._wait_streaming(step.system, step.connector, step.digest, _FIRST_SNAPSHOT_DEADLINE_S, on_wait)
        statements = list(step.statements)
        if step.is_first:
            topic = notification_topic(step.system)
            ends = TopicReader(self._settings.kafka.bootstrap_servers).ends([topic])
            statements.append(sql.note_asked_at(step.system, step.table, ends.get((topic, 0), 0)))
        self._parts.source(self._project.systems[step.system]).execute(*statements)

    def _put(self, step: PutConnector, on_wait: OnWait) -> None:
        """RUNNING may be the state of the task before; a heartbeat names the settings it was made under."""
        connect = self._parts.connect
        before = connect.status(step.name)
        config = step.config
        if notifies(config) and before is not None and not self._has_streamed(step, on_wait):
            config = silent(step.system, config)
        connect.put_config(step.name, config)
        if before is not None and before.failed:  # Connect leaves a failed task alone when its settings stay the same
            connect.restart_failed(step.name)
        connect.wait_running(step.name, _RUNNING_DEADLINE_S, on_wait, before=before)
        if step.streams:
            self._wait_streaming(step.system, step.name, config_digest(config), _STREAMING_DEADLINE_S, on_wait)

    def _has_streamed(self, step: PutConnector, on_wait: OnWait) -> bool:
        """Waits for the end of a first snapshot, before which no notification may come (`core.connector_config`). False
        when the connector failed in it, so that new settings may be the cure."""
        connect = self._parts.connect
        end = time.monotonic() + _FIRST_SNAPSHOT_DEADLINE_S
        while not has_streamed(connect.offsets(step.name)):
            status = connect.status(step.name)
            if status is not None and status.failed:
                return False
            if time.monotonic() > end:
                raise _in_first_snapshot(step.name, step.system, _FIRST_SNAPSHOT_DEADLINE_S)
            on_wait("waiting for the end of the first snapshot")
            time.sleep(_PAUSE_S)
        return True

    def _wait_streaming(self, system: str, connector: str, digest: str, deadline_s: float, on_wait: OnWait) -> None:
        source = self._parts.source(self._project.systems[system])
        end = time.monotonic() + deadline_s
        while source.heartbeat_config() != digest:
            status = self._parts.connect.status(connector)
            if status is not None and status.failed:
                self._parts.connect.wait_running(connector, 0)  # raises with the causes
            if time.monotonic() > end:
                raise _in_first_snapshot(connector, system, deadline_s)
            on_wait("waiting for a heartbeat")
            time.sleep(_PAUSE_S)


def _in_first_snapshot(connector: str, system: str, waited_s: float) -> Refused:
    return Refused(
        f'connector "{connector}" runs and sends no heartbeat after {waited_s:.0f} s',
        detail="it is in its first snapshot, which waits for open transactions at the source",
        hint=f'see pg_stat_activity at "{system}"; run trueup apply again when it has ended',
    )
