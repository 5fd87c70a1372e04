"""Minutes in which nothing is written: `make idle` (MINUTES=10).

What idles with exactly-once has ended processes elsewhere: connections closed for idleness, transactional ids,
watchdogs that take no work for no progress.
"""

import json
import os

import httpx
import pytest

from tests.pipeline import PORT_BASE, Pipeline
from tests.waiting import always, eventually
from trueup.adapters.kafka_connect import KafkaConnect
from trueup.core.connector_config import connector_name

MINUTES = float(os.environ.get("MINUTES", "10"))
LOOK_EVERY_S = 1.0

pytestmark = [pytest.mark.soak, pytest.mark.integration, pytest.mark.timeout(MINUTES * 60 + 600)]


def test_nothing_happens_while_nothing_is_written(pipeline: Pipeline) -> None:
    pipeline.converged(600)
    workers = pipeline.workers
    assert workers is not None
    entries = [json.loads(path.read_text()) for path in (pipeline.folder.state_dir / "workers").glob("*.json")]
    assert len(entries) == 5, entries
    connect = KafkaConnect(f"http://127.0.0.1:{PORT_BASE + 10}")

    def all_well() -> bool:
        for entry in entries:
            answer = httpx.get(f"{entry['url']}/readyz", timeout=10, trust_env=False)
            assert answer.status_code == 200, f"{entry['name']}: {answer.text}"
        assert sorted(workers.pids()) == sorted(entry["pid"] for entry in entries), "a worker was started again"
        assert workers.ended_by_themselves == []
        for system in ("shop", "warehouse"):
            status = connect.status(connector_name(system))
            assert status is not None
            assert status.running, status
        return True

    eventually(all_well, within_s=60, what="everything is ready before it idles")
    logs = {path: len(path.read_text()) for path in pipeline.folder.log_dir.glob("worker-*.log")}
    before = pipeline.decide_totals("shop.public.orders")
    held = always(all_well, for_s=MINUTES * 60, every_s=LOOK_EVERY_S)
    assert held >= MINUTES * 60 / LOOK_EVERY_S / 4, "looked too seldom to say so"
    assert pipeline.decide_totals("shop.public.orders") == before, "something was written"
    said = {path.name: path.read_text()[start:] for path, start in logs.items()}
    assert not any(said.values()), said

    pipeline.query("shop", "UPDATE orders SET quantity = quantity + 1 WHERE order_id <= 100")
    pipeline.converged(30)
    verified = pipeline.trueup("verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    connect.close()
