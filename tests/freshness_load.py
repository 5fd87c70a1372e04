"""Writers at the shop and readers at a copy, for tests of watermarks: threads that fill a `tests.freshness_ledger`."""

import itertools
import threading
from collections.abc import Callable

import psycopg

from tests.freshness_ledger import PositionLedger, Reading
from tests.waiting import eventually

FIRST_KEY = 6_000_000
KEYS = 60
WRITERS = 2
READERS = 2
WRITE_EVERY_S = 0.02
READ_EVERY_S = 0.02  # 10,000 readings take two minutes, so they see a hundred heartbeats

_INSERT = (
    "INSERT INTO orders (order_id, customer_id, sku, quantity, amount, currency, status, reference, change_reason,"
    " placed_at, updated_at) SELECT n, 1, 'sku-fresh', 1, 1, 'EUR', 'new', md5('fresh')::uuid, 'test', now(), now()"
    " FROM generate_series(%s, %s) AS n"
)
_ROWS = "SELECT order_id, quantity FROM public.orders WHERE order_id BETWEEN %s AND %s"
_AS_OF = "SELECT (as_of_position - '0/0'::pg_lsn)::bigint FROM trueup.freshness WHERE table_name = 'orders'"


class FreshnessLoad:
    """Orders of its own, whose quantity rises; and readers of their copy who take data and freshness in one snapshot.

    :param place: numbers the uses of one pipeline: each has orders of its own.
    """

    def __init__(self, source_dsn: str, replica_dsn: str, place: int = 0) -> None:
        self.ledger = PositionLedger()
        self.readings: list[Reading] = []
        self.failures: list[Exception] = []
        self._source_dsn, self._replica_dsn = source_dsn, replica_dsn
        first = FIRST_KEY + place * KEYS
        self._keys = range(first, first + KEYS)
        self._stopped = threading.Event()
        self._readers = [self._thread(self._read, "reader") for _ in range(READERS)]
        self._writers = [self._thread(lambda n=n: self._write(n), "writer") for n in range(WRITERS)]  # type: ignore[misc]

    def _thread(self, work: Callable[[], None], name: str) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except Exception as error:
                self.failures.append(error)

        return threading.Thread(target=guarded, name=name, daemon=True)

    def start(self) -> None:
        with psycopg.connect(self._source_dsn, autocommit=True) as connection:
            connection.execute(_INSERT, (self._keys[0], self._keys[-1]))
        for thread in (*self._writers, *self._readers):
            thread.start()

    def reaches(self, readings: int, within_s: float) -> None:
        """Waits for so many readings."""

        def there() -> bool:
            if self.failures:
                raise self.failures[0]
            return len(self.readings) >= readings

        eventually(there, within_s=within_s, what=f"{readings} readings")

    def stop(self) -> None:
        self._stopped.set()
        for thread in (*self._writers, *self._readers):
            if thread.ident is not None:
                thread.join(30)
                assert not thread.is_alive(), f"{thread.name} hangs"
        if self.failures:
            raise self.failures[0]

    def positions(self) -> set[int]:
        """The different things the copy said it was as of."""
        return {reading.as_of_position for reading in self.readings if reading.as_of_position is not None}

    def _write(self, writer: int) -> None:
        keys = [key for key in self._keys if key % WRITERS == writer]
        with psycopg.connect(self._source_dsn, autocommit=True) as connection:
            for number, key in zip(itertools.count(2), itertools.cycle(keys), strict=False):
                if self._stopped.wait(WRITE_EVERY_S):
                    return
                connection.execute("UPDATE orders SET quantity = %s WHERE order_id = %s", (number, key))
                row = connection.execute("SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint").fetchone()
                assert row is not None
                self.ledger.add(key, number, int(row[0]))

    def _read(self) -> None:
        with psycopg.connect(self._replica_dsn) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            data_first = False
            while not self._stopped.wait(READ_EVERY_S):
                data_first = not data_first  # whichever comes first: the snapshot is one
                with connection.transaction():
                    rows = self._rows(connection) if data_first else None
                    as_of = connection.execute(_AS_OF).fetchone()
                    rows = self._rows(connection) if rows is None else rows
                self.readings.append(Reading(None if as_of is None else as_of[0], rows))

    def _rows(self, connection: psycopg.Connection[tuple[int, int]]) -> dict[int, int]:
        return dict(connection.execute(_ROWS, (self._keys[0], self._keys[-1])).fetchall())
