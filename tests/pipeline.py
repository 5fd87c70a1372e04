"""A whole pipeline under test: real Postgres, Debezium, Kafka and workers; looked at without its own code.

What is asserted is read here with plain SQL and a plain consumer, not with TrueUp's own `verify` and `status`.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
import psycopg
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError
from aiokafka.structs import TopicPartition as AioTopicPartition

from tests.committed_reader import committed_messages
from tests.waiting import eventually
from trueup.demo.folder import DemoFolder
from trueup.demo.sources import create_sources
from trueup.demo.workers import Workers
from trueup.stack.local_stack import LocalStack
from trueup.stack.settings import bootstrap_servers

# Beside the stacks of a developer (29000) and of the demo (29400). Another run of the tests on the same machine needs
# ports of its own.
PORT_BASE = int(os.environ.get("TRUEUP_TEST_PORT_BASE", "26400"))
ROWS = 2_000
REPLICAS = ["shop", "warehouse", "reporting"]
DECIDE_GROUP = "trueup-decide"
OUTCOMES = ["applied", "duplicate", "stale", "unchanged", "coalesced", "rejected", "escalated", "ignored"]

# Copies whose columns are those of the source: compared text by text. (table, source system, replica)
PLAIN_COPIES = [
    ("orders", "shop", "warehouse", "order_id"),
    ("order_lines", "shop", "warehouse", "order_id, line_no"),
    ("stock", "warehouse", "shop", "sku"),
    ("pgbench_accounts", "shop", "reporting", "aid"),
    ("pgbench_tellers", "shop", "reporting", "tid"),
]


class Pipeline:
    """Starts everything once; tests share it and leave it running."""

    def __init__(self, folder: DemoFolder) -> None:
        self.folder = folder
        self.stack = LocalStack(folder.stack)
        self.workers: Workers | None = None

    def start(self) -> None:
        self.start_sources()
        self.apply()
        self.start_workers()

    def start_sources(self) -> None:
        """Servers, registrations and the sources' own tables; nothing of TrueUp's is in them yet."""
        self.stack.up()
        self.folder.write_project()
        create_sources(self.folder, ROWS)

    def apply(self) -> None:
        applied = self.trueup("apply")
        assert applied.returncode == 0, applied.stderr

    def start_workers(self) -> None:
        self.workers = Workers(self.folder, REPLICAS)
        self.workers.start()

    def stop_workers(self) -> None:
        if self.workers is not None:
            self.workers.stop()
            self.workers = None

    def stop(self) -> None:
        try:
            self.stop_workers()
        finally:
            self.stack.down(purge=True)

    def trueup(
        self,
        *arguments: str,
        timeout_s: float = 120.0,
        environment: Mapping[str, str] | None = None,
        project: DemoFolder | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command as a person would, with more in its environment, or on another project of the same stack."""
        folder = project or self.folder
        return subprocess.run(
            [sys.executable, "-m", "trueup.runtime.cli", *arguments, "--project", str(folder.project_dir)],
            env=folder.environment() | dict(environment or {}),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def dsn(self, database: str) -> str:
        """The address of a database, as its owner."""
        return self.folder.dsn(database)

    def query(self, database: str, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query, or none for a statement."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), parameters)
            return cursor.fetchall() if cursor.description is not None else []

    def columns(self, system: str, table: str) -> str:
        """The source's columns as a SQL list of texts, in order."""
        found = self.query(
            system,
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = %s"
            " ORDER BY ordinal_position",
            (table,),
        )
        return ", ".join(f'"{name}"::text' for (name,) in found)

    def differences(self, table: str, system: str, replica: str, key: str) -> list[tuple[Any, ...]]:
        """Rows that are not the same at both sides."""
        columns = self.columns(system, table)
        sql = f"SELECT {columns} FROM public.{table}"
        return sorted(set(self.query(system, sql)) ^ set(self.query(replica, sql)), key=str)

    def converged(self, within_s: float = 60.0) -> None:
        """Waits until every plain copy equals its source."""
        for table, system, replica, key in PLAIN_COPIES:

            def equal(table: str = table, system: str = system, replica: str = replica, key: str = key) -> bool:
                different = self.differences(table, system, replica, key)
                assert not different, f"{len(different)} rows differ, such as {different[:2]}"
                return True

            eventually(equal, within_s=within_s, what=f"{table} at {replica} equals {system}")

    def committed_records(self, topic: str) -> int:
        """Records of a topic that an independent reader of committed records sees."""
        return sum(1 for _ in committed_messages(self.bootstrap, [topic]))

    def decide_totals(self, topic: str) -> Counter[str]:
        """Outcome totals as committed with the offsets of a capture topic."""
        totals: Counter[str] = Counter()
        for metadata in asyncio.run(self._committed_metadata(topic)):
            if metadata:
                totals.update(json.loads(metadata)["totals"])
        return totals

    async def _committed_metadata(self, topic: str) -> list[str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            wanted = [AioTopicPartition(topic, number) for number in range(4)]
            found = await admin.list_consumer_group_offsets(DECIDE_GROUP, partitions=wanted)
            return [at.metadata for at in found.values()]
        finally:
            await admin.close()

    def reset_decided(self, topics: list[str]) -> None:
        """Sets the deciding group back to the beginning of these topics; its workers must be stopped.

        One that was killed stays a member until its session ends, and the broker takes no such commit before.
        """

        def taken() -> bool:
            try:
                asyncio.run(self._commit_beginnings(topics))
            except CommitFailedError as error:
                raise AssertionError(error) from error
            return True

        eventually(taken, within_s=60, what="the group has no members and takes the offsets")

    async def _commit_beginnings(self, topics: list[str]) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=DECIDE_GROUP, enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = [AioTopicPartition(topic, number) for topic in topics for number in range(4)]
            consumer.assign(partitions)
            await consumer.commit(await consumer.beginning_offsets(partitions))
        finally:
            await consumer.stop()

    def apply_totals(self, replica: str, topic: str) -> int:
        """Sum of all outcomes a replica counted for a truth topic."""
        rows = self.query(
            replica,
            f"SELECT coalesce(sum({' + '.join(OUTCOMES)}), 0) FROM trueup.progress WHERE topic = %s",
            (topic,),
        )
        return int(rows[0][0])

    @property
    def bootstrap(self) -> str:
        return bootstrap_servers(self.folder.stack)

    def json(self, *arguments: str) -> Any:
        """The JSON a command prints, whatever its exit code says."""
        ran = self.trueup(*arguments, "--json")
        try:
            return msgspec.json.decode(ran.stdout)
        except msgspec.DecodeError:
            raise AssertionError(
                f"{arguments}: exit {ran.returncode}: {ran.stdout[:500]} {ran.stderr[-2000:]}"
            ) from None
