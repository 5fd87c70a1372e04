"""Parts of a running pipeline go away and come back: workers say so once, wait, and go on by themselves."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.pipeline import REPLICAS, Pipeline
from tests.waiting import eventually
from trueup.demo.workers import CAPTURE

pytestmark = [pytest.mark.integration, pytest.mark.timeout(500)]

NAMED_WITHIN_S = 30
BACK_WITHIN_S = 120
WORKERS = ["decide", *(f"apply-{replica}" for replica in REPLICAS)]


def ready(pipeline: Pipeline, worker: str) -> tuple[int, str]:
    """Status and text of a worker's /readyz, as it is registered on this host."""
    path = pipeline.folder.state_dir / "workers" / f"{worker}.json"
    if not path.exists():
        return 0, "it was started a moment ago"
    entry = json.loads(path.read_text())
    try:
        answer = httpx.get(f"{entry['url']}/readyz", timeout=5, trust_env=False)
    except httpx.HTTPError as error:
        return 0, str(error)
    return answer.status_code, answer.text


def log_of(pipeline: Pipeline, worker: str) -> str:
    return (pipeline.folder.log_dir / f"worker-{worker}.log").read_text()


def all_ready(pipeline: Pipeline, workers: list[str]) -> bool:
    answers = {worker: ready(pipeline, worker) for worker in workers}
    assert all(code == 200 for code, _ in answers.values()), answers
    return True


@contextmanager
def outage(pipeline: Pipeline, part: str, named: str, workers: list[str]) -> Iterator[None]:
    """A part of the stack is stopped inside; on the way out it is started, and everything must be as before.

    Named in /readyz of the workers while it lasts; once in the log of each; no worker ends.
    """
    assert pipeline.workers is not None
    eventually(lambda: all_ready(pipeline, workers), within_s=60, what="all workers are ready before")
    seen = {worker: len(log_of(pipeline, worker)) for worker in workers}
    ended_before, pids = list(pipeline.workers.ended_by_themselves), set(pipeline.workers.pids())
    pipeline.stack.stop_part(part)
    try:
        for worker in workers:

            def shown(worker: str = worker) -> bool:
                code, text = ready(pipeline, worker)
                assert code == 503, f"{worker}: {code} {text}"
                assert f'cannot reach "{named}"' in text, f"{worker}: {text}"
                return True

            eventually(shown, within_s=NAMED_WITHIN_S, what=f"{worker} says that it waits for {named}")
        yield
    finally:
        pipeline.stack.start_part(part)
    eventually(lambda: all_ready(pipeline, workers), within_s=BACK_WITHIN_S, what="all workers are ready again")
    for worker in workers:
        lines = log_of(pipeline, worker)[seen[worker] :].splitlines()
        naming = [line for line in lines if f'cannot reach \\"{named}\\"' in line and '"waiting"' in line]
        assert len(naming) == 1, "\n".join(lines)
    assert pipeline.workers.ended_by_themselves == ended_before
    assert set(pipeline.workers.pids()) == pids


def write(pipeline: Pipeline, first: int) -> None:
    """Some changes that reach every replica: reporting has orders, warehouse orders, shop stock."""
    pipeline.query("shop", "UPDATE orders SET quantity = quantity + 1 WHERE order_id %% 7 = %s", (first % 7,))
    pipeline.query("warehouse", "UPDATE stock SET reserved = reserved + 1 WHERE on_hand < 20")
    pipeline.query("shop", "UPDATE pgbench_tellers SET tbalance = tbalance + 1")


def test_a_replica_goes_and_comes_back_while_others_go_on(pipeline: Pipeline) -> None:
    pipeline.converged(120)
    with outage(pipeline, "postgres-reporting", "replica reporting", ["apply-reporting"]):
        write(pipeline, 1)
        before = pipeline.query("shop", "SELECT quantity FROM orders WHERE order_id = 1")
        eventually(
            lambda: pipeline.query("warehouse", "SELECT quantity FROM orders WHERE order_id = 1") == before,
            within_s=60,
            what="the other replica follows",
        )
        assert ready(pipeline, "apply-warehouse")[0] == 200
    pipeline.converged(120)


def test_an_idle_worker_knows_that_its_replica_is_gone(pipeline: Pipeline) -> None:
    pipeline.converged(120)
    with outage(pipeline, "postgres-reporting", "replica reporting", ["apply-reporting"]):
        pass
    pipeline.converged()


def test_the_registry_goes_and_comes_back(pipeline: Pipeline) -> None:
    pipeline.converged(120)
    with outage(pipeline, "registry", "registry", WORKERS):
        write(pipeline, 2)
    pipeline.converged(120)


def test_the_broker_goes_and_comes_back_under_load(pipeline: Pipeline) -> None:
    pipeline.converged(120)
    write(pipeline, 3)
    with outage(pipeline, "kafka-1", "kafka", WORKERS):
        write(pipeline, 4)
    pipeline.converged(180)
    verified = pipeline.trueup("verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_source_goes_and_comes_back(pipeline: Pipeline) -> None:
    pipeline.converged(120)
    with outage(pipeline, "postgres-warehouse", "source warehouse", [CAPTURE]):
        pass
    pipeline.query("warehouse", "UPDATE stock SET reserved = reserved + 1")
    pipeline.converged(120)


def test_connect_goes_and_comes_back(pipeline: Pipeline) -> None:
    pipeline.converged(120)
    with outage(pipeline, "connect", "connect", [CAPTURE]):
        write(pipeline, 5)
    pipeline.converged(120)


def test_a_capture_that_began_without_its_registry_is_named_first_and_cured(pipeline: Pipeline) -> None:
    """Debezium does not try that again: its task is FAILED for good where no capture worker runs."""
    pipeline.converged(120)
    pipeline.stop_workers()
    pipeline.stack.stop_part("registry")
    try:
        pipeline.stack.stop_part("connect")
        pipeline.stack.start_part("connect")
        write(pipeline, 6)

        def failed() -> str:
            status = pipeline.json("status")
            first = status["problems"][0]
            assert "capture of shop failed" in first["what"], status["problems"]
            return str(first["next"])

        cure = eventually(failed, within_s=90, what="status names the failed capture first")
    finally:
        pipeline.stack.start_part("registry")
    assert cure.startswith("trueup apply")
    refused = pipeline.trueup("verify")
    assert refused.returncode == 2
    assert "capture of" in refused.stderr
    applied = pipeline.trueup("apply")
    assert applied.returncode == 0, applied.stderr
    pipeline.start_workers()
    pipeline.converged(120)


def test_the_capture_worker_cures_it_by_itself(pipeline: Pipeline) -> None:
    pipeline.converged(120)
    pipeline.stack.stop_part("registry")
    try:
        pipeline.stack.stop_part("connect")
        pipeline.stack.start_part("connect")
        write(pipeline, 7)

        def named() -> bool:
            code, text = ready(pipeline, CAPTURE)
            assert code == 503, text
            assert 'capture of "shop" failed' in text, text
            return True

        eventually(named, within_s=90, what="the capture worker says what failed")
    finally:
        pipeline.stack.start_part("registry")
    eventually(lambda: all_ready(pipeline, [CAPTURE]), within_s=150, what="capture runs again")
    pipeline.converged(120)
