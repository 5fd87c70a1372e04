"""A captured system that tests break and mend: its slot, its connector, its capture topics, and what status says of it.

For systems of any pipeline: the scratch ones of tests/integration and the loaded ones of tests/chaos.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from subprocess import CompletedProcess

import msgspec
import psycopg
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from tests.committed_reader import PARTITIONS, quiet_client
from tests.waiting import eventually
from trueup.adapters.kafka_connect import KafkaConnect
from trueup.adapters.kafka_topics import KafkaTopics
from trueup.adapters.kafka_transactions import PartitionProducer
from trueup.adapters.topic_reader import TopicReader
from trueup.adapters.truth_log import TruthLog
from trueup.core.connector_config import connector_name
from trueup.core.ordering import Guard
from trueup.model.errors import Fenced
from trueup.model.event import Position
from trueup.model.settings import Settings
from trueup.model.topic import TopicSpec
from trueup.runtime.partition_memory import DECIDE_GROUP, PartitionMemory

STOPPED_WITHIN_S = 30.0
NAMED_WITHIN_S = 60.0
RESYNC_WITHIN_S = 420.0
FENCED_MAX = 10

Command = Callable[..., CompletedProcess[str]]


class CapturedSystem:
    """One system and the capture topics of the tables that are broken.

    :param dsn: of a login at the source that may replicate.
    :param trueup: runs a command of the system's project.
    """

    def __init__(self, system: str, topics: list[str], settings: Settings, dsn: str, trueup: Command) -> None:
        self.system_name, self.capture_topics = system, topics
        self.reader = TopicReader(settings.kafka.bootstrap_servers)
        self.topics = KafkaTopics(settings.kafka.bootstrap_servers)
        self.admin = AdminClient(quiet_client(settings.kafka.bootstrap_servers))
        self._settings, self._dsn, self._trueup = settings, dsn, trueup

    @property
    def connector(self) -> str:
        """Also the name of its slot."""
        return connector_name(self.system_name)

    # --- looking --------------------------------------------------------------------------------------------------

    def captured(self) -> int:
        """How many offsets the capture topics have given out."""
        return sum(self.reader.ends(self.capture_topics).values())

    def problems(self) -> list[dict[str, str]]:
        """What `trueup status` says first."""
        answer = msgspec.json.decode(self._trueup("status", "--json").stdout)
        return list(answer["problems"])

    def names_cure(self, *words: str) -> None:
        """Wait until the first problem of status names resync and the words."""

        def first() -> bool:
            (problem, *_) = self.problems() or [{"what": "nothing is wrong", "next": ""}]
            assert problem["next"].endswith(f"trueup resync {self.system_name}"), problem
            assert all(word in problem["what"] for word in words), problem
            return True

        eventually(first, within_s=NAMED_WITHIN_S, what="status names the trouble first, and the command that cures it")

    def capture_failed(self) -> None:
        """Wait until the connector has stopped loudly."""
        connect = KafkaConnect(self._settings.connect.url)
        try:
            eventually(
                lambda: (status := connect.status(self.connector)) is not None and status.failed,
                within_s=STOPPED_WITHIN_S,
                what="capture stops",
            )
        finally:
            connect.close()

    def at_source(self, query: str) -> object:
        """The first value of a query, or None."""
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            row = cursor.fetchone() if cursor.description is not None else None
            return None if row is None else row[0]

    # --- breaking -------------------------------------------------------------------------------------------------

    @contextmanager
    def captured_stopped(self) -> Iterator[None]:
        """The connector is stopped inside, and its slot is free."""
        connect = KafkaConnect(self._settings.connect.url)
        try:
            connect.stop(self.connector, STOPPED_WITHIN_S)
            idle = f"SELECT NOT active FROM pg_replication_slots WHERE slot_name = '{self.connector}'"
            eventually(lambda: self.at_source(idle), within_s=STOPPED_WITHIN_S, what="the connector to leave its slot")
            yield
            connect.resume(self.connector)
        finally:
            connect.close()

    def drop_slot(self) -> None:
        self.at_source(f"SELECT pg_drop_replication_slot('{self.connector}')")

    def advance_slot(self) -> None:
        """Past what was not captured yet."""
        self.at_source(f"SELECT pg_replication_slot_advance('{self.connector}', pg_current_wal_lsn())")

    def make_topic(self, partitions: int) -> None:
        """The capture topic anew, as somebody makes it who knows nothing of TrueUp."""
        (topic,) = self.capture_topics
        self.topics.create(TopicSpec(name=topic, partitions=partitions, replication_factor=1, config={}))

    def delete_topics(self) -> None:
        for topic in self.capture_topics:
            self.topics.delete_and_wait(topic)

    def delete_undecided(self) -> None:
        """What retention does to a table nobody decides for too long."""
        ends = self.reader.ends(self.capture_topics)
        before = [TopicPartition(topic, number, end) for (topic, number), end in ends.items()]
        for future in self.admin.delete_records(before).values():
            future.result(20)

    def add_partition(self) -> None:
        wanted = [NewPartitions(topic, PARTITIONS + 1) for topic in self.capture_topics]
        for future in self.admin.create_partitions(wanted).values():
            future.result(20)

    def raise_guard(self) -> None:
        """Let the committed memory of every partition say that the source was far ahead, as it was before a restore."""
        asyncio.run(self._raise_guard())

    async def _raise_guard(self) -> None:
        log = TruthLog(self._settings.kafka.bootstrap_servers)
        for topic in self.capture_topics:
            for partition in range(PARTITIONS):
                for _ in range(FENCED_MAX):
                    with contextlib.suppress(Fenced):
                        await self._raise_guard_of(topic, partition, log)
                        break
                else:
                    raise AssertionError(f"the worker took {topic}/{partition} back each time")
        await log.stop()

    async def _raise_guard_of(self, topic: str, partition: int, log: TruthLog) -> None:
        """Raises Fenced when the worker, begun anew or after a rebalance, takes the partition meanwhile."""
        kafka = self._settings.kafka
        producer = PartitionProducer(kafka.bootstrap_servers, topic, partition, kafka.transaction_timeout_ms)
        try:
            await producer.start()
            committed = await log.committed(DECIDE_GROUP, topic, partition)
            assert committed is not None
            memory = PartitionMemory.read(committed[1])
            guard = Guard(memory.guard.epoch, Position(1 << 60, 1 << 60), 1)
            ahead = msgspec.structs.replace(memory, guard=guard)
            await producer.commit([], group=DECIDE_GROUP, next_offset=committed[0], metadata=ahead.write())
        finally:
            await producer.stop()

    # --- mending --------------------------------------------------------------------------------------------------

    def resync(self) -> None:
        """The cure status names."""
        ran = self._trueup("resync", self.system_name, "--yes", "--timeout", "120", timeout_s=RESYNC_WITHIN_S)
        assert ran.returncode == 0, ran.stdout + ran.stderr
