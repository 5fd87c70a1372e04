"""Writers with a ledger: random transactions on the registers, each booked as ok, fail or info.

Every change locks its key first and draws its number under the lock: numbers of a key rise along its commits. Some
transactions are rolled back on purpose, and now and then a writer's connection is cut while it works.
"""

import contextlib
import hashlib
import random
import threading
from collections.abc import Iterable

import msgspec
import psycopg

from tests.chaos.ledger import Ending, Ledger, Write
from tests.chaos.registers import KEYS, RegisterTable

ROLLED_BACK_SHARE = 0.1
LARGE_SHARE = 0.1
LARGE_BYTES = 12_000  # far beyond the 2 kB that PostgreSQL keeps in the row
WAIT_AFTER_LOSS_S = 0.2

Cursor = psycopg.Cursor[tuple[object, ...]]


def digest(value: str) -> str:
    """What PostgreSQL's md5(v) says."""
    return hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()


class RegisterWriter(threading.Thread):
    """Writes until stopped.

    :param per_s: transactions per second, at most.
    """

    def __init__(self, name: str, dsn: str, table: RegisterTable, ledger: Ledger, *, seed: str, per_s: float) -> None:
        super().__init__(name=name, daemon=True)
        self.backend_pid: int | None = None
        self._dsn, self._table, self._ledger = dsn, table, ledger
        self._dice = random.Random(seed)
        self._pause_s = 1 / per_s
        self._stopped = threading.Event()
        self._values = 0

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                with psycopg.connect(self._dsn, autocommit=True, application_name=self.name) as connection:
                    self.backend_pid = connection.info.backend_pid
                    while not self._stopped.wait(self._dice.uniform(0, 2 * self._pause_s)):
                        self._transact(connection)
            except psycopg.OperationalError:
                self._stopped.wait(WAIT_AFTER_LOSS_S)

    def stop(self) -> None:
        """End after the present transaction."""
        self._stopped.set()
        self.join(30)
        assert not self.is_alive(), f"{self.name} hangs"

    def _transact(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        """One transaction. Raises psycopg.OperationalError when the connection is gone, after booking what is known."""
        writes: list[Write] = []
        ending = Ending.FAIL
        try:
            connection.execute("BEGIN")
            self._change(connection.cursor(), writes)
            if self._dice.random() < ROLLED_BACK_SHARE:
                connection.execute("ROLLBACK")
                return
            ending = Ending.INFO
            connection.execute("COMMIT")
            ending = Ending.OK
        except psycopg.OperationalError:
            raise
        except psycopg.Error:
            ending = Ending.FAIL
            connection.execute("ROLLBACK")
        finally:
            self._ledger.record(writes, ending)

    def _change(self, cursor: Cursor, writes: list[Write]) -> None:
        """Change one to three keys, and sometimes move one to a free key."""
        keys = self._dice.sample(range(1, KEYS + 1), self._dice.randint(2, 4))
        present = self._lock(cursor, keys)
        moving = [key for key in keys if present[key] is not None]
        free = [key for key in keys if present[key] is None]
        if moving and free and self._dice.random() < 0.15:
            self._move(cursor, moving[0], free[0], writes)
            keys = [key for key in keys if key not in {moving[0], free[0]}]
        for key in keys[:3]:
            if present[key] is None:
                self._insert(cursor, key, writes)
            else:
                self._change_present(cursor, key, writes)

    def _lock(self, cursor: Cursor, keys: Iterable[int]) -> dict[int, str | None]:
        """Lock keys in order, then look: value digests of those that exist."""
        for key in sorted(keys):
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (key,))
        cursor.execute(f"SELECT k, md5(v) FROM {self._table.source} WHERE k = ANY(%s)".encode(), (list(keys),))
        found: dict[object, object] = dict(cursor.fetchall())  # type: ignore[arg-type]
        return {key: str(found[key]) if key in found else None for key in keys}

    def _change_present(self, cursor: Cursor, key: int, writes: list[Write]) -> None:
        kind = self._dice.random()
        if kind < 0.25:
            self._delete_key(cursor, key, writes)
            if kind < 0.08:  # deleted and back within one transaction
                self._insert(cursor, key, writes)
        elif kind < 0.5:
            sql = f"UPDATE {self._table.source} SET n = nextval(%s), writer = %s WHERE k = %s RETURNING n, md5(v)"
            cursor.execute(sql.encode(), (self._table.sequence, self.name, key))
            self._book(cursor, key, writes)
        else:
            sql = (
                f"UPDATE {self._table.source} SET v = %s, n = nextval(%s), writer = %s WHERE k = %s RETURNING n, md5(v)"
            )
            cursor.execute(sql.encode(), (self._value(), self._table.sequence, self.name, key))
            self._book(cursor, key, writes)

    def _insert(self, cursor: Cursor, key: int, writes: list[Write]) -> None:
        sql = f"INSERT INTO {self._table.source} (k, v, writer, n) VALUES (%s, %s, %s, nextval(%s)) RETURNING n, md5(v)"
        cursor.execute(sql.encode(), (key, self._value(), self.name, self._table.sequence))
        self._book(cursor, key, writes)

    def _delete_key(self, cursor: Cursor, key: int, writes: list[Write]) -> None:
        sql = f"DELETE FROM {self._table.source} WHERE k = %s RETURNING nextval(%s), NULL"
        cursor.execute(sql.encode(), (key, self._table.sequence))
        self._book(cursor, key, writes)

    def _move(self, cursor: Cursor, key: int, to: int, writes: list[Write]) -> None:
        """A key change is a delete of one key and a write of another."""
        cursor.execute("SELECT nextval(%s), NULL", (self._table.sequence,))
        self._book(cursor, key, writes)
        sql = f"UPDATE {self._table.source} SET k = %s, n = nextval(%s) WHERE k = %s RETURNING n, md5(v)"
        cursor.execute(sql.encode(), (to, self._table.sequence, key))
        self._book(cursor, to, writes)

    def _book(self, cursor: Cursor, key: int, writes: list[Write]) -> None:
        row = cursor.fetchone()
        assert row is not None, f"key {key} is not there although it is locked"
        number, value_digest = row
        writes.append(msgspec.convert({"key": key, "number": number, "digest": value_digest}, Write))

    def _value(self) -> str:
        """A text nobody else writes; some are kept out of line."""
        self._values += 1
        text = f"{self.name}/{self._values}/{self._dice.getrandbits(64):x}"
        return text.ljust(LARGE_BYTES, "x") if self._dice.random() < LARGE_SHARE else text


class Writers:
    """Some writers of every register table, each table with a ledger that lives as long as the table."""

    def __init__(self, dsns: dict[str, str], ledgers: dict[RegisterTable, Ledger], *, seed: str, per_s: float) -> None:
        self._dsns = dsns
        self._writers = [
            (
                table,
                RegisterWriter(f"{table.name}-{n}", dsns[table.system], table, ledger, seed=f"{seed}/{n}", per_s=per_s),
            )
            for table, ledger in ledgers.items()
            for n in range(2)
        ]
        self._dice = random.Random(f"{seed}/cuts")
        self._leaving = threading.Event()
        self._cutter = threading.Thread(target=self._cut_now_and_then, name="cutter", daemon=True)

    def start(self) -> None:
        for _, writer in self._writers:
            writer.start()
        self._cutter.start()

    def stop(self) -> None:
        self._leaving.set()
        self._cutter.join()
        for _, writer in self._writers:
            writer.stop()

    def _cut_now_and_then(self) -> None:
        """End a writer's session at the server: some of its commits are then unknown."""
        while not self._leaving.wait(self._dice.uniform(0.5, 2)):
            table, writer = self._dice.choice(self._writers)
            with (
                contextlib.suppress(psycopg.OperationalError),  # the server is down
                psycopg.connect(self._dsns[table.system], autocommit=True) as connection,
            ):
                connection.execute("SELECT pg_terminate_backend(%s)", (writer.backend_pid,))
