"""A table is registered while pgbench runs: it joins, is filled, and nothing else stands still for it."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pipeline import Pipeline
from tests.waiting import eventually
from trueup.demo.ledger import Ledger
from trueup.demo.pgbench import PgbenchLoad

pytestmark = [pytest.mark.long, pytest.mark.integration, pytest.mark.timeout(800)]

log = logging.getLogger(__name__)  # pytest --log-cli-level=INFO shows what was measured

ROWS = 10_000
LOAD_S = 400  # longer than the test needs; it is ended when it is not needed any more
TRANSACTIONS_PER_S = 40  # so that something moves in every look, and two cores have time left
LOOK_EVERY_S = 0.5
STANDS_STILL_S_MAX = 30.0
"""All workers are stopped and started again for a new table, which is when the others stand still: 24 s on two cores
that several others use (measured: drain 1.5 s, start 13 s, taking the partitions 5 s). What must not happen is that
they wait for the fill, or for a session to time out on top of it."""

TABLE = """\
table: parcels
owner: {system: shop}
source: {table: public.parcels}
key: [id]
replicas:
  - {replica: reporting}
"""


class Movement:
    """Looks at a counter again and again, in a thread of its own; knows how long it ever stood still."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.moved_at: list[float] = []
        self.error: Exception | None = None

    def _run(self) -> None:
        last = -1
        while not self._leaving.wait(LOOK_EVERY_S):
            try:
                now = self._count()
            except Exception as error:
                self.error = error
                return
            if now != last:
                last = now
                self.moved_at.append(time.monotonic())

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> float:
        """The longest time without a change, up to now."""
        self._leaving.set()
        self._thread.join()
        if self.error is not None:
            raise self.error
        times = [*self.moved_at, time.monotonic()]
        return max(later - earlier for earlier, later in itertools.pairwise(times))


@contextmanager
def pgbench(pipeline: Pipeline, log: Path) -> Iterator[None]:
    load = PgbenchLoad(
        pipeline.folder.dsn("shop"), Ledger(), log, seconds=LOAD_S, transactions_per_s=TRANSACTIONS_PER_S
    )
    load.start()
    try:
        yield
    finally:
        load.abandon()


def test_a_table_of_10000_rows_joins_while_pgbench_runs(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.converged(300)
    pipeline.query("shop", "CREATE TABLE parcels (id int PRIMARY KEY, weight numeric(8,3), note text)")
    pipeline.query("shop", f"INSERT INTO parcels SELECT n, n / 7.0, 'before' FROM generate_series(1, {ROWS}) n")
    others = "pgbench_accounts"
    decided = Movement(lambda: pipeline.decide_totals(f"shop.public.{others}").total())
    applied = Movement(lambda: pipeline.apply_totals("reporting", f"trueup.truth.{others}"))
    with pgbench(pipeline, tmp_path / "pgbench.log"):
        for movement in (decided, applied):
            movement.start()
        eventually(lambda: len(decided.moved_at) > 5, within_s=60, what="pgbench's changes flow")

        (pipeline.folder.project_dir / "schemas" / "tables" / "parcels.yaml").write_text(TABLE)
        joined = pipeline.trueup("apply")
        assert joined.returncode == 0, joined.stderr
        assert "change connector" in joined.stderr, "it joins the running connector"
        assert 'fill table "parcels" by an incremental snapshot' in joined.stderr
        pipeline.stop_workers()
        pipeline.start_workers()
        pipeline.query("shop", "UPDATE parcels SET note = 'during' WHERE id %% 11 = 0")
        pipeline.query("shop", "DELETE FROM parcels WHERE id %% 100 = 0")

        early: list[tuple[object, int]] = []

        def filled() -> bool:
            # In one snapshot. No row that was there before may be missing from a copy that says what it is as of.
            ((as_of, count),) = pipeline.query(
                "reporting",
                "SELECT (SELECT as_of FROM trueup.freshness WHERE table_name = 'parcels'), count(*) FROM parcels",
            )
            if as_of is not None and count < ROWS - ROWS // 100:
                early.append((as_of, count))
            assert count == ROWS - ROWS // 100, count
            return not pipeline.differences("parcels", "shop", "reporting", "id")

        eventually(filled, within_s=120, what="the existing rows and the changes are at the replica")
        as_of = "SELECT as_of FROM trueup.freshness WHERE table_name = 'parcels' AND as_of IS NOT NULL"
        eventually(lambda: pipeline.query("reporting", as_of), within_s=60, what="the copy says what it is as of")
        stood_still = {"decide": decided.stop(), "apply": applied.stop()}
    assert early == [], "as of a time, with rows missing that were there before"
    assert all(seconds < STANDS_STILL_S_MAX for seconds in stood_still.values()), stood_still
    log.info("stood still at most, seconds: %s", stood_still)

    verified = pipeline.trueup("verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    pipeline.converged(120)
