"""The settings of a system's Debezium connector, from its registration. Pure.

What is the same for every system stands in connectors/debezium/postgresql.json; here is what differs. Who
sends the result to Connect is `adapters.kafka_connect`; when, `runtime.provision`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from trueup.core.decode import EPOCH_HEADER
from trueup.model.registration import System, Table, duration_ms
from trueup.model.topic import MESSAGE_BYTES_MAX

SCHEMA: Final = "trueup"  # of our own tables in the source
HEARTBEAT_TABLE: Final = f"{SCHEMA}.heartbeat"
SIGNAL_TABLE: Final = f"{SCHEMA}.signal"
FILLS_TABLE: Final = f"{SCHEMA}.fills"

EPOCH_SETTING: Final = "transforms.epoch.value.literal"
_PASSWORD: Final = "database.password"  # noqa: S105 - the name of a setting
_HEARTBEAT_QUERY: Final = "heartbeat.action.query"
_NOTIFICATION_CHANNELS: Final = "notification.enabled.channels"
_NOTIFICATION_TOPIC: Final = "notification.sink.topic.name"
_SECRET_SETTINGS: Final = re.compile(r"password|secret|sasl\.jaas\.config|basic\.auth", re.IGNORECASE)
_REFERENCE: Final = re.compile(r"\$\{[^}]+\}")
_MASKED: Final = "********"

# Written at least five times per window (design 10), so that one lost beat does not look like a late copy.
_HEARTBEATS_PER_WINDOW: Final = 5
_HEARTBEAT_MS_MIN: Final = 200  # each beat is a transaction at the source and one in Kafka
_HEARTBEAT_MS_MAX: Final = 1_000  # `trueup apply` and `verify` wait for a beat


class CaptureLogin(msgspec.Struct, frozen=True, kw_only=True):
    """How the connector logs in at the source.

    :param password: a reference that Connect resolves (`${directory:...}`), never the password itself.
    :param failover: the server keeps slots across a failover (PostgreSQL 17 and later).
    """

    host: str
    port: int
    dbname: str
    user: str
    password: str | None
    sslmode: str | None = None
    sslrootcert: str | None = None
    failover: bool = False


class ConnectorPlaces(msgspec.Struct, frozen=True, kw_only=True):
    """What the connector must know of the installation."""

    registry_url: str
    cluster_id: str
    transaction_timeout_ms: int


def connector_name(system: str) -> str:
    """The connector of a system; its slot and publication are called the same."""
    return f"trueup_{system}"


def unavailable_value(cluster_id: str, system: str) -> str:
    """What Debezium writes where the log has no value (TOAST). Kafka's cluster id is random per installation,
    so nobody's data holds it; and every worker derives the same text."""
    digest = hashlib.sha256(f"{cluster_id}\0{system}".encode()).hexdigest()
    return f"__trueup_unavailable_{digest[:24]}"


def heartbeat_topic(system: str) -> str:
    """The topic of the system's heartbeat row."""
    return f"{system}.{HEARTBEAT_TABLE}"


def housekeeping_topics(system: str) -> tuple[str, ...]:
    """Topics the connector writes besides those of tables: Debezium's own heartbeat, and the signals."""
    return (f"__debezium-heartbeat.{system}", f"{system}.{SIGNAL_TABLE}")


def notification_topic(system: str) -> str:
    """Where the connector says how incremental snapshots go (`core.filling`)."""
    return f"{system}.{SCHEMA}.notifications"


def notifies(config: Mapping[str, str]) -> bool:
    """Whether a connector with these settings sends notifications."""
    return _NOTIFICATION_CHANNELS in config


def silent(system: str, config: Mapping[str, str]) -> dict[str, str]:
    """A system's settings without notifications. Its beats name these: they prove nothing of a task that notifies."""
    kept = {key: value for key, value in config.items() if key not in {_NOTIFICATION_CHANNELS, _NOTIFICATION_TOPIC}}
    return kept | {_HEARTBEAT_QUERY: _heartbeat_query(system, config_digest(kept))}


def heartbeat_interval_ms(tables: Iterable[Table]) -> int:
    """Five beats within the narrowest window of the system's tables."""
    windows = [
        w for table in tables for w in (table.window, *(copy.window for copy in table.replicas)) if w is not None
    ]
    narrowest_ms = min((duration_ms(window.within) for window in windows), default=_HEARTBEAT_MS_MAX * 5)
    return max(_HEARTBEAT_MS_MIN, min(_HEARTBEAT_MS_MAX, narrowest_ms // _HEARTBEATS_PER_WINDOW))


def connector_config(
    system: System,
    tables: Iterable[Table],
    template: Mapping[str, str],
    login: CaptureLogin,
    places: ConnectorPlaces,
    *,
    message_keys: Mapping[str, tuple[str, ...]] | None = None,
    excluded_columns: Iterable[str] = (),
    has_late_tables: bool = False,
) -> dict[str, str]:
    """The connector's settings.

    :param message_keys: schema.table to key columns, where the key is not the primary key.
    :param excluded_columns: schema.table.column of columns the log does not carry.
    :param has_late_tables: tables join, or joined, the running connector: it is to say when their rows have been read.
        Not so while it begins. The record that says a first snapshot has begun carries an empty offset, and a connector
        that was killed right then would find it and go on without its snapshot (read in Debezium 3.7.0).
    """
    tables = sorted(tables, key=lambda table: table.source.table)
    name = connector_name(system.system)
    config = {
        **template,
        "database.hostname": login.host,
        "database.port": str(login.port),
        "database.dbname": login.dbname,
        "database.user": login.user,
        "topic.prefix": system.system,
        "slot.name": name,
        "publication.name": name,
        "slot.failover": str(login.failover).lower(),
        # The heartbeat first: a snapshot reads in this order, and `runtime.resync` counts by it how often one began.
        "table.include.list": include_list([HEARTBEAT_TABLE, *(table.source.table for table in tables)]),
        "unavailable.value.placeholder": unavailable_value(places.cluster_id, system.system),
        "heartbeat.interval.ms": str(heartbeat_interval_ms(tables)),
        "value.converter.apicurio.registry.url": f"{places.registry_url.rstrip('/')}/apis/registry/v2",
        "transforms.epoch.header": EPOCH_HEADER,
        EPOCH_SETTING: str(system.epoch),
        "producer.override.transaction.timeout.ms": str(places.transaction_timeout_ms),
        "producer.override.max.request.size": str(MESSAGE_BYTES_MAX),
    }
    optional = {
        _PASSWORD: login.password,
        "database.sslmode": login.sslmode,
        "database.sslrootcert": login.sslrootcert,
        "message.key.columns": ";".join(
            f"{_literal(table)}:{','.join(map(_literal, columns))}"
            for table, columns in sorted((message_keys or {}).items())
        ),
        "column.exclude.list": include_list(sorted(excluded_columns)),
    }
    config |= {key: value for key, value in optional.items() if value}
    if has_late_tables:
        topic = notification_topic(system.system)
        config |= {_NOTIFICATION_CHANNELS: "sink", _NOTIFICATION_TOPIC: topic}
    config |= _shared(system.system, [table for table in tables if table.several_writers], config["transforms"])
    return config | {_HEARTBEAT_QUERY: _heartbeat_query(system.system, config_digest(config))}


def _shared(system: str, tables: list[Table], transforms: str) -> dict[str, str]:
    """Settings for tables that other systems write, too: into one topic, and without what apply workers wrote here.

    An apply worker's session has a replication origin (`adapters.postgres_writer`), and origin=none leaves out all that
    has one: also what native logical replication brings into this database.
    """
    if not tables:
        return {}
    settings = {"slot.stream.params": "origin=none"}
    names = [transforms]
    for number, table in enumerate(tables):
        alias = f"share{number}"
        names.append(alias)
        settings |= {
            f"transforms.{alias}.type": "org.apache.kafka.connect.transforms.RegexRouter",
            f"transforms.{alias}.regex": _literal(f"{system}.{table.source.table}"),
            f"transforms.{alias}.replacement": table.capture_topic,  # a name: nothing in it is special to Java
        }
    return settings | {"transforms": ",".join(names)}


def _heartbeat_query(system: str, digest: str) -> str:
    """Each beat names the settings it was made under: the proof that a task runs with them, and streams. And it names
    the tables that were filled when it was made, so that what it proves of a table needs no other source."""
    filled = f"SELECT string_agg(table_name, ',' ORDER BY table_name) FROM {FILLS_TABLE}"  # noqa: S608
    return (
        f"UPDATE {HEARTBEAT_TABLE} SET beat = beat + 1, beaten_at = clock_timestamp(), config = '{digest}', "  # noqa: S608
        f"filled = coalesce(({filled} WHERE system = '{system}' AND NOT filling), '') "
        f"WHERE system = '{system}'"
    )


def config_digest(config: Mapping[str, str]) -> str:
    """A short name for exactly these settings. The heartbeat query, which carries it, is left out."""
    settings = {key: value for key, value in config.items() if key not in {"name", _HEARTBEAT_QUERY}}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def include_list(names: Iterable[str]) -> str:
    """Names as Debezium takes them: regular expressions, each for exactly one name."""
    return ",".join(_literal(name) for name in names)


def _literal(name: str) -> str:
    return re.sub(r"([^A-Za-z0-9_])", r"\\\1", name)


def masked(config: Mapping[str, str]) -> dict[str, str]:
    """The settings as a person may see them: secrets are masked, references to secrets are shown."""
    return {
        key: value if not _SECRET_SETTINGS.search(key) or _REFERENCE.fullmatch(value) else _MASKED
        for key, value in sorted(config.items())
    }
