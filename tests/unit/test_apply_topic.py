"""runtime.apply_agent: an offset is read on from only in the topic it was counted in."""

import asyncio
from typing import Any

import pytest
from faust.types import TP
from prometheus_client import CollectorRegistry

from tests.replica_batches import ORDERS, REPLICA
from trueup.adapters.fakes import FakeReplica
from trueup.core.truth_codec import TruthReader
from trueup.model.errors import TopicChanged, Unreachable
from trueup.model.write import REPLICA_OUTCOMES, Claim
from trueup.runtime.apply_agent import ApplyHandler, ApplyTable
from trueup.runtime.lane import Batch
from trueup.runtime.metrics import ApplyMetrics

TOPIC = ORDERS.truth_topic
FIRST, SECOND = TP(TOPIC, 0), TP(TOPIC, 1)
OLD, NEW = "cluster/old", "cluster/new"


class EarlierReplica(FakeReplica):
    """Was filled up to an offset by a release that kept no identity; None: an operator wrote NULL there."""

    def filled_to(self, partition: int, offset: int | None, identity: str = "") -> None:
        totals = dict.fromkeys(REPLICA_OUTCOMES, 0)
        self._progress[TOPIC, partition] = Claim(7, offset, totals, topic_identity=identity)


class Topic:
    """The topic of this name, as it is now: its identity and the bounds of each partition."""

    def __init__(self, identity: str = OLD, begin: int = 0, end: int = 100) -> None:
        self.identity, self.begin, self.end = identity, begin, end
        self.asked: list[str] = []
        self.is_away = False

    async def identity_of(self, topic: str) -> str:
        if self.is_away:
            raise Unreachable("kafka")
        self.asked.append(topic)
        return self.identity

    async def bounds(self, _topic: str, _partition: int) -> tuple[int, int]:
        return self.begin, self.end


def worker(replica: FakeReplica, topic: Topic) -> ApplyHandler:
    log: Any = topic
    nowhere: Any = None
    tables = {TOPIC: ApplyTable(ORDERS, ("shop",), TruthReader())}
    metrics = ApplyMetrics(CollectorRegistry(), ["orders"], REPLICA)
    return ApplyHandler(tables, lambda: replica, log, nowhere, metrics, topic.identity_of)


def fill(replica: FakeReplica, topic: Topic, end: int, tp: TP = FIRST) -> None:
    """A worker that ran once, up to an offset."""

    async def run() -> None:
        handler = worker(replica, topic)
        start = await handler.prepare(tp)
        await handler.process(Batch(tp, [], start, end, 0))

    asyncio.run(run())


def begin_of(replica: FakeReplica, topic: Topic, tp: TP = FIRST) -> int:
    """Where a worker that starts now begins to read."""
    return asyncio.run(worker(replica, topic).prepare(tp))


@pytest.mark.parametrize("end", [50, 100, 1_000], ids=["the old end", "further", "much further"])
def test_a_topic_made_anew_and_filled_beyond_the_old_offset_is_not_read_on(end: int) -> None:
    """The worker was down meanwhile; within the bounds the offset looks like any other."""
    replica = FakeReplica(REPLICA)
    fill(replica, Topic(OLD), 50)
    topic = Topic(NEW, 0, end)
    with pytest.raises(TopicChanged, match=f'topic "{TOPIC}" is not the one this replica was filled from') as stopped:
        begin_of(replica, topic)
    for fact in ("partition 0", OLD, NEW):
        assert fact in (stopped.value.detail or "")
    for cure in ("set next_offset to NULL in trueup.progress", "trueup verify orders"):
        assert cure in (stopped.value.hint or "")
    with pytest.raises(TopicChanged):
        begin_of(replica, topic)  # asked once more it does not get used to it
    assert begin_of(replica, Topic(OLD)) == 50, "restored"


def test_the_same_topic_is_read_on_after_each_start_and_asked_for_each_partition() -> None:
    replica, topic = FakeReplica(REPLICA), Topic(OLD)
    fill(replica, topic, 50)
    fill(replica, topic, 20, SECOND)
    assert (begin_of(replica, topic), begin_of(replica, topic, SECOND)) == (50, 20)
    assert topic.asked == [TOPIC] * 4


def test_null_for_next_offset_accepts_the_new_topic_and_keeps_it() -> None:
    replica = EarlierReplica(REPLICA)
    replica.filled_to(0, None, OLD)
    topic = Topic(NEW, 3, 60)
    assert begin_of(replica, topic) == 3
    fill(replica, topic, 40)
    assert begin_of(replica, topic) == 40
    with pytest.raises(TopicChanged):
        begin_of(replica, Topic(OLD))


def test_a_topic_made_anew_before_anything_was_applied_loses_nothing() -> None:
    replica = FakeReplica(REPLICA)
    assert begin_of(replica, Topic(OLD)) == 0
    assert begin_of(replica, Topic(NEW)) == 0


def test_an_offset_without_a_topic_takes_the_one_that_is_there() -> None:
    """Of a release that kept none; what happened before the first claim nobody knows, what happens later is seen."""
    replica = EarlierReplica(REPLICA)
    replica.filled_to(0, 50)
    assert begin_of(replica, Topic(OLD)) == 50
    with pytest.raises(TopicChanged):
        begin_of(replica, Topic(NEW))


def test_an_offset_outside_the_bounds_of_the_same_topic_is_told_as_before() -> None:
    replica = FakeReplica(REPLICA)
    fill(replica, Topic(OLD), 50)
    with pytest.raises(TopicChanged, match="is not the one") as stopped:
        begin_of(replica, Topic(OLD, 0, 40))
    assert "holds offsets 0 to 40, the replica is at 50" in (stopped.value.detail or "")


def test_a_kafka_that_is_away_is_asked_again_and_claims_nothing() -> None:
    replica, topic = FakeReplica(REPLICA), Topic(OLD)
    topic.is_away = True
    with pytest.raises(Unreachable):
        begin_of(replica, topic)
    topic.is_away = False
    assert begin_of(replica, topic) == 0
