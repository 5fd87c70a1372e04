"""The sweep of one partition, carried out: walks the truth table and publishes what `core.sweep` finds gone.

Safe at any kill: every transaction but the last leaves the offset before the control record, so the next owner meets it
again and walks again; keys that were deleted meanwhile carry the new epoch and are passed over, as are ended cases.
"""

from __future__ import annotations

from typing import Final

from trueup.adapters.kafka_transactions import Outgoing, PartitionProducer
from trueup.adapters.truth_log import TruthLog
from trueup.core.cases import is_brought, superseded
from trueup.core.control import Sweep
from trueup.core.pipeline import DecidePlan, held_of
from trueup.core.sweep import brought_by_letter, deletion, restored, swept_keys, version_of_sweep
from trueup.model.decision import TruthRecord
from trueup.runtime.case_table import CaseTable
from trueup.runtime.partition_memory import DECIDE_GROUP, PartitionMemory
from trueup.runtime.truth_table import TruthTable

_SCAN_KEYS: Final = 20_000
_DELETIONS_MAX: Final = 4_000  # of one transaction, as many as the largest batch has records


async def sweep(
    order: Sweep,
    log: TruthLog,
    plan: DecidePlan,
    producer: PartitionProducer,
    table: TruthTable,
    cases: CaseTable,
    memory: PartitionMemory,
    partition: int,
) -> int:
    """Publishes the deletions, in transactions that leave the offset at the control record. Returns how many keys.

    Of a table with several writers nothing is deleted: the row is at the other writers, so it is published once more
    and written at the one whose snapshot did not bring it. What waits for a person waits on.

    With one owner an open case of a key that was not brought is over: there is nothing left to decide about.

    :param table: caught up with the truth topic, as `cases` is with theirs.
    """
    brought = await _keys_with_letters(log, plan.table.dead_letter_topic, partition, order.epoch)
    several = plan.conflicts is not None
    brought |= {key for key, case in cases.open.items() if several or is_brought(case, order.epoch)}
    version = version_of_sweep(order, ranked=plan.version_column is not None)
    topic, deleted, waiting = plan.table.truth_topic, 0, list[bytes]()

    async def publish(keys: list[bytes]) -> int:
        if not several:
            await commit(keys, [deletion(key, version, order) for key in keys])
        else:
            held = table.get_many(keys)
            await commit(keys, [restored(key, held[key], order) for key in keys])
        return len(keys)

    async def commit(keys: list[bytes], truths: list[TruthRecord]) -> None:
        over = {key: superseded(case, version, order.time_us) for key in keys if (case := cases.open.get(key))}
        records = [Outgoing(topic, truth.key, plan.codec.encode(truth)) for truth in truths]
        written = await producer.commit(
            records + cases.outgoing(over), group=DECIDE_GROUP, next_offset=order.offset, metadata=memory.write()
        )
        table.put_many({truth.key: held_of(truth, plan) for truth in truths}, written.get(topic))
        cases.put_many(over)

    async for held in table.scan(_SCAN_KEYS):
        waiting += swept_keys(held, brought, order.epoch)
        while len(waiting) >= _DELETIONS_MAX:
            deleted += await publish(waiting[:_DELETIONS_MAX])
            del waiting[:_DELETIONS_MAX]
    if waiting:
        deleted += await publish(waiting)
    if left := [key for key in cases.open if key not in brought]:  # of keys that were not held
        await commit(left, [])
    return deleted


async def _keys_with_letters(log: TruthLog, topic: str, partition: int, epoch: int) -> set[bytes]:
    """Keys that a record of the epoch made a dead letter. From the topic, not from the store: that may have been lost.

    A letter lies in the partition its change came from, and a table has no more of them than its cap allows.
    """
    begin, end = await log.bounds(topic, partition)
    keys: set[bytes] = set()
    if begin < end:
        async for records in log.records(topic, partition, begin, end):
            letters = (record for record in records if brought_by_letter(record.key, dict(record.headers), epoch))
            keys |= {letter.key for letter in letters if letter.key is not None}
    return keys
