"""`trueup apply` on the real stack: fresh, again, killed, with tables that join later, and with mistakes."""

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from msgspec.structs import replace

from tests.integration.scratch_system import Killed, ScratchSystem, scratch_system
from tests.waiting import eventually
from trueup.adapters.schema_registry import SchemaRegistry
from trueup.core.decode import EnvelopeDecoder, decode
from trueup.model.errors import ConfigurationError, TopicChanged, TrueUpError
from trueup.model.event import ChangeEvent, LogRecord, Op
from trueup.model.settings import ConnectSettings, KafkaSettings, RegistrySettings, Settings
from trueup.runtime.provision_steps import Fill, PutConnector, title

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROWS = 10_000


@pytest.fixture
def system(stack_settings: Settings, tmp_path: Path) -> Iterator[ScratchSystem]:
    with scratch_system(stack_settings, tmp_path) as made:
        yield made


def with_orders(system: ScratchSystem) -> None:
    system.execute(f"CREATE TABLE {system.name}.orders (id bigint PRIMARY KEY, amount numeric(12,2), note text)")
    system.execute(f"INSERT INTO {system.name}.orders SELECT n, n * 1.5, 'first' FROM generate_series(1, 100) n")
    system.register("orders", "id")


def captured(system: ScratchSystem, table: str) -> list[ChangeEvent]:
    """Every committed change event of a table's capture topic, partition by partition."""
    topic = f"{system.name}.{system.name}.{table}"
    consumer = Consumer(
        {
            "bootstrap.servers": system.settings.kafka.bootstrap_servers,
            "group.id": "test",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    registry = SchemaRegistry(system.settings.registry.url)
    decoders: dict[int, EnvelopeDecoder] = {}
    events = []
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    ended: set[int] = set()
    while len(ended) < len(partitions):
        message = consumer.poll(10)
        assert message is not None
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        if message.error():
            ended.add(partition)
            continue
        if (value := message.value()) is None:
            continue
        (schema_id,) = struct.unpack(">I", value[1:5])
        if schema_id not in decoders:
            decoders[schema_id] = EnvelopeDecoder(registry.schema_by_id(schema_id))
        headers = tuple((name, text) for name, text in dict(message.headers() or ()).items() if isinstance(text, bytes))
        record = LogRecord(topic, partition, offset, 0, message.key(), value, headers)
        event = decode(record, decoders)
        assert isinstance(event, ChangeEvent)
        events.append(event)
    consumer.close()
    registry.close()
    return events


def rows_of(events: list[ChangeEvent]) -> dict[bytes, object]:
    """What a reader of the topic holds at its end, by key."""
    held: dict[bytes, object] = {}
    for event in events:
        if event.op is Op.DELETE:
            held.pop(event.key, None)
        else:
            held[event.key] = event.row
    return held


def test_a_fresh_apply_captures_and_a_second_one_has_nothing_to_do(system: ScratchSystem) -> None:
    with_orders(system)
    assert system.apply()
    system.streams()
    assert [title(step) for step in system.apply()] == []
    system.execute(f"UPDATE {system.name}.orders SET amount = 7 WHERE id = 7")
    events = eventually(
        lambda: [e for e in captured(system, "orders") if e.op is Op.UPDATE], within_s=30, what="the update"
    )
    assert events[0].row == {"id": 7, "amount": "7.00", "note": "first"}
    assert events[0].epoch == 1
    assert events[0].before is not None
    assert events[0].before["note"] == "first", "the table can hold values out of line: whole rows are in the log"
    assert len(rows_of(captured(system, "orders"))) == 100


def test_a_dry_run_changes_nothing(system: ScratchSystem) -> None:
    with_orders(system)
    planned = [title(step) for step in system.plan()]
    assert planned
    assert planned == [title(step) for step in system.plan()]
    assert not (system.settings.project_dir / "schemas" / "avro").exists()


def test_a_table_without_key_is_refused_with_the_reason(system: ScratchSystem) -> None:
    system.execute(f"CREATE TABLE {system.name}.history (at timestamptz, what text)")
    system.register("history", "at")
    with pytest.raises(ConfigurationError, match="has no key") as refusal:
        system.plan()
    assert "history.yaml:4" in str(refusal.value)
    assert "ADD PRIMARY KEY" in str(refusal.value)


def test_a_key_that_is_no_key_of_the_table_is_refused_with_the_choices(system: ScratchSystem) -> None:
    system.execute(f"CREATE TABLE {system.name}.lines (a int, b int, c int, PRIMARY KEY (a, b))")
    system.register("lines", "c")
    with pytest.raises(ConfigurationError, match="is no key of table") as refusal:
        system.plan()
    assert "[a, b]" in str(refusal.value)


def test_a_table_that_joins_later_is_filled_while_others_stream(system: ScratchSystem) -> None:
    with_orders(system)
    system.apply()
    system.streams()
    system.execute(f"CREATE TABLE {system.name}.late (id int PRIMARY KEY, v int)")
    system.execute(f"INSERT INTO {system.name}.late SELECT n, 0 FROM generate_series(1, {ROWS}) n")
    system.register("late", "id")
    with pytest.raises(Killed):
        system.apply(killed_before=Fill)
    again = system.apply()
    assert [type(step) for step in again] == [Fill], "the killed run is completed, nothing is done twice"
    for n in range(1, 500):
        system.execute(f"UPDATE {system.name}.late SET v = {n} WHERE id = {n * 3}")
        system.execute(f"UPDATE {system.name}.orders SET amount = {n} WHERE id = {n % 100 + 1}")
    system.execute(f"DELETE FROM {system.name}.late WHERE id <= 10")
    expected = {row[0]: row[1] for row in system.database.execute(f"SELECT id, v FROM {system.name}.late".encode())}

    def same() -> bool:
        rows = rows_of(captured(system, "late")).values()
        return {row["id"]: row["v"] for row in rows if isinstance(row, dict)} == expected

    eventually(same, within_s=60, what="the rows of the table in its capture topic")
    assert system.apply() == []


def test_a_table_that_is_not_registered_any_more_leaves_the_publication(system: ScratchSystem) -> None:
    with_orders(system)
    system.execute(f"CREATE TABLE {system.name}.gone (id int PRIMARY KEY)")
    registered = system.register("gone", "id")
    system.apply()
    system.streams()
    (system.settings.project_dir / "schemas" / "tables" / f"{registered}.yaml").unlink()
    assert any(isinstance(step, PutConnector) and step.changed for step in system.apply())
    published = f"SELECT count(*) FROM pg_publication_tables WHERE pubname = 'trueup_{system.name}'"
    assert system.value(published) == 3, "orders, heartbeat, signal"
    assert system.apply() == []


def test_another_number_of_partitions_is_refused(system: ScratchSystem) -> None:
    with_orders(system)
    system.apply()
    kafka = replace(system.settings.kafka, partitions=system.settings.kafka.partitions + 1)
    system.settings = replace(system.settings, kafka=kafka)
    with pytest.raises(TopicChanged, match="partitions"):
        system.plan()


@pytest.mark.parametrize("part", ["kafka", "connect", "registry"])
def test_a_part_that_does_not_answer_is_named_in_time(system: ScratchSystem, part: str) -> None:
    with_orders(system)
    settings = system.settings
    match part:
        case "kafka":
            system.settings = replace(settings, kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"))
        case "connect":
            system.settings = replace(settings, connect=ConnectSettings(url="http://127.0.0.1:1"))
        case _:
            system.settings = replace(settings, registry=RegistrySettings(url="http://127.0.0.1:1"))
    began = time.monotonic()
    with pytest.raises(TrueUpError, match=f'cannot reach "{part}"'):
        system.plan()
    assert time.monotonic() - began < 30
