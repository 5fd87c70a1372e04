"""A system of its own for one test: a schema in the stack's shop database, a connector, a slot; all removed again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import msgspec
import psycopg

from tests.waiting import eventually
from trueup.adapters.kafka_connect import KafkaConnect
from trueup.adapters.kafka_topics import KafkaTopics
from trueup.adapters.project_files import read_project
from trueup.adapters.secret_references import Secrets
from trueup.adapters.stack_environment import stack_environment
from trueup.core.connector_config import connector_name, heartbeat_topic, housekeeping_topics, notification_topic
from trueup.core.registration_rules import problems_of
from trueup.model.settings import Settings
from trueup.runtime.provision import Provisioner
from trueup.runtime.provision_steps import Fill, Step, title

Database = psycopg.Connection[tuple[object, ...]]


class Killed(Exception):
    """Stands for a SIGKILL between two steps."""


class ScratchSystem:
    """A project folder with one system, named after the schema its tables live in."""

    def __init__(self, stack: Settings, folder: Path, database: Database) -> None:
        self.name = f"t{uuid4().hex[:10]}"
        self.stack = stack
        self.settings = msgspec.structs.replace(stack, project_dir=folder)
        self.database = database
        self.tables: list[str] = []
        self.execute(f"CREATE SCHEMA {self.name}")
        self.write(
            f"connectors/systems/{self.name}.yaml",
            f"system: {self.name}\nkind: postgresql\ndsn: ${{env:SHOP_DSN}}\ncapture_dsn: ${{env:SHOP_CAPTURE_DSN}}\n",
        )

    def execute(self, statement: str) -> None:
        self.database.execute(statement.encode())

    def value(self, query: str) -> object:
        row = self.database.execute(query.encode()).fetchone()
        return None if row is None else row[0]

    def register(self, table: str, key: str, more: str = "") -> str:
        """Register a table of the schema; the answer is the registered name."""
        registered = f"{self.name}_{table}"
        self.tables.append(registered)
        self.write(
            f"schemas/tables/{registered}.yaml",
            f"table: {registered}\nowner: {{system: {self.name}}}\n"
            f"source: {{table: {self.name}.{table}}}\nkey: [{key}]\n{more}",
        )
        return registered

    def plan(self) -> list[Step]:
        """The steps that would be taken, as `trueup apply --dry-run` has them."""
        with self._provisioner() as provisioner:
            return provisioner.plan()

    def apply(
        self, *, killed_before: type[Step] | None = None, before: Callable[[Step], None] = lambda _: None
    ) -> list[Step]:
        """Plan and carry out, up to a step of some kind; `before` is told of each step."""

        def on_step(step: Step) -> None:
            before(step)
            if killed_before is not None and isinstance(step, killed_before):
                raise Killed(title(step))

        with self._provisioner() as provisioner:
            steps = provisioner.plan()
            provisioner.carry_out(steps, on_step, lambda _: None)
            return steps

    def streams(self) -> None:
        """Wait until the first snapshot is over."""
        beats = f"SELECT beat FROM trueup.heartbeat WHERE system = '{self.name}' AND config IS NOT NULL"
        eventually(lambda: self.value(beats), within_s=60, what="the connector's first heartbeat")

    @contextmanager
    def _provisioner(self) -> Iterator[Provisioner]:
        project = read_project(self.settings.project_dir, problems_of)
        provisioner = Provisioner(self.settings, project, Secrets(self.settings, {}))
        try:
            yield provisioner
        finally:
            provisioner.close()

    def write(self, name: str, text: str) -> None:
        path = self.settings.project_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def remove(self) -> None:
        """Connector first: it holds the slot."""
        connect = KafkaConnect(self.stack.connect.url)
        connect.delete(connector_name(self.name))
        connect.close()
        slot = connector_name(self.name)
        idle = f"SELECT count(*) = 0 FROM pg_replication_slots WHERE slot_name = '{slot}' AND active"
        eventually(lambda: self.value(idle), within_s=30, what="the connector to leave its slot")
        self.execute(f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}'")
        self.execute(f"DROP PUBLICATION IF EXISTS {slot}")
        for table in ("heartbeat", "fills", "resyncs"):
            if self.value(f"SELECT to_regclass('trueup.{table}')") is not None:
                self.execute(f"DELETE FROM trueup.{table} WHERE system = '{self.name}'")
        self.execute(f"DROP SCHEMA {self.name} CASCADE")
        topics = KafkaTopics(self.stack.kafka.bootstrap_servers)
        names = [f"{self.name}.{self.name}.{t.removeprefix(self.name + '_')}" for t in self.tables]
        names += [f"trueup.{kind}.{table}" for table in self.tables for kind in ("truth", "dead_letters", "cases")]
        own = (heartbeat_topic(self.name), notification_topic(self.name), *housekeeping_topics(self.name))
        topics.delete([*names, *own])


@contextmanager
def scratch_system(stack: Settings, folder: Path) -> Iterator[ScratchSystem]:
    """A system for one test."""
    dsn = stack_environment(stack.state_dir)["SHOP_DSN"]
    with psycopg.connect(dsn, autocommit=True) as database:
        system = ScratchSystem(stack, folder, database)
        try:
            yield system
        finally:
            system.remove()


__all__ = ["Fill", "Killed", "ScratchSystem", "scratch_system"]
