"""Rebuilds at a replica: which copies need one, what stands in its way, its shadow, and the swap.

Texts are in `postgres_rebuild_sql`. `runtime.rebuild` fills the shadow with the code that fills every copy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
import psycopg

from trueup.adapters import postgres_rebuild_sql as sql
from trueup.adapters.postgres_errors import translate
from trueup.adapters.postgres_merge import Connection
from trueup.adapters.postgres_sql import table_name
from trueup.model.errors import Refused, UnsafeChange
from trueup.model.rebuild import Rebuild
from trueup.model.write import VERSION_COLUMN, CopyPlan

# Readers that hold the old table make the swap wait, and everybody who comes after them: give up soon, try again.
_SWAP_SESSION: Final = ("SET LOCAL lock_timeout = '2s'", "SET LOCAL statement_timeout = '60s'")

_OWNER: Final = """
SELECT nullif(pg_get_userbyid(c.relowner), current_user),
       (SELECT conname FROM pg_constraint WHERE conrelid = c.oid AND contype = 'p')
FROM pg_class c WHERE c.oid = to_regclass(%s)"""

_GRANTS: Final = """
SELECT a.privilege_type, CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END, a.is_grantable, g.attname
FROM pg_class c
CROSS JOIN LATERAL (SELECT c.relacl AS acl, NULL::name AS attname UNION ALL
                    SELECT attacl, attname FROM pg_attribute WHERE attrelid = c.oid AND attacl IS NOT NULL) AS g
CROSS JOIN LATERAL aclexplode(g.acl) AS a
WHERE c.oid = to_regclass(%s) AND a.grantee <> c.relowner
ORDER BY 4 NULLS FIRST, 2 NULLS FIRST, 1"""

_INDEXES: Final = """
SELECT c.relname, format('CREATE INDEX %%I ON %%I.%%I', c.relname, n.nspname, t.relname), pg_get_indexdef(c.oid),
       ARRAY(SELECT DISTINCT a.attname::text FROM pg_depend d
             JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
             WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refobjid = t.oid AND d.refobjsubid > 0)
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE t.oid = to_regclass(%s) AND NOT i.indisunique
ORDER BY c.relname"""

_OBSTACLES: Final = """
WITH t AS (SELECT oid, relkind, relrowsecurity FROM pg_class WHERE oid = to_regclass(%(table)s))
SELECT 'it is no ordinary table' FROM t WHERE relkind <> 'r'
UNION ALL SELECT 'row security' FROM t WHERE relrowsecurity
UNION ALL SELECT DISTINCT 'view ' || r.ev_class::regclass FROM t
  JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid AND d.classid = 'pg_rewrite'::regclass
  JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> t.oid
UNION ALL SELECT format('foreign key %%I of %%s', conname, conrelid::regclass)
  FROM t JOIN pg_constraint ON contype = 'f' AND t.oid IN (conrelid, confrelid)
UNION ALL SELECT format('constraint %%I', conname) FROM t JOIN pg_constraint ON conrelid = t.oid
  AND contype IN ('c', 'x')
UNION ALL SELECT format('trigger %%I', tgname) FROM t JOIN pg_trigger ON tgrelid = t.oid AND NOT tgisinternal
UNION ALL SELECT format('publication %%I', p.pubname)
  FROM t JOIN pg_publication_rel r ON r.prrelid = t.oid JOIN pg_publication p ON p.oid = r.prpubid
UNION ALL SELECT format('inheritance with %%s', CASE t.oid WHEN inhrelid THEN inhparent ELSE inhrelid END::regclass)
  FROM t JOIN pg_inherits ON t.oid IN (inhrelid, inhparent)
UNION ALL SELECT format('unique index %%s', indexrelid::regclass) FROM t JOIN pg_index i ON i.indrelid = t.oid
  WHERE i.indisunique AND (SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute
                           WHERE attrelid = t.oid AND attnum = ANY (i.indkey::int2[])) IS DISTINCT FROM %(key)s::text[]
UNION ALL SELECT format('column %%I, which is not copied', attname) FROM t JOIN pg_attribute a ON a.attrelid = t.oid
  WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attname <> ALL (%(columns)s::text[])
ORDER BY 1"""

_LIVE: Final = "SELECT partition, next_offset FROM trueup.progress WHERE topic = %s ORDER BY partition FOR UPDATE"

_MISSING: Final = """
SELECT count(*), min(s.reason) FROM trueup.dead_letters s
WHERE s.target = %s AND s.superseded_at IS NULL
  AND NOT EXISTS (SELECT FROM trueup.dead_letters l
                  WHERE l.target = %s AND l.superseded_at IS NULL AND l.key = s.key)"""

OnHeld = Callable[[dict[int, int | None]], Awaitable[None]]


async def look_at_old(connection: Connection, rebuild: Rebuild) -> sql.OldTable:
    """What people did to the old table. Raises UnsafeChange for what would be lost with it."""
    name = table_name(rebuild.old)
    try:
        owners = await _rows(connection, _OWNER, (name,))
        owner, primary_key = owners[0] if owners else (None, None)
        columns = [*(column.name for column in rebuild.old.columns), VERSION_COLUMN]
        facts = {"table": name, "key": sorted(rebuild.old.key), "columns": columns}
        old = sql.OldTable(
            owner=owner,
            primary_key=primary_key,
            grants=tuple(sql.Grant(*row) for row in await _rows(connection, _GRANTS, (name,))),
            indexes=tuple(
                sql.Index(index, definition.removeprefix(head), tuple(sorted(on)))
                for index, head, definition, on in await _rows(connection, _INDEXES, (name,))
            ),
            obstacles=tuple(row[0] for row in await _rows(connection, _OBSTACLES, facts)),
        )
        if rebuild.old.target != rebuild.new.target and await _value(
            connection, "SELECT to_regclass(%s) IS NOT NULL", table_name(rebuild.new)
        ):
            raise UnsafeChange(
                f'table "{rebuild.new.target}" at replica "{rebuild.new.replica}" exists already and is no copy',
                detail=f'copy "{rebuild.old.target}" would take its name',
                hint="rename or drop it, or register the copy under another name",
            )
    except psycopg.Error as error:
        raise translate(error, rebuild.new.replica, "catalog") from error
    if old.obstacles:
        raise UnsafeChange(
            f'copy "{rebuild.old.target}" at replica "{rebuild.old.replica}" cannot be replaced',
            detail=f"would be lost with the old table: {'; '.join(old.obstacles)}",
            hint="drop that, run trueup apply --rebuild, then make it again on the new table",
        )
    return old


async def plan_shadow(connection: Connection, rebuild: Rebuild, old: sql.OldTable, writer_role: str) -> list[str]:
    """The statements that lead to the shadow; none when a run before this one made it, with all its progress."""
    found = await find_shadow(connection, rebuild.shadow)
    if found == rebuild.shadow:
        return []
    left_over = [] if found is None else sql.forget_shadow(found)
    return [*left_over, *sql.make_shadow(rebuild, old, writer_role)]


async def find_shadow(connection: Connection, shadow: CopyPlan) -> CopyPlan | None:
    """The shadow that is there, perhaps of another registration."""
    recorded = await _value(connection, "SELECT plan::text FROM trueup.copies WHERE target = %s", shadow.target)
    return None if recorded is None else msgspec.json.decode(recorded, type=CopyPlan)


async def swap(connection: Connection, rebuild: Rebuild, catch_up: OnHeld) -> None:
    """Put the shadow in the place of the old table, in one transaction.

    :param catch_up: told how far each partition of the old table is while nobody may write it; brings the shadow there,
        over connections of its own. Readers never see the copy go back.
    """
    try:
        async with connection.transaction():
            for statement in _SWAP_SESSION:
                await connection.execute(statement.encode())
            held = dict(await _rows(connection, _LIVE, (rebuild.new.truth_topic,)))
            if await find_shadow(connection, rebuild.shadow) != rebuild.shadow:
                raise Refused(
                    f'the rebuild of copy "{rebuild.new.target}" was ended by another run',
                    hint="see where it stands: trueup apply --dry-run",
                )
            await catch_up(held)
            await _refuse_missing_rows(connection, rebuild)
            old = await look_at_old(connection, rebuild)
            for statement in sql.swap(rebuild, old):
                await connection.execute(statement.encode())
    except psycopg.Error as error:
        raise translate(error, rebuild.new.replica, rebuild.new.target) from error


async def _refuse_missing_rows(connection: Connection, rebuild: Rebuild) -> None:
    """A row that the old table can show and the new one cannot would be lost by the swap: its cast fails, or it is
    older than a column that is copied now."""
    ((count, reason),) = await _rows(connection, _MISSING, (rebuild.shadow.target, rebuild.old.target))
    if count:
        raise Refused(
            f'copy "{rebuild.new.target}" at replica "{rebuild.new.replica}" stays: {count} rows would be missing',
            detail=f"such as: {reason}; the old table stays as it is",
            hint=f'see them: trueup deadletters list, under "{rebuild.shadow.target}"; correct the registration, or the'
            " rows at their owner, then run trueup apply --rebuild again",
        )


def refusal(rebuilds: Sequence[Rebuild]) -> UnsafeChange:
    """The refusal of an apply without --rebuild: every copy, and what would change."""
    changes = [f'"{r.old.target}" of table "{r.new.table}" at replica "{r.new.replica}": ' for r in rebuilds]
    lines = [copy + "; ".join(r.changes) for copy, r in zip(changes, rebuilds, strict=True)]
    copies = "a copy" if len(rebuilds) == 1 else f"{len(rebuilds)} copies"
    return UnsafeChange(
        f"the content of {copies} would change, and rows already written would stay as they are",
        detail="\n    ".join(lines),
        hint="fill it anew beside the old one and swap the two: trueup apply --rebuild",
    )


async def _rows(connection: Connection, query: str, parameters: Any) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query.encode(), parameters)).fetchall()


async def _value(connection: Connection, query: str, *parameters: Any) -> Any:
    rows = await _rows(connection, query, parameters)
    return rows[0][0] if rows else None
