"""A connection as psycopg gives it, with the statements of `adapters.postgres_sql` carried out on dictionaries.

The real `PostgresReplica` and `postgres_merge` run on it: their order of statements, savepoints and commits is what the
simulation is about. That PostgreSQL's statements do what they do here is held by tests/integration.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import msgspec
import psycopg
from psycopg.pq import TransactionStatus

from tests.simulation.database import (
    IDLE_IN_TRANSACTION_S,
    LOCK_TIMEOUT_S,
    NO_PROGRESS,
    Database,
    Letter,
    Mark,
    ProgressRow,
    Row,
    Tables,
)
from tests.simulation.schedule import Process
from trueup.adapters.postgres_arrays import BinaryArray
from trueup.adapters.postgres_replica import PostgresReplica
from trueup.model.version import Version

_BYTEA, _INT8, _TEXT = 17, 20, 25
_HEADER = struct.Struct(">iiIii")
_LENGTH = struct.Struct(">i")


def connection_lost() -> Exception:
    return psycopg.OperationalError("the connection is lost, by the simulation")


def decoded(array: BinaryArray) -> list[Any]:
    """A parameter as the server reads it."""
    _, _, kind, length, _ = _HEADER.unpack_from(array.data)
    values: list[Any] = []
    at = _HEADER.size
    for _ in range(length):
        (size,) = _LENGTH.unpack_from(array.data, at)
        at += 4
        if size < 0:
            values.append(None)
            continue
        raw = array.data[at : at + size]
        at += size
        values.append(int.from_bytes(raw, "big", signed=True) if kind == _INT8 else _plain(kind, raw))
    return values


def _plain(kind: int, raw: bytes) -> bytes | str:
    assert kind in {_BYTEA, _TEXT}, "the scenario's columns are bytea, int8 and text"
    return raw.decode() if kind == _TEXT else raw


class Cursor:
    """The result of a statement."""

    def __init__(self, rows: Sequence[tuple[Any, ...]] = (), rowcount: int = 0) -> None:
        self._rows, self.rowcount = rows, rowcount

    async def fetchone(self) -> tuple[Any, ...] | None:
        return self._rows[0] if self._rows else None

    async def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self._rows)


class CursorOf:
    """connection.cursor(), which the dead letters use."""

    def __init__(self, session: SimulatedSession) -> None:
        self._session = session

    async def __aenter__(self) -> CursorOf:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def execute(self, statement: str, parameters: Sequence[Any]) -> Cursor:
        return await self._session.execute(statement, parameters)

    async def executemany(self, statement: str, many: Sequence[Sequence[Any]]) -> None:
        for parameters in many:
            await self._session.execute(statement, parameters)


class Info:
    """connection.info."""

    def __init__(self, session: SimulatedSession) -> None:
        self._session = session

    @property
    def transaction_status(self) -> TransactionStatus:
        if self._session.closed:
            return TransactionStatus.UNKNOWN
        return TransactionStatus.IDLE if self._session.working is None else TransactionStatus.INTRANS


class SimulatedSession:
    """One connection, at both of its ends: the process may hold what the server has long ended."""

    _POINT: ClassVar[dict[str, str]] = {
        "claim": "claim",
        "lock": "lock progress",
        "find_deleted": "find deleted keys",
        "revive": "revive keys",
        "upsert": "merge rows",
        "delete": "delete rows",
        "remember_deleted": "remember deleted keys",
        "count_held": "count held",
        "supersede": "supersede letters",
        "forget_flags": "forget flags",
        "set_flags": "set flags",
        "dead_letter": "write letters",
        "open_dead_letters": "count letters",
        "advance": "write progress",
        "advance_marked": "write progress",
        "hold": "hold",
        "recorded": "read recorded",
    }

    def __init__(self, database: Database, process: Process) -> None:
        self.database, self.process = database, process
        self.closed = False  # as the client knows
        self.is_ended = False  # at the server
        self.working: Tables | None = None
        self.info = Info(self)
        self._is_synchronous = False
        self._savepoints = 0
        self._active_at = 0.0
        database.sessions.append(self)
        process.at_end.append(self.broken)

    def broken(self) -> None:
        """The server rolls back and forgets it."""
        self.is_ended = True
        self.working = None
        self.database.unlock_all(self)
        if self in self.database.sessions:
            self.database.sessions.remove(self)

    async def close(self) -> None:
        self.closed = True
        self.broken()

    async def _reach(self, point: str) -> None:
        try:
            await self.process.reach(point, connection_lost)
        except psycopg.OperationalError:
            await self.close()
            raise
        self._check()

    def _check(self) -> None:
        """The next use of a connection that the server ended finds out."""
        self.end_if_idle()
        if self.is_ended:
            self.closed = True
            raise connection_lost()
        self._active_at = self.process.world.now

    def end_if_idle(self) -> None:
        """idle_in_transaction_session_timeout: a stopped process holds its locks no longer than that."""
        if self.working is not None and self.process.world.now - self._active_at > IDLE_IN_TRANSACTION_S:
            self.broken()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        if self.working is not None:
            async with self._savepoint():
                yield
            return
        await self._reach("before db begin")
        self.working, self._is_synchronous = Tables(), False
        await self._reach("after db begin")
        try:
            yield
        except BaseException:
            self._roll_back()
            raise
        try:
            await self._reach("before db commit")
        except BaseException:
            self._roll_back()
            raise
        changed, self.working = self.working, None
        self.database.unlock_all(self)
        self.database.commit(changed, synchronous=self._is_synchronous)
        await self._reach("after db commit")

    def _roll_back(self) -> None:
        self.working = None
        self.database.unlock_all(self)

    @asynccontextmanager
    async def _savepoint(self) -> AsyncIterator[None]:
        assert self.working is not None
        await self._reach("before savepoint")
        before = self.working.copy()
        await self._reach("after savepoint")
        try:
            yield
        except BaseException:
            if self.working is not None:
                self.working = before
            raise

    def cursor(self) -> CursorOf:
        return CursorOf(self)

    async def execute(
        self, statement: str | bytes, parameters: Sequence[Any] = (), *, prepare: bool | None = None
    ) -> Cursor:
        text = statement if isinstance(statement, bytes) else statement.encode()
        if text.startswith(b"SET LOCAL synchronous_commit"):
            self._is_synchronous = True
            return Cursor()
        name = self.database.statements[text]
        point = self._POINT[name]
        await self._reach(f"before {point}")
        if name in {"claim", "lock"}:
            place = parameters if name == "claim" else parameters[3:]
            await self._wait_for_lock((place[0], place[1]))
        arguments = [decoded(p) if isinstance(p, BinaryArray) else p for p in parameters]
        result: Cursor = getattr(self, f"_{name}")(*arguments)
        await self._reach(f"after {point}")
        return result

    async def _wait_for_lock(self, place: tuple[str, int]) -> None:
        until = self.process.world.now + LOCK_TIMEOUT_S
        while not self.database.lock(place, self):
            if self.process.world.now > until:
                raise psycopg.errors.LockNotAvailable
            await self.process.passes(0.25)
            self._check()
        self._check()

    # --- what each statement does ---

    def _changed(self) -> Tables:
        assert self.working is not None, "a statement outside a transaction"
        return self.working

    def _progress_of(self, place: tuple[str, int]) -> ProgressRow | None:
        return self._changed().progress.get(place) or self.database.tables.progress.get(place)

    def _row(self, key: bytes) -> Row | None:
        changed = self._changed().rows
        return changed[key] if key in changed else self.database.tables.rows.get(key)

    def _deleted(self, key: bytes) -> Version | None:
        changed = self._changed().deleted
        return changed[key] if key in changed else self.database.tables.deleted.get(key)

    def _hold(self) -> Cursor:
        return Cursor([(1,)])

    def _claim(self, topic: str, partition: int, topic_identity: str) -> Cursor:
        row = (self._progress_of((topic, partition)) or NO_PROGRESS).claimed(topic_identity)
        self._changed().progress[topic, partition] = row
        return Cursor([(row.token, row.next_offset, row.mark and row.mark[1], row.topic_identity, *row.totals)])

    def _recorded(self, *_: str) -> Cursor:
        return Cursor([(msgspec.json.encode(self.database.plan).decode(),)])

    def _lock(self, _: str, _dead_letters: str, _flags: str, topic: str, partition: int) -> Cursor:
        held = self._progress_of((topic, partition))
        if held is None:
            return Cursor()
        tables = self.database.tables
        has_deleted = any(version is not None for version in tables.deleted.values())
        has_letters = any(not letter.superseded for letter in tables.letters.values())
        has_flags = any(version is not None for version in tables.flags.values())
        return Cursor([(held.token, held.next_offset, has_deleted, has_letters, has_flags)])

    def _find_deleted(self, keys: list[bytes]) -> Cursor:
        found = ((key, self._deleted(key)) for key in keys)
        return Cursor([(key, version) for key, version in found if version is not None])

    def _revive(self, keys: list[bytes], versions: list[Version]) -> Cursor:
        for key, version in zip(keys, versions, strict=True):
            deleted = self._deleted(key)
            if deleted is not None and deleted < version:
                self._changed().deleted[key] = None
        return Cursor()

    def _upsert(self, keys: list[bytes], versions: list[Version], *columns: list[Any]) -> Cursor:
        count = 0
        for key, version, *values in zip(keys, versions, *columns, strict=True):
            if self.database.refuses(tuple(values)):
                raise psycopg.errors.CheckViolation
            held = self._row(key)
            if held is None or held.version < version or not self.database.is_fenced:
                self._changed().rows[key] = Row(version, tuple(values))
                count += 1
        self._changed().changes += count
        return Cursor(rowcount=count)

    def _delete(self, keys: list[bytes], versions: list[Version], *_: list[Any]) -> Cursor:
        for key, version in zip(keys, versions, strict=True):
            held = self._row(key)
            if held is not None and (held.version < version or not self.database.is_fenced):
                self._changed().rows[key] = None
        return Cursor()

    def _remember_deleted(self, keys: list[bytes], versions: list[Version], *_: list[Any]) -> Cursor:
        count = 0
        for key, version in zip(keys, versions, strict=True):
            deleted = self._deleted(key)
            if self._row(key) is None and (deleted is None or deleted < version):
                if self.database.keeps_deleted_keys:
                    self._changed().deleted[key] = version
                count += 1
        self._changed().changes += count
        return Cursor(rowcount=count)

    def _count_held(self, keys: list[bytes], versions: list[Version], *_: list[Any]) -> Cursor:
        count = 0
        for key, version in zip(keys, versions, strict=True):
            row = self._row(key)
            count += (row is not None and row.version == version) or self._deleted(key) == version
        return Cursor([(count,)])

    def _supersede(self, keys: list[bytes], versions: list[Version]) -> Cursor:
        newest = dict(zip(keys, versions, strict=True))
        for place, letter in (self.database.tables.letters | self._changed().letters).items():
            if letter.key in newest and letter.version <= newest[letter.key]:
                self._changed().letters[place] = letter._replace(superseded=True)
        return Cursor()

    def _flag(self, key: bytes) -> Version | None:
        changed = self._changed().flags
        return changed[key] if key in changed else self.database.tables.flags.get(key)

    def _forget_flags(self, keys: list[bytes], versions: list[Version]) -> Cursor:
        for key, version in zip(keys, versions, strict=True):
            flagged = self._flag(key)
            if flagged is not None and flagged < version:
                self._changed().flags[key] = None
        return Cursor()

    def _set_flags(self, keys: list[bytes], versions: list[Version], _: list[str], *__: list[Any]) -> Cursor:
        for key, version in zip(keys, versions, strict=True):
            row = self._row(key)
            if row is not None and row.version == version:
                self._changed().flags[key] = max(version, self._flag(key) or version)
        return Cursor()

    def _dead_letter(self, *columns: Any) -> Cursor:
        target, topic, partition, offset, key, _, version, *_rest = columns
        assert target == self.database.plan.target
        held = self.database.tables.letters.get((topic, partition, offset))
        if held is None or held.version != version:
            self._changed().letters[topic, partition, offset] = Letter(key, version, superseded=False)
        return Cursor()

    def _open_dead_letters(self, _: str) -> Cursor:
        letters = self.database.tables.letters | self._changed().letters
        return Cursor([(sum(not letter.superseded for letter in letters.values()),)])

    def _advance(self, next_offset: int, *rest: Any) -> Cursor:
        *added, topic, partition = rest
        held = self._progress_of((topic, partition))
        assert held is not None
        totals = tuple(total + more for total, more in zip(held.totals, added, strict=True))
        self._changed().progress[topic, partition] = held._replace(next_offset=next_offset, totals=totals)
        return Cursor(rowcount=1)

    def _advance_marked(self, next_offset: int, *rest: Any) -> Cursor:
        _time_us, position, epoch, truncated, _dead, _held, *counted = rest
        result = self._advance(next_offset, *counted)
        place, progress = (counted[-2], counted[-1]), self._changed().progress
        progress[place] = progress[place]._replace(mark=Mark(epoch, position, truncated))
        return result


class SimulatedReplica(PostgresReplica):
    """The real replica on simulated connections."""

    def __init__(self, database: Database, process: Process) -> None:
        super().__init__(database.plan.replica, "simulated")
        self._database, self._process = database, process

    async def _connected(self) -> Any:
        if self._connection is None:
            session: Any = SimulatedSession(self._database, self._process)
            self._connection = session
        return self._connection
