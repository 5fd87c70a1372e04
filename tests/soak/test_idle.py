"""Minutes in which nothing is written: `make idle` (MINUTES=10); then a worker that stands still.

What idles with exactly-once has ended processes elsewhere: connections closed for idleness, transactional ids,
watchdogs that take no work for no progress. And a table without changes must not look like one that is stuck.
"""

import json
import os
import signal
import sys
import time
from contextlib import closing
from datetime import datetime

import httpx
import pytest

from tests.pipeline import PORT_BASE, REPLICAS, Pipeline
from tests.waiting import always, eventually
from trueup.adapters.kafka_connect import KafkaConnect
from trueup.adapters.prometheus_api import Prometheus
from trueup.core.connector_config import connector_name

MINUTES = float(os.environ.get("MINUTES", "10"))
LOOK_EVERY_S = 1.0
QUIET_WITHIN_S = 300.0  # what the filling raised is over: alerts look back some minutes
STUCK = "TrueUpCopyStuck"
STUCK_AFTER_WINDOW_S = 10.0
CLEAR_WITHIN_S = 30.0

pytestmark = [pytest.mark.soak, pytest.mark.integration, pytest.mark.timeout(MINUTES * 60 + 1_200)]

Observed = tuple[Pipeline, Prometheus]


def freshness(pipeline: Pipeline) -> dict[tuple[str, str], tuple[datetime | None, bool | None]]:
    """What every copy is as of, and whether that is within its window."""
    sql = "SELECT table_name, as_of, fresh FROM trueup.freshness"
    return {
        (table, replica): (as_of, fresh) for replica in REPLICAS for table, as_of, fresh in pipeline.query(replica, sql)
    }


def test_nothing_happens_while_nothing_is_written(observed: Observed) -> None:
    pipeline, prometheus = observed
    pipeline.converged(600)
    workers = pipeline.workers
    assert workers is not None
    entries = [json.loads(path.read_text()) for path in (pipeline.folder.state_dir / "workers").glob("*.json")]
    assert len(entries) == 5, entries
    asked = {(line["table"], line["replica"]) for line in pipeline.json("status")["tables"]}

    def all_well() -> bool:
        for entry in entries:
            answer = httpx.get(f"{entry['url']}/readyz", timeout=10, trust_env=False)
            assert answer.status_code == 200, f"{entry['name']}: {answer.text}"
        assert sorted(workers.pids()) == sorted(entry["pid"] for entry in entries), "a worker was started again"
        assert workers.ended_by_themselves == []
        with closing(KafkaConnect(f"http://127.0.0.1:{PORT_BASE + 10}")) as connect:
            for system in ("shop", "warehouse"):
                status = connect.status(connector_name(system))
                assert status is not None
                assert status.running, status
        copies = freshness(pipeline)
        assert copies.keys() == asked
        assert not (stale := [copy for copy, (as_of, fresh) in copies.items() if as_of is None or fresh is False]), (
            stale
        )
        assert not (alerts := prometheus.alerts()), alerts
        return True

    eventually(all_well, within_s=QUIET_WITHIN_S, what="everything is ready before it idles")
    looks_min = MINUTES * 60 / LOOK_EVERY_S / 4
    logs = {path: len(path.read_text()) for path in pipeline.folder.log_dir.glob("worker-*.log")}
    before, as_of_before = pipeline.decide_totals("shop.public.orders"), freshness(pipeline)
    began = time.monotonic()
    held = always(all_well, for_s=MINUTES * 60, every_s=LOOK_EVERY_S)
    idled_s = time.monotonic() - began
    assert held >= looks_min, "looked too seldom to say so"
    assert pipeline.decide_totals("shop.public.orders") == before, "something was written"
    said = {path.name: path.read_text()[start:] for path, start in logs.items()}
    assert not any(said.values()), said
    for copy, (as_of, _) in freshness(pipeline).items():
        first = as_of_before[copy][0]
        assert as_of is not None
        assert first is not None
        moved_s = (as_of - first).total_seconds()
        assert idled_s - 10 < moved_s < idled_s + 10, f"{copy}: as_of moved {moved_s} s in {idled_s} s"

    pipeline.query("shop", "UPDATE orders SET quantity = quantity + 1 WHERE order_id <= 100")
    pipeline.converged(30)
    verified = pipeline.trueup("verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.parametrize("replica", ["warehouse"])
def test_a_worker_that_stands_still_is_alarmed_and_the_alarm_ends_with_it(
    observed: Observed, replica: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written here either: without changes only the watermark tells."""
    pipeline, prometheus = observed
    windows = "SELECT table_name, extract(epoch FROM within)::float FROM trueup.freshness WHERE within < '1 minute'"
    within_s: dict[str, float] = dict(pipeline.query(replica, windows))
    assert within_s, "no copy there has a short window"
    eventually(lambda: not prometheus.alerts(), within_s=QUIET_WITHIN_S, what="no alert is pending or firing")

    def firing() -> set[str]:
        alerts = prometheus.alerts("firing")
        return {one["table"] for one in alerts if one["alertname"] == STUCK and one["replica"] == replica}

    entry = json.loads((pipeline.folder.state_dir / "workers" / f"apply-{replica}.json").read_text())
    os.kill(entry["pid"], signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        # The window runs from the last heartbeat that was applied.
        within = max(within_s.values()) + STUCK_AFTER_WINDOW_S
        eventually(lambda: within_s.keys() <= firing(), within_s=within, what="the copies are said to be stuck")
        alarmed_s = time.monotonic() - stopped
        lines = {line["table"]: line for line in pipeline.json("status")["tables"] if line["replica"] == replica}
        assert not any(lines[table]["fresh"] for table in within_s)
    finally:
        os.kill(entry["pid"], signal.SIGCONT)
    resumed = time.monotonic()
    eventually(lambda: not firing(), within_s=CLEAR_WITHIN_S, what="the alert clears")
    cleared_s = time.monotonic() - resumed
    with capsys.disabled():
        sys.stdout.write(f"\nalarm after {alarmed_s:.1f} s, clear {cleared_s:.1f} s after SIGCONT\n")
