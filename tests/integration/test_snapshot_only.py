"""Tables that Debezium cannot read while their connector runs: they are refused there, and come with a new snapshot."""

from collections.abc import Iterator

import pytest

from tests.integration.scratch_pipeline import REPLICA, ScratchPipeline, scratch_pipeline
from tests.pipeline import Pipeline

pytestmark = [pytest.mark.long, pytest.mark.integration, pytest.mark.timeout(300)]

CALM = ["id", "n"]
TABLES = {
    "moments": "at timestamptz PRIMARY KEY, n int",
    "computed": "id bigint PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED",
}


@pytest.fixture(scope="module")
def running(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScratchPipeline]:
    with scratch_pipeline(pipeline, tmp_path_factory.mktemp("snapshot_only")) as made:
        made.execute("CREATE TABLE {0}.calm (id bigint PRIMARY KEY, n int)", "INSERT INTO {0}.calm VALUES (1, 1)")
        made.register("calm", "id", CALM)
        made.start()
        made.converges("calm")
        yield made


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_cannot_join_comes_with_a_new_snapshot(running: ScratchPipeline, table: str) -> None:
    columns = [column.split()[0] for column in TABLES[table].split(", ")]
    first = "'2026-01-05'::timestamptz + g * interval '1 min'" if table == "moments" else "g"
    running.execute(
        f"CREATE TABLE {{0}}.{table} ({TABLES[table]})",
        f"INSERT INTO {{0}}.{table} SELECT {first}, g FROM generate_series(1, 50) g",
    )
    running.register(table, columns[0], columns)
    refused = running.trueup("apply")
    assert refused.returncode == 2
    assert "cannot be read while its connector runs" in refused.stderr
    assert f"trueup resync {running.name}, then trueup apply" in refused.stderr

    resynced = running.trueup("resync", running.name, "--yes")
    assert resynced.returncode == 0, resynced.stderr
    applied = running.trueup("apply")
    assert applied.returncode == 0, applied.stderr
    running.kill(f"apply-{REPLICA}")  # which a person starts anew after registering a table
    running.converges(table, within_s=90)
    running.execute(f"UPDATE {{0}}.{table} SET n = n + 1", "UPDATE {0}.calm SET n = n + 1")
    running.converges(table)
    running.converges("calm")
    running.clean(table)
    again = running.trueup("resnapshot", f"{running.name}_{table}")
    assert again.returncode == 2
    assert "trueup resync" in again.stderr
