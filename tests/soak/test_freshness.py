"""`make freshness`: 10,000 snapshots of a copy under load with kills, each compared with what its writers committed.

And the negative control: a decide worker that sends each watermark one batch early is found out.
"""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.freshness_ledger import findings
from tests.freshness_load import FreshnessLoad
from tests.pipeline import Pipeline
from tests.waiting import eventually
from trueup import freshness

READINGS = int(os.environ.get("READINGS", "10000"))
READINGS_PER_BURST = 200
FOUND_WITHIN_S = 240
SHARES_OF_KILLS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)
BURST_ROWS = 3_000

pytestmark = [pytest.mark.soak, pytest.mark.integration, pytest.mark.timeout(1_800)]


def is_fresh(pipeline: Pipeline, within_s: float = 180) -> None:
    def fresh() -> bool:
        with psycopg.connect(pipeline.dsn("warehouse"), autocommit=True) as connection:
            return bool(freshness.look(connection, "orders").fresh)

    eventually(fresh, within_s=within_s, what="orders at warehouse are fresh")


def test_no_reading_promises_more_than_it_shows(pipeline: Pipeline) -> None:
    assert pipeline.workers is not None
    is_fresh(pipeline)
    load = FreshnessLoad(pipeline.dsn("shop"), pipeline.dsn("warehouse"), place=1)
    load.start()
    try:
        for share, worker in zip(SHARES_OF_KILLS, itertools.cycle(("decide", "apply-warehouse")), strict=False):
            load.reaches(int(READINGS * share), 600)
            before = max(load.positions())
            pipeline.workers.kill(worker)
            eventually(
                lambda before=before: max(load.positions()) > before,  # type: ignore[misc]
                within_s=120,
                what=f"as_of moves again after a kill of {worker}",
            )
        load.reaches(READINGS, 600)
    finally:
        load.stop()
    assert len(load.readings) >= READINGS
    assert len(load.positions()) > 20
    assert findings(load.ledger, load.readings) == []


def test_a_watermark_one_batch_early_is_found(pipeline: Pipeline) -> None:
    is_fresh(pipeline)
    pipeline.stop_workers()
    load = FreshnessLoad(pipeline.dsn("shop"), pipeline.dsn("warehouse"), place=2)
    with early_worker(pipeline), apply_worker(pipeline):
        load.start()

        def found() -> bool:
            """A beat is seen while changes before it still wait to be decided."""
            pipeline.query("shop", "UPDATE orders SET quantity = quantity WHERE order_id <= %s", (BURST_ROWS,))
            load.reaches(len(load.readings) + READINGS_PER_BURST, 60)
            return bool(findings(load.ledger, list(load.readings)))

        try:
            eventually(found, within_s=FOUND_WITHIN_S, what="a copy that says more than it has is found out")
        finally:
            load.stop()
    pipeline.start_workers()
    is_fresh(pipeline)


@contextmanager
def early_worker(pipeline: Pipeline) -> Iterator[None]:
    with _process(pipeline, "tests.early_watermark", "decide", "--name", "early"):
        yield


@contextmanager
def apply_worker(pipeline: Pipeline) -> Iterator[None]:
    with _process(pipeline, "trueup.runtime.cli", "apply", "warehouse", "--name", "beside-early"):
        yield


@contextmanager
def _process(pipeline: Pipeline, module: str, *arguments: str) -> Iterator[None]:
    folder = pipeline.folder
    command = [sys.executable, "-m", module, "worker", *arguments, "--metrics-port", "0"]
    with (folder.log_dir / f"{module}.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--project", str(folder.project_dir)],
            env=folder.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
