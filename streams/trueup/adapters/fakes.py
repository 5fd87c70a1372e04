"""A replica in memory, with the contract of `adapters.postgres_replica`; ships with the code for everybody's tests."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from trueup.model.decision import Outcome
from trueup.model.errors import BrokenInvariant, Fenced
from trueup.model.version import Version
from trueup.model.write import REPLICA_OUTCOMES, BatchResult, Claim, ClaimLost, CopyPlan, Counts, ReplicaBatch, Write

Crash = Literal["before commit", "after commit"]


class FakeReplica:
    """Tables as dicts by captured key. `rows`, `deleted` and `flags` are what a reader would see.

    :ivar crash: the next batch ends like this, with ClaimLost, as if the connection had gone.
    """

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.rows: dict[str, dict[bytes, tuple[Version, tuple[Any, ...]]]] = {}
        self.deleted: dict[str, dict[bytes, Version]] = {}
        self.flags: dict[str, dict[bytes, tuple[str, ...]]] = {}
        self.crash: Crash | None = None
        self._progress: dict[tuple[str, int], Claim] = {}
        self._claimed: set[tuple[str, int]] = set()

    async def claim(self, topic: str, partition: int, topic_identity: str) -> Claim:
        held = self._progress.get((topic, partition), Claim(0, None, dict.fromkeys(REPLICA_OUTCOMES, 0)))
        kept = topic_identity if held.next_offset is None else held.topic_identity or topic_identity
        claim = Claim(held.token + 1, held.next_offset, held.totals, topic_identity=kept)
        self._progress[topic, partition] = claim
        self._claimed.add((topic, partition))
        return claim

    async def recorded(self, registered: CopyPlan) -> CopyPlan:
        return registered

    async def apply(self, batch: ReplicaBatch) -> BatchResult:
        place = (batch.topic, batch.partition)
        if place not in self._claimed:
            raise ClaimLost(self.name, "08003", detail="the connection of the claim is gone")
        held = self._progress[place]
        if held.token != batch.token:
            raise Fenced(f'"{batch.topic}" has another writer', detail=f"token {held.token} is current")
        if held.next_offset not in {None, batch.start_offset}:
            raise BrokenInvariant(f"a batch starts at {batch.start_offset} where {held.next_offset} is next")
        if self.crash == "before commit":
            await self._lose_connection()
        counts: Counter[Outcome] = Counter(batch.counts)
        counts.update(self._merge(batch.plan.target, write) for write in batch.writes)
        counts.update(refusal.outcome for refusal in batch.refused)
        if counts.total() != batch.records:
            raise BrokenInvariant(f"{counts.total()} outcomes for {batch.records} records")
        totals: Counts = {outcome: held.totals[outcome] + counts[outcome] for outcome in REPLICA_OUTCOMES}
        self._progress[place] = Claim(held.token, batch.next_offset, totals, topic_identity=held.topic_identity)
        if self.crash == "after commit":
            await self._lose_connection()
        return BatchResult(dict(counts), batch.refused)

    async def ping(self) -> None:
        """Always there."""

    async def hold(self, topic: str, partition: int, token: int) -> None:
        if (topic, partition) not in self._claimed:
            raise ClaimLost(self.name, "08003", detail="the connection of the claim is gone")

    async def close(self) -> None:
        self._claimed.clear()

    async def _lose_connection(self) -> None:
        self.crash = None
        await self.close()
        raise ClaimLost(self.name, "08006", detail="a crash was asked for")

    def _merge(self, target: str, write: Write) -> Outcome:
        rows, deleted = self.rows.setdefault(target, {}), self.deleted.setdefault(target, {})
        held = rows[write.key][0] if write.key in rows else deleted.get(write.key)
        if held is not None and held >= write.version:
            return Outcome.DUPLICATE if held == write.version else Outcome.STALE
        (rows if write.deleted else deleted).pop(write.key, None)
        flags = self.flags.setdefault(target, {})
        flags.pop(write.key, None)
        if write.flags:
            flags[write.key] = write.flags
        if write.deleted:
            deleted[write.key] = write.version
        else:
            rows[write.key] = (write.version, write.values)
        return Outcome.APPLIED
