"""What `trueup status` makes of capture topics while they are written."""

from typing import Any

import pytest

from tests.envelopes import ORDERS
from trueup.core.ordering import Guard
from trueup.model.registration import Project
from trueup.model.topic import TopicFacts
from trueup.runtime import topic_status
from trueup.runtime.partition_memory import PartitionMemory, topic_identity

CLUSTER, TOPIC_ID = "cluster", "id"


class Topics:
    """One partition, of the topic that was decided so far."""

    def __init__(self, _servers: str) -> None:
        """Nobody is asked."""

    def describe(self, names: list[str]) -> dict[str, TopicFacts]:
        return {name: TopicFacts(partitions=1, replication_factor=1, config={}, topic_id=TOPIC_ID) for name in names}

    def cluster(self) -> Any:
        class Facts:
            cluster_id = CLUSTER

        return Facts()


class Busy:
    """A log that is written and decided between any two questions."""

    end = 100

    def begins(self, names: list[str]) -> dict[tuple[str, int], int]:
        return {(names[0], 0): 0}

    def ends(self, names: list[str]) -> dict[tuple[str, int], int]:
        self.end += 10
        return {(names[0], 0): self.end}

    def committed(self, _group: str, names: list[str]) -> dict[tuple[str, int], tuple[int, str]]:
        self.end += 10
        memory = PartitionMemory({}, Guard(), topic_identity(CLUSTER, TOPIC_ID))
        return {(names[0], 0): (self.end, memory.write())}


def test_what_is_decided_while_status_looks_is_no_topic_that_lost_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_status, "KafkaTopics", Topics)

    class Settings:
        class kafka:  # noqa: N801 - as the setting is called
            bootstrap_servers = ""

    project = Project(systems={}, replicas={}, tables={ORDERS.table: ORDERS})
    assert topic_status.topic_problems(Settings(), project, Busy()) == []  # type: ignore[arg-type]
