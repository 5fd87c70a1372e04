"""Repairs of a copy, inside one transaction that holds the progress of all its partitions.

While it is held no worker can write the copy, and what the copy must show is known: the newest truth record of each
key that lies below the progress. To write it again past the fence, the version of exactly this row is lowered first,
in the same transaction; then the ordinary merge applies the record at its own version. The worker finds its token, its
progress and its counts as it left them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
import psycopg

from trueup.adapters import postgres_sql as sql
from trueup.adapters.postgres_arrays import Unencodable, binary_array, transport_type
from trueup.adapters.postgres_compare import shown_row, where_key
from trueup.adapters.postgres_errors import Meaning, describe, meaning_of, translate
from trueup.adapters.postgres_merge import Connection, Merge, Present, merge
from trueup.model.errors import Refused
from trueup.model.proof import Difference, Finding, key_of_text
from trueup.model.repair import KeyRepair, RepairOutcome
from trueup.model.version import VERSION_BYTES, Version, describe_version
from trueup.model.write import VERSION_COLUMN, CopyPlan, Write

_LOCK: Final = "SELECT partition, next_offset FROM trueup.progress WHERE topic = %s ORDER BY partition FOR UPDATE"
_LOWEST: Final = bytes(VERSION_BYTES)
_PRESENT: Final = Present(deleted=False, dead_letters=True, flags=True)  # its deletion is forgotten before
_AUDIT: Final = """
INSERT INTO trueup.repairs (target, key, kind, columns, version, repaired_by)
VALUES (%s, %s, %s, %s::text[], %b, %s)"""

Judge = Callable[[dict[int, int]], Awaitable[Sequence["Repair"]]]


class Repair(msgspec.Struct, frozen=True):
    """One key, and what is to be done with it while the copy is locked.

    :param write: what the truth says; None where `outcome` already is known, or the truth never had the key.
    :param outcome: it is left alone for this reason.
    """

    finding: Finding
    write: Write | None = None
    outcome: RepairOutcome | None = None
    why: str | None = None


class RepairStatements:
    """The statements of one copy."""

    def __init__(self, plan: CopyPlan) -> None:
        table = sql.bindable(sql.table_name(plan))
        where = where_key(plan)
        self.batch = sql.batch_statements(plan)
        self.show = shown_row(plan)
        self.lower = f"UPDATE {table} AS t SET {VERSION_COLUMN} = %s WHERE {where}"
        self.delete = f"DELETE FROM {table} AS t WHERE {where}"
        self.forget_deleted = "DELETE FROM trueup.deleted_keys WHERE target = %s AND key = %b"
        names = [f"c{index}" for index in range(len(plan.key_columns))]
        arrays, values = [], []
        for name, column in zip(names, plan.key_columns, strict=True):
            staged = transport_type(column.staged_type)
            arrays.append(f"%b::{sql.type_name(staged)}[]")
            kinds = "".join(f"::{sql.type_name(kind)}" for kind in (column.via_type, column.target_type))
            values.append(f"(s.{name}{kinds})::text")
        self.key_texts = (
            f"SELECT s.key, jsonb_build_array({', '.join(values)})::text"
            f" FROM unnest(%b::bytea[], {', '.join(arrays)}) AS s (key, {', '.join(names)})"
        )


async def key_texts(
    connection: Connection, plan: CopyPlan, statements: RepairStatements, keys: Sequence[tuple[bytes, tuple[Any, ...]]]
) -> dict[bytes, str]:
    """The text of captured keys, as the copy shows them; keys it cannot hold are left out.

    :param keys: captured key, and its values for staging.
    """
    found: dict[bytes, str] = {}
    parts = [keys] if keys else []
    while parts:
        part = parts.pop()
        try:
            arrays = [binary_array("bytea", [key for key, _ in part])]
            for index, column in enumerate(plan.key_columns):
                arrays.append(binary_array(column.staged_type, [values[index] for _, values in part]))
            cursor = await connection.execute(statements.key_texts.encode(), arrays, prepare=False)
            found |= dict(await cursor.fetchall())
        except (psycopg.Error, Unencodable) as error:
            if meaning_of(error) is not Meaning.ROW:
                raise
            middle = len(part) // 2
            parts += [part[:middle], part[middle:]] if len(part) > 1 else []
    return found


async def repair(
    connection: Connection, plan: CopyPlan, statements: RepairStatements, judge: Judge, *, by: str, dry_run: bool
) -> list[KeyRepair]:
    """Repairs some keys in one transaction, or shows what that would do.

    :param judge: told where the copy reads next, by partition, while nobody may write it; says what each key must be.
    Raises TransientReplica, Refused, Stop; then nothing was changed.
    """
    try:
        async with connection.transaction(force_rollback=dry_run):
            await connection.execute("SET LOCAL synchronous_commit = on")
            rows = await (await connection.execute(_LOCK, (plan.truth_topic,))).fetchall()
            if not rows or any(offset is None for _, offset in rows):
                hint = "start its apply worker, and wait until the copy is filled"
                raise Refused(f'copy "{plan.target}" at replica "{plan.replica}" is not filled yet', hint=hint)
            return [await _one(connection, plan, statements, wanted, by) for wanted in await judge(dict(rows))]
    except psycopg.Error as error:
        raise translate(error, plan.replica, plan.target) from error


async def _one(
    connection: Connection, plan: CopyPlan, statements: RepairStatements, wanted: Repair, by: str
) -> KeyRepair:
    finding = wanted.finding
    if wanted.outcome is not None:
        return KeyRepair(key=finding.key, kind=finding.kind, outcome=wanted.outcome, why=wanted.why)
    found = None
    try:
        async with connection.transaction():
            found = await _mended(connection, plan, statements, wanted)
            if found.outcome is not RepairOutcome.MENDED:
                raise psycopg.Rollback
            version = None if wanted.write is None else wanted.write.version
            audit = (plan.target, finding.key, finding.kind.value, list(found.columns), version, by)
            await connection.execute(_AUDIT, audit)
    except psycopg.Error as error:
        if meaning_of(error) is not Meaning.ROW:
            raise
        return KeyRepair(key=finding.key, kind=finding.kind, outcome=RepairOutcome.REFUSED, why=describe(error))
    return found


async def _mended(connection: Connection, plan: CopyPlan, statements: RepairStatements, wanted: Repair) -> KeyRepair:
    """Writes what the truth says; what that leads to decides whether it stays."""
    finding, write = wanted.finding, wanted.write
    key = key_of_text(finding.key)

    def ended(outcome: RepairOutcome, why: str | None = None, columns: tuple[str, ...] = ()) -> KeyRepair:
        version = None if write is None else describe_version(Version(write.version))
        return KeyRepair(key=finding.key, kind=finding.kind, outcome=outcome, columns=columns, version=version, why=why)

    before = await _shown(connection, statements, key)
    if _hash(before) == finding.source_hash:
        return ended(RepairOutcome.EQUAL)
    if write is None:
        if finding.kind is not Difference.EXTRA:
            return ended(RepairOutcome.TRUTH_DIFFERS, "the owner has the row, the truth never had it")
        await connection.execute(statements.delete.encode(), key)
    else:
        await connection.execute(statements.lower.encode(), (_LOWEST, *key))
        await connection.execute(statements.forget_deleted.encode(), (plan.target, write.key))
        merged = await merge(connection, Merge(plan, statements.batch, _PRESENT, 1), [write])
        if merged.refused:
            return ended(RepairOutcome.REFUSED, merged.refused[0].reason)
    after = await _shown(connection, statements, key)
    if _hash(after) != finding.source_hash:
        return ended(RepairOutcome.TRUTH_DIFFERS)
    return ended(RepairOutcome.MENDED, columns=_changed(plan, before, after))


async def _shown(
    connection: Connection, statements: RepairStatements, key: tuple[str, ...]
) -> tuple[str, list[str | None]] | None:
    row = await (await connection.execute(statements.show.encode(), key)).fetchone()
    return None if row is None else (row[0], row[1])


def _hash(shown: tuple[str, list[str | None]] | None) -> str | None:
    return None if shown is None else shown[0]


def _changed(
    plan: CopyPlan, before: tuple[str, list[str | None]] | None, after: tuple[str, list[str | None]] | None
) -> tuple[str, ...]:
    if before is None or after is None:
        return ()
    pairs = zip(plan.columns, before[1], after[1], strict=True)
    return tuple(column.name for column, old, new in pairs if old != new)
