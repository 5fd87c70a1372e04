"""The main job on the real stack: changes reach replicas, through kills, replays and lost state."""

import itertools
import shutil
import threading
import uuid

import pytest

from tests.pipeline import OUTCOMES, PLAIN_COPIES, REPLICAS, Pipeline
from tests.waiting import eventually
from tests.worker_processes import WorkerProcesses

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


def write_orders(pipeline: Pipeline, start: int, count: int) -> None:
    """Inserts, then updates, deletes and a key change, among orders no other test uses."""
    pipeline.query(
        "shop",
        "INSERT INTO orders (order_id, customer_id, sku, quantity, amount, currency, status, reference, change_reason,"
        " placed_at, updated_at) SELECT n, 1, 'sku-test', 1, n / 100.0, 'EUR', 'new', %s::uuid, 'test', now(), now()"
        " FROM generate_series(%s, %s) AS n",
        (str(uuid.uuid4()), start, start + count - 1),
    )
    pipeline.query(
        "shop",
        "UPDATE orders SET quantity = quantity + 1 WHERE order_id BETWEEN %s AND %s",
        (start, start + count // 2),
    )
    pipeline.query("shop", "DELETE FROM orders WHERE order_id BETWEEN %s AND %s", (start, start + count // 10))
    pipeline.query("shop", "UPDATE orders SET order_id = order_id + 500000 WHERE order_id = %s", (start + count - 1,))


def orders_are_accounted_for(pipeline: Pipeline) -> None:
    """An independent committed read equals the counted outcomes: nothing was lost, nothing was doubled."""

    def counted() -> bool:
        captured = pipeline.committed_records("shop.public.orders")
        assert sum(pipeline.decide_totals("shop.public.orders").values()) == captured
        truths = pipeline.committed_records("trueup.truth.orders")
        for replica in ("warehouse", "reporting"):
            assert pipeline.apply_totals(replica, "trueup.truth.orders") == truths, replica
        return True

    eventually(counted, within_s=60, what="an independent committed read equals the counted outcomes")


def test_existing_rows_and_changes_arrive(pipeline: Pipeline) -> None:
    pipeline.converged(120)
    write_orders(pipeline, 1_000_000, 500)
    pipeline.converged()


def test_masked_and_renamed_copies_show_no_clear_value(pipeline: Pipeline) -> None:
    pipeline.converged()
    customers = "SELECT email FROM public.customers WHERE email IS NOT NULL LIMIT 50"
    (schema, table, column), *_ = pipeline.query(
        "reporting",
        "SELECT table_schema, table_name, column_name FROM information_schema.columns"
        " WHERE column_name LIKE '%%email%%' AND table_schema <> 'trueup' LIMIT 1",
    )
    shown = {value for (value,) in pipeline.query("reporting", f'SELECT "{column}" FROM "{schema}"."{table}"')}
    clear = {value for (value,) in pipeline.query("shop", customers)}
    assert shown
    assert not shown & clear


def test_workers_killed_under_load_lose_and_double_nothing(pipeline: Pipeline) -> None:
    assert pipeline.workers is not None
    for number in range(3):
        write_orders(pipeline, 1_100_000 + number * 1_000, 300)
        pipeline.workers.kill("decide")
        write_orders(pipeline, 1_150_000 + number * 1_000, 300)
        pipeline.workers.kill("apply-warehouse")
    pipeline.converged(120)

    orders_are_accounted_for(pipeline)


def test_sigterm_under_load_drains_and_loses_nothing(pipeline: Pipeline) -> None:
    """Each worker finishes what it has in flight and ends with 0 within 30 s; others take over where it stopped."""
    pipeline.converged(180)
    pipeline.stop_workers()
    folder = pipeline.folder
    workers = WorkerProcesses(folder.project_dir, folder.state_dir, folder.log_dir, folder.environment())
    writing = threading.Event()

    def write() -> None:
        for number in itertools.count():
            if writing.is_set():
                return
            write_orders(pipeline, 3_000_000 + number * 300, 200)

    writer = threading.Thread(target=write, daemon=True)
    try:
        workers.start("capture", "capture")
        workers.start("decide", "decide")
        for replica in REPLICAS:
            workers.start(f"apply-{replica}", "apply", replica)
        workers.all_ready()
        counted = pipeline.apply_totals("warehouse", "trueup.truth.orders")
        writer.start()
        eventually(
            lambda: pipeline.apply_totals("warehouse", "trueup.truth.orders") > counted + 500,
            within_s=60,
            what="the load passes through every worker",
        )
        ends = workers.terminate(workers.names(), within_s=30)
    finally:
        writing.set()
        workers.stop()
        pipeline.start_workers()
    writer.join(30)
    assert {end.worker: end.code for end in ends} == dict.fromkeys((e.worker for e in ends), 0), ends
    assert len(ends) == 2 + len(REPLICAS)
    assert not workers.ended_by_themselves()
    pipeline.converged(120)
    orders_are_accounted_for(pipeline)


def test_a_negative_amount_is_rejected_and_its_correction_arrives(pipeline: Pipeline) -> None:
    write_orders(pipeline, 1_300_000, 20)
    pipeline.converged()
    pipeline.query("shop", "UPDATE orders SET amount = -1 WHERE order_id = 1300015")

    def rejected() -> bool:
        letters = pipeline.json("deadletters", "list")["dead_letters"]
        return any("1300015" in str(letter["key"]) and letter["error_class"] == "CheckViolated" for letter in letters)

    eventually(rejected, within_s=60, what="the negative amount is a dead letter")
    held = pipeline.query("warehouse", "SELECT amount > 0 FROM orders WHERE order_id = 1300015")
    assert held == [(True,)]
    pipeline.query("shop", "UPDATE orders SET amount = 7 WHERE order_id = 1300015")
    pipeline.converged()


def test_a_replay_of_everything_changes_no_row(pipeline: Pipeline) -> None:
    """Workers stopped, groups and progress reset to the beginning, restarted: all is read again, nothing is written."""
    pipeline.converged()
    pipeline.stop_workers()
    rows = "SELECT md5(t::text), xmin::text FROM public.{} AS t ORDER BY 1"
    before = {table: pipeline.query(replica, rows.format(table)) for table, _, replica, _ in PLAIN_COPIES}
    truths = {table: pipeline.committed_records(f"trueup.truth.{table}") for table, *_ in PLAIN_COPIES}
    pipeline.reset_decided([f"{system}.public.{table}" for table, system, *_ in PLAIN_COPIES])
    counters = ", ".join(f"{outcome} = 0" for outcome in OUTCOMES)
    for replica in REPLICAS:
        pipeline.query(replica, f"UPDATE trueup.progress SET next_offset = NULL, {counters}")
    pipeline.start_workers()

    def read_again() -> bool:
        for table, system, replica, _ in PLAIN_COPIES:
            topic = f"{system}.public.{table}"
            assert sum(pipeline.decide_totals(topic).values()) == pipeline.committed_records(topic), topic
            assert pipeline.apply_totals(replica, f"trueup.truth.{table}") == truths[table], (table, replica)
        return True

    eventually(read_again, within_s=120, what="every captured and every truth record is read again")
    after = {table: pipeline.query(replica, rows.format(table)) for table, _, replica, _ in PLAIN_COPIES}
    assert after == before
    assert {t: pipeline.committed_records(f"trueup.truth.{t}") for t in truths} == truths, (
        "decided again, not published"
    )


def test_lost_local_state_changes_nothing(pipeline: Pipeline) -> None:
    pipeline.stop_workers()
    shutil.rmtree(pipeline.folder.state_dir / "workers", ignore_errors=True)
    write_orders(pipeline, 1_400_000, 300)
    pipeline.start_workers()
    pipeline.converged(120)
    placeholder = pipeline.query("reporting", "SELECT count(*) FROM pg_tables WHERE tablename LIKE '%%unavailable%%'")
    assert placeholder == [(0,)]
    for replica, table in (("warehouse", "orders"), ("shop", "stock")):
        found = pipeline.query(
            replica, f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE '%%__trueup_unavailable_%%'"
        )
        assert found == [(0,)]


def test_verify_is_clean_and_finds_what_is_spoiled(pipeline: Pipeline) -> None:
    write_orders(pipeline, 1_500_000, 20)
    pipeline.converged()
    clean = pipeline.trueup("verify", "--json")
    assert clean.returncode == 0, clean.stdout + clean.stderr
    pipeline.query("warehouse", "UPDATE orders SET quantity = quantity + 1 WHERE order_id = 1500015")
    spoiled = pipeline.json("verify", "orders")
    pipeline.query("warehouse", "UPDATE orders SET quantity = quantity - 1 WHERE order_id = 1500015")
    assert spoiled["differing"] == 1
