"""A replica that is PostgreSQL: claims partitions, applies batches. The SQL is in `postgres_sql`, the merge in
`postgres_merge`, tables are made by `postgres_replica_ddl`.

One object is one connection, opened when needed; batches on it take turns. Give tables objects of their own where they
should not wait for each other.

Sessions commit with synchronous_commit=off: rows and progress are lost together or not at all, and a server that lost
them has dropped the connection too, so ClaimLost makes the caller claim again and read from the progress that
survived. A claim itself commits synchronously: a token that was lost could be given out twice.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
import psycopg
from psycopg.pq import TransactionStatus

from trueup.adapters import postgres_sql as sql
from trueup.adapters.postgres_arrays import register_arrays
from trueup.adapters.postgres_connect import dsn_parts
from trueup.adapters.postgres_errors import Meaning, describe, meaning_of, translate
from trueup.adapters.postgres_merge import Connection, Merge, Merged, Present, merge
from trueup.adapters.postgres_writer import as_writer, merge_at_writer
from trueup.model.errors import BrokenInvariant, DeadLetterCapReached, Fenced, Refused, Stop, TrueUpError, Unreachable
from trueup.model.rebuild import SHADOW_PREFIX, SHADOW_SCHEMA
from trueup.model.write import (
    REPLICA_OUTCOMES,
    BatchResult,
    Claim,
    ClaimLost,
    CopyPlan,
    CopyReplaced,
    Refusal,
    ReplicaBatch,
)

_CONNECT_TIMEOUT_S: Final = 5  # a server that is up answers in milliseconds; the caller tries again

_READ_ONLY: Final = "25006"  # a session keeps what it began with: only a new one comes to who can be written now

# A revoked partition has 10 s to finish (design 7). A batch takes well under one; these bound what may hold it up.
_SESSION: Final = {
    "statement_timeout": "8s",
    "lock_timeout": "4s",
    "idle_in_transaction_session_timeout": "15s",  # a stopped process must not hold the progress row for long
    "synchronous_commit": "off",
    "search_path": "pg_catalog",
    "TimeZone": "UTC",
    "DateStyle": "ISO,YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "lc_monetary": "C",  # money travels as 1234.50
    "standard_conforming_strings": "on",
    "jit": "off",
}

_KEEPALIVE: Final[dict[str, Any]] = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # ms; for data sent and never acknowledged, which keepalives do not watch
}


class PostgresReplica:
    """One connection to a replica. Not for two event loops.

    :param name: as registered.
    :param dsn: of the writer role, which may change rows and nothing else.
    :param dead_letters_per_table_max: with more open dead letters of a copy its batches are refused.
    :param writes_users_tables: the replica is one of several writers of a table: its log must leave out what we write.
    """

    def __init__(
        self, name: str, dsn: str, *, dead_letters_per_table_max: int = 10_000, writes_users_tables: bool = False
    ) -> None:
        self.name = name
        self._dsn = dsn
        self._dead_letters_max = dead_letters_per_table_max
        self._writes_users_tables = writes_users_tables
        self._connection: Connection | None = None
        self._tokens: dict[tuple[str, int], int] = {}  # claims made on the present connection
        self._statements: dict[CopyPlan, sql.BatchStatements] = {}  # of the copies seen on it
        self._turn = asyncio.Lock()

    async def claim(self, topic: str, partition: int, topic_identity: str) -> Claim:
        """Become the one writer of a partition: a token higher than any before, committed before it is used."""
        async with self._turn:
            connection = await self._connected()
            try:
                async with connection.transaction():
                    await connection.execute("SET LOCAL synchronous_commit = on")
                    row = await (await connection.execute(sql.CLAIM, (topic, partition, topic_identity))).fetchone()
            except psycopg.Error as error:
                raise await self._failure(error, topic) from error
            except asyncio.CancelledError:
                await self._discard_unless_idle()
                raise
            if row is None:
                raise BrokenInvariant("a claim returned no row")
            token, next_offset, as_of_us, kept, *totals = row
            self._tokens[topic, partition] = token
            return Claim(token, next_offset, dict(zip(REPLICA_OUTCOMES, totals, strict=True)), as_of_us, kept)

    async def recorded(self, registered: CopyPlan) -> CopyPlan:
        """What the copy was made as. Raises Stop when it was never made."""
        async with self._turn:
            connection = await self._connected()
            try:
                found = await find_recorded(connection, registered)
            except psycopg.Error as error:
                raise await self._failure(error, registered.target) from error
            except asyncio.CancelledError:
                await self._discard_unless_idle()
                raise
            if found is None:
                raise self._never_made(registered)
            return found

    async def apply(self, batch: ReplicaBatch) -> BatchResult:
        """Apply a batch in one transaction.

        0. Lock the progress row and compare the token: a zombie stops here, before it touches data.
        1. Take one write per key, sorted by key: `core.reduce` has done it.
        2. Send the writes and merge them; rows that the replica refuses are set apart.
        3. Write dead letters and progress: the next offset, how each record ended, and what the copy is now as of.
        4. Commit.

        Raises ClaimLost when the connection of the claim is gone, CopyReplaced when the table was made anew since the
        claim, another TransientReplica when the same batch may be tried again as it is, Fenced, Stop, or
        BrokenInvariant.
        """
        async with self._turn:
            if self._tokens.get((batch.topic, batch.partition)) != batch.token or self._connection is None:
                raise ClaimLost(self.name, "08003", detail=f"the claim on {batch.topic} [{batch.partition}] is void")
            connection = self._connection
            try:
                statements = await self._prepared(connection, batch.plan)
                async with connection.transaction():
                    # 0.
                    present = await self._lock(connection, batch)
                    # 1. nothing left to do
                    # 2.
                    how = Merge(batch.plan, statements, present, self._dead_letters_max)
                    merged = await merge(connection, how, batch.writes, merge_at_writer if batch.plan.writer else None)
                    # 3.
                    result = _result(batch, merged)
                    if result.refused:
                        await self._write_dead_letters(connection, batch, result.refused)
                    await self._advance(connection, batch, result)
                    # 4. leaving the block
            except psycopg.Error as error:
                raise await self._failure(error, batch.plan.target) from error
            except asyncio.CancelledError:
                await self._discard_unless_idle()
                raise
            return result

    async def ping(self) -> None:
        """Ask the server whether it is there. Raises Unreachable.

        A connection that is gone is opened anew, so that it is no more looked at as if it lived; claims on it are void
        and made again by the next batch (ClaimLost). While a batch is on the connection there is nothing to ask: the
        batch will meet what there is to meet.
        """
        if self._turn.locked():
            return
        async with self._turn:
            connection = await self._connected()
            try:
                await connection.execute("SELECT 1")
            except psycopg.OperationalError:
                await self.close()
                await self._connected()
            except asyncio.CancelledError:
                await self._discard_unless_idle()
                raise

    async def hold(self, topic: str, partition: int, token: int) -> None:
        """A question that any living session answers. Raises as `apply` does.

        A server that crashed, and with it lost commits, has dropped the connection; whoever has nothing to write would
        not notice, and the copy would lack them until the next change.
        """
        async with self._turn:
            if self._tokens.get((topic, partition)) != token or self._connection is None:
                raise ClaimLost(self.name, "08003", detail=f"the claim on {topic} [{partition}] is void")
            try:
                await self._connection.execute(sql.HOLD)
            except psycopg.Error as error:
                raise await self._failure(error, topic) from error
            except asyncio.CancelledError:
                await self._discard_unless_idle()
                raise

    async def close(self) -> None:
        """Give the connection back. Claims made on it are void."""
        connection, self._connection = self._connection, None
        self._tokens.clear()
        self._statements.clear()
        if connection is not None:
            await connection.close()

    async def _connected(self) -> Connection:
        if self._connection is None:
            opened = await connect(self.name, self._dsn, application_name=f"trueup apply {self.name}")
            if self._writes_users_tables:
                await self._become_writer(opened)
            self._connection = opened
        return self._connection

    async def _become_writer(self, connection: Connection) -> None:
        try:
            await as_writer(connection)
        except BaseException as error:
            await connection.close()
            if isinstance(error, psycopg.Error):
                raise translate(error, self.name, "replication origin") from error
            raise

    async def _prepared(self, connection: Connection, plan: CopyPlan) -> sql.BatchStatements:
        """The statements of a copy, once it is known that its table was made as the plan says."""
        statements = self._statements.get(plan)
        if statements is not None:
            return statements
        found = await find_recorded(connection, plan)
        if found is None:
            raise self._never_made(plan)
        if found != plan:
            raise self._replaced(plan)
        statements = sql.batch_statements(plan)
        self._statements[plan] = statements
        return statements

    async def _lock(self, connection: Connection, batch: ReplicaBatch) -> Present:
        target = batch.plan.target
        parameters = (target, target, target, batch.topic, batch.partition)
        row = await (await connection.execute(sql.LOCK, parameters)).fetchone()
        place = f"{batch.topic} [{batch.partition}]"
        if row is None:
            raise Fenced(f'progress of "{place}" at replica "{self.name}" was removed while it was being written')
        token, next_offset, *present = row
        if token != batch.token:
            # Looked up only now: a swap has committed both, and this statement sees what it committed.
            if await find_recorded(connection, batch.plan) != batch.plan:
                raise self._replaced(batch.plan)
            raise Fenced(
                f'"{place}" at replica "{self.name}" has another writer',
                detail=f"token {batch.token} where {token} is current",
            )
        if next_offset is not None and next_offset != batch.start_offset:
            raise BrokenInvariant(
                f'a batch of "{place}" does not continue the progress of replica "{self.name}"',
                detail=f"it starts at {batch.start_offset} where {next_offset} is next",
            )
        return Present(*present)

    async def _write_dead_letters(
        self, connection: Connection, batch: ReplicaBatch, refused: tuple[Refusal, ...]
    ) -> None:
        target = batch.plan.target
        async with connection.cursor() as cursor:
            await cursor.executemany(
                sql.DEAD_LETTER,
                [
                    (
                        target,
                        batch.topic,
                        batch.partition,
                        r.offset,
                        r.key,
                        r.record_value,
                        r.version,
                        r.stage,
                        r.error_class,
                        r.sqlstate,
                        r.reason,
                    )
                    for r in refused
                ],
            )
            row = await (await cursor.execute(sql.OPEN_DEAD_LETTERS, (target,))).fetchone()
        if row is not None and row[0] > self._dead_letters_max:
            raise DeadLetterCapReached(
                f'table "{target}" at replica "{self.name}" has more than {self._dead_letters_max} dead letters',
                detail=f"last: {refused[-1].reason}",
                hint="see what they have in common: trueup deadletters list; "
                "raise worker.dead_letters_per_table_max, restart the apply workers, then correct them at their owner",
            )

    async def _advance(self, connection: Connection, batch: ReplicaBatch, result: BatchResult) -> None:
        added = [result.counts.get(outcome, 0) for outcome in REPLICA_OUTCOMES]
        place = (batch.topic, batch.partition)
        if batch.as_of is None:
            await connection.execute(sql.ADVANCE, (batch.next_offset, *added, *place))
        else:
            as_of = msgspec.structs.astuple(batch.as_of)
            await connection.execute(sql.ADVANCE_MARKED, (batch.next_offset, *as_of, *added, *place))

    def _never_made(self, plan: CopyPlan) -> Stop:
        return Stop(
            f'table "{plan.target}" at replica "{self.name}" is not the copy that is registered',
            detail="it was never made",
            hint="trueup apply",
        )

    def _replaced(self, plan: CopyPlan) -> CopyReplaced:
        return CopyReplaced(self.name, "", detail=f'copy "{plan.target}" was made anew from another registration')

    async def _failure(self, error: psycopg.Error, what: str) -> TrueUpError:
        """The error in our words. A connection that is gone takes its claims along."""
        connection = self._connection
        if connection is None or connection.closed:
            await self.close()
            return ClaimLost(self.name, error.sqlstate or "08006", detail=describe(error))
        if error.sqlstate == _READ_ONLY:
            await self.close()
        await self._discard_unless_idle()
        if self._connection is None and meaning_of(error) is Meaning.TRANSIENT:
            return ClaimLost(self.name, error.sqlstate or "08006", detail=describe(error))
        return translate(error, self.name, what)

    async def _discard_unless_idle(self) -> None:
        """Close a connection that was left in the middle of something."""
        connection = self._connection
        if connection is not None and connection.info.transaction_status is not TransactionStatus.IDLE:
            await self.close()


async def find_recorded(connection: Connection, plan: CopyPlan) -> CopyPlan | None:
    """What the copy of a plan's table was made as; None when it was never made."""
    parameters = (plan.target, plan.table, f"{SHADOW_SCHEMA}.{SHADOW_PREFIX}", plan.target)
    row = await (await connection.execute(sql.RECORDED, parameters)).fetchone()
    return None if row is None else msgspec.json.decode(row[0], type=CopyPlan)


def _result(batch: ReplicaBatch, merged: Merged) -> BatchResult:
    refused = (*batch.refused, *merged.refused)
    counts = {outcome: batch.counts.get(outcome, 0) + merged.counts.get(outcome, 0) for outcome in REPLICA_OUTCOMES}
    for refusal in refused:
        counts[refusal.outcome] += 1
    if sum(counts.values()) != batch.records:
        raise BrokenInvariant(
            f'{sum(counts.values())} outcomes for {batch.records} records of "{batch.topic}"',
            detail=", ".join(f"{outcome} {count}" for outcome, count in counts.items() if count),
        )
    return BatchResult(counts, refused)


async def connect(name: str, dsn: str, *, application_name: str) -> Connection:
    """A session with every setting its statements depend on. Raises Unreachable; Stop for an address that is none."""
    try:
        given = dsn_parts(f"replica {name}", dsn)
    except Refused as refused:  # a worker's tables stop; it is no command that cannot run
        raise Stop(refused.primary, detail=refused.detail, hint=refused.hint) from None
    options = [given.get("options", ""), *(f"-c {key}={value}" for key, value in _SESSION.items())]
    try:
        connection = await psycopg.AsyncConnection.connect(
            dsn,
            autocommit=True,
            connect_timeout=_CONNECT_TIMEOUT_S,
            application_name=application_name,
            options=" ".join(options).strip(),
            **_KEEPALIVE,
        )
    except psycopg.OperationalError as error:
        raise Unreachable(f"replica {name}", detail=str(error)) from error
    except psycopg.Error as error:
        # The text of this error may repeat the address, password included.
        raise Stop(
            f'the address of replica "{name}" cannot be read',
            detail=type(error).__name__,
            hint="postgresql://user:password@host:port/database",
        ) from None
    register_arrays(connection)
    return connection
