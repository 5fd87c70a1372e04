"""The sweep of one partition, carried out: walks the truth table and publishes what `core.sweep` finds gone.

Safe at any kill: every transaction but the last leaves the offset before the control record, so the next owner meets it
again and walks again; keys that were deleted meanwhile carry the new epoch and are passed over, as are ended cases.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from trueup.adapters.truth_log import TruthLog
from trueup.core.cases import is_brought, superseded
from trueup.core.control import Sweep
from trueup.core.sweep import brought_by_letter, deletion, restored, swept_keys, version_of_sweep
from trueup.model.decision import TruthRecord
from trueup.runtime.owned_partition import OwnedPartition

_SCAN_KEYS: Final = 20_000


async def sweep(order: Sweep, log: TruthLog, owned: OwnedPartition, partition: int) -> int:
    """Publishes the deletions, in transactions that leave the offset at the control record. Returns how many keys.

    Of a table with several writers nothing is deleted: the row is at the other writers, so it is published once more
    and written at the one whose snapshot did not bring it. What waits for a person waits on.

    With one owner an open case of a key that was not brought is over: there is nothing left to decide about.
    """
    plan, cases = owned.plan, owned.cases.open
    brought = await _keys_with_letters(log, plan.table.dead_letter_topic, partition, order.epoch)
    several = plan.conflicts is not None
    brought |= {key for key, case in cases.items() if several or is_brought(case, order.epoch)}
    version = version_of_sweep(order, ranked=plan.version_column is not None)
    over = {key: superseded(case, version, order.time_us) for key, case in cases.items() if key not in brought}

    async def gone() -> AsyncIterator[list[TruthRecord]]:
        async for held in owned.table.scan(_SCAN_KEYS):
            known, keys = dict(held), swept_keys(held, brought, order.epoch)
            if several:
                yield [restored(key, known[key], order) for key in keys]
            else:
                yield [deletion(key, version, order) for key in keys]

    deleted = await owned.publish_all(gone(), over, order.offset)
    if left := {key: over[key] for key in over.keys() & owned.cases.open.keys()}:  # of keys that were not held
        await owned.publish([], left, order.offset)
    return deleted


async def _keys_with_letters(log: TruthLog, topic: str, partition: int, epoch: int) -> set[bytes]:
    """Keys that a record of the epoch made a dead letter. From the topic, not from the store: that may have been lost.

    A letter lies in the partition its change came from. Retention bounds them: the cap counts only those that are open.
    """
    begin, end = await log.bounds(topic, partition)
    keys: set[bytes] = set()
    if begin < end:
        async for records in log.records(topic, partition, begin, end):
            letters = (record for record in records if brought_by_letter(record, epoch))
            keys |= {letter.key for letter in letters if letter.key is not None}
    return keys
