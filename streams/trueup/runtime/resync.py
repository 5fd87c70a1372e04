"""`trueup resync SYSTEM`: a new epoch with a new slot, a snapshot, and the sweep of what the snapshot did not bring.

The cure for a lost slot, a restored source and a capture topic that lost records (design 5). The order is the
guarantee:

    1. the epoch is noted at the source, then raised in the registration     a killed run is completed, not begun anew
    2. the connector stops; its offsets and its slot go                      nothing is captured from here on
    3. topics, publication and rights are made where they are missing
    4. the epoch begins at every capture partition                           what is undecided there is stale now
    5. the connector gets the epoch, and starts                              note: from here on there is one snapshot
    6. a heartbeat of the epoch's stream is visible                          and with it all rows of the snapshot
    7. a control record goes to every capture partition                      behind all rows of the snapshot
    8. the decide worker has passed them                                     what was not brought is deleted

A snapshot that was interrupted and taken again under the same epoch could hide a row that was deleted between the two.
Each attempt writes the heartbeat row first; when there was more than one, the run begins anew with the next epoch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec

from trueup.adapters import postgres_source_sql as sql
from trueup.adapters.connector_template import connector_template
from trueup.adapters.epoch_file import write_epoch
from trueup.adapters.kafka_connect import ConnectorStatus
from trueup.adapters.postgres_source import PostgresSource
from trueup.adapters.project_files import SYSTEMS_FOLDER
from trueup.adapters.secret_references import Secrets
from trueup.core.connector_config import EPOCH_SETTING, connector_name
from trueup.core.control import sweep_record
from trueup.core.resync_plan import next_run, refuse_changed_columns, resumes
from trueup.model.errors import Refused, Unreachable
from trueup.model.registration import Project, System, Table
from trueup.model.settings import Settings
from trueup.model.source_table import ResyncNote
from trueup.runtime.epoch_begin import begin_epoch
from trueup.runtime.heartbeat_read import HeartbeatReader
from trueup.runtime.partition_memory import DECIDE_GROUP, topic_identity
from trueup.runtime.progress_read import ProgressReader
from trueup.runtime.provision import Provisioner
from trueup.runtime.provision_look import Parts, SystemView, look
from trueup.runtime.provision_plan import prerequisites, wanted_config
from trueup.runtime.resync_steps import OnProgress, OnStep, ResyncStep

_STOP_DEADLINE_S: Final = 60.0
_SLOT_DEADLINE_S: Final = 30.0  # the server notices a reader that left within wal_sender_timeout at the latest
_FAILED_S_MAX: Final = 20.0  # the capture worker restarts a failed connector within seconds; then it is another attempt
_POLL_S: Final = 0.3
_ATTEMPTS_MAX: Final = 3


class SnapshotRestarted(Refused):
    """The snapshot was begun more than once under one epoch."""


class Resync:
    """One run for one system.

    :param take_columns: columns that changed are taken over; else the run refuses before it changes anything.
    :param progress_timeout_s: how long snapshot or decide worker may stand still before the command gives up waiting.
    """

    def __init__(
        self,
        settings: Settings,
        project: Project,
        secrets: Secrets,
        system: str,
        progress_timeout_s: float = 300.0,
        *,
        take_columns: bool = False,
    ) -> None:
        self._settings, self._secrets = settings, secrets
        self._system: System = project.systems[system]
        self._tables: list[Table] = project.tables_owned_by(system)
        # Of a table with several writers the epoch must be above those of all: it tells what the snapshot brought.
        shared = {writer for table in self._tables for writer in table.systems}
        self._epochs = [project.systems[writer].epoch for writer in shared if writer in project.systems]
        self._name = connector_name(system)
        self._parts = Parts.of(settings, secrets)
        self._reader = ProgressReader(settings.kafka.bootstrap_servers, project, secrets)
        self._progress_timeout_s = progress_timeout_s
        self._take_columns = take_columns
        self.run_note, self.resumed = self._next()

    def close(self) -> None:
        """Close all connections."""
        self._parts.close()

    @property
    def _source(self) -> PostgresSource:
        return self._parts.source(self._system)

    def _next(self) -> tuple[ResyncNote, bool]:
        source = self._source
        source.lock(f"resync of {self._system.system}")
        note = source.resync_note()
        running = self._parts.connect.config(self._name) or {}
        state = source.state(self._name, "", ())
        applied = [*self._epochs, *state.fills.values(), int(running.get(EPOCH_SETTING, "0"))]
        run = next_run(note, self._system.epoch, applied)
        return run, resumes(run, note)

    def run(self, on_step: OnStep, on_progress: OnProgress) -> int:
        """The whole way, or what is left of it. Returns the epoch that has begun. Raises Unreachable, Refused."""
        for _ in range(_ATTEMPTS_MAX):
            try:
                return self._run(on_step, on_progress)
            except SnapshotRestarted:
                self.run_note = ResyncNote(epoch=self.run_note.epoch + 1, stage="begun")
        raise Refused(
            f'the snapshot of "{self._system.system}" was interrupted {_ATTEMPTS_MAX} times',
            hint="see Connect's log: its worker restarts; then run the command again",
        )

    def _run(self, on_step: OnStep, on_progress: OnProgress) -> int:
        stage = self.run_note.stage
        if stage == "begun":
            self._begin(on_step, on_progress)
        if stage in {"begun", "snapshot"}:
            on_step(ResyncStep.SNAPSHOT)
            self._await_snapshot(on_progress)
            on_step(ResyncStep.SWEEP)
            self._order_sweep()
            self._note("sweep")
        on_step(ResyncStep.DECIDE)
        self._await_decided(on_progress)
        on_step(ResyncStep.DONE)
        self._note("done")
        return self.run_note.epoch

    def _begin(self, on_step: OnStep, on_progress: OnProgress) -> None:
        epoch, connect = self.run_note.epoch, self._parts.connect
        path = self._settings.project_dir / SYSTEMS_FOLDER / f"{self._system.system}.yaml"
        self._system = msgspec.structs.replace(self._system, epoch=epoch)
        view = self._view()
        if not self._take_columns:
            refuse_changed_columns(self._system.system, view.changes())
        on_step(ResyncStep.NOTE)
        self._source.execute(*sql.own_schema(self._system.system, view.state), *self._note_sql("begun"))
        on_step(ResyncStep.RAISE)
        write_epoch(path, epoch)
        config = wanted_config(self._settings, view, self._parts, connector_template)
        on_step(ResyncStep.STOP)
        if connect.config(self._name) is None:
            connect.create_stopped(self._name, config)
        connect.stop(self._name, _STOP_DEADLINE_S)
        on_step(ResyncStep.FORGET)
        connect.forget_offsets(self._name)
        on_step(ResyncStep.DROP)
        self._drop_slot()
        on_step(ResyncStep.PREPARE)
        self._prepare(view)
        on_step(ResyncStep.BEGIN)
        self._begin_at_partitions(on_progress)
        on_step(ResyncStep.CONFIGURE)
        names = [table.table for table in self._tables]
        self._source.execute(sql.fill_by_first_snapshot(self._system.system, names, epoch))
        connect.put_config(self._name, config)
        on_step(ResyncStep.START)
        self._note("snapshot", heartbeat_from=self._heartbeats().end())
        connect.resume(self._name)

    def _view(self) -> SystemView:
        """The system as its source is now, with the epoch of this run. Raises ConfigurationError."""
        return look(self._settings, self._project(), self._parts)[0]

    def _project(self) -> Project:
        """This system and its tables alone: nobody else's are touched."""
        tables = {table.table: table for table in self._tables}
        return Project(systems={self._system.system: self._system}, replicas={}, tables=tables)

    def _drop_slot(self) -> None:
        """As the capture role: dropping takes REPLICATION, which the owner's login need not have."""
        source = PostgresSource(self._system.system, self._secrets.capture_dsn(self._system))
        try:
            end = time.monotonic() + _SLOT_DEADLINE_S
            while (slot := source.slot(self._name)) is not None and slot.active:
                if time.monotonic() > end:
                    raise Refused(
                        f'slot "{self._name}" is still read by somebody',
                        detail="the connector is stopped; it is another reader, or a connection that broke",
                        hint=f'see pg_stat_replication at "{self._system.system}"; then run the command again',
                    )
                time.sleep(_POLL_S)
            source.execute(sql.drop_slot(self._name))
        finally:
            source.close()

    def _prepare(self, view: SystemView) -> None:
        """A capture topic that got more partitions is made anew: its rows come again, with the snapshot."""
        kafka = self._parts.kafka
        found = kafka.describe([t for table in self._tables for t in (table.capture_topic, table.truth_topic)])
        for table in self._tables:
            capture, truth = found.get(table.capture_topic), found.get(table.truth_topic)
            if capture is not None and truth is not None and capture.partitions != truth.partitions:
                kafka.delete_and_wait(table.capture_topic)
        provisioner = Provisioner(self._settings, self._project(), self._secrets)
        try:
            provisioner.carry_out(prerequisites(self._settings, view, self._parts), lambda _: None, lambda _: None)
        finally:
            provisioner.close()

    def _begin_at_partitions(self, on_progress: OnProgress) -> None:
        total, done = self._answering(), 0

        def one_more() -> None:
            nonlocal done
            done += 1
            on_progress("partitions", done, total)

        asyncio.run(
            begin_epoch(
                self._settings, self._system.system, self._tables, self.run_note.epoch, self._identity, one_more
            )
        )

    def _answering(self) -> int:
        """The number of capture partitions, once all answer: those made a moment ago have no leader yet."""
        deadline = time.monotonic() + _SLOT_DEADLINE_S
        while True:
            try:
                return len(self._reader.topics.ends([table.capture_topic for table in self._tables]))
            except Unreachable:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_POLL_S)

    async def _identity(self, table: Table) -> str:
        return (await asyncio.to_thread(self._identities, [table]))[table.capture_topic]

    def _identities(self, tables: list[Table]) -> dict[str, str]:
        cluster = self._parts.kafka.cluster().cluster_id
        names = [table.capture_topic for table in tables]
        deadline = time.monotonic() + _SLOT_DEADLINE_S
        while len(found := self._parts.kafka.describe(names)) < len(names):  # made a moment ago
            if time.monotonic() > deadline:
                raise Refused(f"capture topics are missing: {set(names) - set(found)}", hint="run the command again")
            time.sleep(_POLL_S)
        return {name: topic_identity(cluster, facts.topic_id) for name, facts in found.items()}

    def _heartbeats(self) -> HeartbeatReader:
        return HeartbeatReader(self._reader.topics, self._parts.registry, self._system.system)

    def _await_snapshot(self, on_progress: OnProgress) -> None:
        """Until the stream of this epoch is visible. Raises SnapshotRestarted, Refused."""
        heartbeats, connect = self._heartbeats(), self._parts.connect
        topics = [table.capture_topic for table in self._tables]
        estimate = self._source.rows_estimated([t.source.name for t in self._tables])
        first = sum(self._reader.topics.ends(topics).values())
        connect.resume(self._name)  # a run that was killed just before
        watch, failed_at = _Watch(self._progress_timeout_s), None
        seen = heartbeats.since(self.run_note.heartbeat_from, self.run_note.epoch)
        while not seen.streams:
            status = self._status()
            if status is None or not status.failed:
                failed_at = None
            elif failed_at is None:
                failed_at = time.monotonic()
            elif time.monotonic() - failed_at > _FAILED_S_MAX:
                raise Refused(
                    f'connector "{self._name}" failed in its snapshot',
                    detail=status.trace,
                    hint=f"remove the cause, restart it (trueup apply), then: trueup resync {self._system.system}",
                )
            rows = sum(self._reader.topics.ends(topics).values()) - first
            on_progress("rows of the snapshot", rows, estimate)
            if watch.stands_still(rows):
                raise Refused(
                    f'the snapshot of "{self._system.system}" does not get on',
                    detail="it waits for transactions that were open when its slot was made",
                    hint="end what is open for long: see pg_stat_activity; then run the command again",
                )
            time.sleep(_POLL_S)
            seen = heartbeats.since(seen.position, self.run_note.epoch, seen)
        if seen.snapshots > 1:
            raise SnapshotRestarted("the snapshot was interrupted and taken again")

    def _status(self) -> ConnectorStatus | None:
        """How the connector is; None also while Connect does not answer: it comes back, or nothing gets on."""
        try:
            return self._parts.connect.status(self._name)
        except Unreachable:
            return None

    def _order_sweep(self) -> None:
        identities = self._identities(self._tables)
        topics = self._reader.topics
        for topic, partition in sorted(topics.ends(list(identities))):
            topics.write(sweep_record(topic, partition, self.run_note.epoch, identities[topic].encode()))

    def _await_decided(self, on_progress: OnProgress) -> None:
        names = [table.capture_topic for table in self._tables]
        ends = self._reader.topics.ends(names)
        watch = _Watch(self._progress_timeout_s)
        while True:
            committed = self._reader.topics.committed(DECIDE_GROUP, names)
            left = {tp: end - committed.get(tp, (0, ""))[0] for tp, end in ends.items()}
            done = sum(1 for count in left.values() if count <= 0)
            on_progress("partitions swept", done, len(ends))
            if done == len(ends):
                return
            if watch.stands_still(sum(left.values())):
                raise Refused(
                    f"the decide worker does not get on: {len(ends) - done} partitions are to be swept",
                    hint="start it: trueup worker decide; see trueup status; then run the command again",
                )
            time.sleep(_POLL_S)

    def _note(self, stage: str, heartbeat_from: int | None = None) -> None:
        self._source.execute(*self._note_sql(stage, heartbeat_from))

    def _note_sql(self, stage: str, heartbeat_from: int | None = None) -> list[str]:
        kept = self.run_note.heartbeat_from if heartbeat_from is None else heartbeat_from
        self.run_note = msgspec.convert(
            {"epoch": self.run_note.epoch, "stage": stage, "heartbeat_from": kept}, ResyncNote
        )
        return [sql.note_resync(self._system.system, self.run_note)]


class _Watch:
    """Tells when a number has not moved for too long."""

    def __init__(self, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout_s, self._clock = timeout_s, clock
        self._seen: int | None = None
        self._since = clock()

    def stands_still(self, number: int) -> bool:
        if number != self._seen:
            self._seen, self._since = number, self._clock()
        return self._clock() - self._since > self._timeout_s
