"""For readers of copies: how fresh is this copy, and a refusal to go on when it is too old.

    import psycopg
    from trueup import freshness

    with psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with connection.transaction():
            freshness.require(connection, "stock", within="5s")      # raises CopyTooOld
            row = connection.execute("SELECT on_hand FROM stock WHERE sku = %s", [sku]).fetchone()

In a REPEATABLE READ transaction both statements see one snapshot: the row is what the owner had at `as_of`, or newer.
In READ COMMITTED ask first, then read: the row is at least as new as what was asked.

What a copy is as of is the owner's time of a commit: every change that was committed before is in the copy, those of
held and dead-lettered keys aside. It rises while the table rests, and stands still when anything on the way does.
It is compared with the replica's clock, so the two servers' clocks should agree better than the window is wide.
Whoever reads without Python asks the view: SELECT as_of, fresh FROM trueup.freshness WHERE table_name = 'stock'.
"""

from __future__ import annotations

import datetime
from typing import Any, Final

import msgspec
import psycopg
from psycopg.rows import tuple_row

from trueup.model.errors import CopyTooOld, Refused
from trueup.model.registration import duration_ms

_ROWS: Final = """
SELECT table_name, target, as_of, extract(epoch FROM clock_timestamp() - as_of)::float8,
       (as_of_position - '0/0'::pg_lsn)::bigint, as_of_epoch, extract(epoch FROM within)::float8, fresh,
       held_keys, dead_lettered_keys::bigint
FROM trueup.freshness"""
_ROW: Final = _ROWS + " WHERE %s IN (table_name, target)"
_NOT_THERE: Final = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.InvalidName)

Within = str | datetime.timedelta


class Freshness(msgspec.Struct, frozen=True):
    """What is known of a copy.

    :param table: as registered; `target` is schema.table at this replica.
    :param as_of: the owner's time; None before the first filling is complete, and for a moment after a TRUNCATE, until
        all partitions carried it out. Of several writers, the time of the one that is known least far.
    :param age_s: seconds from `as_of` to the moment of the question, by the replica's clock.
    :param as_of_position: in the owner's log, within the epoch: every commit that ended below is in the copy. None of
        a table of several writers: each has a log of its own.
    :param within_s: the registered window; `fresh` says whether it is kept. None when no window is registered.
    :param held_keys: keys that wait for the decision of a case: the copy shows what they were before.
    :param dead_lettered_keys: keys whose newest change could not be used.
    """

    table: str
    target: str
    as_of: datetime.datetime | None
    age_s: float | None
    as_of_position: int | None
    as_of_epoch: int | None
    within_s: float | None
    fresh: bool | None
    held_keys: int
    dead_lettered_keys: int


def look(connection: psycopg.Connection[Any], table: str) -> Freshness:
    """How fresh a copy is.

    :param table: the registered name, or schema.table at this replica.
    :raises Refused: there is no such copy.
    """
    try:
        with connection.cursor(row_factory=tuple_row) as cursor:
            return _found(cursor.execute(_ROW, (table,)).fetchone(), table)
    except _NOT_THERE as exc:
        raise _unknown(table) from exc


def look_at_all(connection: psycopg.Connection[Any]) -> list[Freshness]:
    """Every copy at a replica. Raises what psycopg raises."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        return [Freshness(*row) for row in cursor.execute(_ROWS).fetchall()]


def require(connection: psycopg.Connection[Any], table: str, *, within: Within | None = None) -> Freshness:
    """How fresh a copy is, if it is fresh enough to act on.

    :param within: the greatest age, such as "5s" or a timedelta; by default the registered window.
    :raises CopyTooOld: it is older, or its age is not known; says as of when it is, and what to do.
    :raises Refused: there is no such copy, or neither `within` nor a window.
    """
    return _judged(look(connection, table), within)


async def look_async(connection: psycopg.AsyncConnection[Any], table: str) -> Freshness:
    """`look` on an asynchronous connection."""
    try:
        async with connection.cursor(row_factory=tuple_row) as cursor:
            return _found(await (await cursor.execute(_ROW, (table,))).fetchone(), table)
    except _NOT_THERE as exc:
        raise _unknown(table) from exc


async def require_async(
    connection: psycopg.AsyncConnection[Any], table: str, *, within: Within | None = None
) -> Freshness:
    """`require` on an asynchronous connection."""
    return _judged(await look_async(connection, table), within)


def _found(row: tuple[Any, ...] | None, table: str) -> Freshness:
    if row is None:
        raise _unknown(table)
    return Freshness(*row)


def _unknown(table: str) -> Refused:
    return Refused(
        f'there is no copy of table "{table}" here',
        detail="trueup.freshness does not know it",
        hint="see what is copied where: trueup authority; then register the copy, and run trueup apply",
    )


def _judged(found: Freshness, within: Within | None) -> Freshness:
    allowed_s = found.within_s if within is None else _seconds(within)
    if allowed_s is None:
        raise Refused(
            f'no window is registered for table "{found.table}"',
            hint='say how old it may be: require(connection, table, within="5s")',
        )
    if found.age_s is not None and found.age_s <= allowed_s:
        return found
    if found.as_of is None:
        primary = f'it is not known how old copy "{found.target}" of table "{found.table}" is'
        detail = f"its first filling or a truncate is not complete; at most {allowed_s:g} s are allowed"
    else:
        primary = f'copy "{found.target}" of table "{found.table}" is {found.age_s:.1f} s old'
        detail = f"it is as of {found.as_of.isoformat()}; at most {allowed_s:g} s are allowed"
    raise CopyTooOld(
        primary,
        detail=detail,
        hint="do not act on it: wait and ask again, or ask the owner of the table; why it is old: trueup status",
    )


def _seconds(within: Within) -> float:
    return within.total_seconds() if isinstance(within, datetime.timedelta) else duration_ms(within) / 1000


__all__ = ["CopyTooOld", "Freshness", "look", "look_async", "look_at_all", "require", "require_async"]
