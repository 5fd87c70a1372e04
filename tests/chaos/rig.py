"""The pipeline under chaos: the stack, the demo's tables and the registers, workers that can be killed and stopped."""

import shutil
from pathlib import Path

import msgspec
import psycopg
from ruamel.yaml import YAML

from tests.chaos.findings import Finding
from tests.chaos.ledger import Ledger
from tests.chaos.registers import REGISTER_TABLES, Copy, RegisterTable
from tests.committed_reader import Ends
from tests.pipeline import REPLICAS, Pipeline
from tests.worker_processes import WorkerProcesses
from trueup.adapters.project_files import read_project
from trueup.core.registration_rules import problems_of
from trueup.model.registration import Project
from trueup.stack.credentials import SUPERUSER, WRITER_ROLE, dsn, load_credentials, owner_role

SESSION_TIMEOUT_S = 6
"""The least a broker allows (group.min.session.timeout.ms): a worker that stands still is declared dead soon."""

CAPTURE = "capture"
DECIDE = "decide"
NEIGHBOUR = "reporting"
"""The server that a new replica is given a database on."""


def apply_worker(replica: str) -> str:
    return f"apply-{replica}"


class TopicReading(msgspec.Struct, frozen=True):
    """What an independent reader found in a topic, up to its ends of then: it need not read that part again."""

    ends: Ends
    count: int
    findings: list[Finding] = []


class Rig(Pipeline):
    """Everything a fault can be done to."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__(state_dir)
        self.replicas = list(REPLICAS)
        self.ledgers = {table: Ledger() for table in REGISTER_TABLES}
        self.copies = {table: list(table.copies) for table in REGISTER_TABLES}
        self.readings: dict[str, TopicReading] = {}
        self.sentinels = 0
        self._new_dsns: dict[str, str] = {}
        self._processes: WorkerProcesses | None = None

    @property
    def processes(self) -> WorkerProcesses:
        assert self._processes is not None, "the rig was not started"
        return self._processes

    def start(self) -> None:
        self.start_sources()
        for path in (self.folder.project_dir / "schemas" / "tables").glob("pgbench_*.yaml"):
            path.unlink()  # 100,000 rows nobody writes to here: minutes of snapshot before the first fault
        for table in REGISTER_TABLES:
            with psycopg.connect(self.dsn(table.system)) as connection:
                table.create(connection)
            table.register(self.folder.project_dir)
        self.apply()
        environment = self.folder.environment()
        environment["TRUEUP_KAFKA__SESSION_TIMEOUT_MS"] = str(SESSION_TIMEOUT_S * 1000)
        self._processes = WorkerProcesses(
            self.folder.project_dir, self.folder.state_dir, self.folder.log_dir, environment
        )
        self.start_missing_workers()
        self.processes.all_ready(120)

    def start_missing_workers(self) -> None:
        """The capture and decide workers and an apply worker for each replica, unless they run."""
        wanted: dict[str, tuple[str, ...]] = {CAPTURE: (CAPTURE,), DECIDE: (DECIDE,)}
        wanted |= {apply_worker(name): ("apply", name) for name in self.replicas}
        for name, arguments in wanted.items():
            if name not in self.processes.names():
                self.processes.start(name, *arguments)

    def stop(self) -> None:
        try:
            if self._processes is not None:
                self._processes.stop()
        finally:
            # The stack's folder goes with it; what its parts said is wanted after a failure.
            logs = self.folder.stack.state_dir / "logs"
            if logs.exists():
                shutil.copytree(logs, self.folder.log_dir / "stack", dirs_exist_ok=True)
            super().stop()

    def dsn(self, database: str) -> str:
        return self._new_dsns.get(database) or super().dsn(database)

    def superuser_dsn(self, database: str) -> str:
        """For what an owner may not see or do."""
        settings = self.folder.stack
        return dsn(settings, database, SUPERUSER, load_credentials(settings)[database].superuser)

    def project(self) -> Project:
        """What is registered now."""
        return read_project(self.folder.project_dir, problems_of)

    def all_copies(self) -> list[tuple[RegisterTable, Copy]]:
        return [(table, copy) for table, copies in self.copies.items() for copy in copies]

    def add_replica(self, name: str) -> None:
        """Register a replica with a database of its own, and a copy of every table there; nothing is applied yet."""
        settings = self.folder.stack
        known = load_credentials(settings)[NEIGHBOUR]
        with psycopg.connect(self.superuser_dsn(NEIGHBOUR), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} OWNER {owner_role(NEIGHBOUR)}".encode())
        self._new_dsns[name] = _in_database(dsn(settings, NEIGHBOUR, owner_role(NEIGHBOUR), known.owner), name)
        secrets = {"dsn": _in_database(dsn(settings, NEIGHBOUR, WRITER_ROLE, known.writer), name)}
        secrets["ddl_dsn"] = self._new_dsns[name]
        lines = [f"replica: {name}", "kind: postgresql"]
        for field, address in secrets.items():
            path = self.folder.project_dir / f"{name}_{field}"
            path.write_text(address, encoding="utf-8")
            path.chmod(0o600)
            lines.append(f"{field}: ${{file:{path.name}}}")
        replica = self.folder.project_dir / "connectors" / "replicas" / f"{name}.yaml"
        replica.write_text("\n".join(lines) + "\n", encoding="utf-8")
        yaml = YAML()
        for path in (self.folder.project_dir / "schemas" / "tables").glob("*.yaml"):
            table = yaml.load(path)
            table.setdefault("replicas", []).append({"replica": name})
            yaml.dump(table, path)
        self.replicas.append(name)
        for register, copies in self.copies.items():
            copies.append(Copy(name, register.source))


def _in_database(address: str, name: str) -> str:
    return address.rpartition("/")[0] + f"/{name}"
