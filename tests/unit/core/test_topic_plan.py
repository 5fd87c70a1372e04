"""Topics of a registration: which there are, what they keep, and what of an existing one may change."""

import msgspec
import pytest

from trueup.core.topic_plan import replication_factor, settings_to_change, system_topics, table_topics
from trueup.model.errors import Refused, TopicChanged
from trueup.model.registration import Owner, Source, Table
from trueup.model.settings import Settings
from trueup.model.topic import ClusterFacts, TopicFacts, TopicSpec

ORDERS = Table(table="orders", owner=Owner(system="shop"), source=Source(table="public.orders"), key=["id"])
SETTINGS = Settings()


def cluster(brokers: int) -> ClusterFacts:
    return ClusterFacts(cluster_id="x", brokers=brokers)


def specs(copies: int = 1) -> dict[str, TopicSpec]:
    return {spec.name: spec for spec in (*table_topics(ORDERS, SETTINGS, copies), *system_topics("shop", copies))}


def test_the_topics_of_a_table_and_of_its_system() -> None:
    assert set(specs()) == {
        "shop.public.orders",
        "trueup.truth.orders",
        "trueup.dead_letters.orders",
        "trueup.cases.orders",
        "shop.trueup.heartbeat",
        "shop.trueup.notifications",
        "__debezium-heartbeat.shop",
        "shop.trueup.signal",
    }


def test_truth_and_cases_are_compacted_and_everything_else_is_deleted_by_age() -> None:
    compacted = {name for name, spec in specs().items() if spec.config["cleanup.policy"] == "compact"}
    assert compacted == {"trueup.truth.orders", "trueup.cases.orders"}
    assert all("retention.ms" in spec.config for name, spec in specs().items() if name not in compacted)


def test_capture_and_truth_have_the_same_number_of_partitions() -> None:
    assert specs()["shop.public.orders"].partitions == specs()["trueup.truth.orders"].partitions == 4


@pytest.mark.parametrize(("brokers", "copies", "in_sync"), [(1, 1, "1"), (2, 2, "1"), (3, 3, "2"), (9, 3, "2")])
def test_copies_follow_the_brokers(brokers: int, copies: int, in_sync: str) -> None:
    assert replication_factor(SETTINGS, cluster(brokers)) == copies
    assert specs(copies)["trueup.truth.orders"].config["min.insync.replicas"] == in_sync


def test_production_refuses_less_than_three_brokers() -> None:
    production = msgspec.structs.replace(SETTINGS, environment="production")
    with pytest.raises(Refused, match="2 brokers"):
        replication_factor(production, cluster(2))


def test_only_settings_that_differ_are_changed_and_those_of_the_operator_are_left() -> None:
    spec = specs()["trueup.truth.orders"]
    facts = TopicFacts(
        topic_id="t",
        partitions=4,
        replication_factor=1,
        config={**spec.config, "segment.bytes": "1", "preallocate": "5"},
    )
    assert settings_to_change(spec, facts) == {}
    drifted = msgspec.structs.replace(facts, config={**facts.config, "cleanup.policy": "delete"})
    assert settings_to_change(spec, drifted) == {"cleanup.policy": "compact"}


def test_another_number_of_partitions_is_refused() -> None:
    spec = specs()["shop.public.orders"]
    with pytest.raises(TopicChanged, match="6 partitions"):
        settings_to_change(spec, TopicFacts(topic_id="t", partitions=6, replication_factor=1, config={}))
