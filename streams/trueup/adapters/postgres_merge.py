"""Merges writes into a copy, inside the transaction of `adapters.postgres_replica`.

A batch travels as one array per column. That is as fast as COPY into a temporary table at 4,000 rows and twice as fast
below 500, and it needs no table per copy and connection, each of which every commit would have to empty (measured).

A row the replica refuses is found by halving: each part is tried in a savepoint, so the others are applied in the same
transaction. The version of a row decides, in SQL, so a replay from any point changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import psycopg

from trueup.adapters.postgres_arrays import BinaryArray, Unencodable, binary_array
from trueup.adapters.postgres_errors import Meaning, describe, meaning_of
from trueup.adapters.postgres_sql import BatchStatements
from trueup.model.decision import Outcome
from trueup.model.errors import BrokenInvariant, DeadLetterCapReached
from trueup.model.write import CopyPlan, Counts, Refusal, Write

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class Present(msgspec.Struct, frozen=True):
    """What a target has, and a batch therefore has to look at.

    :param deleted: deleted keys, which inserts must consult.
    :param dead_letters: open ones, which newer writes supersede.
    :param flags: of rows, which newer writes forget.
    """

    deleted: bool
    dead_letters: bool
    flags: bool


class Merge(msgspec.Struct, frozen=True):
    """How a batch is merged.

    :param refusals_max: more refused rows than this in one batch are the table's fault, not the rows'.
    """

    plan: CopyPlan
    statements: BatchStatements
    present: Present
    refusals_max: int


class Merged(msgspec.Struct, frozen=True):
    """Outcomes of the writes of a batch."""

    counts: Counts
    refused: list[Refusal]


MergePart = Callable[[Connection, Merge, Sequence[Write]], Awaitable[Counts]]


async def merge(
    connection: Connection, how: Merge, writes: Sequence[Write], merge_part: MergePart | None = None
) -> Merged:
    """Merge the writes; those with data the replica refuses come back. Any other error goes through.

    :param merge_part: at a writer, `postgres_writer.merge_at_writer`.
    """
    merge_part = merge_part or _merge_part
    counts = {Outcome.APPLIED: 0, Outcome.DUPLICATE: 0, Outcome.STALE: 0}
    refused: list[Refusal] = []
    parts = [writes] if writes else []
    while parts:
        part = parts.pop()
        try:
            async with connection.transaction():
                part_counts = await merge_part(connection, how, part)
        except (psycopg.Error, Unencodable) as error:
            if meaning_of(error) is not Meaning.ROW:
                raise
            if len(part) > 1:
                middle = len(part) // 2
                parts += (part[middle:], part[:middle])
                continue
            if len(refused) == how.refusals_max:
                raise DeadLetterCapReached(
                    f'more than {how.refusals_max} rows of one batch were refused by table "{how.plan.target}"',
                    detail=f'at replica "{how.plan.replica}", last: {describe(error)}',
                    hint="compare the table's columns and constraints with the registration: trueup apply --dry-run",
                ) from error
            refused.append(_refusal(how.plan, part[0], error))
            continue
        for outcome, count in part_counts.items():
            counts[outcome] += count
    return Merged(counts, refused)


async def _merge_part(connection: Connection, how: Merge, writes: Sequence[Write]) -> Counts:
    sql, plan = how.statements, how.plan
    deletes = [write for write in writes if write.deleted]
    upserts = [write for write in writes if not write.deleted] if deletes else writes
    key_indexes = key_indexes_of(plan)
    applied = 0
    if upserts and how.present.deleted:
        upserts = await _not_deleted_since(connection, how, upserts)
    if upserts:
        applied += await run(connection, sql.upsert, arrays_of(plan, upserts, range(len(plan.columns))))
    if deletes:
        arrays = arrays_of(plan, deletes, key_indexes)
        await run(connection, sql.delete, arrays)
        applied += await run(connection, sql.remember_deleted, arrays)
    if how.present.dead_letters:
        await run(connection, sql.supersede, arrays_of(plan, writes, ()))
    if how.present.flags:
        await run(connection, sql.forget_flags, arrays_of(plan, writes, ()))
    if flagged := [write for write in upserts if write.flags]:
        key, version, *key_columns = arrays_of(plan, flagged, key_indexes)
        flags = binary_array("text[]", [write.flags for write in flagged])
        await run(connection, sql.set_flags, [key, version, flags, *key_columns])
    duplicate = 0
    if applied < len(writes):
        cursor = await connection.execute(sql.count_held.encode(), arrays_of(plan, writes, key_indexes), prepare=False)
        held = await cursor.fetchone()
        if held is None:
            raise BrokenInvariant("a count returned no row")
        duplicate = held[0] - applied  # whatever was applied is held at its version, too
    stale = len(writes) - applied - duplicate
    return {Outcome.APPLIED: applied, Outcome.DUPLICATE: duplicate, Outcome.STALE: stale}


def key_indexes_of(plan: CopyPlan) -> list[int]:
    """Where the key columns are among the columns, in the order of the key."""
    indexes = [index for index, column in enumerate(plan.columns) if column.name in plan.key]
    return sorted(indexes, key=lambda index: plan.key.index(plan.columns[index].name))


async def _not_deleted_since(connection: Connection, how: Merge, upserts: Sequence[Write]) -> Sequence[Write]:
    """The upserts that no newer delete forbids. Keys that become rows again are deleted keys no longer.

    What is read here cannot change before the commit: the partition's progress row is locked.
    """
    keys = [binary_array("bytea", [write.key for write in upserts])]
    cursor = await connection.execute(how.statements.find_deleted.encode(), keys, prepare=False)
    deleted: dict[bytes, bytes] = dict(await cursor.fetchall())
    if not deleted:
        return upserts
    found = [write for write in upserts if write.key in deleted]
    await run(connection, how.statements.revive, arrays_of(how.plan, found, ()))
    return [write for write in upserts if write.key not in deleted or deleted[write.key] < write.version]


async def run(connection: Connection, statement: str, arrays: list[BinaryArray]) -> int:
    """The number of rows changed. Not prepared: the plan follows from the length of the arrays and of the table."""
    return (await connection.execute(statement.encode(), arrays, prepare=False)).rowcount


def arrays_of(plan: CopyPlan, writes: Sequence[Write], indexes: Sequence[int]) -> list[BinaryArray]:
    """key, version, and the columns at these indexes."""
    arrays = [
        binary_array("bytea", [write.key for write in writes]),
        binary_array("bytea", [write.version for write in writes]),
    ]
    for index in indexes:
        arrays.append(binary_array(plan.columns[index].staged_type, [write.values[index] for write in writes]))
    return arrays


def _refusal(plan: CopyPlan, write: Write, error: Exception) -> Refusal:
    return Refusal(
        key=write.key,
        version=write.version,
        offset=write.offset,
        record_value=write.record_value if plan.whole else None,
        stage="replica",
        error_class="RowRefused",
        sqlstate=error.sqlstate if isinstance(error, psycopg.Error) else None,
        reason=describe(error),
    )
