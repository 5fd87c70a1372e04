"""The pipeline under measurement: a stack of its own, one table registered, one decide and one apply worker.

Workers are real processes, started and stopped one by one: topics are filled first, then drained.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import psutil
import psycopg

from tests.benchmarks.workload import REGISTRATION, TABLE
from trueup.adapters.topic_reader import TopicReader
from trueup.demo.commands import Commands
from trueup.demo.folder import DemoFolder
from trueup.demo.waiting import until
from trueup.stack.local_stack import LocalStack
from trueup.stack.process import Launch, ServerProcess

SYSTEM: Final = "shop"
REPLICA: Final = "reporting"
CAPTURE_TOPIC: Final = f"{SYSTEM}.public.{TABLE}"
DECIDE, APPLY = "decide", "apply"

_ARGUMENTS: Final = {DECIDE: ("decide",), APPLY: ("apply", REPLICA)}
_KEPT: Final = {"systems": f"{SYSTEM}.yaml", "replicas": f"{REPLICA}.yaml"}
_START_S_MAX, _STOP_S_MAX, _CAPTURE_S_MAX = 120.0, 35.0, 300.0
_OUTCOMES: Final = "applied + duplicate + stale + unchanged + coalesced + rejected + ignored"


class MeasuredPipeline:
    """All of it. `folder` gives addresses; state is removed by `stop`."""

    def __init__(self, state_dir: Path, port_base: int) -> None:
        self.folder = DemoFolder(state_dir, port_base)
        self.folder.stack = msgspec.structs.replace(self.folder.stack, databases=(SYSTEM, REPLICA))
        self.stack = LocalStack(self.folder.stack)
        self.rss_bytes_max = 0
        self._processes = {name: ServerProcess(f"worker-{name}", self.folder.state_dir) for name in _ARGUMENTS}

    def start(self) -> None:
        """Bring the stack up, and make a project that has the one table registered."""
        self.stack.up()
        self.folder.write_project()
        project = self.folder.project_dir
        for kind, kept in _KEPT.items():
            for path in (project / "connectors" / kind).glob("*.yaml"):
                if path.name != kept:
                    path.unlink()
        for path in (project / "schemas" / "tables").glob("*.yaml"):
            path.unlink()
        (project / "schemas" / "tables" / f"{TABLE}.yaml").write_text(REGISTRATION, encoding="utf-8")

    def apply(self) -> None:
        """`trueup apply`: from here on Debezium captures."""
        Commands(self.folder).apply()

    def stop(self) -> None:
        """End everything and remove the state."""
        for name in self._processes:
            self.stop_worker(name)
        self.stack.down(purge=True)
        shutil.rmtree(self.folder.state_dir)

    @contextmanager
    def worker(self, name: str) -> Iterator[None]:
        """A worker, ready when the block is entered and stopped when it is left."""
        self.start_worker(name)
        try:
            yield
        finally:
            self.stop_worker(name)

    def start_worker(self, name: str) -> None:
        """Start a worker and wait until it is ready."""
        port = self.folder.metrics_port_base + list(_ARGUMENTS).index(name)
        self._processes[name].spawn(
            Launch(
                argv=Commands.argv("worker", *_ARGUMENTS[name], "--metrics-port", str(port)),
                environment=self.folder.environment(),
                directory=self.folder.project_dir,
            )
        )
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            until(lambda: _ready(http), what=f"worker {name} is ready", within_s=_START_S_MAX)

    def stop_worker(self, name: str) -> None:
        """Look at the memory it took, and let it drain."""
        process = self._processes[name]
        if (pid := process.pid()) is not None:
            self.rss_bytes_max = max(self.rss_bytes_max, _rss_bytes_max(pid))
        process.stop(signal.SIGTERM, _STOP_S_MAX)

    def forget_state(self) -> None:
        """Wipe what the decide worker keeps on disk."""
        shutil.rmtree(self.folder.state_dir / "workers" / DECIDE / "truth")

    def cpu_seconds(self, name: str) -> float:
        """CPU a running worker has used until now."""
        times = psutil.Process(self._processes[name].pid()).cpu_times()
        return float(times.user + times.system)

    def log_size(self, name: str) -> int:
        """Where a worker's log ends now."""
        return self._processes[name].log_size()

    def logged(self, name: str, event: str, since: int) -> list[datetime]:
        """When a worker logged an event, counted from a place in its log."""
        lines = self._processes[name].log_file.read_bytes()[since:].splitlines()
        entries = [json.loads(line) for line in lines if line.startswith(b"{")]
        return [datetime.fromisoformat(entry["timestamp"]) for entry in entries if entry.get("event") == event]

    def records_applied(self) -> int:
        """How many records of truth have ended at the replica, whatever their outcome."""
        rows = self.query(REPLICA, f"SELECT coalesce(sum({_OUTCOMES}), 0) FROM trueup.progress")
        return int(rows[0][0])

    def wait_captured(self) -> None:
        """Wait until everything committed at the source lies in Kafka: its log is given free only then."""
        (end,) = self.query(SYSTEM, "SELECT pg_current_wal_lsn()")[0]
        query = f"SELECT bool_and(confirmed_flush_lsn >= '{end}') FROM pg_replication_slots"
        until(
            lambda: bool(self.query(SYSTEM, query)[0][0]), what="Debezium is done", within_s=_CAPTURE_S_MAX, pause_s=0.5
        )

    def capture_ends(self) -> dict[int, int]:
        """By partition, where the capture topic ends."""
        ends = TopicReader(self.stack.addresses().bootstrap_servers).ends([CAPTURE_TOPIC])
        return {number: end for (_, number), end in ends.items()}

    def query(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement as the owner."""
        with psycopg.connect(self.folder.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description is not None else []

    def run(self, module: str, job: msgspec.Struct) -> Any:
        """Run a program of this package with a job as its input, and read its answer."""
        done = subprocess.run(
            self.python(module),
            input=msgspec.json.encode(job),
            stdout=subprocess.PIPE,
            check=True,
            timeout=_CAPTURE_S_MAX,
        )
        return json.loads(done.stdout)

    @staticmethod
    def python(module: str) -> list[str]:
        """The command line of a program of this package."""
        return [Commands.argv()[0], "-m", module]


def _ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").is_success
    except httpx.TransportError:
        return False


def _rss_bytes_max(pid: int) -> int:
    """The most memory a process ever had resident, where the system keeps it; else what it has."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return int(psutil.Process(pid).memory_info().rss)
