"""Polling readers, one for every copy of a register table: they see what a user of the replica sees."""

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from tests.chaos.register_check import Watch
from tests.chaos.registers import Copy, rows_at

LOOK_INTERVAL_S = 0.1


class CopyReader(threading.Thread):
    """Looks at one whole copy, again and again, until stopped. A replica that is down is waited for.

    :param crashes: how often the replica's server crashed so far: after that its rows may be older by some commits.
    """

    def __init__(self, dsn: str, copy: Copy, crashes: Callable[[], int]) -> None:
        self.place = f"{copy.target} at {copy.replica}"
        super().__init__(name=f"reader of {self.place}", daemon=True)
        self.watch = Watch(self.place)
        self.still_s_max = 0.0
        self.under_load = threading.Event()
        self.failure: Exception | None = None
        self._dsn, self._copy = dsn, copy
        self._crashes, self._crashes_seen = crashes, crashes()
        self._stopped = threading.Event()

    def run(self) -> None:
        try:
            while not self._stopped.is_set():
                try:
                    with psycopg.connect(self._dsn, autocommit=True, application_name="chaos reader") as connection:
                        self._read(connection)
                except psycopg.OperationalError:
                    self._stopped.wait(LOOK_INTERVAL_S)
        except Exception as error:
            self.failure = error

    def _read(self, connection: psycopg.Connection[Any]) -> None:
        if self._crashes() != self._crashes_seen:
            self._crashes_seen = self._crashes()
            self.watch.begin_anew()
        moved_s = time.monotonic()
        while not self._stopped.wait(LOOK_INTERVAL_S):
            moved = self.watch.look(rows_at(connection, self._copy))
            now_s = time.monotonic()
            if self.under_load.is_set():
                self.still_s_max = max(self.still_s_max, now_s - moved_s)
            if moved:
                moved_s = now_s

    def stop(self) -> None:
        """End; raise what went wrong."""
        self._stopped.set()
        self.join(30)
        assert not self.is_alive(), f"{self.name} hangs"
        if self.failure is not None:
            raise self.failure
