"""A copy says what it is as of, and it is: under load with kills, at rest, and when something stands still."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.freshness_ledger import findings
from tests.freshness_load import FreshnessLoad
from tests.pipeline import Pipeline
from tests.rules.checkout import ROOT
from tests.waiting import eventually
from trueup import freshness
from trueup.model.errors import CopyTooOld, Refused
from trueup.stack.credentials import SUPERUSER, dsn, load_credentials

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

READINGS = 1_000
WINDOW_S = 5.0


@pytest.fixture(scope="module", autouse=True)
def _windows_are_registered(pipeline: Pipeline) -> None:
    """The windows at a replica are those of the project that was applied there last: perhaps that of another file."""
    pipeline.apply()


def look(pipeline: Pipeline, replica: str, table: str) -> freshness.Freshness:
    with psycopg.connect(pipeline.dsn(replica), autocommit=True) as connection:
        return freshness.look(connection, table)


def is_fresh(pipeline: Pipeline, replica: str, table: str, within_s: float = 120) -> freshness.Freshness:
    def fresh() -> freshness.Freshness | None:
        found = look(pipeline, replica, table)
        return found if found.fresh else None

    found = eventually(fresh, within_s=within_s, what=f"{table} at {replica} is fresh")
    assert found is not None
    return found


@contextmanager
def stopped(pipeline: Pipeline, worker: str) -> Iterator[None]:
    """SIGSTOP: the worker is there for everybody, and says nothing."""
    entry = json.loads((pipeline.folder.state_dir / "workers" / f"{worker}.json").read_text(encoding="utf-8"))
    os.kill(entry["pid"], signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(entry["pid"], signal.SIGCONT)


@pytest.mark.long
def test_every_write_below_as_of_is_there_under_load_with_kills(pipeline: Pipeline) -> None:
    assert pipeline.workers is not None
    is_fresh(pipeline, "warehouse", "orders", within_s=300)  # after the first filling
    load = FreshnessLoad(pipeline.dsn("shop"), pipeline.dsn("warehouse"))
    load.start()
    try:
        load.reaches(READINGS // 4, 60)
        for worker in ("decide", "apply-warehouse"):
            before = max(load.positions())
            pipeline.workers.kill(worker)
            eventually(
                lambda before=before: max(load.positions()) > before + 1,  # type: ignore[misc]
                within_s=90,
                what=f"as_of moves after the kill of {worker}",
            )
        load.reaches(READINGS, 60)
    finally:
        load.stop()
    assert findings(load.ledger, load.readings) == []
    said = sorted(load.positions())
    assert len(said) > 5, "it moved"
    assert load.ledger.count() > 500
    early = [type(r)(said[-1], r.numbers) for r in load.readings if r.as_of_position == said[len(said) // 2]]
    assert findings(load.ledger, early), "and a reading that claims more than it has is found out"


def test_a_table_at_rest_is_proven_fresh(pipeline: Pipeline) -> None:
    """Nobody writes to customers; what the copy is as of moves all the same, in every partition."""
    first = is_fresh(pipeline, "reporting", "customers")
    assert first.as_of is not None

    def moved() -> bool:
        found = look(pipeline, "reporting", "customers")
        return found.as_of is not None and first.as_of is not None and found.as_of > first.as_of

    for _ in range(3):
        eventually(moved, within_s=30, what="as_of moves")
        first = look(pipeline, "reporting", "customers")
    assert (first.within_s, first.held_keys) == (300.0, 0)


def test_a_worker_that_stands_still_holds_as_of_still_and_is_seen_within_the_window(pipeline: Pipeline) -> None:
    is_fresh(pipeline, "warehouse", "orders")
    with stopped(pipeline, "decide"):
        held = eventually(
            lambda: (found := look(pipeline, "warehouse", "orders")).fresh is False and found,
            within_s=WINDOW_S + 5,
            what="the copy says that it is not fresh",
        )
        assert isinstance(held, freshness.Freshness)
        assert held.age_s is not None
        assert held.age_s > WINDOW_S
        with psycopg.connect(pipeline.dsn("warehouse"), autocommit=True) as connection:
            with pytest.raises(CopyTooOld) as refusal:
                freshness.require(connection, "orders")
            assert held.as_of is not None
            assert held.as_of.isoformat() in str(refusal.value)
            assert "do not act on it" in str(refusal.value)
            assert freshness.require(connection, "public.orders", within="1h").as_of == held.as_of
        assert look(pipeline, "warehouse", "orders").as_of == held.as_of
    found = is_fresh(pipeline, "warehouse", "orders")
    assert found.as_of is not None
    assert found.as_of > held.as_of


def test_the_example_of_the_readme_refuses_to_act_on_stale_data(pipeline: Pipeline) -> None:
    """The code block as it stands there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"(    import psycopg\n    from trueup import freshness\n(?:    .*\n|\n)*)", readme)
    assert block is not None
    names: dict[str, object] = {}
    exec("\n".join(line.removeprefix("    ") for line in block[1].splitlines()), names)  # noqa: S102 - our own README
    can_promise = names["can_promise"]
    assert callable(can_promise)
    is_fresh(pipeline, "shop", "stock")
    ((sku, quantity),) = pipeline.query("shop", "SELECT sku, on_hand - reserved FROM stock ORDER BY 2 DESC LIMIT 1")
    with psycopg.connect(pipeline.dsn("shop")) as connection:
        assert can_promise(connection, sku, quantity)
        assert not can_promise(connection, sku, quantity + 1)
        with stopped(pipeline, "apply-shop"):
            eventually(lambda: not look(pipeline, "shop", "stock").fresh, within_s=WINDOW_S + 5, what="stock is old")
            with pytest.raises(CopyTooOld):
                can_promise(connection, sku, quantity)
    is_fresh(pipeline, "shop", "stock")


def test_everybody_may_ask_and_nobody_sees_more(pipeline: Pipeline) -> None:
    settings = pipeline.folder.stack
    address = dsn(settings, "warehouse", SUPERUSER, load_credentials(settings)["warehouse"].superuser)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE ROLE decision_system")
        connection.execute("SET ROLE decision_system")
        assert freshness.look(connection, "orders").table == "orders"
        for table in ("progress", "dead_letters", "copies", "windows"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT * FROM trueup.{table}".encode())
        with pytest.raises(Refused, match="no copy of table"):
            freshness.require(connection, "nothing", within="5s")

    is_fresh(pipeline, "warehouse", "orders")

    async def ask() -> freshness.Freshness:
        async with await psycopg.AsyncConnection.connect(address) as asynchronous:
            return await freshness.require_async(asynchronous, "orders", within="1h")

    assert asyncio.run(ask()).target == "public.orders"


def test_a_dead_letter_of_either_stage_is_counted_until_it_is_superseded(pipeline: Pipeline) -> None:
    key = 6_900_000
    before = is_fresh(pipeline, "warehouse", "orders").dead_lettered_keys
    pipeline.query(
        "shop",
        "INSERT INTO orders SELECT %s, customer_id, sku, quantity, amount, currency, status, reference, change_reason,"
        " placed_at, updated_at FROM orders WHERE order_id = 1",
        (key,),
    )
    pipeline.query("shop", "UPDATE orders SET amount = -1 WHERE order_id = %s", (key,))

    def counts(expected: int) -> None:
        eventually(
            lambda: look(pipeline, "warehouse", "orders").dead_lettered_keys == expected,
            within_s=60,
            what=f"{expected} dead-lettered keys",
        )

    counts(before + 1)
    assert pipeline.workers is not None
    pipeline.workers.kill("decide")  # it reads the letters again
    is_fresh(pipeline, "warehouse", "orders")
    counts(before + 1)
    pipeline.query("shop", "UPDATE orders SET amount = 1 WHERE order_id = %s", (key,))
    counts(before)


def test_status_and_metrics_say_how_old_each_copy_is(pipeline: Pipeline) -> None:
    is_fresh(pipeline, "reporting", "orders")
    lines = {(line["table"], line["replica"]): line for line in pipeline.json("status")["tables"]}
    assert 0 <= lines["orders", "reporting"]["as_of_age_s"] < 300
    assert lines["orders", "reporting"]["fresh"] is True
