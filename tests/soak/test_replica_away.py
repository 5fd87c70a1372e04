"""`make replica-away`: one replica is stopped for ten minutes under 500 changes a second, and comes back.

The other copies keep their windows meanwhile, no worker grows with what waits, and the replica catches up by itself.
The last line it prints is JSON.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import psycopg
import pytest

from tests.pipeline import Pipeline
from tests.waiting import always, eventually

MINUTES = float(os.environ.get("MINUTES", "10"))
CHANGES_PER_S = 500
ROWS_PER_COMMIT = 10
AWAY, STAYING = "reporting", ["shop", "warehouse"]
LOOK_EVERY_S = 1.0
RSS_MB_MAX = 100
CAUGHT_UP_WITHIN_S = 120 + MINUTES * 60  # twice as fast as it fell behind, and the server's start

pytestmark = [pytest.mark.soak, pytest.mark.integration, pytest.mark.timeout(MINUTES * 120 + 1_200)]


class Writer:
    """Changes of orders at the shop, at an even rate."""

    def __init__(self, dsn: str) -> None:
        self.changes = 0
        self._dsn, self._stopped = dsn, threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            self._thread.join(30)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        began = time.monotonic()
        try:
            with psycopg.connect(self._dsn, autocommit=True) as shop:
                ((count,),) = shop.execute("SELECT count(*) FROM orders").fetchall()
                parts = count // ROWS_PER_COMMIT
                while not self._stopped.wait(max(0.0, began + self.changes / CHANGES_PER_S - time.monotonic())):
                    part = self.changes // ROWS_PER_COMMIT % parts
                    done = shop.execute(
                        "UPDATE orders SET quantity = quantity % 1000 + 1, updated_at = clock_timestamp()"
                        f" WHERE order_id % {parts} = {part}".encode()
                    )
                    self.changes += done.rowcount
        except Exception as error:  # shown by who asked for the load
            self._error = error


def stale(pipeline: Pipeline, replica: str) -> list[str]:
    """Copies that say they are older than their window."""
    return [table for (table,) in pipeline.query(replica, "SELECT table_name FROM trueup.freshness WHERE NOT fresh")]


def rss_mb(pipeline: Pipeline) -> dict[int, float]:
    assert pipeline.workers is not None
    return {pid: psutil.Process(pid).memory_info().rss / 1e6 for pid in pipeline.workers.pids()}


def test_a_replica_is_away_for_long(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.converged(600)
    writer = Writer(pipeline.dsn("shop"))
    peak: dict[int, float] = {}
    with writer.running():
        eventually(lambda: writer.changes > 20 * CHANGES_PER_S, within_s=60, what="a steady load")
        eventually(lambda: not any(stale(pipeline, r) for r in [*STAYING, AWAY]), within_s=60, what="all are fresh")
        before = rss_mb(pipeline)

        def others_are_well() -> None:
            for replica in STAYING:
                assert stale(pipeline, replica) == [], replica
            for pid, used in rss_mb(pipeline).items():
                peak[pid] = max(peak.get(pid, 0.0), used)

        written, began = writer.changes, time.monotonic()
        pipeline.stack.stop_part(f"postgres-{AWAY}")
        try:
            looks = always(others_are_well, for_s=MINUTES * 60, every_s=LOOK_EVERY_S)
        finally:
            pipeline.stack.start_part(f"postgres-{AWAY}")
        away_s, waiting = time.monotonic() - began, writer.changes - written
        back = time.monotonic()

        def caught_up() -> bool:
            others_are_well()
            return stale(pipeline, AWAY) == []

        eventually(caught_up, within_s=CAUGHT_UP_WITHIN_S, what="the replica is fresh again, under the same load")
        caught_up_s = time.monotonic() - back
    assert peak.keys() == before.keys(), "a worker was started again"
    grown = {pid: peak[pid] - before[pid] for pid in before}
    assert max(grown.values()) < RSS_MB_MAX, grown
    assert looks > MINUTES * 60 / LOOK_EVERY_S / 4, "looked too seldom to say so"
    rate = waiting / away_s
    assert rate > CHANGES_PER_S * 0.9, f"{rate:.0f} changes/s were no load of {CHANGES_PER_S}"
    pipeline.converged(60)
    verified = pipeline.trueup("verify", "--json", timeout_s=300)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    numbers = {
        "away_s": round(away_s),
        "changes_per_s": round(rate),
        "changes_that_waited": waiting,
        "caught_up_s": round(caught_up_s, 1),
        "rss_grown_mb_max": round(max(grown.values())),
    }
    with capsys.disabled():
        sys.stdout.write("\n" + json.dumps(numbers) + "\n")
