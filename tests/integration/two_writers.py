"""Two databases that both write a table of customers, a replica that only reads it, connectors and own workers.

The writers are schemas in the stack's shop and warehouse databases, the replica one in reporting. A trigger at each
writer signs what is written there, as an application's triggers do.
"""

from __future__ import annotations

import copy
import datetime
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from uuid import uuid4

import psycopg

from tests.committed_reader import committed_messages
from tests.pipeline import PORT_BASE, Pipeline
from tests.waiting import eventually
from trueup.adapters.kafka_connect import KafkaConnect
from trueup.adapters.kafka_topics import KafkaTopics
from trueup.core.connector_config import connector_name, heartbeat_topic, housekeeping_topics, notification_topic
from trueup.demo.folder import DemoFolder
from trueup.demo.workers import Workers
from trueup.model.settings import Settings

_METRICS_PORTS = itertools.cycle((PORT_BASE + 46, PORT_BASE + 52))  # behind the shared workers'; two may run
_MIDDAY = datetime.datetime(2026, 1, 5, 12, tzinfo=datetime.UTC)
_SIGN = """
CREATE FUNCTION {schema}.sign() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.signed := '{writer}'; RETURN NEW; END $$;
CREATE TRIGGER sign BEFORE INSERT OR UPDATE ON {schema}.customers FOR EACH ROW EXECUTE FUNCTION {schema}.sign();
"""

Row = tuple[str, str, datetime.datetime]
"""name, who signed it, updated_at."""


class TwoWriters:
    """What tests see: writers `a` (shop) and `b` (warehouse), and `r`, the replica (reporting)."""

    def __init__(self, pipeline: Pipeline, settings: Settings, folder: Path, authority: str) -> None:
        self.pipeline, self._settings = pipeline, settings
        token = uuid4().hex[:8]
        self.schema = f"w{token}"
        self.table = f"customers_{token}"
        self.a, self.b, self.r = f"a{token}", f"b{token}", f"r{token}"
        self.databases = {self.a: "shop", self.b: "warehouse", self.r: "reporting"}
        self.folder = copy.copy(pipeline.folder)
        self.folder.project_dir = folder
        self.folder.state_dir = folder / "state"
        self.folder.metrics_port_base = next(_METRICS_PORTS)
        self._environment = DemoFolder.environment(pipeline.folder) | {"TRUEUP_STATE_DIR": str(self.folder.state_dir)}
        self.folder.environment = lambda: self._environment  # type: ignore[method-assign]
        self.workers: Workers | None = None
        self._write_project(authority.format(a=self.a, b=self.b))

    def _write_project(self, authority: str) -> None:
        files = {}
        for name, database in self.databases.items():
            login = database.upper()
            replica = f"dsn: ${{env:{login}_WRITER_DSN}}\nddl_dsn: ${{env:{login}_DSN}}\n"
            files[f"connectors/replicas/{name}.yaml"] = f"replica: {name}\nkind: postgresql\n{replica}"
            if name != self.r:
                system = f"dsn: ${{env:{login}_DSN}}\ncapture_dsn: ${{env:{login}_CAPTURE_DSN}}\n"
                files[f"connectors/systems/{name}.yaml"] = f"system: {name}\nkind: postgresql\n{system}"
        files[f"schemas/tables/{self.table}.yaml"] = (
            f"table: {self.table}\nsource: {{table: {self.schema}.customers}}\nkey: [id]\n"
            f"writers: [{self.a}, {self.b}]\n{authority}\nreplicas:\n  - {{replica: {self.r}}}\n"
        )
        for name, text in files.items():
            path = self.folder.project_dir / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    @property
    def topic(self) -> str:
        return f"trueup.capture.{self.table}"

    def make_tables(self) -> None:
        for writer in (self.a, self.b):
            self.query(
                writer,
                f"CREATE SCHEMA {self.schema}; CREATE TABLE {self.schema}.customers (id bigint PRIMARY KEY,"
                " name text NOT NULL, signed text, updated_at timestamptz NOT NULL);"
                + _SIGN.format(schema=self.schema, writer=writer),
            )

    def start(self) -> None:
        applied = self.trueup("apply")
        assert applied.returncode == 0, applied.stderr
        self.workers = Workers(self.folder, list(self.databases))
        self.workers.start()

    def stop(self) -> None:
        if self.workers is not None:
            self.workers.stop()
            self.workers = None

    def trueup(self, *arguments: str, timeout_s: float = 180.0) -> CompletedProcess[str]:
        return self.pipeline.trueup(*arguments, timeout_s=timeout_s, project=self.folder)

    def query(self, place: str, statement: str) -> list[tuple[object, ...]]:
        """At a writer or the replica; `customers` is the table."""
        with psycopg.connect(self.pipeline.dsn(self.databases[place]), autocommit=True) as connection:
            cursor = connection.execute(statement.replace(" customers", f" {self.schema}.customers").encode())
            return cursor.fetchall() if cursor.description is not None else []

    def write(self, writer: str, key: int, name: str, at_s: float) -> None:
        """Insert or update a customer; `at_s`: seconds after midday, the row's time."""
        self.query(
            writer,
            f"INSERT INTO customers AS c (id, name, updated_at) VALUES ({key}, '{name}', '{moment(at_s)}')"
            " ON CONFLICT (id) DO UPDATE SET name = excluded.name, updated_at = excluded.updated_at",
        )

    def rows(self, place: str) -> dict[int, Row]:
        return {row[0]: row[1:] for row in self.query(place, "SELECT id, name, signed, updated_at FROM customers")}  # type: ignore[misc]

    def everywhere(self, expected: dict[int, Row | None], within_s: float = 40.0) -> None:
        """Wait until these customers are so at both writers and at the replica; None: gone."""

        def same() -> bool:
            for place in self.databases:
                rows = self.rows(place)
                seen = {key: rows.get(key) for key in expected}
                different = [key for key in expected if seen[key] != expected[key]]
                assert not different, f"at {place}: {[(k, seen[k], expected[k]) for k in different[:3]]}"
            return True

        eventually(same, within_s=within_s, what="the customers are the same everywhere")

    def row(self, writer: str, name: str, at_s: float) -> Row:
        """What a change of a writer looks like everywhere."""
        return name, writer, moment(at_s)

    def equal(self, within_s: float = 60.0) -> None:
        """Wait until all three have the same rows."""

        def same() -> bool:
            first, *others = (self.rows(place) for place in self.databases)
            for other in others:
                different = [key for key in first.keys() | other.keys() if first.get(key) != other.get(key)]
                shown = [(key, first.get(key), other.get(key)) for key in sorted(different)[:3]]
                assert not different, f"{len(different)} customers differ: {shown}"
            return True

        eventually(same, within_s=within_s, what="both writers and the replica are equal")

    def verified(self) -> None:
        """`trueup verify`, which waits for all that is captured to be everywhere, finds nothing."""
        ran = self.trueup("verify", self.table)
        assert ran.returncode == 0, ran.stdout + ran.stderr

    def captured(self) -> int:
        """Changes of rows in the capture topic, by a reader of its own."""
        return sum(1 for message in committed_messages(self.pipeline.bootstrap, [self.topic]) if message.value())

    def decided(self) -> dict[str, int]:
        """How the captured records ended."""
        return dict(self.pipeline.decide_totals(self.topic))

    @contextmanager
    def held_back(self, writer: str) -> Iterator[None]:
        """What the writer does inside is captured only afterwards."""
        connect = KafkaConnect(self._settings.connect.url)
        name = connector_name(writer)
        try:
            connect.stop(name, 30)
            idle = f"SELECT count(*) = 0 FROM pg_replication_slots WHERE slot_name = '{name}' AND active"
            eventually(lambda: self.query(writer, idle) == [(True,)], within_s=30, what="the connector has stopped")
            yield
        finally:
            connect.resume(name)
            connect.close()

    def remove(self) -> None:
        self.stop()
        connect = KafkaConnect(self._settings.connect.url)
        topics = [self.topic, *(f"trueup.{kind}.{self.table}" for kind in ("truth", "dead_letters", "cases"))]
        for writer in (self.a, self.b):
            slot = connector_name(writer)
            connect.delete(slot)
            idle = f"SELECT count(*) = 0 FROM pg_replication_slots WHERE slot_name = '{slot}' AND active"
            eventually(lambda w=writer, q=idle: self.query(w, q) == [(True,)], within_s=30, what="the slot is free")  # type: ignore[misc]
            self.query(writer, f"SELECT pg_drop_replication_slot('{slot}') FROM pg_replication_slots"
                               f" WHERE slot_name = '{slot}'")  # fmt: skip
            self.query(writer, f"DROP PUBLICATION IF EXISTS {slot}")
            topics += [heartbeat_topic(writer), notification_topic(writer), *housekeeping_topics(writer)]
        connect.close()
        for place in self.databases:
            self.query(place, f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")
            self.query(place, f"DELETE FROM trueup.copies WHERE starts_with(target, '{self.schema}.')")
            self.query(place, f"DELETE FROM trueup.progress WHERE topic = 'trueup.truth.{self.table}'")
        KafkaTopics(self._settings.kafka.bootstrap_servers).delete(topics)


def moment(at_s: float) -> datetime.datetime:
    """Seconds after midday of a day long before the test."""
    return _MIDDAY + datetime.timedelta(seconds=at_s)


@contextmanager
def two_writers(pipeline: Pipeline, settings: Settings, folder: Path, authority: str) -> Iterator[TwoWriters]:
    """Two writers for the tests of one file; fill tables, then `start`. `authority`: policy and version, as YAML."""
    made = TwoWriters(pipeline, settings, folder, authority)
    try:
        made.make_tables()
        yield made
    finally:
        made.remove()
