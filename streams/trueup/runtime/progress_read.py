"""How far each stage is, read from what is durable: offsets in Kafka, progress at the replicas."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing
from typing import Any

import msgspec
import psycopg

from trueup.adapters.postgres_connect import Session, replica_session
from trueup.adapters.postgres_proofs import ProofLine, ProofStore
from trueup.adapters.secret_references import Secrets
from trueup.adapters.topic_reader import TopicReader
from trueup.freshness import Freshness, look_at_all
from trueup.model.decision import Outcome
from trueup.model.registration import Project, Table
from trueup.model.write import REPLICA_OUTCOMES
from trueup.runtime.partition_memory import DECIDE_GROUP, PartitionMemory

_PROGRESS = f"SELECT topic, partition, next_offset, {', '.join(REPLICA_OUTCOMES)} FROM trueup.progress"  # noqa: S608


_LOOKS = 3
_LOOK_S = 0.15  # a marker needs less from commit to commit on an idle pipeline


class Totals(msgspec.Struct):
    """Outcome totals of a topic at a stage.

    :param position: the next offsets, summed over the partitions: it changes when something is done.
    """

    counts: Counter[str]
    position: int = 0


class StageProgress(Totals):
    """The same, and how many records lie before the topic's last stable offset."""

    lag: int = 0


class ProgressReader:
    """Reads progress for `status` and `verify`."""

    def __init__(self, bootstrap_servers: str, project: Project, secrets: Secrets) -> None:
        self.topics = TopicReader(bootstrap_servers)
        self._project, self._secrets = project, secrets

    def decided(self, tables: list[Table]) -> dict[str, StageProgress]:
        """Progress of deciding, by table. Raises Unreachable."""
        names = [table.capture_topic for table in tables]
        ends, committed = self.topics.ends(names), self.topics.committed(DECIDE_GROUP, names)
        found = {}
        for table in tables:
            progress = StageProgress(Counter())
            for (topic, number), end in ends.items():
                if topic == table.capture_topic:
                    offset, metadata = committed.get((topic, number), (0, ""))
                    totals = PartitionMemory.read(metadata).totals
                    progress.counts.update({o.value: totals.get(o, 0) for o in Outcome})
                    progress.lag += max(0, end - offset)
                    progress.position += offset
            found[table.table] = progress
        return found

    def applied(self, replica: str) -> dict[str, StageProgress]:
        """Progress of applying at a replica, by table. Raises Unreachable.

        A marker comes with each heartbeat, so what lies below the end of a truth topic is given a moment to arrive: a
        lag that passes is none.
        """
        tables = self._by_truth_topic(replica)
        ends = self.topics.ends(list(tables))
        for _ in range(_LOOKS - 1):
            found = self._applied(replica, tables, ends)
            if not any(progress.lag for progress in found.values()):
                return found
            time.sleep(_LOOK_S)
        return self._applied(replica, tables, ends)

    def totals(self, replica: str) -> dict[str, Totals]:
        """Progress of applying as the replica alone knows it, by table; Kafka is not asked. Raises Unreachable."""
        tables = self._by_truth_topic(replica)
        found = {name: Totals(Counter()) for name in tables.values()}
        for topic, _, *progress in self._rows(replica):
            if topic in tables:
                _add(found[tables[topic]], *progress)
        return found

    def freshness(self, replica: str) -> dict[str, Freshness]:
        """What each copy at a replica is as of, by table; empty where `trueup apply` did not make that known yet."""
        with self._connected(replica) as connection:
            try:
                return {found.table: found for found in look_at_all(connection)}
            except psycopg.errors.UndefinedTable:
                return {}

    def _applied(
        self, replica: str, tables: Mapping[str, str], ends: Mapping[tuple[str, int], int]
    ) -> dict[str, StageProgress]:
        rows = {(row[0], row[1]): row[2:] for row in self._rows(replica)}
        found = {name: StageProgress(Counter()) for name in tables.values()}
        for (topic, number), end in ends.items():
            if topic not in tables:
                continue
            next_offset, *counts = rows.get((topic, number), (0, *[0] * len(REPLICA_OUTCOMES)))
            progress = found[tables[topic]]
            _add(progress, next_offset, *counts)
            progress.lag += max(0, end - (next_offset or 0))
        return found

    def _by_truth_topic(self, replica: str) -> dict[str, str]:
        return {table.truth_topic: table.table for table, _ in self._project.tables_copied_to(replica)}

    def proofs(self, replica: str) -> dict[str, ProofLine]:
        """What is proven of the copies at a replica, by table. Raises Unreachable."""
        with closing(ProofStore(replica, self._secrets.writer_dsn(self._project.replicas[replica]))) as store:
            return {line.table: line for line in store.lines()}

    def has_applied(self, replica: str, ends: Mapping[tuple[str, int], int]) -> bool:
        """Whether a replica has passed these offsets of truth partitions. Raises Unreachable."""
        passed = {(row[0], row[1]): row[2] or 0 for row in self._rows(replica)}
        return all(passed.get(place, 0) >= end for place, end in ends.items())

    def _rows(self, replica: str) -> list[tuple[Any, ...]]:
        with self._connected(replica) as connection:
            return connection.execute(_PROGRESS.encode()).fetchall()

    def _connected(self, replica: str) -> AbstractContextManager[Session]:
        dsn = self._secrets.writer_dsn(self._project.replicas[replica])
        return replica_session(replica, dsn, "trueup.progress")


def _add(totals: Totals, next_offset: int | None, *counts: int) -> None:
    """A partition's row of `trueup.progress`."""
    totals.counts.update(dict(zip((o.value for o in REPLICA_OUTCOMES), counts, strict=True)))
    totals.position += next_offset or 0
