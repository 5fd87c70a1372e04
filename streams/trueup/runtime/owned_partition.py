"""What a decide worker holds of one partition while it owns it, and the one way in which any of it changes: Kafka
commits, then the truth table, the cases and the memory follow.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from trueup.adapters.kafka_transactions import Outgoing, PartitionProducer
from trueup.core.pipeline import DecidePlan, held_of
from trueup.model.case import Case
from trueup.model.decision import Held, TruthRecord
from trueup.runtime.case_table import CaseTable
from trueup.runtime.open_letters import OpenLetters
from trueup.runtime.partition_memory import DECIDE_GROUP, PartitionMemory
from trueup.runtime.truth_table import TruthTable

_TRUTHS_MAX: Final = 4_000  # of one transaction, as many as the largest batch has records


class OwnedPartition:
    """Everything is brought up to the end of its topic when a partition is taken over (`runtime.decide_agent`)."""

    def __init__(
        self,
        plan: DecidePlan,
        producer: PartitionProducer,
        table: TruthTable,
        cases: CaseTable,
        memory: PartitionMemory,
        letters: OpenLetters,
    ) -> None:
        self.plan = plan
        self.producer = producer
        self.table = table
        self.cases = cases
        self.memory = memory
        self.letters = letters

    async def commit(
        self,
        outgoing: Sequence[Outgoing],
        memory: PartitionMemory,
        next_offset: int,
        held: Mapping[bytes, Held],
        cases: Mapping[bytes, Case],
    ) -> None:
        """One transaction.

        :param outgoing: what is written besides the cases that changed.
        :param held: what is held of a key from now on; `cases`: its case.
        """
        written = await self.producer.commit(
            [*outgoing, *self.cases.outgoing(cases)],
            group=DECIDE_GROUP,
            next_offset=next_offset,
            metadata=memory.write(),
        )
        self.table.put_many(held, written.get(self.plan.table.truth_topic))
        self.cases.put_many(cases)
        self.memory = memory

    async def publish(self, truths: Sequence[TruthRecord], cases: Mapping[bytes, Case], at: int) -> None:
        """Truths that no record of their own brings: the offset stays at the control record that orders them."""
        topic, encode = self.plan.table.truth_topic, self.plan.codec.encode
        outgoing = [Outgoing(topic, truth.key, encode(truth)) for truth in truths]
        held = {truth.key: held_of(truth, self.plan) for truth in truths}
        await self.commit(outgoing, self.memory, at, held, cases)

    async def publish_all(self, truths: AsyncIterator[list[TruthRecord]], cases: Mapping[bytes, Case], at: int) -> int:
        """The same of any number, in transactions of a bounded size. Returns how many.

        :param cases: what becomes of a key's case, in the transaction of its truth.
        """
        published, waiting = 0, list[TruthRecord]()

        async def publish(part: list[TruthRecord]) -> int:
            await self.publish(part, {t.key: cases[t.key] for t in part if t.key in cases}, at)
            return len(part)

        async for more in truths:
            waiting += more
            while len(waiting) >= _TRUTHS_MAX:
                published += await publish(waiting[:_TRUTHS_MAX])
                del waiting[:_TRUTHS_MAX]
        return published + (await publish(waiting) if waiting else 0)
