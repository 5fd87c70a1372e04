"""A scratch system with a replica and workers of its own: a test of stops and cures breaks nothing of others.

The replica is a schema in the stack's warehouse database. The workers are in the deciding group of the shared pipeline,
as a second worker of an installation would be.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from tests.captured_system import CapturedSystem
from tests.integration.scratch_system import ScratchSystem, scratch_system
from tests.pipeline import DECIDE_GROUP, OUTCOMES, PORT_BASE, Pipeline
from tests.waiting import eventually
from trueup.adapters.project_files import read_project
from trueup.adapters.secret_references import Secrets
from trueup.core.registration_rules import problems_of
from trueup.demo.folder import DemoFolder
from trueup.demo.workers import Workers
from trueup.model.settings import Settings
from trueup.runtime.resync import Resync

_METRICS_PORT = PORT_BASE + 46  # behind those of the shared workers


class _Folder(DemoFolder):
    """Where a scratch project's workers run; the stack is the shared one."""

    def __init__(self, pipeline: Pipeline, project_dir: Path) -> None:
        super().__init__(project_dir / "state", PORT_BASE)
        self.project_dir = project_dir
        self.metrics_port_base = _METRICS_PORT
        self._shared = pipeline.folder

    def environment(self) -> dict[str, str]:
        return self._shared.environment() | {"TRUEUP_STATE_DIR": str(self.state_dir)}


class BreakablePipeline(CapturedSystem):
    """One table of 300 rows by default, its copy, and workers."""

    def __init__(self, pipeline: Pipeline, system: ScratchSystem) -> None:
        self.pipeline, self.system, self.name = pipeline, system, system.name
        self.folder = _Folder(pipeline, system.settings.project_dir)
        self.replica = f"{self.name}r"
        self.workers: Workers | None = None
        super().__init__(self.name, [self.topic], system.settings, pipeline.folder.dsn("shop"), self.trueup)

    def start(self, rows: int = 300, *, workers: bool = True, on_violation: str = "reject", more: str = "") -> None:
        """Make, register, apply, and wait until the copy is there.

        :param on_violation: what a negative amount becomes; `more`: YAML of the registration.
        """
        name = self.name
        system = self.system
        system.execute(f"CREATE TABLE {name}.orders (id bigint PRIMARY KEY, amount numeric(12,2), note text)")
        system.execute(f"INSERT INTO {name}.orders SELECT n, n, 'first' FROM generate_series(1, {rows}) n")
        system.write(
            f"connectors/replicas/{self.replica}.yaml",
            f"replica: {self.replica}\nkind: postgresql\ndsn: ${{env:WAREHOUSE_WRITER_DSN}}\n"
            f"ddl_dsn: ${{env:WAREHOUSE_DSN}}\n",
        )
        checks = f"checks:\n  - {{column: amount, min: 0, on_violation: {on_violation}}}\n"
        system.register("orders", "id", f"{checks}{more}replicas:\n  - {{replica: {self.replica}}}\n")
        system.apply()
        if workers:
            self.start_workers()
            self.equal(120 + rows / 500)  # a start of all workers; the shared ones take all partitions anew

    def start_workers(self) -> None:
        self.workers = Workers(self.folder, [self.replica])
        self.workers.start()

    def stop_workers(self) -> None:
        if self.workers is not None:
            self.workers.stop()
            self.workers = None

    def execute(self, statement: str) -> None:
        """At the source."""
        self.system.execute(statement.replace("orders", f"{self.name}.orders"))

    @property
    def topic(self) -> str:
        return f"{self.name}.{self.name}.orders"

    @property
    def table(self) -> str:
        return f"{self.name}_orders"

    def rows(self, database: str) -> dict[int, tuple[Any, ...]]:
        found = self.pipeline.query(database, f"SELECT id, amount, note FROM {self.name}.orders")
        return {row[0]: row[1:] for row in found}

    def equal(self, within_s: float = 40.0) -> None:
        """Wait until the copy equals its source, row by row."""

        def same() -> bool:
            source, copy = self.rows("shop"), self.rows("warehouse")
            different = {k for k in source.keys() | copy.keys() if source.get(k) != copy.get(k)}
            assert not different, f"{len(different)} keys differ, such as {sorted(different)[:3]}"
            return True

        eventually(same, within_s=within_s, what="the copy equals its source")

    def counted(self) -> None:
        """Wait until an independent committed read of both topics equals the sums of outcomes."""
        truth = f"trueup.truth.{self.table}"

        def equal() -> bool:
            decided = sum(self.pipeline.decide_totals(self.topic).values())
            assert decided == self.pipeline.committed_records(self.topic)
            (applied,) = self.pipeline.query(
                "warehouse",
                f"SELECT coalesce(sum({' + '.join(OUTCOMES)}), 0)::bigint FROM trueup.progress WHERE topic = %s",
                (truth,),
            )
            assert applied[0] == self.pipeline.committed_records(truth)
            return True

        eventually(equal, within_s=30, what="committed records equal the sums of outcomes at both stages")

    def decided(self) -> None:
        """Wait until the decide worker has passed everything captured so far."""
        ends = self.reader.ends([self.topic])

        def passed() -> bool:
            committed = self.reader.committed(DECIDE_GROUP, [self.topic])
            return all(committed.get(tp, (0, ""))[0] >= end for tp, end in ends.items())

        eventually(passed, within_s=30, what="everything captured is decided")

    def trueup(self, *arguments: str, timeout_s: float = 120.0) -> CompletedProcess[str]:
        return self.pipeline.trueup(*arguments, timeout_s=timeout_s, project=self.folder)

    def new_resync(self) -> Resync:
        """The command's work, for tests that kill it between two steps."""
        settings = self.system.settings
        return Resync(settings, read_project(settings.project_dir, problems_of), Secrets(settings, {}), self.name, 60)

    def verified(self) -> None:
        ran = self.trueup("verify", "--json")
        assert ran.returncode == 0, ran.stdout + ran.stderr


@contextmanager
def breakable_pipeline(pipeline: Pipeline, settings: Settings, folder: Path) -> Iterator[BreakablePipeline]:
    """A scratch system with workers for one test."""
    with scratch_system(settings, folder) as system:
        scratch = BreakablePipeline(pipeline, system)
        try:
            yield scratch
        finally:
            scratch.stop_workers()
            pipeline.query("warehouse", f"DROP SCHEMA IF EXISTS {scratch.name} CASCADE")
            pipeline.query(
                "warehouse", "DELETE FROM trueup.progress WHERE topic = %s", (f"trueup.truth.{scratch.table}",)
            )
