"""One server process: spawned in a session of its own, known by a pid file, ended only if it is the same one.

A pid alone names a stranger after a reboot or a long while. The pid file therefore also holds when the
process started, and a process is ours only if both agree.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import msgspec
import psutil

_POLL_INTERVAL_S = 0.05  # short against the seconds a server takes, long against the cost of a look
_LOG_BYTES_MAX = 64 * 1024 * 1024  # then the file is set aside at the next start; arbitrary
_KILL_TIMEOUT_S = 10.0  # the kernel needs milliseconds, unless a disk hangs


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is started.

    :param user: run as this user; None is the present one.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]
    directory: Path
    user: str | None = None


class Identity(TypedDict, total=False):
    """The arguments of `subprocess` that choose a user."""

    user: str
    group: int
    extra_groups: list[int]


class PidRecord(msgspec.Struct, frozen=True):
    """What a pid file says."""

    pid: int
    started: str


def start_mark(pid: int) -> str | None:
    """Return what tells this process from a later one with the same pid; None if there is no such process.

    On Linux: boot and clock ticks since boot. Unlike a time of day it stays the same when the clock is set.
    """
    stat = Path(f"/proc/{pid}/stat")
    boot = Path("/proc/sys/kernel/random/boot_id")
    try:
        if boot.exists():
            fields = stat.read_text().rpartition(")")[2].split()
            return None if fields[0] in {"Z", "X"} else f"{boot.read_text().strip()}/{fields[19]}"
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except (OSError, psutil.Error):
        return None


class ServerProcess:
    """The process of one part, across runs of TrueUp: what is known is in the pid file, not here."""

    def __init__(self, name: str, state_dir: Path) -> None:
        self.name = name
        self.pid_file = state_dir / "run" / f"{name}.pid"
        self.log_file = state_dir / "logs" / f"{name}.log"

    def pid(self) -> int | None:
        """Return the pid if the recorded process still runs."""
        try:
            record = msgspec.json.decode(self.pid_file.read_bytes(), type=PidRecord)
        except (OSError, msgspec.DecodeError):
            return None
        with contextlib.suppress(ChildProcessError):
            os.waitpid(record.pid, os.WNOHANG)  # our own dead child would stay as a zombie
        return record.pid if start_mark(record.pid) == record.started else None

    def spawn(self, launch: Launch) -> None:
        """Start the server and record it. Its output goes to the log file."""
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        if self.log_file.exists() and self.log_file.stat().st_size > _LOG_BYTES_MAX:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(
                launch.argv,
                env=launch.environment,
                cwd=launch.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **identity(launch.user),
            )
        mark = start_mark(process.pid) or "ended at once"
        partial = self.pid_file.with_suffix(".new")
        partial.write_bytes(msgspec.json.encode(PidRecord(process.pid, mark)))
        partial.replace(self.pid_file)
        # It outlives this object and this program on purpose; from here on the pid file stands for it.
        process.returncode = 0

    def stop(self, stop_signal: signal.Signals, timeout_s: float) -> bool:
        """Ask the process to end, then make it. Return whether it ended by itself (or was not running)."""
        pid = self.pid()
        gracious = True
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, stop_signal)
            gracious = wait_until(lambda: self.pid() is None, timeout_s)
            if not gracious:
                self.kill()
        self.pid_file.unlink(missing_ok=True)
        return gracious

    def kill(self) -> None:
        """End the process and its children at once. Its pid file stays, as after a crash."""
        pid = self.pid()
        if pid is None:
            return
        try:
            process = psutil.Process(pid)
            victims = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        wait_until(lambda: self.pid() is None and not any(_lives(v) for v in victims), _KILL_TIMEOUT_S)

    def log_tail(self, since: int = 0, lines: int = 20) -> str:
        """Return the last lines of the log, none of them before the byte `since`."""
        try:
            with self.log_file.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(since, size - 64 * 1024))
                text = log.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def log_size(self) -> int:
        """Return the present end of the log."""
        return self.log_file.stat().st_size if self.log_file.exists() else 0


def identity(user: str | None) -> Identity:
    """Return what makes `subprocess` run a program as this user."""
    return {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Look at a condition until it holds; False when the deadline passed first."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_INTERVAL_S)
    return True


def _lives(process: psutil.Process) -> bool:
    """Tell whether a process still does something."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
