"""Which topics a registration needs, with which settings. Pure; `adapters.kafka_topics` creates them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trueup.core.connector_config import heartbeat_topic, housekeeping_topics, notification_topic
from trueup.model.errors import Refused, TopicChanged
from trueup.model.registration import Table
from trueup.model.settings import Settings
from trueup.model.topic import MESSAGE_BYTES_MAX, ClusterFacts, TopicFacts, TopicSpec

_REPLICATION_FACTOR_MAX: Final = 3
_DAY_MS: Final = 24 * 3_600_000
_HOUSEKEEPING_RETENTION_MS: Final = _DAY_MS  # read by nobody; kept for people who look
_HEARTBEAT_RETENTION_MS: Final = 7 * _DAY_MS  # a worker that was down for a weekend still finds its beats
_NOTIFICATION_RETENTION_MS: Final = 7 * _DAY_MS  # so does the one that waits for the end of a filling
# Deletes are records with a value here, so this only bounds how long a reader of the whole topic may take.
_DELETE_RETENTION_MS: Final = 7 * _DAY_MS
# How much of a truth topic may be superseded before it is cleaned: it is read whole at each recovery.
_DIRTY_RATIO: Final = "0.2"
# The newest segment is never cleaned: of an idle table it would hold nothing but markers, for a week.
_TRUTH_SEGMENT_MS: Final = 3_600_000


def replication_factor(settings: Settings, cluster: ClusterFacts) -> int:
    """Three where there are three brokers. Raises Refused for less in production."""
    copies = min(_REPLICATION_FACTOR_MAX, cluster.brokers)
    if settings.environment == "production" and copies < _REPLICATION_FACTOR_MAX:
        raise Refused(
            f'kafka has {cluster.brokers} brokers, environment "production" needs {_REPLICATION_FACTOR_MAX}',
            hint='add brokers, or set environment = "development" in trueup.toml',
        )
    return copies


def table_topics(table: Table, settings: Settings, copies: int) -> list[TopicSpec]:
    """Capture, truth, dead letters and cases of a table."""
    kafka = settings.kafka
    return [
        _spec(table.capture_topic, kafka.partitions, copies, _deleted_after(kafka.capture_retention_ms)),
        _spec(table.truth_topic, kafka.partitions, copies, _compacted() | {"segment.ms": str(_TRUTH_SEGMENT_MS)}),
        # Every table has it: a check that escalates may be added later, and what it opened must not be forgotten when
        # it is taken away again.
        _spec(table.cases_topic, kafka.partitions, copies, _compacted()),
        # As many as captured: a letter lies in the partition its change came from, in one transaction with its truths.
        _spec(table.dead_letter_topic, kafka.partitions, copies, _deleted_after(kafka.capture_retention_ms)),
    ]


def system_topics(system: str, copies: int) -> list[TopicSpec]:
    """The heartbeat of a system, its notifications, and what Debezium writes besides."""
    return [
        _spec(heartbeat_topic(system), 1, copies, _deleted_after(_HEARTBEAT_RETENTION_MS)),
        _spec(notification_topic(system), 1, copies, _deleted_after(_NOTIFICATION_RETENTION_MS)),
        *(_spec(name, 1, copies, _deleted_after(_HOUSEKEEPING_RETENTION_MS)) for name in housekeeping_topics(system)),
    ]


def _compacted() -> dict[str, str]:
    return {
        "cleanup.policy": "compact",
        "min.cleanable.dirty.ratio": _DIRTY_RATIO,
        "delete.retention.ms": str(_DELETE_RETENTION_MS),
    }


def _deleted_after(retention_ms: int) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(retention_ms)}


def _spec(name: str, partitions: int, copies: int, config: Mapping[str, str]) -> TopicSpec:
    return TopicSpec(
        name=name,
        partitions=partitions,
        replication_factor=copies,
        config={
            **config,
            "max.message.bytes": str(MESSAGE_BYTES_MAX),
            # With three copies a write is acknowledged by two: one broker may be lost at any time.
            "min.insync.replicas": str(max(1, copies - 1)),
        },
    )


def settings_to_change(spec: TopicSpec, facts: TopicFacts) -> dict[str, str]:
    """Settings of an existing topic that differ from the wanted ones.

    :raises TopicChanged: its partition count differs: keys would move, and their order would be lost.
    """
    if facts.partitions != spec.partitions:
        raise TopicChanged(
            f'topic "{spec.name}" has {facts.partitions} partitions, and {spec.partitions} are wanted',
            detail="the changes of a key would lie in two partitions, without an order",
            hint=f"set kafka.partitions = {facts.partitions} in trueup.toml, or register it under a new name",
        )
    return {key: value for key, value in spec.config.items() if facts.config.get(key) != value}
