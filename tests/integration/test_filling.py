"""A table that joins a running connector: heartbeats name it as filled when its rows have been read, and not before."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.integration.scratch_system import ScratchSystem, scratch_system
from tests.integration.test_apply import captured, rows_of
from tests.waiting import eventually
from trueup.adapters.postgres_source import PostgresSource
from trueup.adapters.project_files import read_project
from trueup.adapters.schema_registry import SchemaRegistry
from trueup.adapters.secret_references import Secrets
from trueup.adapters.stack_environment import stack_environment
from trueup.adapters.topic_reader import TopicReader
from trueup.core.filling import Scan
from trueup.core.registration_rules import problems_of
from trueup.model.errors import Refused
from trueup.model.settings import Settings
from trueup.runtime.filling_watch import FillingWatch
from trueup.runtime.provision_steps import Fill, PutConnector, Step
from trueup.runtime.resnapshot import Resnapshot
from trueup.runtime.scan_read import ScanReader
from trueup.stack.credentials import CAPTURE_ROLE

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROWS = 10_000


class Filled:
    """A scratch system with a table `late` that joined its running connector. Nobody looks at it but the test."""

    def __init__(self, system: ScratchSystem, source: PostgresSource, registry: SchemaRegistry) -> None:
        self.system, self.source = system, source
        self.scans = ScanReader(TopicReader(system.settings.kafka.bootstrap_servers), registry)

    def begin(self) -> None:
        name = self.system.name
        self.system.execute(f"CREATE TABLE {name}.orders (id int PRIMARY KEY)")
        self.system.register("orders", "id")
        self.system.apply()
        self.system.streams()
        self.system.execute(f"CREATE TABLE {name}.late (id int PRIMARY KEY, v int)")
        self.system.execute(f"INSERT INTO {name}.late SELECT n, 0 FROM generate_series(1, {ROWS}) n")
        self.system.register("late", "id")

    @property
    def late(self) -> str:
        return f"{self.system.name}_late"

    def look(self) -> None:
        """What the capture worker does every few seconds."""
        FillingWatch({self.system.name: self.source}, self.scans).look()

    def named(self) -> set[str]:
        """The tables that a heartbeat from now on names."""
        row = f"FROM trueup.heartbeat WHERE system = '{self.system.name}'"
        before = self.system.value(f"SELECT beat {row}")
        beaten = f"SELECT filled {row} AND beat > {before}"
        eventually(lambda: self.system.value(beaten) is not None, within_s=30, what="a heartbeat")
        return set(str(self.system.value(f"SELECT filled {row}")).split(","))

    def ended(self) -> list[Scan]:
        """The scans of the table that ended."""
        source = f"{self.system.name}.late"
        return [scan for scan in self.scans.since(self.system.name, 0) if scan.source == source]

    def captured_keys(self) -> set[object]:
        rows = rows_of(captured(self.system, "late")).values()
        return {row["id"] for row in rows if isinstance(row, dict)}


@pytest.fixture
def filled(stack_settings: Settings, tmp_path: Path) -> Iterator[Filled]:
    with scratch_system(stack_settings, tmp_path) as system, opened(system) as made:
        made.begin()
        yield made


@contextmanager
def opened(system: ScratchSystem) -> Iterator[Filled]:
    dsn = stack_environment(system.stack.state_dir)["SHOP_DSN"]
    registry = SchemaRegistry(system.settings.registry.url)
    with closing(PostgresSource(system.name, dsn)) as source, closing(registry):
        yield Filled(system, source, registry)


def test_a_table_is_named_as_filled_when_all_its_rows_are_in_kafka(filled: Filled) -> None:
    system = filled.system
    assert filled.named() == {f"{system.name}_orders"}
    system.apply()
    assert [filling.table for filling in filled.source.fillings()] == [filled.late]
    assert filled.named() == {f"{system.name}_orders"}, "nobody has seen that it is filled"
    with pytest.raises(Refused, match="being filled"):
        Resnapshot(
            system.settings, read_project(system.settings.project_dir, problems_of), Secrets(system.settings, {})
        ).ask(filled.late, "1")

    def seen() -> bool:
        filled.look()
        return filled.source.fillings() == []

    eventually(seen, within_s=60, what="the notification that the table was read")
    assert filled.captured_keys() == set(range(1, ROWS + 1)), "it was not said too early"
    assert filled.named() == {f"{system.name}_orders", filled.late}
    assert system.apply() == []


def test_a_table_whose_reading_failed_is_asked_for_again(filled: Filled) -> None:
    """Debezium passes over it and streams on: its offsets look as if the table had been read."""
    system = filled.system

    def before(step: Step) -> None:
        if isinstance(step, Fill):
            system.execute(f"REVOKE SELECT ON {system.name}.late FROM {CAPTURE_ROLE}")

    steps = system.apply(before=before)
    assert any(isinstance(step, PutConnector) and step.changed for step in steps)
    eventually(filled.ended, within_s=60, what="the scan ends")
    assert [scan.status for scan in filled.ended()] == ["SQL_EXCEPTION"]
    system.execute(f"GRANT SELECT ON {system.name}.late TO {CAPTURE_ROLE}")
    (asked,) = filled.source.fillings()
    filled.look()
    (again,) = filled.source.fillings()
    assert again.signal_id != asked.signal_id
    assert again.notified_from > asked.notified_from
    assert filled.named() == {f"{system.name}_orders"}

    def seen() -> bool:
        filled.look()
        return filled.source.fillings() == []

    eventually(seen, within_s=60, what="the notification that the table was read")
    assert filled.captured_keys() == set(range(1, ROWS + 1))
