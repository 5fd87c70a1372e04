"""How long a change takes, seen from outside: written in the shop, looked for in the warehouse's copy.

Written at a steady pace whether or not the former one has arrived: an outage counts for all that it delays.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import msgspec
import psycopg
from psycopg import sql

from trueup.demo.copies import CopyPlace
from trueup.demo.ledger import Ledger

ORDER_ID = 990_000
_WRITE_INTERVAL_S = 0.2
_LOOK_INTERVAL_S = 0.01  # the resolution of what is measured
_LAST_SEEN_WITHIN_S = 60.0  # after stop(); a worker that just came back needs some 15 s


class Sample(msgspec.Struct, frozen=True):
    """One probe: when its commit had returned, and when the copy showed it or a later one (monotonic)."""

    written_s: float
    seen_s: float

    @property
    def delay_s(self) -> float:
        """How long it took."""
        return self.seen_s - self.written_s


class Outage(msgspec.Struct, frozen=True):
    """From the kill of a worker until a probe written after its restart was seen."""

    worker: str
    began_s: float
    ended_s: float

    def touches(self, sample: Sample) -> bool:
        """Tell whether a probe was on its way during the outage."""
        return sample.written_s <= self.ended_s and sample.seen_s >= self.began_s


class Probes:
    """Sets `quantity` of one order to 1, 2, 3 ... at the source, and watches a copy of the same columns."""

    def __init__(self, source_dsn: str, replica_dsn: str, place: CopyPlace, ledger: Ledger) -> None:
        self._source_dsn, self._replica_dsn = source_dsn, replica_dsn
        self._place = place
        self._ledger = ledger
        self._stopped = threading.Event()
        self._written: list[float] = []
        self._seen: list[float] = []
        self._failures: list[Exception] = []
        self._threads = [
            threading.Thread(target=self._guarded, args=[work], name=name, daemon=True)
            for name, work in (("probe-writer", self._write), ("probe-reader", self._read))
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; raise what went wrong."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def samples(self) -> list[Sample]:
        """Return the probes that were seen up to now."""
        return [Sample(written, seen) for written, seen in zip(self._written, self._seen, strict=False)]

    def first_after(self, moment_s: float) -> Sample | None:
        """Return the first probe that was written after a moment, once it has been seen."""
        return next((sample for sample in self.samples() if sample.written_s > moment_s), None)

    def all_seen(self) -> bool:
        """Tell whether none is on its way."""
        return len(self._seen) == len(self._written)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Keep what ends a thread."""
        try:
            work()
        except psycopg.Error as error:
            self._failures.append(error)

    def _write(self) -> None:
        """Commit a probe at each beat."""
        with psycopg.connect(self._source_dsn, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO public.orders VALUES (%s, 0, 'probe', 1, 0, 'EUR', 'new',"
                " md5('order/probe')::uuid, 'probe', clock_timestamp(), clock_timestamp())",
                [ORDER_ID],
            )
            self._written.append(time.monotonic())
            self._ledger.add({"orders": 1})
            due = time.monotonic() + _WRITE_INTERVAL_S
            while not self._stopped.wait(max(0.0, due - time.monotonic())):
                number = len(self._written) + 1
                connection.execute("UPDATE public.orders SET quantity = %s WHERE order_id = %s", [number, ORDER_ID])
                self._written.append(time.monotonic())
                self._ledger.add({"orders": 1})
                due += _WRITE_INTERVAL_S

    def _read(self) -> None:
        """Look until stopped, and then until the last one is there or the deadline passes."""
        statement = sql.SQL("SELECT quantity FROM {} WHERE order_id = %s").format(self._place.target)
        deadline: float | None = None
        with psycopg.connect(self._replica_dsn, autocommit=True) as connection:
            while deadline is None or time.monotonic() < deadline:
                row = connection.execute(statement, [ORDER_ID]).fetchone()
                arrived = min(0 if row is None else int(row[0]), len(self._written))
                self._seen.extend([time.monotonic()] * (arrived - len(self._seen)))
                if self._stopped.is_set():
                    deadline = deadline or time.monotonic() + _LAST_SEEN_WITHIN_S
                    if not self._threads[0].is_alive() and self.all_seen():
                        return
                time.sleep(_LOOK_INTERVAL_S)


def percentile(values: list[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
