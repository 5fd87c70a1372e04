"""runtime.apply_agent: a copy is written as what it was made as, and that is asked in an order that is safe."""

import asyncio
from typing import Any

from faust.types import TP
from prometheus_client import CollectorRegistry

from tests.replica_batches import IDENTITY, ORDERS, REPLICA, column, plan_of
from trueup.adapters.fakes import FakeReplica
from trueup.core.truth_codec import TruthReader
from trueup.model.registration import ColumnRule
from trueup.model.write import BatchResult, Claim, CopyPlan, ReplicaBatch
from trueup.runtime.apply_agent import ApplyHandler, ApplyTable
from trueup.runtime.lane import Batch
from trueup.runtime.metrics import ApplyMetrics

COLUMNS = (column("id", "bigint"), column("amount", "numeric(12,2)"), column("note", "text"))
MASKED = plan_of(*COLUMNS, shown={"id": "id", "note": ColumnRule(from_="note", mask="sha256")})
FIRST, SECOND = TP(ORDERS.truth_topic, 0), TP(ORDERS.truth_topic, 1)


class RecordedReplica(FakeReplica):
    """Remembers what it was asked, and answers as the test says."""

    def __init__(self) -> None:
        super().__init__(REPLICA)
        self.made = ORDERS
        self.asked: list[str] = []
        self.plans: list[CopyPlan] = []

    async def claim(self, topic: str, partition: int, topic_identity: str) -> Claim:
        self.asked.append("claim")
        return await super().claim(topic, partition, topic_identity)

    async def recorded(self, registered: CopyPlan) -> CopyPlan:
        self.asked.append("recorded")
        return self.made

    async def apply(self, batch: ReplicaBatch) -> BatchResult:
        self.plans.append(batch.plan)
        return await super().apply(batch)


class EmptyLog:
    async def bounds(self, _topic: str, _partition: int) -> tuple[int, int]:
        return 0, 0


async def identity_of(_topic: str) -> str:
    return IDENTITY


def handler(replica: FakeReplica, registered: CopyPlan) -> ApplyHandler:
    log: Any = EmptyLog()
    nowhere: Any = None
    tables = {ORDERS.truth_topic: ApplyTable(registered, ("shop",), TruthReader())}
    metrics = ApplyMetrics(CollectorRegistry(), ["orders"], REPLICA)
    return ApplyHandler(tables, lambda: replica, log, nowhere, metrics, identity_of)


def markers(tp: TP, start: int) -> Batch:
    """A batch of transaction markers: no record, and progress all the same."""
    return Batch(tp, [], start, start + 1, 0)


def test_it_claims_before_it_asks_what_the_copy_is() -> None:
    """The other order could write the rows of an old registration into a table that was swapped in between."""
    replica = RecordedReplica()
    asyncio.run(handler(replica, ORDERS).prepare(FIRST))
    assert replica.asked == ["claim", "recorded"]


def test_an_edited_registration_does_not_reach_the_rows_before_a_rebuild() -> None:
    replica = RecordedReplica()
    agent = handler(replica, MASKED)

    async def scenario() -> None:
        await agent.prepare(FIRST)
        await agent.process(markers(FIRST, 0))

    asyncio.run(scenario())
    assert replica.plans == [ORDERS]


def test_each_partition_writes_what_the_copy_was_when_it_was_claimed() -> None:
    """A rebuild raises all tokens: a partition with an old claim must come with the old plan, to be told why."""
    replica = RecordedReplica()
    agent = handler(replica, ORDERS)

    async def scenario() -> None:
        await agent.prepare(FIRST)
        await agent.prepare(SECOND)
        replica.made = MASKED
        await agent.prepare(FIRST)
        await agent.process(markers(FIRST, 0))
        await agent.process(markers(SECOND, 0))

    asyncio.run(scenario())
    assert replica.plans == [MASKED, ORDERS]
