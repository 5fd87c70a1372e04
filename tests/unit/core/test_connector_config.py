"""Settings of the connector: what differs between systems, what must never be in them, and the golden whole."""

import json
import re
from pathlib import Path

import pytest

from trueup.adapters.connector_template import connector_template
from trueup.core.connector_config import (
    CaptureLogin,
    ConnectorPlaces,
    config_digest,
    connector_config,
    heartbeat_interval_ms,
    include_list,
    masked,
    notifies,
    silent,
    unavailable_value,
)
from trueup.model.registration import Conflicts, Owner, Source, System, Table, Window

GOLDEN = Path(__file__).parent / "golden_connector.json"
"""Everything Connect is told for `SHOP`. STOP AND READ: a change here restarts the connectors of every user."""

SHOP = System(system="shop", kind="postgresql", dsn="${env:SHOP_DSN}", epoch=3)
LOGIN = CaptureLogin(
    host="db.example",
    port=5432,
    dbname="shop",
    user="trueup_capture",
    password="${directory:/run/secrets:shop_capture_password}",
    sslmode="verify-full",
    failover=True,
)
PLACES = ConnectorPlaces(registry_url="http://registry:8080/", cluster_id="abc", transaction_timeout_ms=20_000)


def table(name: str, within: str | None = None) -> Table:
    return Table(
        table=name,
        owner=Owner(system="shop"),
        source=Source(table=f"public.{name}"),
        key=["id"],
        window=None if within is None else Window(within=within),
    )


def config_of(*tables: Table, system: System = SHOP, login: CaptureLogin = LOGIN) -> dict[str, str]:
    return connector_config(system, tables, connector_template("postgresql"), login, PLACES)


def test_the_whole_is_the_golden_one() -> None:
    made = connector_config(
        SHOP,
        [table("orders", "5s"), table("customers")],
        connector_template("postgresql"),
        LOGIN,
        PLACES,
        message_keys={"public.customers": ("number",)},
        excluded_columns=["public.orders.total"],
    )
    assert made == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_the_order_of_tables_does_not_restart_the_connector() -> None:
    assert config_of(table("a"), table("b")) == config_of(table("b"), table("a"))


def test_the_heartbeat_names_the_settings_it_is_sent_under() -> None:
    one, two = config_of(table("a")), config_of(table("a"), table("b"))
    assert config_digest(one) in one["heartbeat.action.query"]
    assert config_digest(one) != config_digest(two)
    assert config_digest({**one, "name": "trueup_shop"}) == config_digest(one), "Connect adds the name"


def test_the_heartbeat_names_the_tables_that_are_filled() -> None:
    query = config_of(table("a"))["heartbeat.action.query"]
    assert "string_agg(table_name, ',' ORDER BY table_name) FROM trueup.fills" in query
    assert "WHERE system = 'shop' AND NOT filling" in query


def test_a_connector_that_begins_sends_no_notifications() -> None:
    begins = config_of(table("a"))
    joined = connector_config(SHOP, [table("a")], connector_template("postgresql"), LOGIN, PLACES, has_late_tables=True)
    assert not notifies(begins)
    assert notifies(joined)
    assert joined["notification.sink.topic.name"] == "shop.trueup.notifications"
    assert config_digest(joined) != config_digest(begins), "a heartbeat proves that the task runs with them"
    assert silent("shop", joined) == begins, "a beat of a task that is silent proves nothing of one that notifies"


def test_the_epoch_is_a_header_on_every_record() -> None:
    config = config_of(table("a"))
    assert config["transforms"] == "epoch"
    assert (config["transforms.epoch.header"], config["transforms.epoch.value.literal"]) == ("trueup.epoch", "3")


def test_names_are_matched_exactly() -> None:
    pattern, other = include_list(["public.order_lines", "public.a-b"]).split(",")
    assert re.fullmatch(pattern, "public.order_lines")
    assert not re.fullmatch(pattern, "publicXorder_lines")
    assert re.fullmatch(other, "public.a-b")


@pytest.mark.parametrize(
    ("windows", "interval_ms"),
    [([], 1_000), (["5s"], 1_000), (["5m"], 1_000), (["2s", "5m"], 400), (["100ms"], 200)],
)
def test_five_beats_fit_in_the_narrowest_window(windows: list[str], interval_ms: int) -> None:
    tables = [table(f"t{n}", within) for n, within in enumerate(windows)]
    assert heartbeat_interval_ms(tables) == interval_ms


def test_the_placeholder_differs_between_systems_and_installations() -> None:
    values = {unavailable_value(cluster, system) for cluster in ("a", "b") for system in ("shop", "warehouse")}
    assert len(values) == 4
    assert all(re.fullmatch(r"__trueup_unavailable_[0-9a-f]{24}", value) for value in values)


def test_a_person_sees_no_secret_and_sees_where_it_is() -> None:
    shown = masked({"database.password": "hunter2", "database.user": "u"})
    assert "hunter2" not in shown.values()
    assert masked({"database.password": "${directory:/s:p}"}) == {"database.password": "${directory:/s:p}"}


def test_without_password_there_is_no_setting_for_it() -> None:
    login = CaptureLogin(host="h", port=1, dbname="d", user="u", password=None)
    config = config_of(table("a"), login=login)
    assert "database.password" not in config
    assert "database.sslmode" not in config
    assert config["slot.failover"] == "false"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("exactly.once.support", "required"),
        ("offset.mismatch.strategy", "trust_offset"),
        ("publication.autocreate.mode", "disabled"),
        ("slot.drop.on.stop", "false"),
        ("skipped.operations", "none"),
        ("event.processing.failure.handling.mode", "fail"),
        ("event.converting.failure.handling.mode", "fail"),
    ],
)
def test_nothing_is_lost_in_silence(setting: str, value: str) -> None:
    assert config_of(table("a"))[setting] == value


def test_a_table_of_several_writers_goes_into_one_topic_without_what_was_copied_here() -> None:
    shared = Table(
        table="customers",
        writers=["shop", "crm"],
        conflicts=Conflicts(policy="escalate"),
        source=Source(table="public.customers"),
        key=["id"],
    )
    config = config_of(table("a"), shared)
    assert config["slot.stream.params"] == "origin=none"
    assert config["transforms"] == "epoch,share0"
    assert re.fullmatch(config["transforms.share0.regex"], "shop.public.customers")
    assert not re.fullmatch(config["transforms.share0.regex"], "shop.public.customers_old")
    assert config["transforms.share0.replacement"] == "trueup.capture.customers" == shared.capture_topic
    assert "slot.stream.params" not in config_of(table("a")), "others are not restarted"
