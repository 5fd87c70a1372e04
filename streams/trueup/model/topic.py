"""Kafka topics: what is wanted, and what is there."""

from __future__ import annotations

from typing import Final

import msgspec

MESSAGE_BYTES_MAX: Final = 10 << 20  # of a record, in every topic: a row twice (before and after), with room
PAYLOAD_BYTES_MAX: Final = 9 << 20  # of a value that TrueUp makes of one: what is around it has room beside it


class TopicSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as it must be. `config` holds only the settings TrueUp decides; others are the operator's."""

    name: str
    partitions: int
    replication_factor: int
    config: dict[str, str]


class TopicFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as it is. `config` holds every setting in force; `topic_id` changes when it is made anew."""

    partitions: int
    replication_factor: int
    config: dict[str, str]
    topic_id: str = ""


class ClusterFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster the topics live in."""

    cluster_id: str
    brokers: int


def capture_topic(table: str) -> str:
    """The one topic into which the changes of all writers of a table are captured."""
    return f"trueup.capture.{table}"


def truth_topic(table: str) -> str:
    """The topic of a table's truth."""
    return f"trueup.truth.{table}"
