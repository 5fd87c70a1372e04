"""Capture topics that are not the logs that were decided so far, for `trueup status`; see `runtime.captures`."""

from __future__ import annotations

from trueup.adapters.kafka_topics import KafkaTopics
from trueup.adapters.topic_reader import TopicReader
from trueup.core.capture_topic import CaptureLog, log_problem, partitions_problem
from trueup.core.status_problems import Problem, Scope
from trueup.model.errors import TrueUpError
from trueup.model.registration import Project, Table
from trueup.model.settings import Settings
from trueup.model.topic import TopicFacts
from trueup.runtime.partition_memory import DECIDE_GROUP, PartitionMemory, topic_identity


def topic_problems(settings: Settings, project: Project, reader: TopicReader) -> list[Problem]:
    """Capture topics that are not the logs that were decided so far. One problem per table."""
    kafka = KafkaTopics(settings.kafka.bootstrap_servers)
    tables = list(project.tables.values())
    facts = kafka.describe([topic for table in tables for topic in (table.capture_topic, table.truth_topic)])
    names = [table.capture_topic for table in tables]
    # The ends last: under load they move on, and what was decided meanwhile would lie behind them.
    begins, committed, ends = reader.begins(names), reader.committed(DECIDE_GROUP, names), reader.ends(names)
    cluster = kafka.cluster().cluster_id
    found = []
    for table in tables:
        capture, truth = facts.get(table.capture_topic), facts.get(table.truth_topic)
        problem: TrueUpError | None = partitions_problem(table, _count(capture), _count(truth))
        if problem is None and capture is not None:
            identity = topic_identity(cluster, capture.topic_id)
            logs = [
                CaptureLog(topic=identity, partition=number, begin=begins.get((topic, number), 0), end=end)
                for (topic, number), end in ends.items()
                if topic == table.capture_topic
            ]
            problem = _first_problem(table, logs, committed)
        if problem is not None:
            found.append(_problem(problem, table))
    return found


def _first_problem(
    table: Table, logs: list[CaptureLog], committed: dict[tuple[str, int], tuple[int, str]]
) -> TrueUpError | None:
    for log in logs:
        offset, metadata = committed.get((table.capture_topic, log.partition), (None, ""))
        problem = log_problem(table, log, offset, PartitionMemory.read(metadata).topic)
        if problem is not None:
            return problem
    return None


def _count(facts: TopicFacts | None) -> int | None:
    return None if facts is None else facts.partitions


def _problem(error: TrueUpError, table: Table) -> Problem:
    what = error.primary if error.detail is None else f"{error.primary}: {error.detail}"
    about = Scope(tables=(table.table,))
    return Problem(what=what, next=error.hint or "see the log of the decide worker", about=about, stops=True)
