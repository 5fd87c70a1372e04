"""F-36: TRUNCATE at the source. The copies follow where the registration says so; rows inserted afterwards survive, in
every partition, whatever is killed in the middle; and every record is counted once."""

from collections.abc import Iterator

import pytest

from tests.integration.scratch_pipeline import REPLICA, ScratchPipeline, scratch_pipeline
from tests.pipeline import Pipeline
from tests.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

ROWS = 400  # so that every partition has some
POLICIES = {
    "single": "delete",
    "again": "delete",
    "parent": "delete",
    "child": "delete",
    "other": "delete",
    "killed": "delete",
    "refusing": "reject",
    "asking": "stop",
}
COLUMNS = ["id", "v"]


@pytest.fixture(scope="module")
def running(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScratchPipeline]:
    with scratch_pipeline(pipeline, tmp_path_factory.mktemp("truncate")) as made:
        for table, policy in POLICIES.items():
            made.execute(f"CREATE TABLE {{0}}.{table} (id int PRIMARY KEY, v int)")
            fill(made, table, 1, ROWS)
            made.register(table, "id", COLUMNS, f"truncate: {policy}\n")
        made.execute("ALTER TABLE {0}.child ADD FOREIGN KEY (id) REFERENCES {0}.parent DEFERRABLE INITIALLY DEFERRED")
        made.start()
        for table in POLICIES:
            made.converges(table)
        yield made


def fill(running: ScratchPipeline, table: str, first: int, last: int, v: int = 0) -> None:
    running.execute(f"INSERT INTO {{0}}.{table} SELECT g, {v} FROM generate_series({first}, {last}) g")


def counted(running: ScratchPipeline, pipeline: Pipeline, table: str) -> None:
    """Wait until an independent committed read of both topics equals the sums of outcomes."""
    capture, truth = f"{running.name}.{running.name}.{table}", f"trueup.truth.{running.name}_{table}"

    def equal() -> bool:
        assert sum(pipeline.decide_totals(capture).values()) == pipeline.committed_records(capture)
        assert pipeline.apply_totals(REPLICA, truth) == pipeline.committed_records(truth)
        return True

    eventually(equal, within_s=40, what="committed records equal the sums of outcomes at both stages")


def test_rows_of_before_are_gone_and_rows_of_afterwards_stay(running: ScratchPipeline, pipeline: Pipeline) -> None:
    running.execute(
        "UPDATE {0}.single SET v = 1 WHERE id % 2 = 0",
        "DELETE FROM {0}.single WHERE id % 5 = 0",
        "TRUNCATE {0}.single",
        f"INSERT INTO {{0}}.single SELECT g, 7 FROM generate_series({ROWS - 50}, {ROWS + 50}) g",
    )
    running.execute(f"UPDATE {{0}}.single SET v = 8 WHERE id > {ROWS}")
    ((truncated_at,),) = running.system.database.execute("SELECT clock_timestamp()").fetchall()
    together = f"""SELECT (SELECT as_of > '{truncated_at}' FROM trueup.freshness WHERE target = '{{0}}.single'),
                          (SELECT count(*) FROM {{0}}.single WHERE v < 7)"""

    def promised() -> int | None:
        ((is_after, rows_of_before),) = running.at_replica(together)
        return rows_of_before + 1 if is_after else None

    found = eventually(promised, within_s=60, what="the copy is as of a time after the truncate")
    assert found == 1, "no row of before is there then, in no partition"
    running.converges("single")
    assert len(running.copy("single")) == 101
    counted(running, pipeline, "single")
    running.clean("single")
    assert running.dead_letters("single") == []


@pytest.mark.long
def test_the_same_rows_loaded_again_stay_however_often(running: ScratchPipeline, pipeline: Pipeline) -> None:
    """What a reload does. Nothing about a row changed, so the truth still names the record of before."""
    for _ in range(4):
        running.execute("TRUNCATE {0}.again", f"INSERT INTO {{0}}.again SELECT g, 0 FROM generate_series(1, {ROWS}) g")
    fill(running, "again", ROWS + 1, ROWS + 20)
    running.converges("again")
    running.execute("TRUNCATE {0}.again")
    running.converges("again")
    assert running.copy("again") == {}
    fill(running, "again", 1, ROWS)
    running.converges("again")
    counted(running, pipeline, "again")
    running.clean("again")


def test_several_tables_and_cascade(running: ScratchPipeline, pipeline: Pipeline) -> None:
    running.execute("TRUNCATE {0}.other, {0}.parent CASCADE")
    fill(running, "parent", 10, 20, v=3)
    fill(running, "child", 11, 12, v=4)
    fill(running, "other", 1, 3, v=5)
    for table, rows in (("parent", 11), ("child", 2), ("other", 3)):
        running.converges(table)
        assert len(running.copy(table)) == rows
        counted(running, pipeline, table)
        running.clean(table)


def test_a_kill_in_the_middle_changes_nothing(running: ScratchPipeline, pipeline: Pipeline) -> None:
    for number in range(6):
        fill(running, "killed", 1_000 * (number + 1), 1_000 * (number + 1) + 600)
        running.execute(
            f"UPDATE {{0}}.killed SET v = v + 1 WHERE id % 3 = {number % 3}",
            "TRUNCATE {0}.killed",
            f"INSERT INTO {{0}}.killed SELECT g, {number} FROM generate_series(1, {ROWS // 2}) g",
        )
        running.kill("decide")
    running.execute("DELETE FROM {0}.killed WHERE id <= 5")
    running.converges("killed", within_s=120)
    counted(running, pipeline, "killed")
    running.clean("killed")


@pytest.mark.long
def test_rows_read_again_while_the_table_is_emptied(running: ScratchPipeline) -> None:
    """An incremental snapshot is under way: no row it read before comes back."""
    fill(running, "other", 10_000, 40_000)
    running.converges("other")
    running.execute("UPDATE {0}.other SET v = v + 1 WHERE id % 2 = 0")
    asked = running.trueup("resnapshot", f"{running.name}_other")
    assert asked.returncode == 0, asked.stderr
    running.execute("TRUNCATE {0}.other", "INSERT INTO {0}.other SELECT g, 9 FROM generate_series(1, 30) g")
    fill(running, "other", 50_000, 50_100)
    running.converges("other", within_s=90)
    running.clean("other")


def test_a_policy_of_reject_keeps_the_rows_and_the_truncate_as_a_dead_letter(running: ScratchPipeline) -> None:
    running.execute("TRUNCATE {0}.refusing")
    fill(running, "refusing", ROWS + 1, ROWS + 5)
    letters = eventually(lambda: running.dead_letters("refusing"), within_s=60, what="the truncate is a dead letter")
    assert "Truncate" in letters[0]
    eventually(lambda: len(running.copy("refusing")) == ROWS + 5, within_s=30, what="later rows arrive")


@pytest.mark.long
def test_a_policy_of_stop_asks_a_person(running: ScratchPipeline) -> None:
    running.execute("TRUNCATE {0}.asking")
    fill(running, "asking", 1, 5, v=1)

    def named() -> bool:
        found = [p for p in running.problems() if f'"{running.name}.asking" was truncated' in p["what"]]
        assert found, running.problems()
        assert "truncate: delete" in found[0]["next"]
        return True

    eventually(named, within_s=60, what="status names the truncated table, and what to do")
    assert len(running.copy("asking")) == ROWS
    running.register("asking", "id", COLUMNS, "truncate: delete\n")
    running.kill("decide")
    running.converges("asking")
    assert len(running.copy("asking")) == 5
    running.clean("asking")
