"""The pipeline under chaos: the stack, the demo's tables and the registers, workers that can be killed and stopped."""

import shutil
from collections import Counter
from pathlib import Path

import msgspec
import psycopg
from ruamel.yaml import YAML

from tests.captured_system import CapturedSystem
from tests.chaos.ballast import Ballast
from tests.chaos.ledger import Ledger
from tests.chaos.network import LOOPBACK, Cable, Network
from tests.chaos.registers import REGISTER_TABLES, Copy, RegisterTable
from tests.committed_reader import Ends
from tests.pipeline import PORT_BASE, REPLICAS, Pipeline
from tests.worker_processes import WorkerProcesses
from trueup.adapters.project_files import read_project
from trueup.core.registration_rules import problems_of
from trueup.demo.folder import DemoFolder
from trueup.model.registration import Project
from trueup.runtime.cli_project import open_settings
from trueup.stack.credentials import SUPERUSER, WRITER_ROLE, dsn, load_credentials, owner_role
from trueup.stack.settings import StackSettings, broker_port, controller_port, database_port

SESSION_TIMEOUT_S = 6
"""The least a broker allows (group.min.session.timeout.ms): a worker that stands still is declared dead soon."""

CAPTURE = "capture"
DECIDE = "decide"
NEIGHBOUR = "reporting"
"""The server that a new replica is given a database on."""

BROKER_CABLE = "workers to broker"
REPLICA_CABLE = "worker to replica"
SOURCE_CABLE = "Connect to source"
CABLED_REPLICA = "reporting"
CABLED_SYSTEM = "warehouse"
_BROKER_CABLE_PORT, _BROKER_LISTENER_PORT = PORT_BASE + 45, PORT_BASE + 46
_REPLICA_CABLE_PORT, _SOURCE_CABLE_PORT = PORT_BASE + 47, PORT_BASE + 48

# The books count records: none may be compacted away before it was read. Truth topics roll a segment each hour, so a
# run of hours met it (seen in its second hour: 4,012 outcomes more than records).
_COUNTABLE = {"log.cleaner.min.compaction.lag.ms": str(24 * 3_600_000)}


def apply_worker(replica: str) -> str:
    return f"apply-{replica}"


class TopicReading(msgspec.Struct):
    """What an independent reader found in a topic, up to its ends of then: it goes on there.

    :ivar newest: of a truth topic, the version of each key.
    """

    ends: Ends = {}
    count: int = 0
    newest: dict[bytes, bytes] = {}


class RigFolder(DemoFolder):
    """Connect reaches one source by a cable."""

    def __init__(self, state_dir: Path, brokers: int) -> None:
        super().__init__(state_dir, PORT_BASE)
        self.cabled = brokers == 1
        overrides = _COUNTABLE | (_listeners(self.stack) if self.cabled else {})
        self.stack = msgspec.structs.replace(self.stack, brokers=brokers, broker_overrides=overrides)

    def environment(self) -> dict[str, str]:
        found = super().environment()
        if self.cabled:
            name = f"{CABLED_SYSTEM.upper()}_CAPTURE_DSN"
            found[name] = _at_port(found[name], _SOURCE_CABLE_PORT)
        return found

    def worker_environment(self) -> dict[str, str]:
        """Workers reach the broker by a cable, and so does one of them its replica."""
        found = self.environment() | {"TRUEUP_KAFKA__SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_S * 1000)}
        if self.cabled:
            found["TRUEUP_BOOTSTRAP_SERVERS"] = f"{LOOPBACK}:{_BROKER_CABLE_PORT}"
            name = f"{CABLED_REPLICA.upper()}_WRITER_DSN"
            found[name] = _at_port(found[name], _REPLICA_CABLE_PORT)
        return found


class Rig(Pipeline):
    """Everything a fault can be done to.

    :param brokers: with one, the cables of `network` are in place; with three, brokers can be killed.
    :ivar crashes: how often a replica's server was killed: it may have lost its latest commits (ARCHITECTURE, 11).
    :ivar forgotten: records of a capture topic that were counted and are gone from it.
    """

    def __init__(self, state_dir: Path, brokers: int = 1) -> None:
        folder = RigFolder(state_dir, brokers)
        super().__init__(folder)
        self.brokers = brokers
        self.replicas = list(REPLICAS)
        self.ledgers = {table: Ledger() for table in REGISTER_TABLES}
        self.copies = {table: list(table.copies) for table in REGISTER_TABLES}
        self.ballast = Ballast()
        self.readings: dict[str, TopicReading] = {}
        self.crashes: Counter[str] = Counter()
        self.forgotten: Counter[str] = Counter()
        self.sentinels = 0
        self.network = Network(_cables(folder))
        self._rig_folder = folder
        self._new_dsns: dict[str, str] = {}
        self._processes: WorkerProcesses | None = None

    @property
    def processes(self) -> WorkerProcesses:
        assert self._processes is not None, "the rig was not started"
        return self._processes

    def start(self) -> None:
        self.network.start()
        self.start_sources()
        tables = self.folder.project_dir / "schemas" / "tables"
        for path in tables.glob("pgbench_*.yaml"):
            path.unlink()  # 100,000 rows nobody writes to here: minutes of snapshot before the first fault
        for table in REGISTER_TABLES:
            with psycopg.connect(self.dsn(table.system)) as connection:
                table.create(connection)
            table.register(self.folder.project_dir)
        with psycopg.connect(self.dsn(self.ballast.system)) as connection:
            self.ballast.create(connection)
        self.ballast.register(self.folder.project_dir)
        self.apply()
        self._processes = WorkerProcesses(
            self.folder.project_dir,
            self.folder.state_dir,
            self.folder.log_dir,
            self._rig_folder.worker_environment(),
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
            self.network.stop()
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

    def captured_system(self, table: RegisterTable) -> CapturedSystem:
        """The system of a register table, with the table's capture topic, to be broken and mended."""
        settings = open_settings(self.folder.project_dir)
        return CapturedSystem(table.system, [table.capture_topic], settings, self.dsn(table.system), self.trueup)

    def decided(self) -> int:
        """Outcomes of the registers' captured changes so far."""
        return sum(sum(self.decide_totals(table.capture_topic).values()) for table in self.copies)

    def applied(self, replica: str) -> int:
        """Outcomes of the registers' truths at a replica so far."""
        return sum(self.apply_totals(replica, f"trueup.truth.{table.name}") for table in self.copies)

    def kill_database(self, name: str) -> None:
        """As a crash would. What its replica role lost is lost with its progress, and comes again."""
        self.crashes[name] += 1
        self.stack.kill_part(f"postgres-{name}")

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


def _at_port(address: str, port: int) -> str:
    """The same login and database, by another port."""
    head, _, tail = address.rpartition(":")
    return f"{head}:{port}/{tail.partition('/')[2]}"


def _cables(folder: RigFolder) -> list[Cable]:
    if not folder.cabled:
        return []
    return [
        Cable(BROKER_CABLE, _BROKER_CABLE_PORT, _BROKER_LISTENER_PORT),
        Cable(REPLICA_CABLE, _REPLICA_CABLE_PORT, database_port(folder.stack, CABLED_REPLICA)),
        Cable(SOURCE_CABLE, _SOURCE_CABLE_PORT, database_port(folder.stack, CABLED_SYSTEM)),
    ]


def _listeners(stack: StackSettings) -> dict[str, str]:
    """A listener more, whose advertised address is a cable: clients that come by it stay on it."""
    own = f"PLAINTEXT://{LOOPBACK}:{broker_port(stack, 1)}"
    controller = f"CONTROLLER://{LOOPBACK}:{controller_port(stack, 1)}"
    return {
        "listeners": f"{own},{controller},CABLE://{LOOPBACK}:{_BROKER_LISTENER_PORT}",
        "advertised.listeners": f"{own},CABLE://{LOOPBACK}:{_BROKER_CABLE_PORT}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CABLE:PLAINTEXT",
    }


def _in_database(address: str, name: str) -> str:
    return address.rpartition("/")[0] + f"/{name}"
