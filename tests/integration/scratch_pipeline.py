"""A scratch system with a replica and workers of its own; the workers of the session's pipeline rest meanwhile."""

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.integration.scratch_system import ScratchSystem, scratch_system
from tests.pipeline import Pipeline
from tests.waiting import eventually
from trueup.demo.folder import DemoFolder
from trueup.demo.workers import Workers
from trueup.runtime.cli_project import open_settings

REPLICA = "warehouse"
_COMPARABLE = "-c TimeZone=UTC -c DateStyle=ISO,YMD -c IntervalStyle=postgres -c lc_monetary=C -c bytea_output=hex"
Texts = dict[str, tuple[str | None, ...]]


class ScratchPipeline:
    """What tests see: the source, the copies as text, and the commands of a person."""

    def __init__(self, system: ScratchSystem, folder: DemoFolder) -> None:
        self.system = system
        self.name = system.name
        self._folder = folder
        self._workers = Workers(folder, [REPLICA])
        self._columns: dict[str, list[str]] = {}
        (folder.project_dir / "connectors/replicas").mkdir(parents=True)
        (folder.project_dir / f"connectors/replicas/{REPLICA}.yaml").write_text(
            f"replica: {REPLICA}\nkind: postgresql\n"
            "dsn: ${env:WAREHOUSE_WRITER_DSN}\nddl_dsn: ${env:WAREHOUSE_DSN}\n",
            encoding="utf-8",
        )

    def execute(self, *statements: str) -> None:
        """Statements at the source in one transaction; `{0}` is the schema."""
        with self.system.database.transaction():
            for statement in statements:
                self.system.execute(statement.replace("{0}", self.name))

    def register(self, table: str, key: str, columns: list[str], more: str = "") -> None:
        """A table with a copy. `key` as YAML; `columns` are compared, the first is shown as the row's name."""
        self.compare(table, columns)
        self.system.register(table, key, f"replicas: [{{replica: {REPLICA}}}]\n{more}")

    def compare(self, table: str, columns: list[str]) -> None:
        """From now on these columns are compared."""
        self._columns[table] = columns

    def start(self) -> None:
        applied = self.trueup("apply")
        assert applied.returncode == 0, applied.stderr
        self._workers.start()

    def stop(self) -> None:
        self._workers.stop()

    def kill(self, worker: str) -> None:
        """SIGKILL; it is started again."""
        self._workers.kill(worker)

    def trueup(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "trueup.runtime.cli", *arguments, "--project", str(self._folder.project_dir)],
            env=self._folder.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def dsn(self, database: str) -> str:
        return self._folder.dsn(database)

    def log(self, worker: str) -> str:
        """What a worker said, here and before."""
        path = self._folder.state_dir / "logs" / f"worker-{worker}.log"
        return path.read_text(encoding="utf-8", errors="replace")

    def source(self, table: str) -> Texts:
        return self._texts("shop", table)

    def copy(self, table: str) -> Texts:
        return self._texts(REPLICA, table)

    def at_replica(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._folder.dsn(REPLICA), autocommit=True) as connection:
            cursor = connection.execute(statement.replace("{0}", self.name).encode())
            return cursor.fetchall() if cursor.description else []

    def _texts(self, database: str, table: str) -> Texts:
        columns = ", ".join('"' + name.replace('"', '""') + '"::text' for name in self._columns[table])
        with psycopg.connect(self._folder.dsn(database), options=_COMPARABLE, autocommit=True) as connection:
            rows = connection.execute(f"SELECT {columns} FROM {self.name}.{table}".encode()).fetchall()
        return {row[0]: tuple(row) for row in rows}

    def differences(self, table: str) -> list[str]:
        """Each value that is not the same, with its column."""
        source, found = self.source(table), self.copy(table)
        missing = [f"row {key} is at one side only" for key in source.keys() ^ found.keys()]
        return missing + [
            f"{key}.{name}: {left!r} arrived as {right!r}"
            for key in source.keys() & found.keys()
            for name, left, right in zip(self._columns[table], source[key], found[key], strict=True)
            if left != right
        ]

    def converges(self, table: str, within_s: float = 60.0) -> None:
        def equal() -> bool:
            different = self.differences(table)
            assert not different, f"{len(different)} values of {table} differ: {different[:8]}; {self.dead_letters()}"
            return True

        eventually(equal, within_s=within_s, what=f"the copy of {table} equals its source")

    def dead_letters(self, table: str | None = None) -> list[str]:
        """Every dead letter that is not superseded, of one table or of all, as JSON text."""
        chosen = ("--table", f"{self.name}_{table}") if table else ()
        ran = self.trueup("deadletters", "list", "--json", *chosen)
        assert ran.returncode == 0, ran.stderr
        return [json.dumps(letter) for letter in json.loads(ran.stdout)["dead_letters"] if not letter["superseded"]]

    def problems(self) -> list[dict[str, str]]:
        """What `trueup status` says is wrong."""
        return list(json.loads(self.trueup("status", "--json").stdout)["problems"])

    def clean(self, table: str) -> None:
        """`trueup verify` agrees."""
        ran = self.trueup("verify", f"{self.name}_{table}")
        assert ran.returncode == 0, ran.stdout + ran.stderr


@contextmanager
def scratch_pipeline(pipeline: Pipeline, project_dir: Path) -> Iterator[ScratchPipeline]:
    """A system, a replica and workers for the tests of one file. Register tables, then `start`."""
    pipeline.stop_workers()
    folder = copy.copy(pipeline.folder)
    folder.project_dir = project_dir
    try:
        with scratch_system(open_settings(pipeline.folder.project_dir), project_dir) as system:
            made = ScratchPipeline(system, folder)
            try:
                yield made
            finally:
                made.stop()
                made.at_replica("DROP SCHEMA IF EXISTS {0} CASCADE")
                for table in ("copies", "deleted_keys", "dead_letters"):
                    made.at_replica(f"DELETE FROM trueup.{table} WHERE starts_with(target, '{{0}}.')")
    finally:
        pipeline.start_workers()
