"""Ports and addresses follow from the settings; impossible settings are refused with a cure."""

from pathlib import Path

import pytest

from trueup.model.errors import Refused
from trueup.stack import settings as s
from trueup.stack.settings import StackSettings


def all_ports(settings: StackSettings) -> list[int]:
    nodes = range(1, settings.brokers + 1)
    return [
        *(s.broker_port(settings, node) for node in nodes),
        *(s.controller_port(settings, node) for node in nodes),
        s.connect_port(settings),
        s.registry_port(settings),
        s.registry_health_port(settings),
        *(s.database_port(settings, database) for database in settings.databases),
    ]


def test_every_part_has_a_port_of_its_own_within_the_range() -> None:
    settings = StackSettings(port_base=29000, brokers=5, databases=tuple(f"db{n}" for n in range(20)))
    ports = all_ports(settings)
    assert len(set(ports)) == len(ports)
    assert min(ports) == 29000
    assert max(ports) < 29000 + s.PORTS_PER_STACK


def test_a_port_does_not_depend_on_the_number_of_brokers() -> None:
    one, three = StackSettings(brokers=1), StackSettings(brokers=3)
    assert s.connect_port(one) == s.connect_port(three)
    assert s.database_port(one, "warehouse") == s.database_port(three, "warehouse")


def test_bootstrap_servers_names_every_broker() -> None:
    settings = StackSettings(port_base=20000, brokers=3)
    assert s.bootstrap_servers(settings) == "127.0.0.1:20000,127.0.0.1:20002,127.0.0.1:20004"


@pytest.mark.parametrize(("brokers", "copies"), [(1, 1), (2, 2), (3, 3), (5, 3)])
def test_replication_factor_is_three_where_possible(brokers: int, copies: int) -> None:
    assert s.replication_factor(StackSettings(brokers=brokers)) == copies


@pytest.mark.parametrize("brokers", [0, 6])
def test_a_number_of_brokers_that_cannot_be_is_refused(brokers: int) -> None:
    with pytest.raises(Refused) as caught:
        StackSettings(brokers=brokers)
    assert caught.value.hint


@pytest.mark.parametrize("port_base", [80, 65500])
def test_a_port_base_without_room_is_refused(port_base: int) -> None:
    with pytest.raises(Refused):
        StackSettings(port_base=port_base)


@pytest.mark.parametrize("databases", [("shop", "shop"), ("Shop",), ("a-b",), ("postgres",), ('x"; --',)])
def test_names_of_databases_that_cannot_be_are_refused(databases: tuple[str, ...]) -> None:
    with pytest.raises(Refused):
        StackSettings(databases=databases)


def test_cache_folder_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRUEUP_CACHE_DIR", str(tmp_path))
    assert StackSettings().cache_dir == tmp_path


def test_settings_survive_being_written_down() -> None:
    settings = StackSettings(brokers=3, databases=("a", "b"), broker_overrides={"num.io.threads": "4"})
    assert s.decode_settings(s.encode_settings(settings).encode()) == settings
