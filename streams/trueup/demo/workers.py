"""The worker processes of the demo and their supervisor: what systemd or Kubernetes is in production.

A worker that ends, by SIGKILL or by itself, is started again; those that ended by themselves are remembered.
"""

from __future__ import annotations

import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trueup.demo.commands import Commands
from trueup.demo.folder import DemoFolder
from trueup.demo.waiting import CannotGoOn
from trueup.stack.process import Launch, ServerProcess

_DRAIN_TIMEOUT_S = 35.0  # a worker promises to end within 30 s of SIGTERM
_LOOK_INTERVAL_S = 0.5
_ENDS_MAX = 3  # a worker may end to be started anew; one that does so again and again cannot work
DECIDE = "decide"
CAPTURE = "capture"


class WorkerFailed(CannotGoOn):
    """A worker does not stay up; the message has the end of its log."""


def apply_worker(replica: str) -> str:
    """Return the name of the worker that fills a replica."""
    return f"apply-{replica}"


class Workers:
    """One decide worker, an apply worker for each replica, and one that restarts capture where it fails.

    On a machine that does much else a snapshot may outlast its Kafka transaction, which ends Debezium's task (seen).
    """

    def __init__(self, folder: DemoFolder, replicas: list[str]) -> None:
        self.ended_by_themselves: list[str] = []
        self.kills: dict[str, tuple[int, int]] = {}
        self._environment = folder.environment()
        self._directory = folder.project_dir
        names = {DECIDE: (DECIDE,)} | {apply_worker(name): ("apply", name) for name in replicas}
        names |= {CAPTURE: (CAPTURE,)}
        self._arguments = {
            name: ("worker", *arguments, "--metrics-port", str(folder.metrics_port_base + number))
            for number, (name, arguments) in enumerate(names.items())
        }
        self._processes = {name: ServerProcess(f"worker-{name}", folder.state_dir) for name in names}
        self._lock = threading.Lock()
        self._leaving = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)

    def names(self) -> list[str]:
        """Return the names of all, as they tell Prometheus."""
        return list(self._processes)

    def start(self) -> None:
        """Start all, and watch over them."""
        for name in self._processes:
            self._start(name)
        self._supervisor.start()

    def kill(self, name: str) -> None:
        """End a worker with SIGKILL and start it again."""
        with self._lock:
            process = self._processes[name]
            before = process.pid()
            assert before is not None, f"worker {name} does not run"
            process.kill()
            self._start(name)
            self.kills[name] = (before, process.pid() or 0)

    def stop(self) -> None:
        """Ask all to drain and end."""
        self._leaving.set()
        if self._supervisor.is_alive():
            self._supervisor.join()
        with ThreadPoolExecutor(len(self._processes)) as pool:
            list(pool.map(lambda process: process.stop(signal.SIGTERM, _DRAIN_TIMEOUT_S), self._processes.values()))

    def release(self) -> None:
        """Stop watching; the workers run on."""
        self._leaving.set()
        self._supervisor.join()

    def check(self) -> None:
        """Raise WorkerFailed for a worker that does not stay up; waiting for its work would be in vain."""
        for name, ends in Counter(self.ended_by_themselves).items():
            if ends > _ENDS_MAX:
                raise WorkerFailed(f"worker {name} ended {ends} times:\n{self._processes[name].log_tail()}")

    def pids(self) -> list[int]:
        """Return the processes that run."""
        return [pid for process in self._processes.values() if (pid := process.pid()) is not None]

    def commands(self) -> dict[str, str]:
        """Return how each worker was started."""
        return {name: " ".join(("trueup", *arguments)) for name, arguments in self._arguments.items()}

    def _start(self, name: str) -> None:
        """Start one."""
        self._processes[name].spawn(
            Launch(
                argv=Commands.argv(*self._arguments[name]),
                environment=self._environment,
                directory=self._directory,
            )
        )

    def _supervise(self) -> None:
        """Start again what has ended."""
        while not self._leaving.wait(_LOOK_INTERVAL_S):
            with self._lock:
                for name, process in self._processes.items():
                    if process.pid() is None and not self._leaving.is_set():
                        self.ended_by_themselves.append(name)
                        self._start(name)


def stop_left_behind(state_dir: Path) -> None:
    """End the workers that a run with --keep, or a run that was killed, left in this folder."""
    found = [path.stem for path in (state_dir / "run").glob("worker-*.pid")]
    if not found:
        return
    with ThreadPoolExecutor(len(found)) as pool:
        list(pool.map(lambda name: ServerProcess(name, state_dir).stop(signal.SIGTERM, _DRAIN_TIMEOUT_S), found))
