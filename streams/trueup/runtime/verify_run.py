"""`trueup verify`: brings the copies to a heartbeat, compares, and looks again at what differs before it says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import psycopg

from trueup.adapters.postgres_compare import Side, replica_relation, source_relation
from trueup.adapters.schema_registry import SchemaRegistry
from trueup.adapters.secret_references import Secrets
from trueup.adapters.topic_reader import TopicReader
from trueup.core.connector_config import heartbeat_topic
from trueup.core.decode import EnvelopeDecoder, schema_ids
from trueup.core.rules_copy import compile_copy
from trueup.core.truth_schema import captured_table
from trueup.core.verify import KEYS_SHOWN_MAX, Comparison, differing_buckets, differing_keys, key_text, split_persistent
from trueup.model.errors import Unreachable
from trueup.model.registration import Copy, Project, Table
from trueup.model.settings import Settings
from trueup.runtime.captures import refuse_without_capture
from trueup.runtime.cases import Cases
from trueup.runtime.deadletters import DeadLetters
from trueup.runtime.partition_memory import DECIDE_GROUP
from trueup.runtime.progress_read import ProgressReader
from trueup.runtime.truth_schema_file import read_truth_schema

_LOOKS: Final = 3  # a difference must persist over so many heartbeats (pt-table-checksum does the same)
_POLL_S: Final = 0.1

OnCopy = Callable[[str], None]


def compared_copies(table: Table) -> list[Copy]:
    """The copies that are compared with the owner; of several writers the first is what all others must equal."""
    return [copy for copy in table.copies if copy.replica not in table.systems[:1] or not table.several_writers]


class Verification:
    """One run over some tables."""

    def __init__(self, settings: Settings, project: Project, secrets: Secrets, timeout_s: float) -> None:
        self._settings, self._project, self._secrets, self._timeout_s = settings, project, secrets, timeout_s
        self._topics = TopicReader(settings.kafka.bootstrap_servers)
        self._progress = ProgressReader(settings.kafka.bootstrap_servers, project, secrets)
        self._registry = SchemaRegistry(settings.registry.url)

    def run(self, tables: list[Table], on_copy: OnCopy) -> list[Comparison]:
        """Compares every copy of the tables. Raises Unreachable, Refused.

        Capture is looked at first: without it no heartbeat would come, however long one waits.
        """
        refuse_without_capture(self._settings, sorted({system for table in tables for system in table.systems}))
        caught_up = self.catch_up(tables)
        results = []
        for table in tables:
            for copy in compared_copies(table):
                on_copy(f"{table.table} at {copy.replica}")
                results.append(self._compare(table, copy, caught_up=caught_up))
        return results

    def catch_up(self, tables: list[Table]) -> bool:
        """Waits until everything before a fresh heartbeat of each owner is applied everywhere; False at the deadline.

        1. the heartbeat is written and visible in its topic; 2. the end offsets of the capture topics are taken;
        3. the decide group has passed them; 4. the end offsets of the truth topics are taken; 5. replicas passed them.
        A truth topic never rests, since markers of watermarks come with each heartbeat.
        """
        deadline = time.monotonic() + self._timeout_s
        for system in {system for table in tables for system in table.systems}:
            if not self._beat(system, deadline):  # 1
                return False
        captures = [table.capture_topic for table in tables]
        ends = self._topics.ends(captures)  # 2

        def decided() -> bool:
            committed = self._topics.committed(DECIDE_GROUP, captures)
            return all(committed.get(tp, (0, ""))[0] >= end for tp, end in ends.items())

        if not _until(decided, deadline):  # 3
            return False
        replicas = {copy.replica for table in tables for copy in table.copies}
        names = {table.table for table in tables}
        ends = self._topics.ends([table.truth_topic for table in tables])  # 4
        return _until(  # 5
            lambda: all(p.lag == 0 for r in replicas for t, p in self._progress.applied(r, ends).items() if t in names),
            deadline,
        )

    def _beat(self, system: str, deadline: float) -> bool:
        topic = heartbeat_topic(system)
        start = {number: end for (_, number), end in self._topics.ends([topic]).items()}
        dsn = self._secrets.owner_dsn(self._project.systems[system])
        try:
            with psycopg.connect(dsn, connect_timeout=8, autocommit=True) as connection:
                row = connection.execute(
                    "UPDATE trueup.heartbeat SET beat = beat + 1, beaten_at = clock_timestamp()"
                    " WHERE system = %s RETURNING beat",
                    (system,),
                ).fetchone()
        except psycopg.OperationalError as exc:
            raise Unreachable(f"source {system}", detail=str(exc)) from exc
        wanted = 0 if row is None else int(row[0])
        return _until(lambda: self._newest_beat(system, start) >= wanted, deadline)

    def _newest_beat(self, system: str, start: dict[int, int]) -> int:
        newest, topic = -1, heartbeat_topic(system)
        records = [record for record in self._topics.read(topic, start) if record.value is not None]
        decoders = {i: EnvelopeDecoder(self._registry.schema_by_id(i)) for i in schema_ids(records)}
        for record in records:
            value = record.value or b""
            after = decoders[int.from_bytes(value[1:5], "big")].read(value)["after"]
            if after and after["system"] == system:
                newest = max(newest, int(after["beat"]))
        return newest

    def _compare(self, table: Table, copy: Copy, *, caught_up: bool) -> Comparison:
        plan = compile_copy(table, copy, captured_table(read_truth_schema(self._settings, table.table)))
        schema, name = table.source.schema_name, table.source.table_name
        system, replica = self._project.systems[table.reference], self._project.replicas[copy.replica]
        source = Side(f"source {system.system}", self._secrets.owner_dsn(system), source_relation(plan, schema, name))
        target = Side(f"replica {copy.replica}", self._secrets.writer_dsn(replica), replica_relation(plan))
        try:
            rows_source, rows_replica, differing = _look(source, target)
            unproven: set[str] = set()
            for _ in range(_LOOKS - 1):
                if not differing:
                    break
                caught_up = self.catch_up([table]) and caught_up
                rows_source, rows_replica, again = _look(source, target)
                differing, moved = split_persistent(differing, again)
                unproven = moved
        finally:
            source.close()
            target.close()
        explained = self._explained(table, copy.replica) if differing else set()
        open_keys = sorted(differing.keys() - explained)
        return Comparison(
            table=table.table,
            replica=copy.replica,
            rows_source=rows_source,
            rows_replica=rows_replica,
            differing=len(open_keys),
            explained=len(differing.keys() & explained),
            unproven=len(unproven),
            keys=open_keys[:KEYS_SHOWN_MAX],
            caught_up=caught_up,
        )

    def _explained(self, table: Table, replica: str) -> set[str]:
        """Keys with an open dead letter that concerns this copy, and those that wait for a person or follow one."""
        letters = DeadLetters(self._settings, self._project, self._secrets).entries(table.table)
        concerned = (e for e in letters if not e.superseded and e.where in {"decide", f"replica {replica}"})
        keys = [entry.key for entry in concerned]
        keys += Cases(self._settings, self._project, self._secrets).held_apart(table)
        texts = (key_text(key.encode(), tuple(table.key)) for key in keys)
        return {text for text in texts if text is not None}


def _look(source: Side, target: Side) -> tuple[int, int, dict[str, str | None]]:
    at_source, at_target = source.buckets(), target.buckets()
    buckets = differing_buckets(at_source, at_target)
    found = differing_keys(source.rows(buckets), target.rows(buckets)) if buckets else {}
    return sum(n for n, _ in at_source.values()), sum(n for n, _ in at_target.values()), found


def _until(holds: Callable[[], bool], deadline: float) -> bool:
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
