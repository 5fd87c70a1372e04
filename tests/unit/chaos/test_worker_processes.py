"""Workers of a test in a run so long that the system gives their pids a second time."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import eventually
from tests.worker_processes import WorkerProcesses

PID = 4711


class Recycled:
    """Every process has the same pid, and none lives at the same time as another."""

    pid = PID

    def __init__(self, *_: Any, **__: Any) -> None:
        self._code: int | None = None

    def poll(self) -> int | None:
        return self._code

    def wait(self, timeout: float | None = None) -> int | None:
        return self._code

    def kill(self) -> None:
        self._code = -signal.SIGKILL

    def send_signal(self, number: int) -> None: ...

    def terminate(self) -> None:
        self._code = 0


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerProcesses]:
    monkeypatch.setattr(subprocess, "Popen", Recycled)
    made = WorkerProcesses(tmp_path, tmp_path, tmp_path, {})
    yield made
    made.stop()


def ends(processes: WorkerProcesses) -> int:
    return sum(end.pid == PID for end in processes.ends)


def test_a_worker_with_the_pid_of_one_that_was_killed_can_be_killed(processes: WorkerProcesses) -> None:
    processes.start("decide", "decide")
    for number in range(1, 4):
        processes.kill("decide")
        eventually(lambda number=number: ends(processes) == number, within_s=5, what="the end is seen")  # type: ignore[misc]
    assert all(end.asked for end in processes.ends)


def test_the_end_of_one_is_not_the_end_of_another_that_has_its_pid_now(processes: WorkerProcesses) -> None:
    processes.start("decide", "decide")
    processes.kill("decide")
    eventually(lambda: ends(processes) == 1, within_s=5, what="the end is seen")
    assert processes.end_of(PID) is None
    (end,) = processes.terminate(["decide"], within_s=5)
    assert processes.end_of(PID) == end
