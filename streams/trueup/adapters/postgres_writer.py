"""Writing into a users' table, at one of several writers of it: SQL and merge, inside `postgres_replica`'s transaction.

Differences to a copy of our own (`postgres_merge`):

- **No echo.** The session has a replication origin, and the connector leaves out what has one. The table's triggers and
  foreign keys do not act on rows they acted on where the change was made (session_replication_role).
- **No column of ours.** Versions are in `trueup.row_versions`, those of deleted keys included, with the position of the
  log at which a row was last written from here.
- **A change made here is here already.** Its record brings only its version, unless we wrote the row after it was
  made: then that write is undone. Log positions tell: a change that waited for our transaction stands behind our
  position in the log, and one that we waited for stands in front of it.
- **A newer change made here is not overwritten** while it is on its way, where a version column tells that it is newer.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

import msgspec
from psycopg import errors

from trueup.adapters.postgres_arrays import binary_array
from trueup.adapters.postgres_merge import Connection, Merge, arrays_of, key_indexes_of, run
from trueup.adapters.postgres_sql import bindable, literal, named, same_key, staged_value, table_name, unnested
from trueup.model.decision import Outcome
from trueup.model.errors import BrokenInvariant
from trueup.model.version import rank_in
from trueup.model.write import CopyPlan, Counts, Write

_ORIGINS: Final = tuple(f"trueup_{number}" for number in range(1, 9))
"""One session each; a server tracks 10 at a time by default (max_active_replication_origins)."""

_SETUP: Final = "SELECT pg_catalog.pg_replication_origin_session_setup(%s)"
_CREATE: Final = "SELECT pg_catalog.pg_replication_origin_create(%s)"
# For this transaction only: triggers of other copies at the same replica are somebody's.
_REPLAY: Final = "SET LOCAL session_replication_role = replica"
_POSITION: Final = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text"


async def as_writer(connection: Connection) -> None:
    """Give a session an origin that no other session has. Raises psycopg.Error: ObjectInUse when all are taken."""
    taken: errors.ObjectInUse | None = None
    for origin in _ORIGINS:
        try:
            try:
                await connection.execute(_SETUP, (origin,))
            except errors.UndefinedObject:
                await connection.execute(_CREATE, (origin,))
                await connection.execute(_SETUP, (origin,))
        except errors.ObjectInUse as error:
            taken = error
        except (errors.UniqueViolation, errors.DuplicateObject):
            continue  # another session makes it at this moment, for itself
        else:
            return
    raise taken or BrokenInvariant("no replication origin could be made", detail=", ".join(_ORIGINS))


class WriterStatements(msgspec.Struct, frozen=True):
    """The statements of a users' table. Parameters are arrays, a value per write.

    :param find: key; gives key, version and log position of what was written before.
    :param lock: key, version, rank, key columns; locks the rows there are and gives the keys of newer ones.
    :param upsert: key, version, every column.
    :param delete: key, version, key columns.
    :param remember: key, version, log position where the row was written now.
    :param set_flags: key, version, flags as text of an array.
    """

    find: str
    lock: str
    upsert: str
    delete: str
    remember: str
    set_flags: str


@functools.lru_cache(maxsize=1024)
def writer_statements(plan: CopyPlan) -> WriterStatements:
    """Compile the statements of a users' table. Raises ValueError for a name or a type that cannot be written."""
    target = bindable(literal(plan.target))
    table = bindable(table_name(plan))
    same = same_key(plan)
    return WriterStatements(
        find="SELECT v.key, v.version, (v.written_at - '0/0'::pg_lsn)::bigint FROM unnest(%b::bytea[]) AS s (key)"
        f" JOIN trueup.row_versions v ON v.target = {target} AND v.key = s.key",
        lock=f"SELECT s.key, {_is_newer(plan)} FROM {unnested(plan.key_columns, 'rank')}"
        f" JOIN {table} t ON {same} ORDER BY s.key FOR UPDATE OF t",
        upsert=_upsert(plan),
        delete=f"DELETE FROM {table} t USING {unnested(plan.key_columns)} WHERE {same}",
        remember="INSERT INTO trueup.row_versions AS v (target, key, version, written_at)"
        f" SELECT {target}, s.key, s.version, s.written_at::pg_lsn FROM {unnested((), 'written_at')} ORDER BY s.key"
        " ON CONFLICT (target, key) DO UPDATE SET version = excluded.version,"
        " written_at = coalesce(excluded.written_at, v.written_at)",
        set_flags="INSERT INTO trueup.flags AS f (target, key, version, flags)"
        f" SELECT {target}, s.key, s.version, s.flags::text[] FROM {unnested((), 'flags')} ORDER BY s.key"
        " ON CONFLICT (target, key) DO UPDATE SET version = excluded.version, flags = excluded.flags,"
        " flagged_at = excluded.flagged_at",
    )


def _upsert(plan: CopyPlan) -> str:
    names = ", ".join(named(column.name) for column in plan.columns)
    values = ", ".join(staged_value(index, column) for index, column in enumerate(plan.columns))
    rest = [named(column.name) for column in plan.columns if column.name not in plan.key]
    action = "NOTHING"
    if rest:
        # As text, since json has no equality. What is the same already is left alone: no new row, nothing in the log.
        there = ", ".join(f"t.{name}::text" for name in rest)
        new = ", ".join(f"excluded.{name}::text" for name in rest)
        assigned = ", ".join(f"{name} = excluded.{name}" for name in rest)
        action = f"UPDATE SET {assigned} WHERE ROW({there}) IS DISTINCT FROM ROW({new})"
    return (
        f"INSERT INTO {bindable(table_name(plan))} AS t ({names}) OVERRIDING SYSTEM VALUE"
        f" SELECT {values} FROM {unnested(plan.columns)}"
        f" ON CONFLICT ({', '.join(named(name) for name in plan.key)}) DO {action}"
    )


def _is_newer(plan: CopyPlan) -> str:
    """Whether the row there is newer than a write, by the rank in the write's version: that of a sequential change is
    not below the rank of what it was made upon, however its writer's clock goes."""
    if plan.rank_column is None:
        return "false"
    column = next(column for column in plan.columns if column.name == plan.rank_column)
    rank = "s.rank::bigint"
    if column.target_type.startswith("timestamp"):
        kind = "timestamp" if column.target_type.endswith("without time zone") else "timestamptz"
        rank = f"{kind} 'epoch' + {rank} * interval '1 microsecond'"
    return f"t.{named(column.name)} > {rank}"


async def merge_at_writer(connection: Connection, how: Merge, writes: Sequence[Write]) -> Counts:
    """Merge the writes of a part of a batch, in the savepoint of the caller (`postgres_merge.merge`)."""
    statements = writer_statements(how.plan)
    keys = [binary_array("bytea", [write.key for write in writes])]
    rows = await (await connection.execute(statements.find.encode(), keys, prepare=False)).fetchall()
    held: dict[bytes, tuple[bytes, int | None]] = {key: (version, position) for key, version, position in rows}
    news = [write for write in writes if write.key not in held or held[write.key][0] < write.version]
    duplicate = sum(1 for write in writes if write.key in held and held[write.key][0] == write.version)
    counts = {
        Outcome.APPLIED: len(news),
        Outcome.DUPLICATE: duplicate,
        Outcome.STALE: len(writes) - len(news) - duplicate,
    }
    if not news:
        return counts
    await connection.execute(_REPLAY)
    wanted = [write for write in news if concerns_row(write, held.get(write.key, (b"", None))[1])]
    written = await _write_rows(connection, how.plan, statements, wanted)
    position = await _position(connection) if written else None
    positions = [position if write.key in written else None for write in news]
    await run(connection, statements.remember, [*arrays_of(how.plan, news, ()), binary_array("text", positions)])
    if how.present.dead_letters:
        await run(connection, how.statements.supersede, arrays_of(how.plan, news, ()))
    if how.present.flags:
        await run(connection, how.statements.forget_flags, arrays_of(how.plan, news, ()))
    if flagged := [write for write in news if write.flags]:
        flags = binary_array("text[]", [write.flags for write in flagged])
        await run(connection, statements.set_flags, [*arrays_of(how.plan, flagged, ()), flags])
    return counts


def concerns_row(write: Write, written_at: int | None) -> bool:
    """Whether the row has to be written: of a change made here only where we wrote the row since."""
    if not write.own:
        return True
    return written_at is not None and write.position < written_at


async def _write_rows(
    connection: Connection, plan: CopyPlan, statements: WriterStatements, wanted: Sequence[Write]
) -> set[bytes]:
    """Writes the rows but those that are newer here. Returns the keys that are as their writes say now."""
    if not wanted:
        return set()
    indexes = key_indexes_of(plan)
    key, version, *key_columns = arrays_of(plan, wanted, indexes)
    ranks = binary_array("text", [str(rank_in(write.version)) for write in wanted])
    parameters = [key, version, ranks, *key_columns]
    found = await (await connection.execute(statements.lock.encode(), parameters, prepare=False)).fetchall()
    newer = {key for key, is_newer in found if is_newer}
    written = [write for write in wanted if write.key not in newer]
    if upserts := [write for write in written if not write.deleted]:
        await run(connection, statements.upsert, arrays_of(plan, upserts, range(len(plan.columns))))
    if deletes := [write for write in written if write.deleted]:
        await run(connection, statements.delete, arrays_of(plan, deletes, indexes))
    return {write.key for write in written}


async def _position(connection: Connection) -> str:
    """Behind what this transaction wrote: rows it locked cannot change before it ends."""
    row = await (await connection.execute(_POSITION)).fetchone()
    if row is None:
        raise BrokenInvariant("the server does not say where its log ends")
    return str(row[0])
