"""Stages writes and merges them into a copy, inside the transaction of `adapters.postgres_replica`.

A row the replica refuses is found by halving: each part is tried in a savepoint, so the others are applied in the same
transaction. The version of a row decides, in SQL, so a replay from any point changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import psycopg

from trueup.adapters.postgres_errors import UNENCODABLE, Meaning, describe, meaning_of
from trueup.adapters.postgres_sql import BatchStatements
from trueup.model.decision import Outcome
from trueup.model.errors import BrokenInvariant, DeadLetterCapReached
from trueup.model.write import Counts, CopyPlan, Refusal, Write

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class Merge(msgspec.Struct, frozen=True):
    """How a batch is merged.

    :param has_deleted: the target has deleted keys, which inserts must consult.
    :param has_dead_letters: the target has open dead letters, which newer writes supersede.
    :param refusals_max: more refused rows than this in one batch are the table's fault, not the rows'.
    """

    plan: CopyPlan
    statements: BatchStatements
    has_deleted: bool
    has_dead_letters: bool
    refusals_max: int


class Merged(msgspec.Struct, frozen=True):
    """Outcomes of the writes of a batch."""

    counts: Counts
    refused: list[Refusal]


async def merge(connection: Connection, how: Merge, writes: Sequence[Write]) -> Merged:
    """Merge the writes; those with data the replica refuses come back. Any other error goes through."""
    counts = {Outcome.APPLIED: 0, Outcome.DUPLICATE: 0, Outcome.STALE: 0}
    refused: list[Refusal] = []
    parts = [writes] if writes else []
    staged_before = False
    while parts:
        part = parts.pop()
        try:
            async with connection.transaction():
                if staged_before:
                    await connection.execute(how.statements.clear_stage)
                part_counts = await _merge_part(connection, how, part)
        except (psycopg.Error, *UNENCODABLE) as error:
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
        staged_before = True
        for outcome, count in part_counts.items():
            counts[outcome] += count
    return Merged(counts, refused)


async def _merge_part(connection: Connection, how: Merge, writes: Sequence[Write]) -> Counts:
    sql = how.statements
    await _stage(connection, sql, writes)
    deletes = sum(write.deleted for write in writes)
    upserts = len(writes) - deletes
    # Not prepared: a generic plan made while a table was empty would be kept when it is large.
    applied = 0
    if upserts:
        statement = sql.upsert_unless_deleted if how.has_deleted else sql.upsert
        applied += (await connection.execute(statement, prepare=False)).rowcount
        if how.has_deleted:
            await connection.execute(sql.revive, prepare=False)
    if deletes:
        await connection.execute(sql.delete, prepare=False)
        applied += (await connection.execute(sql.remember_deleted, prepare=False)).rowcount
    if how.has_dead_letters:
        await connection.execute(sql.supersede, prepare=False)
    duplicate = 0
    if applied < len(writes):
        held = await (await connection.execute(sql.count_held, prepare=False)).fetchone()
        if held is None:
            raise BrokenInvariant("a count returned no row")
        duplicate = held[0] - applied  # whatever was applied is held at its version, too
    stale = len(writes) - applied - duplicate
    return {Outcome.APPLIED: applied, Outcome.DUPLICATE: duplicate, Outcome.STALE: stale}


async def _stage(connection: Connection, sql: BatchStatements, writes: Sequence[Write]) -> None:
    async with connection.cursor() as cursor, cursor.copy(sql.copy_in) as copy:
        copy.set_types(sql.stage_types)
        for write in writes:
            await copy.write_row((write.key, write.version, write.deleted, *write.values))


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
