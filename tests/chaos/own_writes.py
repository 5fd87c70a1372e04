"""Writes a fault makes itself to a register table, booked in the table's ledger like those of the writers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec
import psycopg

from tests.chaos.ledger import Ending, Write
from tests.chaos.registers import RegisterTable
from tests.chaos.rig import Rig
from tests.chaos.writers import digest

OWN_KEYS = range(100_000, 100_100)
"""No writer has them; the sentinels are above."""


class OwnTransaction:
    """A transaction that stays open as long as its fault wants it to."""

    def __init__(self, rig: Rig, table: RegisterTable) -> None:
        self._ledger, self._table = rig.ledgers[table], table
        self._connection = psycopg.connect(rig.dsn(table.system))
        self._writes: list[Write] = []

    def put(self, key: int, value: str) -> None:
        sql = (
            f"INSERT INTO {self._table.source} (k, v, writer, n) VALUES (%s, %s, 'fault', nextval(%s))"
            " ON CONFLICT (k) DO UPDATE SET v = EXCLUDED.v, n = EXCLUDED.n RETURNING n"
        )
        self._book(sql, (key, value, self._table.sequence), key, digest(value))

    def remove(self, key: int) -> None:
        sql = f"DELETE FROM {self._table.source} WHERE k = %s RETURNING nextval(%s)"
        self._book(sql, (key, self._table.sequence), key, None)

    def commit(self) -> None:
        self._connection.commit()
        self._ledger.record(self._writes, Ending.OK)
        self._writes = []

    def close(self) -> None:
        """What was not committed is rolled back."""
        self._connection.close()
        self._ledger.record(self._writes, Ending.FAIL)

    def _book(self, sql: str, parameters: tuple[object, ...], key: int, content: str | None) -> None:
        row = self._connection.execute(sql.encode(), parameters).fetchone()
        if row is not None:
            self._writes.append(msgspec.convert({"key": key, "number": row[0], "digest": content}, Write))


@contextlib.contextmanager
def own_transaction(rig: Rig, table: RegisterTable) -> Iterator[OwnTransaction]:
    """Rolled back unless it was committed."""
    transaction = OwnTransaction(rig, table)
    try:
        yield transaction
    finally:
        transaction.close()
