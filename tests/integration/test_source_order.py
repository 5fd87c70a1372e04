"""The order of design 5 on the real stack: open transactions, interleaved positions, snapshots among changes."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psycopg
import pytest

from tests.integration.breakable_pipeline import BreakablePipeline, breakable_pipeline
from tests.integration.test_apply import captured
from tests.pipeline import Pipeline
from tests.waiting import eventually
from trueup.model.event import Op
from trueup.model.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

Session = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def scratch(pipeline: Pipeline, stack_settings: Settings, tmp_path: Path) -> Iterator[BreakablePipeline]:
    with breakable_pipeline(pipeline, stack_settings, tmp_path) as made:
        yield made


class Transaction:
    """A transaction in a session of its own at the source."""

    def __init__(self, scratch: BreakablePipeline) -> None:
        self.name = scratch.name
        self.session: Session = psycopg.connect(scratch.pipeline.folder.dsn("shop"))

    def run(self, statement: str) -> None:
        self.session.execute(statement.replace("orders", f"{self.name}.orders").encode())

    def commit(self) -> None:
        self.session.commit()


@contextmanager
def writing(scratch: BreakablePipeline, above: int = 0) -> Iterator[None]:
    """Transactions write meanwhile, each open while the next begins, so that some span whatever the body does."""
    over = threading.Event()

    def write() -> None:
        sessions = [Transaction(scratch), Transaction(scratch)]
        number = 0
        while not over.wait(0.1):
            number += 1
            session = sessions[number % 2]
            session.commit()
            # Two sessions write disjoint keys, so that neither waits for the other's commit.
            keys = f"id > {above} AND id % 2 = {number % 2} AND id % 7 = {number % 7}"
            session.run(f"UPDATE orders SET note = 'round {number}' WHERE {keys}")
            session.run(f"DELETE FROM orders WHERE {keys} AND id % 5 = 0")
            session.run(f"INSERT INTO orders VALUES ({1_000_000 + number}, 1, 'new')")
        for session in sessions:
            session.commit()
            session.session.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


def test_a_transaction_that_wrote_before_the_snapshot_and_commits_after_it_wins(scratch: BreakablePipeline) -> None:
    """F-11, trap A: its changes have positions below the snapshot's, and are newer all the same."""
    scratch.start(3_000)
    before = Transaction(scratch)
    before.run("UPDATE orders SET note = 'open across the snapshot' WHERE id <= 50")
    before.run("DELETE FROM orders WHERE id BETWEEN 51 AND 60")
    with writing(scratch, above=60), ThreadPoolExecutor(1) as pool:
        resync = pool.submit(scratch.resync)
        # The slot waits for transactions that are open when it is made: it is there, and not usable yet.
        made = f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{scratch.connector}' AND active"
        noted = f"SELECT epoch FROM trueup.resyncs WHERE stage = 'snapshot' AND system = '{scratch.name}'"
        try:
            eventually(lambda: resync.done() or scratch.system.value(noted), within_s=90, what="the connector starts")
            eventually(lambda: resync.done() or scratch.system.value(made), within_s=60, what="the slot is being made")
            assert not resync.done(), "it waits for the transaction that is open"
        finally:
            before.commit()
            resync.result()
    before.session.close()
    scratch.equal()
    copy = scratch.rows("warehouse")
    assert {copy[key][1] for key in range(1, 51)} == {"open across the snapshot"}
    assert not copy.keys() & set(range(51, 61))
    scratch.verified()
    scratch.counted()


def test_transactions_with_interleaved_positions_are_applied_in_the_order_of_their_commits(
    scratch: BreakablePipeline,
) -> None:
    """F-29: the one that wrote first commits last; the higher position is the older change."""
    scratch.start(10)
    late, early = Transaction(scratch), Transaction(scratch)
    late.run("UPDATE orders SET note = 'late' WHERE id = 1")
    early.run("UPDATE orders SET note = 'early' WHERE id IN (2, 3)")
    early.commit()
    late.run("UPDATE orders SET note = 'late' WHERE id = 2")
    late.commit()
    for session in (late, early):
        session.session.close()

    def all_updates() -> bool:
        found = [event for event in captured(scratch.system, "orders") if event.op is Op.UPDATE]
        assert len(found) == 4
        changes = {(e.row or {})["id"]: e.position for e in found if (e.row or {})["note"] == "late"}
        earlier = next(e.position for e in found if (e.row or {})["id"] == 3)
        assert changes[1] is not None
        assert earlier is not None
        assert changes[1].change < earlier.change, "the positions do interleave"
        assert changes[1] > earlier, "as a pair with the last commit they are in order: the guard does not stop"
        return True

    eventually(all_updates, within_s=30, what="all four changes are captured")
    scratch.equal()
    assert [scratch.rows("warehouse")[key][1] for key in (1, 2, 3)] == ["late", "late", "early"]
    assert scratch.pipeline.decide_totals(scratch.topic)["duplicate"] == 0
    scratch.counted()


def test_an_incremental_snapshot_during_writes_changes_nothing_that_is_right(scratch: BreakablePipeline) -> None:
    """F-30: a row read again neither overtakes a later change nor brings a deleted row back."""
    scratch.start(5_000)
    with writing(scratch):
        asked = scratch.trueup("resnapshot", scratch.table, "--json")
        assert asked.returncode == 0, asked.stderr

        def read_again() -> bool:
            """Most of the 4,000 rows that are never deleted; the watermarks drop those that were written meanwhile."""
            reads = [event for event in captured(scratch.system, "orders") if event.op is Op.READ]
            return len(reads) > 5_000 + 2_000

        eventually(read_again, within_s=60, what="rows are read again while others are written")
    scratch.equal()
    scratch.verified()
    scratch.counted()


def test_a_value_that_was_not_in_the_log_is_cured_by_reading_its_row_again(scratch: BreakablePipeline) -> None:
    """The cure the dead letter names (F-32): the placeholder never reaches a copy."""
    scratch.start(10)
    scratch.execute("UPDATE orders SET note = (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 500) n)")
    scratch.equal()
    scratch.execute("ALTER TABLE orders REPLICA IDENTITY DEFAULT")
    scratch.execute("UPDATE orders SET amount = 99 WHERE id = 5")

    def letters() -> list[dict[str, object]]:
        answer = msgspec.json.decode(scratch.trueup("deadletters", "list", "--json").stdout)
        return [letter for letter in answer["dead_letters"] if letter["error_class"] == "ValueUnavailable"]

    (letter,) = eventually(letters, within_s=40, what="the change without its value is a dead letter")
    assert "trueup resnapshot" in str(letter["hint"])
    assert scratch.rows("warehouse")[5][0] != 99
    asked = scratch.trueup("resnapshot", scratch.table, "--key", str(letter["key"]))
    assert asked.returncode == 0, asked.stderr
    scratch.equal()
    assert scratch.rows("warehouse")[5][0] == 99
    assert [letter["superseded"] for letter in letters()] == [True]
