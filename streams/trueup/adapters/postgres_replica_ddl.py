"""Provisioning of a replica: compares plans with the catalog, answers with the statements that are missing.

What would touch data nobody allowed to be touched is refused, with the statement shown. Texts are in `postgres_ddl`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import psycopg

from trueup.adapters import postgres_ddl as ddl
from trueup.adapters.postgres_errors import translate
from trueup.adapters.postgres_merge import Connection
from trueup.adapters.postgres_rebuild import find_shadow, refusal
from trueup.adapters.postgres_rebuild_sql import forget_shadow, record_again
from trueup.adapters.postgres_replica import find_recorded
from trueup.adapters.postgres_sql import INSTANCE, quoted, table_name
from trueup.model.errors import Refused, UnsafeChange
from trueup.model.rebuild import Rebuild, added_columns, shadow_of
from trueup.model.write import VERSION_COLUMN, CopyPlan, TargetColumn

_WRITABLE: Final = ("progress", "deleted_keys", "dead_letters", "flags", "proofs", "proof_passes", "repairs")
_READABLE: Final = ("copies",)

_COLUMNS: Final = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped"""

_HIDES_ROWS: Final = """
SELECT c.relrowsecurity AND NOT r.rolbypassrls AND NOT r.rolsuper FROM pg_catalog.pg_class c, pg_catalog.pg_roles r
WHERE c.oid = to_regclass(%s) AND r.rolname = %s"""

_ALWAYS_IDENTITY: Final = """
SELECT a.attname FROM pg_catalog.pg_attribute a
WHERE a.attrelid = to_regclass(%s) AND a.attidentity = 'a' AND NOT a.attisdropped
ORDER BY a.attnum"""

_UNIQUE_KEYS: Final = """
SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
      AND i.indexprs IS NULL AND i.indnkeyatts = i.indnatts
GROUP BY i.indexrelid"""


async def plan_replica(
    connection: Connection,
    plans: Sequence[CopyPlan],
    writer_role: str,
    *,
    adopt: bool = False,
    rebuilds: Sequence[Rebuild] = (),
    added: Mapping[str, Collection[str]] | None = None,
) -> list[str]:
    """The statements that bring a replica to the registration, in order; empty when it is there already.

    Raises UnsafeChange for a table that exists and is no copy, unless `adopt`, and for a copy whose content changed,
    unless it is among the rebuilds.

    :param rebuilds: of `find_rebuilds`; these copies stay as they are until they are swapped.
    :param added: by table, columns of the source that no truth record has yet: a copy gets them by ALTER.
    """
    kept = {rebuild.new.table for rebuild in rebuilds}
    try:
        statements = await _plan_own_schema(connection, writer_role)
        schemas: set[str] = set()
        if any(plan.writer for plan in plans):
            statements += await _plan_writer(connection, plans[0].replica, writer_role)
        for plan in plans:
            statements += await _plan_schema(connection, plan.target_schema, writer_role, schemas)
            if plan.writer:
                statements += await _plan_users_table(connection, plan, writer_role)
                statements += await _plan_grant(connection, table_name(plan), writer_role)
            elif plan.table not in kept:
                fresh = (added or {}).get(plan.table, ())
                statements += await _plan_copy(connection, plan, adopt=adopt, added=fresh)
                statements += await _plan_grant(connection, table_name(plan), writer_role)
    except psycopg.Error as error:
        raise translate(error, plans[0].replica if plans else "", "catalog") from error
    return statements


async def find_rebuilds(
    connection: Connection, plans: Sequence[CopyPlan], added: Mapping[str, Collection[str]] | None = None
) -> list[Rebuild]:
    """Copies whose rows would look different if they were made now, and copies whose table is gone.

    :param added: as in `plan_replica`; such columns are no reason.
    """
    found = []
    try:
        if await _exists(connection, "trueup.copies"):
            for plan in plans:
                if plan.writer:
                    continue  # the users' table: nothing to fill
                if (old := await find_recorded(connection, plan)) is not None:
                    rebuild = Rebuild(old=old, new=plan, gone=not await _exists(connection, table_name(old)))
                    altered = not rebuild.gone and added_columns(old, plan, (added or {}).get(plan.table, ()))
                    found += [rebuild] if rebuild.changes and not altered else []
    except psycopg.Error as error:
        raise translate(error, plans[0].replica, "catalog") from error
    return found


async def instance_of(connection: Connection, replica: str) -> str:
    """Which database this is (`postgres_sql.INSTANCE`)."""
    try:
        return str(await _one(connection, f"SELECT {INSTANCE}"))
    except psycopg.Error as error:
        raise translate(error, replica, "catalog") from error


async def refuse_other_database(connection: Connection, replica: str, instance: str) -> None:
    """A writer and the replica of its name must be one database. Raises Refused.

    :param instance: of the system (`postgres_sql.INSTANCE`).
    """
    if await instance_of(connection, replica) != instance:
        raise Refused(
            f'replica "{replica}" is not the database of system "{replica}"',
            detail="several systems write a table, and what the others do must get into the writer's own",
            hint=f"correct dsn and ddl_dsn in connectors/replicas/{replica}.yaml",
        )


async def execute(connection: Connection, statements: Sequence[str], *, replica: str) -> None:
    """Carry out all statements or none."""
    try:
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement.encode())
    except psycopg.Error as error:
        raise translate(error, replica, "trueup apply") from error


async def _plan_own_schema(connection: Connection, role: str) -> list[str]:
    statements: list[str] = []
    if not await _one(connection, "SELECT to_regnamespace('trueup') IS NOT NULL"):
        statements.append(ddl.SCHEMA)
    for table, definitions in ddl.TABLES.items():
        if not await _exists(connection, f"trueup.{table}"):
            statements += definitions
        elif table == "progress":
            columns = await (await connection.execute(_COLUMNS, ("trueup.progress",))).fetchall()
            there = {name for name, _, _ in columns}
            statements += [ddl.add_progress_column(name) for name in ddl.PROGRESS_COLUMNS if name not in there]
    if await _lacks_schema_usage(connection, "trueup", role):
        statements.append(ddl.grant_usage("trueup", role))
    for table in _WRITABLE:
        statements += await _plan_grant(connection, f"trueup.{table}", role)
    for table in _READABLE:
        if await _lacks(connection, f"trueup.{table}", role, ("SELECT",)):
            statements.append(ddl.grant_reads(f"trueup.{table}", role))
    return statements


async def _plan_writer(connection: Connection, replica: str, role: str) -> list[str]:
    """Raises Refused naming what only a superuser can give."""
    function = "SELECT has_function_privilege(%s, %s, 'EXECUTE')"
    parameter = "SELECT has_parameter_privilege(%s, %s, 'SET')"
    missing = [
        f"{grant} TO {quoted(role)}"
        for right, grant in ddl.WRITER_RIGHTS.items()
        if not await _one(connection, function if right.endswith(")") else parameter, role, right)
    ]
    if missing and not await _one(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        raise Refused(
            f'role "{role}" at replica "{replica}" may not write the table of one of several writers',
            detail="without a replication origin what it writes would be captured again",
            hint=f"as a superuser, in this database: {'; '.join(missing)}",
        )
    made = [] if await _exists(connection, "trueup.row_versions") else [ddl.ROW_VERSIONS]
    return [*missing, *made, *await _plan_grant(connection, "trueup.row_versions", role)]


async def _plan_users_table(connection: Connection, plan: CopyPlan, role: str) -> list[str]:
    """The table is there: it is captured. Only what it is written as is noted. Raises Refused where rows are hidden, or
    cannot be made as they are at the others."""
    if await _one(connection, _HIDES_ROWS, table_name(plan), role):
        raise Refused(
            f'table "{plan.target}" of writer "{plan.replica}" has row level security',
            detail=f'it may hide rows from "{role}", which writes there what the others do',
            hint=f"ALTER ROLE {quoted(role)} BYPASSRLS",
        )
    await _refuse_always_identity(connection, plan)
    recorded = await find_recorded(connection, plan) if await _exists(connection, "trueup.copies") else None
    if recorded is None:
        return [ddl.record_copy(plan)]
    return [] if recorded == plan else record_again(recorded, plan)


async def _refuse_always_identity(connection: Connection, plan: CopyPlan) -> None:
    """An INSERT can override GENERATED ALWAYS AS IDENTITY, an UPDATE cannot: SQLSTATE 428C9, at every record. A key is
    never updated."""
    found = await (await connection.execute(_ALWAYS_IDENTITY, (table_name(plan),))).fetchall()
    written = {column.name for column in plan.columns} - set(plan.key)
    columns = [name for (name,) in found if name in written]
    if columns:
        changes = ", ".join(f"ALTER COLUMN {quoted(name)} SET GENERATED BY DEFAULT" for name in columns)
        raise Refused(
            f'column {", ".join(columns)} of table "{plan.target}" of writer "{plan.replica}" is an identity'
            " that nobody may set",
            detail="GENERATED ALWAYS: what the others make of it could not be written there",
            hint=f"ALTER TABLE {table_name(plan)} {changes}",
        )


async def _plan_schema(connection: Connection, schema: str, role: str, planned: set[str]) -> list[str]:
    if schema in planned:
        return []
    planned.add(schema)
    statements = []
    if not await _one(connection, "SELECT to_regnamespace(%s) IS NOT NULL", quoted(schema)):
        statements.append(ddl.create_schema(schema))
    if await _lacks_schema_usage(connection, schema, role):
        statements.append(ddl.grant_usage(schema, role))
    return statements


async def _plan_copy(connection: Connection, plan: CopyPlan, *, adopt: bool, added: Collection[str]) -> list[str]:
    recorded = shadow = None
    if await _exists(connection, "trueup.copies"):
        recorded = await find_recorded(connection, plan)
        shadow = await find_shadow(connection, shadow_of(plan))
    left_over = [] if shadow is None else forget_shadow(shadow)  # the change it was for was taken back
    if recorded is None:
        if not await _exists(connection, table_name(plan)):
            return [*left_over, ddl.create_copy(plan), ddl.record_copy(plan)]
        await _check_adoptable(connection, plan, adopt=adopt)
        return [*left_over, ddl.adopt_copy(plan), ddl.record_copy(plan)]
    if columns := added_columns(recorded, plan, added):
        await _check_free(connection, plan, columns)
        return [*left_over, ddl.add_columns(plan, columns), *record_again(recorded, plan)]
    rebuild = Rebuild(old=recorded, new=plan)
    if rebuild.changes:
        raise refusal([rebuild])
    return left_over if recorded == plan else [*left_over, *record_again(recorded, plan)]


async def _check_free(connection: Connection, plan: CopyPlan, columns: Sequence[TargetColumn]) -> None:
    """A column somebody made at the copy by hand is theirs, and may hold values."""
    cursor = await connection.execute(_COLUMNS, (table_name(plan),))
    there = {name for name, _, _ in await cursor.fetchall()}
    if taken := [column.name for column in columns if column.name in there]:
        raise UnsafeChange(
            f'copy "{plan.target}" at replica "{plan.replica}" has a column of its own where the source added one',
            detail=f"column {', '.join(taken)}",
            hint="rename or drop it there; or list the columns of the copy, and give the new one another name",
        )


async def _check_adoptable(connection: Connection, plan: CopyPlan, *, adopt: bool) -> None:
    """An existing table can become a copy if the writes of a batch can reach its columns and its key."""
    name = f'table "{plan.target}" at replica "{plan.replica}"'
    if not adopt:
        raise UnsafeChange(
            f"{name} exists already and is no copy",
            detail=f"to become one it needs: {ddl.adopt_copy(plan)};",
            hint="allow that with trueup apply --adopt, or register the copy under another name",
        )
    cursor = await connection.execute(_COLUMNS, (table_name(plan),))
    columns = {column: (pg_type, required) for column, pg_type, required in await cursor.fetchall()}
    copied = {column.name: column.target_type for column in plan.columns}
    problems = [f'column "{column}" is missing' for column in copied if column not in columns]
    problems += [
        f'column "{column}" is {columns[column][0]} and would have to be {pg_type}'
        for column, pg_type in copied.items()
        if column in columns and columns[column][0] != pg_type
    ]
    problems += [
        f'column "{column}" needs a value and is not copied'
        for column, (_, required) in columns.items()
        if required and column not in copied
    ]
    if VERSION_COLUMN in columns:
        problems.append(f'column "{VERSION_COLUMN}" exists already')
    cursor = await connection.execute(_UNIQUE_KEYS, (table_name(plan),))
    unique_keys = [row[0] for row in await cursor.fetchall()]
    if sorted(plan.key) not in unique_keys:
        problems.append(f"there is no unique index on exactly its key: {', '.join(plan.key)}")
    # Rows arrive per key, not per source transaction: two rows may hold each other's values for a moment.
    problems += [
        f"a second unique index on {', '.join(key)} could refuse rows" for key in unique_keys if key != sorted(plan.key)
    ]
    if problems:
        raise UnsafeChange(f"{name} cannot become a copy", detail="; ".join(problems), hint="alter it first")


async def _plan_grant(connection: Connection, table: str, role: str) -> list[str]:
    rights = ("SELECT", "INSERT", "UPDATE", "DELETE")
    return [ddl.grant_writes(table, role)] if await _lacks(connection, table, role, rights) else []


async def _lacks(connection: Connection, table: str, role: str, rights: tuple[str, ...]) -> bool:
    if not await _exists(connection, table):
        return not await _is_self(connection, role)
    checks = " AND ".join("has_table_privilege(%s, to_regclass(%s), %s)" for _ in rights)
    parameters = [value for right in rights for value in (role, table, right)]
    return not await _one(connection, f"SELECT {checks}", *parameters)


async def _lacks_schema_usage(connection: Connection, schema: str, role: str) -> bool:
    if not await _one(connection, "SELECT to_regnamespace(%s) IS NOT NULL", quoted(schema)):
        return not await _is_self(connection, role)
    return not await _one(
        connection, "SELECT has_schema_privilege(%s, to_regnamespace(%s), 'USAGE')", role, quoted(schema)
    )


async def _is_self(connection: Connection, role: str) -> bool:
    return bool(await _one(connection, "SELECT current_user = %s", role))


async def _exists(connection: Connection, table: str) -> bool:
    return bool(await _one(connection, "SELECT to_regclass(%s) IS NOT NULL", table))


async def _one(connection: Connection, statement: str, *parameters: Any) -> Any:
    """The first column of the first row; None without rows."""
    row = await (await connection.execute(statement.encode(), parameters)).fetchone()
    return None if row is None else row[0]
