"""Workers as child processes of a test: started, killed, stopped, continued; how each ended is known.

`trueup.demo.workers` is its neighbour: it watches over the workers of a demo and asks for no exit code.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tests.waiting import eventually

LOOK_INTERVAL_S = 0.1
TRUEUP = ("-m", "trueup.runtime.cli")
"""What Python is started with; chaos has workers with a fault planted in them."""


class End(msgspec.Struct, frozen=True):
    """How a process of a worker ended. `code` is negative for a signal; `asked` says whether a test ended it."""

    worker: str
    pid: int
    code: int
    seconds: float
    asked: bool


class WorkerProcesses:
    """Workers by name. One that ends without being told to stay away is started again at once.

    :param state_dir: of the project: workers leave word of themselves there.
    """

    def __init__(self, project_dir: Path, state_dir: Path, log_dir: Path, environment: dict[str, str]) -> None:
        self.ends: list[End] = []
        self._project_dir, self._state_dir, self._log_dir = project_dir, state_dir, log_dir
        self._environment = environment
        self._arguments: dict[str, tuple[str, ...]] = {}
        self._entries: dict[str, tuple[str, ...]] = {}
        self._environments: dict[str, dict[str, str]] = {}
        self._doomed: set[str] = set()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._began: dict[str, float] = {}
        self._told: set[int] = set()  # pids a test ended, until they have: in a long run the system gives pids again
        self._lock = threading.Lock()
        self._leaving = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor of workers", daemon=True)
        self._supervisor.start()

    def start(
        self,
        name: str,
        *arguments: str,
        entry: tuple[str, ...] = TRUEUP,
        doomed: bool = False,
        environment: dict[str, str] | None = None,
    ) -> None:
        """Run `trueup worker ARGUMENTS` under a name until told otherwise.

        :param doomed: it is made to end; its ends are asked for.
        :param environment: more than all workers have.
        """
        with self._lock:
            self._arguments[name], self._entries[name] = arguments, entry
            self._environments[name] = self._environment | (environment or {})
            (self._doomed.add if doomed else self._doomed.discard)(name)
            self._spawn(name)

    def names(self) -> list[str]:
        """Workers that are to run."""
        return list(self._arguments)

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def kill(self, name: str) -> int:
        """SIGKILL; it is started again. Returns the pid that ended."""

        def killed() -> int | None:
            with self._lock:
                process = self._processes[name]
                if process.poll() is not None or process.pid in self._told:
                    return None  # on its way out; the next one is meant
                self._told.add(process.pid)
                process.kill()
                return process.pid

        pid = eventually(killed, within_s=10, what=f"{name} runs")
        assert pid is not None
        return pid

    def pause(self, name: str) -> int:
        """SIGSTOP: alive for everybody, and silent."""
        self._processes[name].send_signal(signal.SIGSTOP)
        return self.pid(name)

    def resume(self, name: str) -> None:
        """SIGCONT."""
        self._processes[name].send_signal(signal.SIGCONT)

    def terminate(self, names: Iterable[str], within_s: float) -> list[End]:
        """SIGTERM to all of them at once; they stay away. One that does not end in time is killed, and shows -9."""
        with self._lock:
            leaving = {name: self._processes.pop(name) for name in names}
            for name, process in leaving.items():
                self._arguments.pop(name)
                self._told.add(process.pid)
                process.terminate()
        began = time.monotonic()
        ends = []
        for name, process in leaving.items():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, began + within_s - time.monotonic()))
            seconds = time.monotonic() - began
            if process.poll() is None:
                process.kill()
            ends.append(End(name, process.pid, process.wait(), seconds, asked=True))
            self._told.discard(process.pid)
        self.ends += ends
        return ends

    def stop(self) -> None:
        """End all, stopped ones too."""
        self._leaving.set()
        self._supervisor.join()
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
        self.terminate(self.names(), within_s=35)

    def is_ready(self, name: str) -> bool:
        """What /readyz of the running process says; False while there is no answer."""
        try:
            entry = json.loads((self._state_dir / "workers" / f"{name}.json").read_text(encoding="utf-8"))
            if entry["pid"] != self.pid(name):
                return False
            with urllib.request.urlopen(f"{entry['url']}/readyz", timeout=2) as answer:  # noqa: S310 - on loopback
                return bool(answer.status == 200)
        except (OSError, ValueError, KeyError, urllib.error.URLError):
            return False

    def all_ready(self, within_s: float = 60.0) -> None:
        for name in self.names():
            eventually(lambda name=name: self.is_ready(name), within_s=within_s, what=f"{name} is ready")  # type: ignore[misc]

    def ended_by_themselves(self) -> list[End]:
        return [end for end in self.ends if not end.asked]

    def end_of(self, pid: int) -> End | None:
        """The latest end of a pid; None while a worker has it."""
        with self._lock:
            if any(process.pid == pid for process in self._processes.values()):
                return None
            return next((end for end in reversed(self.ends) if end.pid == pid), None)

    def log_path(self, name: str) -> Path:
        return self._log_dir / f"chaos-{name}.log"

    def log_since(self, name: str, position: int = 0) -> str:
        """The log from a byte on."""
        with self.log_path(name).open("rb") as log:
            log.seek(position)
            return log.read().decode(errors="replace")

    def _spawn(self, name: str) -> None:
        self._log_dir.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, *self._entries[name], "worker", *self._arguments[name]]
        argv += ["--name", name, "--metrics-port", "0", "--project", str(self._project_dir)]
        with self.log_path(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                argv,
                env=self._environments[name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C reaches the test alone, which then ends them
            )
        self._began[name] = time.monotonic()

    def _supervise(self) -> None:
        while not self._leaving.wait(LOOK_INTERVAL_S):
            with self._lock:
                for name, process in list(self._processes.items()):
                    code = process.poll()
                    if code is not None:
                        seconds = time.monotonic() - self._began[name]
                        asked = process.pid in self._told or name in self._doomed
                        self.ends.append(End(name, process.pid, code, seconds, asked=asked))
                        self._told.discard(process.pid)
                        self._spawn(name)


def signal_process(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that is not a child; gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
