"""Plans, writes and batches for tests of replicas, real and in memory."""

import json
from typing import Any

from trueup.core.rules_copy import compile_copy
from trueup.model.columns import CapturedTable, Column
from trueup.model.registration import ColumnRule, Copy, Owner, Source, Table
from trueup.model.version import make_version
from trueup.model.write import BatchResult, Claim, CopyPlan, Counts, Refusal, Replica, ReplicaBatch, Write

REPLICA = "reporting"
IDENTITY = "cluster/topic"


def column(name: str, pg_type: str, *, kind: str = "b") -> Column:
    return Column(name=name, pg_type=pg_type, nullable=True, kind=kind)


def plan_of(
    *columns: Column,
    key: tuple[str, ...] = ("id",),
    target: str = "public.orders",
    shown: dict[str, str | ColumnRule] | None = None,
) -> CopyPlan:
    """The plan of a copy of these columns."""
    copy = Copy(replica=REPLICA, table=target, columns=shown)
    table = Table(
        table="orders",
        owner=Owner(system="shop"),
        source=Source(table="public.orders"),
        key=list(key),
        replicas=[copy],
    )
    return compile_copy(table, copy, CapturedTable(table="orders", key=key, columns=columns))


ORDERS = plan_of(column("id", "bigint"), column("amount", "numeric(12,2)"), column("note", "text"))


def key_of(row_id: int) -> bytes:
    """As captured."""
    return json.dumps({"id": row_id}).encode()


def upsert(row_id: int, version: int, amount: str | None = "1.00", note: str | None = "") -> Write:
    """A row of ORDERS; the version is also the offset of its record."""
    return write_of(row_id, version, (row_id, amount, note))


def delete(row_id: int, version: int) -> Write:
    return write_of(row_id, version, (row_id, None, None), deleted=True)


def write_of(row_id: int, version: int, values: tuple[Any, ...], *, deleted: bool = False) -> Write:
    return Write(key_of(row_id), make_version(1, version), deleted, values, version, b"record %d" % version)


class Partition:
    """One truth partition on its way into one replica; remembers the claim and the place.

    :ivar identity: of the topic, as it is now.
    """

    def __init__(self, replica: Replica, plan: CopyPlan = ORDERS, topic: str = "trueup.truth.orders") -> None:
        self.replica = replica
        self.plan = plan
        self.topic = topic
        self.identity = IDENTITY
        self.held = Claim(0, None, {})
        self.offset = 0

    async def claim(self) -> Claim:
        self.held = await self.replica.claim(self.topic, 0, self.identity)
        self.offset = self.held.next_offset or 0
        return self.held

    async def apply(
        self, *writes: Write, counts: Counts | None = None, refused: tuple[Refusal, ...] = ()
    ) -> BatchResult:
        """Apply one batch, claiming before the first; the offset moves by its records."""
        if not self.held.token:
            await self.claim()
        batch = self.batch(*writes, counts=counts, refused=refused)
        result = await self.replica.apply(batch)
        self.offset = batch.next_offset
        return result

    def batch(self, *writes: Write, counts: Counts | None = None, refused: tuple[Refusal, ...] = ()) -> ReplicaBatch:
        known = counts or {}
        records = len(writes) + sum(known.values()) + len(refused)
        return ReplicaBatch(
            plan=self.plan,
            topic=self.topic,
            partition=0,
            token=self.held.token,
            start_offset=self.offset,
            next_offset=self.offset + records,
            records=records,
            writes=tuple(sorted(writes, key=lambda write: write.key)),
            refused=refused,
            counts=known,
        )
