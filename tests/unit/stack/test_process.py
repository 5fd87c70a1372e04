"""A process is ours only if pid and start agree; a stranger with a recycled pid is never ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from trueup.stack.process import Launch, PidRecord, ServerProcess, start_mark, wait_until

SLEEPER = "import signal, time; print('started', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER


def launch(tmp_path: Path, code: str) -> Launch:
    return Launch(argv=(sys.executable, "-c", code), environment={}, directory=tmp_path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess("sleeper", tmp_path)
    yield process
    process.kill()


def started(server: ServerProcess) -> bool:
    return wait_until(lambda: "started" in server.log_tail(), 10)


def test_start_mark_stays_the_same_while_a_process_lives() -> None:
    assert start_mark(os.getpid()) == start_mark(os.getpid())


def test_a_spawned_process_is_found_again_by_its_pid_file(server: ServerProcess, tmp_path: Path) -> None:
    server.spawn(launch(tmp_path, SLEEPER))
    assert started(server)
    assert ServerProcess("sleeper", tmp_path).pid() == server.pid()
    assert server.stop(signal.SIGTERM, 10)
    assert server.pid() is None
    assert not server.pid_file.exists()


def test_one_that_ignores_the_signal_is_killed_after_the_deadline(server: ServerProcess, tmp_path: Path) -> None:
    server.spawn(launch(tmp_path, STUBBORN))
    assert started(server)
    assert not server.stop(signal.SIGTERM, 0.2)
    assert server.pid() is None


def test_kill_ends_the_children_too(server: ServerProcess, tmp_path: Path) -> None:
    child = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]); p.wait()"
    server.spawn(launch(tmp_path, child))
    assert started(server)
    pid = server.pid()
    assert pid is not None
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if not children.exists():
        pytest.skip("needs /proc")
    grandchildren = [int(text) for text in children.read_text().split()]
    server.kill()
    assert grandchildren
    assert all(start_mark(grandchild) is None for grandchild in grandchildren)


def test_a_recycled_pid_is_not_ours_and_is_left_alone(server: ServerProcess) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.DEVNULL) as stranger:
        server.pid_file.parent.mkdir(parents=True)
        server.pid_file.write_bytes(msgspec.json.encode(PidRecord(stranger.pid, "another boot/1234")))
        assert server.pid() is None
        server.kill()
        assert server.stop(signal.SIGTERM, 1)
        assert stranger.poll() is None, "a stranger was ended"
        stranger.kill()


@pytest.mark.parametrize("content", [b"", b"12", b'{"pid": "x"}'])
def test_a_damaged_pid_file_means_not_running(server: ServerProcess, content: bytes) -> None:
    server.pid_file.parent.mkdir(parents=True)
    server.pid_file.write_bytes(content)
    assert server.pid() is None


def test_log_tail_is_the_last_lines_of_this_start(server: ServerProcess) -> None:
    server.log_file.parent.mkdir(parents=True)
    server.log_file.write_text("old\n")
    since = server.log_size()
    with server.log_file.open("a") as log:
        log.writelines(f"line {n}\n" for n in range(50))
    tail = server.log_tail(since=since)
    assert tail.splitlines() == [f"line {n}" for n in range(30, 50)]
    assert "old" not in server.log_tail(since=since, lines=100)
