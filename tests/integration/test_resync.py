"""`trueup resync` on the real stack: what lost changes stops loudly, and a new epoch makes every copy true again."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.breakable_pipeline import BreakablePipeline, breakable_pipeline
from tests.integration.scratch_system import Killed
from tests.pipeline import Pipeline
from tests.waiting import eventually
from trueup.core.control import sweep_record
from trueup.model.errors import PartFailed
from trueup.model.settings import Settings
from trueup.runtime.resync_steps import ResyncStep

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture
def scratch(pipeline: Pipeline, stack_settings: Settings, tmp_path: Path) -> Iterator[BreakablePipeline]:
    with breakable_pipeline(pipeline, stack_settings, tmp_path) as made:
        yield made


def test_a_dropped_slot_stops_capture_and_resync_removes_what_went_meanwhile(
    scratch: BreakablePipeline,
) -> None:
    """F-16: 100 rows deleted and 100 changed while there is no slot."""
    scratch.start()
    with scratch.captured_stopped():
        scratch.system.execute(f"SELECT pg_drop_replication_slot('{scratch.connector}')")
        scratch.execute("DELETE FROM orders WHERE id <= 100")
        scratch.execute("UPDATE orders SET note = 'while blind' WHERE id BETWEEN 101 AND 200")
    scratch.capture_failed()
    scratch.names_cure("slot", "gone")
    refused = scratch.trueup("apply")
    assert refused.returncode == 2
    assert f"trueup resync {scratch.name}" in refused.stderr
    assert len(scratch.rows("warehouse")) == 300, "nothing was guessed"

    scratch.resync()
    scratch.equal()
    assert set(scratch.rows("warehouse")) == set(range(101, 301))
    scratch.verified()
    scratch.counted()
    scratch.execute("UPDATE orders SET note = 'after' WHERE id = 150")
    scratch.execute("INSERT INTO orders VALUES (7, 7, 'back')")
    scratch.equal()
    registered = scratch.folder.project_dir / f"connectors/systems/{scratch.name}.yaml"
    assert "epoch: 2" in registered.read_text()
    assert scratch.trueup("apply").returncode == 0

    scratch.execute("ALTER TABLE orders RENAME COLUMN note TO remark")
    refused = scratch.trueup("resync", scratch.name, "--yes")
    assert refused.returncode == 2
    assert "added: remark; gone: note" in refused.stderr, "its copies would have lost the column"
    assert "epoch: 2" in registered.read_text()


def test_a_slot_that_was_advanced_by_hand_is_named_before_the_connector_runs_on_behind_the_hole(
    scratch: BreakablePipeline,
) -> None:
    """F-16: Debezium 3.7.0 would not notice, whatever offset.mismatch.strategy says."""
    scratch.start()
    with scratch.captured_stopped():
        scratch.execute("DELETE FROM orders WHERE id <= 100")
        scratch.system.execute(f"SELECT pg_replication_slot_advance('{scratch.connector}', pg_current_wal_lsn())")
        scratch.names_cure("advanced by hand")
        assert scratch.trueup("apply").returncode == 2
        scratch.resync()
    scratch.equal()
    scratch.counted()


def test_a_resync_that_is_killed_before_any_step_is_completed_by_the_next(scratch: BreakablePipeline) -> None:
    scratch.start()
    with scratch.captured_stopped():
        scratch.system.execute(f"SELECT pg_drop_replication_slot('{scratch.connector}')")
        scratch.execute("DELETE FROM orders WHERE id <= 100")
    for deadly in ResyncStep:

        def on_step(step: ResyncStep, deadly: ResyncStep = deadly) -> None:
            if step is deadly:
                raise Killed(step)

        run = scratch.new_resync()
        try:
            with pytest.raises(Killed):
                run.run(on_step, lambda *_: None)
        finally:
            run.close()
    scratch.resync()
    scratch.equal()
    scratch.verified()
    scratch.counted()
    assert "epoch: 2" in (scratch.folder.project_dir / f"connectors/systems/{scratch.name}.yaml").read_text()


def started_again(scratch: BreakablePipeline, part: str) -> bool:
    """A part that was killed a moment ago may hold its port still."""
    try:
        scratch.pipeline.stack.start_part(part)
    except PartFailed:
        return False
    return True


@pytest.mark.timeout(360)
def test_a_snapshot_that_was_interrupted_hides_no_row_that_was_deleted_before_the_next_attempt(
    scratch: BreakablePipeline,
) -> None:
    """F-12: Connect dies in the snapshot; what it had brought, and what is gone since, is not taken for brought."""
    scratch.start(60_000)
    stack = scratch.pipeline.stack
    before = scratch.captured()
    with ThreadPoolExecutor(1) as pool:
        resync = pool.submit(scratch.resync)
        try:
            eventually(lambda: scratch.captured() > before + 5_000, within_s=90, what="rows of the first attempt")
        finally:
            stack.kill_part("connect")
        brought = scratch.captured() - before
        scratch.execute("DELETE FROM orders WHERE id % 3 = 0")
        eventually(lambda: started_again(scratch, "connect"), within_s=90, what="Connect is back")
        resync.result()
    scratch.equal(90)
    scratch.verified()
    scratch.counted()
    assert brought < 60_000, "the attempt was interrupted"
    assert "epoch: 3" in (scratch.folder.project_dir / f"connectors/systems/{scratch.name}.yaml").read_text()


def test_a_source_that_went_back_stops_its_table_and_resync_goes_on_behind_it(scratch: BreakablePipeline) -> None:
    """F-17. What the workers see of a restore: changes at lower positions with newer commit times."""
    scratch.start()
    scratch.raise_guard()
    scratch.execute("UPDATE orders SET note = 'after the restore'")
    scratch.names_cure("went back")
    scratch.execute("DELETE FROM orders WHERE id <= 100")
    scratch.resync()
    scratch.equal()
    scratch.verified()
    scratch.counted()


def test_a_capture_topic_that_was_deleted_is_not_made_anew_in_silence(scratch: BreakablePipeline) -> None:
    """F-22: the topic goes while workers run; apply refuses to make it, status says what to do, resync does it."""
    scratch.start()
    with scratch.captured_stopped():
        scratch.topics.delete_and_wait(scratch.topic)
        scratch.execute("DELETE FROM orders WHERE id <= 100")
        scratch.names_cure("does not exist")
        refused = scratch.trueup("apply")
        assert refused.returncode == 2
        assert f"trueup resync {scratch.name}" in refused.stderr
        scratch.resync()
    scratch.equal()
    scratch.verified()
    scratch.counted()


def test_a_capture_topic_made_anew_behind_our_back_stops_the_table(scratch: BreakablePipeline) -> None:
    """F-22: as large as before and with as many partitions, so that every offset looks right."""
    scratch.start()
    held = scratch.rows("warehouse")
    with scratch.captured_stopped():
        partitions = scratch.topics.describe([scratch.topic])[scratch.topic].partitions
        scratch.topics.delete_and_wait(scratch.topic)
        scratch.make_topic(partitions)
    scratch.execute("UPDATE orders SET note = 'once'")
    scratch.execute("UPDATE orders SET note = 'twice'")
    scratch.names_cure("made anew")
    assert scratch.rows("warehouse") == held, "nothing was applied from it"
    scratch.resync()
    scratch.equal()
    scratch.counted()


def test_retention_that_passed_undecided_records_stops_the_table(scratch: BreakablePipeline) -> None:
    """F-22: never a silent jump to the beginning."""
    scratch.start()
    scratch.stop_workers()
    before = scratch.captured()
    scratch.execute("UPDATE orders SET note = 'never decided'")
    eventually(lambda: scratch.captured() >= before + 300, within_s=30, what="the update is captured")
    scratch.delete_undecided()
    scratch.start_workers()
    scratch.names_cure("lost records before they were decided")
    scratch.resync()
    scratch.equal()
    assert {note for _, note in scratch.rows("warehouse").values()} == {"never decided"}


def test_added_partitions_stop_the_table_and_resync_makes_the_topic_anew(scratch: BreakablePipeline) -> None:
    """F-22: a key in two partitions has no order."""
    scratch.start()
    scratch.add_partition()
    scratch.names_cure("capture partitions")
    scratch.resync()
    scratch.execute("UPDATE orders SET note = 'after' WHERE id <= 10")
    scratch.equal()
    scratch.counted()


def test_a_row_the_snapshot_brought_and_the_rules_refuse_is_not_swept(scratch: BreakablePipeline) -> None:
    """Its last good content stays in the copy; the row exists at its owner."""
    scratch.start()
    scratch.execute("UPDATE orders SET amount = -1 WHERE id = 5")
    scratch.resync()
    scratch.decided()
    scratch.counted()
    assert scratch.rows("warehouse").keys() == scratch.rows("shop").keys()
    scratch.execute("UPDATE orders SET amount = 6 WHERE id = 5")
    scratch.equal()


def test_a_control_record_that_is_not_ours_is_a_dead_letter_and_deletes_nothing(scratch: BreakablePipeline) -> None:
    scratch.start()
    for partition in range(4):
        scratch.reader.write(sweep_record(scratch.topic, partition, 9, b"another cluster"))
    scratch.decided()
    scratch.counted()
    assert len(scratch.rows("warehouse")) == 300
    assert scratch.pipeline.decide_totals(scratch.topic)["rejected"] == 4
