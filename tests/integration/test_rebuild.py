"""Copies filled from the truth topic alone, on the real stack: a new one, and one whose registration changed."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest

from tests.pipeline import Pipeline
from tests.waiting import eventually
from trueup.adapters.project_files import read_project
from trueup.adapters.secret_references import Secrets
from trueup.core.connector_config import connector_name
from trueup.core.registration_rules import problems_of
from trueup.model.settings import Settings
from trueup.runtime.provision import Provisioner
from trueup.runtime.provision_steps import RebuildCopy

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

ROWS = 2_000
READER = "rebuild_test_reader"
PLAIN = "{id: id, note: note, amount: amount}"
MASKED = "{id: id, note: {from: note, mask: sha256}, amount: amount}"

OnFill = Callable[[int, int], None]


class Killed(Exception):
    """Stands for a SIGKILL at this very place."""


class Notebook:
    """A table of its own: 2,000 rows at the shop, registered with a copy at reporting."""

    def __init__(self, pipeline: Pipeline, name: str) -> None:
        self.pipeline, self.name = pipeline, name
        self.topic = f"trueup.truth.{name}"
        self.file = pipeline.folder.project_dir / "schemas" / "tables" / f"{name}.yaml"

    def begin(self) -> None:
        self.at_source(f"CREATE TABLE {self.name} (id int PRIMARY KEY, note text, amount numeric(12,2))")
        self.at_source(f"INSERT INTO {self.name} SELECT n, 'clear ' || n, n FROM generate_series(1, {ROWS}) n")
        self.register(reporting=PLAIN)
        self.apply()
        self.workers_begin_anew("decide", "apply-reporting")
        self.arrived("reporting", masked=False)

    def at_source(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.pipeline.query("shop", statement, parameters)

    def register(self, **copies: str) -> None:
        lines = [f"  - {{replica: {replica}, columns: {columns}}}\n" for replica, columns in copies.items()]
        self.file.write_text(
            f"table: {self.name}\nowner: {{system: shop}}\nsource: {{table: public.{self.name}}}\nkey: [id]\n"
            f"replicas:\n{''.join(lines)}",
            encoding="utf-8",
        )

    def apply(self, *options: str) -> None:
        ran = self.pipeline.trueup("apply", *options)
        assert ran.returncode == 0, ran.stderr

    def workers_begin_anew(self, *names: str) -> None:
        """What a person does after registering a table."""
        assert self.pipeline.workers is not None
        for name in names:
            self.pipeline.workers.kill(name)

    def rows(self, replica: str) -> dict[int, tuple[str, str]]:
        found = self.pipeline.query(replica, f"SELECT id, note, amount::text FROM {self.name}")
        return {row[0]: (row[1], row[2]) for row in found}

    def expected(self, *, masked: bool) -> dict[int, tuple[str, str]]:
        note = "encode(sha256(convert_to(note, 'UTF8')), 'hex')" if masked else "note"
        return {row[0]: row[1:] for row in self.at_source(f"SELECT id, {note}, amount::text FROM {self.name}")}

    def arrived(self, replica: str, *, masked: bool) -> None:
        def same() -> bool:
            assert self.rows(replica) == self.expected(masked=masked)
            return True

        eventually(same, within_s=90, what=f"{self.name} at {replica} equals the shop")

    def counted(self, replica: str) -> None:
        """Every record of the truth topic ended in one outcome, as an independent reader counts them."""

        def same() -> bool:
            counted = self.pipeline.apply_totals(replica, self.topic)
            assert counted == self.pipeline.committed_records(self.topic)
            return True

        eventually(same, within_s=60, what="outcomes equal records")

    def deleted_at(self, replica: str) -> set[bytes]:
        sql = "SELECT key FROM trueup.deleted_keys WHERE target = %s"
        return {key for (key,) in self.pipeline.query(replica, sql, (f"public.{self.name}",))}

    def verified(self) -> None:
        ran = self.pipeline.trueup("verify", self.name)
        assert ran.returncode == 0, ran.stdout + ran.stderr

    def leftovers(self) -> list[tuple[Any, ...]]:
        return self.pipeline.query(
            "reporting",
            "SELECT topic FROM trueup.progress WHERE topic LIKE '%%rebuild%%'"
            " UNION ALL SELECT target FROM trueup.copies WHERE target LIKE '%%rebuild%%'"
            " UNION ALL SELECT tablename FROM pg_tables WHERE tablename LIKE 'rebuild%%'",
        )


@pytest.fixture
def notebook(pipeline: Pipeline, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    made = Notebook(pipeline, f"notebook_{request.node.name.removeprefix('test_')[:20]}")
    made.begin()
    yield made
    # Copies and topics stay; the registration goes, so that other tests verify what is theirs.
    made.file.unlink()
    made.apply()
    made.workers_begin_anew("decide", "apply-reporting", "apply-warehouse")


@contextmanager
def writing(notebook: Notebook) -> Iterator[None]:
    """Updates, inserts and deletes at the source until the block is left."""
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(notebook.pipeline.folder.dsn("shop"), autocommit=True) as shop:
            n = 0
            while not stop.wait(0.005):
                n += 1
                row = n % (ROWS - 100) + 100
                shop.execute(f"UPDATE {notebook.name} SET note = 'clear again {n}' WHERE id = {row}".encode())
                shop.execute(f"INSERT INTO {notebook.name} VALUES ({10_000 + n}, 'clear new {n}', {n})".encode())
                shop.execute(f"DELETE FROM {notebook.name} WHERE id = {10_000 + n - 5}".encode())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def rebuild(notebook: Notebook, settings: Settings, on_fill: OnFill) -> None:
    """`trueup apply --rebuild` in this process, so that a test can end it at a place it knows."""
    project = read_project(settings.project_dir, problems_of)
    secrets = Secrets(settings, notebook.pipeline.folder.environment())
    provisioner = Provisioner(settings, project, secrets, rebuild=True)
    try:
        steps = provisioner.plan()
        assert any(isinstance(step, RebuildCopy) for step in steps)
        provisioner.carry_out(steps, lambda _: None, lambda _: None, on_fill)
    finally:
        provisioner.close()


def scans(notebook: Notebook) -> tuple[int, ...]:
    """How often the source table was read, and rows of it; sessions report that when they end, at the latest."""
    found = notebook.at_source(
        "SELECT seq_scan, coalesce(idx_scan, 0), seq_tup_read FROM pg_stat_user_tables WHERE relname = %s",
        notebook.name,
    )
    return tuple(found[0])


def test_a_new_copy_is_filled_from_the_truth_alone(
    notebook: Notebook, pipeline: Pipeline, stack_settings: Settings
) -> None:
    notebook.at_source(f"DELETE FROM {notebook.name} WHERE id <= 20")
    notebook.at_source(f"UPDATE {notebook.name} SET note = 'clear and changed' WHERE id <= 100")
    notebook.arrived("reporting", masked=False)
    expected = notebook.expected(masked=False)
    connector = f"{stack_settings.connect.url}/connectors/{connector_name('shop')}"
    with httpx.Client(base_url=connector, trust_env=False) as connect:
        connect.put("/pause").raise_for_status()
        paused = lambda: connect.get("/status").json()["tasks"][0]["state"] == "PAUSED"  # noqa: E731
        eventually(paused, within_s=30, what="the connector pauses")
        try:
            before = scans(notebook)
            notebook.register(reporting=PLAIN, warehouse=PLAIN)
            notebook.apply()
            notebook.workers_begin_anew("apply-warehouse")
            filled = lambda: notebook.rows("warehouse") == expected  # noqa: E731
            eventually(filled, within_s=120, what="the new copy equals the truth")
            assert scans(notebook) == before, "nobody read the source"
        finally:
            connect.put("/resume").raise_for_status()
    assert notebook.deleted_at("warehouse") == notebook.deleted_at("reporting")
    assert len(notebook.deleted_at("warehouse")) == 20
    notebook.counted("warehouse")
    notebook.verified()


def test_a_mask_is_added_while_writers_run(notebook: Notebook, pipeline: Pipeline) -> None:
    pipeline.query("reporting", f"CREATE ROLE {READER}")
    pipeline.query("reporting", f"GRANT SELECT ON {notebook.name} TO {READER}")
    notebook.at_source(f"DELETE FROM {notebook.name} WHERE id <= 20")
    assert pipeline.workers is not None
    ended = len(pipeline.workers.ended_by_themselves)
    with writing(notebook):
        notebook.register(reporting=MASKED)
        refused = pipeline.trueup("apply")
        assert refused.returncode == 2
        for named in (
            notebook.name,
            '"reporting"',
            'column "note": mask none becomes sha256',
            "trueup apply --rebuild",
        ):
            assert named in refused.stderr, named
        planned = pipeline.trueup("apply", "--rebuild", "--dry-run")
        assert planned.returncode == 0, planned.stderr
        assert f'CREATE TABLE "trueup"."rebuild_{notebook.name}"' in planned.stdout
        assert f'DROP TABLE IF EXISTS "public"."{notebook.name}"' in planned.stdout
        notebook.workers_begin_anew("apply-reporting")  # a worker that begins now has read the new registration
        assert notebook.leftovers() == [], "a dry run changes nothing"
        done = pipeline.json("apply", "--rebuild")
        assert [step["step"] for step in done["steps"]] == ["RebuildCopy"]
    notebook.arrived("reporting", masked=True)
    clear = pipeline.query("reporting", f"SELECT count(*) FROM {notebook.name} WHERE note LIKE 'clear%%'")
    assert clear == [(0,)]
    right = f"SELECT has_table_privilege('{READER}', '{notebook.name}', 'SELECT')"
    assert pipeline.query("reporting", right) == [(True,)]
    alive = {f'{{"id":{n}}}'.encode() for n in notebook.rows("reporting")}
    deleted = notebook.deleted_at("reporting")
    assert not deleted & alive
    assert {f'{{"id":{n}}}'.encode() for n in range(1, 21)} <= deleted
    notebook.counted("reporting")
    notebook.verified()
    assert notebook.leftovers() == []
    assert len(pipeline.workers.ended_by_themselves) == ended, "a swap ends no worker"
    pipeline.query("reporting", f"REVOKE ALL ON {notebook.name} FROM {READER}")
    pipeline.query("reporting", f"DROP ROLE {READER}")


def test_kills_in_the_middle_are_completed(notebook: Notebook, stack_settings: Settings) -> None:
    notebook.at_source(f"DELETE FROM {notebook.name} WHERE id <= 20")
    notebook.arrived("reporting", masked=False)
    notebook.register(reporting=MASKED)
    begins: list[int] = []
    with writing(notebook):
        for place in range(3):
            seen: list[int] = []

            def kill(done: int, total: int, place: int = place, seen: list[int] = seen) -> None:
                """Before the first record; after some; when all is read, before the swap."""
                seen.append(done)
                if place == 0 or (place == 1 and done > total // 4) or (place == 2 and done >= total):
                    raise Killed

            with pytest.raises(Killed):
                rebuild(notebook, stack_settings, kill)
            begins.append(seen[0])
            assert next(iter(notebook.rows("reporting").values()))[0].startswith("clear"), "readers have the old table"
        killed_in_the_middle(notebook)
    notebook.arrived("reporting", masked=False)  # the worker goes on with the old table, whatever was killed
    last: list[int] = []
    rebuild(notebook, stack_settings, lambda done, _: last.append(done))
    assert begins[:2] == [0, 0]
    assert begins[2] > ROWS // 4, "what was filled stays filled"
    assert last[0] >= 50, "by a killed process, too"
    notebook.arrived("reporting", masked=True)
    notebook.counted("reporting")
    assert not notebook.deleted_at("reporting") & {f'{{"id":{n}}}'.encode() for n in notebook.rows("reporting")}
    notebook.verified()
    assert notebook.leftovers() == []


def killed_in_the_middle(notebook: Notebook) -> None:
    """A real process and a real SIGKILL, while records of the table are read in tiny batches."""
    pipeline = notebook.pipeline
    arguments = ["apply", "--rebuild", "--project", str(pipeline.folder.project_dir)]
    pipeline.query("reporting", "DELETE FROM trueup.progress WHERE topic = %s", (f"rebuild:{notebook.topic}",))
    process = subprocess.Popen(
        [sys.executable, "-m", "trueup.runtime.cli", *arguments],
        env=pipeline.folder.environment() | {"TRUEUP_WORKER__BATCH_ROWS_MAX": "5"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    read = "SELECT coalesce(sum(applied + stale), 0) FROM trueup.progress WHERE topic LIKE 'rebuild:%%'"
    try:
        eventually(lambda: pipeline.query("reporting", read)[0][0] > 50, within_s=60, what="some records are read")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert notebook.leftovers(), "it was killed before the swap"
