"""The local stack's promises, proved on its Postgres parts: those start in a second."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest

from tests.pipeline import PORT_BASE
from tests.waiting import eventually
from trueup.model.errors import PartFailed, Refused
from trueup.stack import LocalStack, StackSettings
from trueup.stack.credentials import environment_lines, write_secret_files
from trueup.stack.postgres import PostgresPart
from trueup.stack.postgres_home import find_home
from trueup.stack.process import PidRecord
from trueup.stack.settings import database_port, encode_settings

pytestmark = pytest.mark.integration

DATABASES = ("shop", "warehouse")
SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")
STACK_PORT_BASE = PORT_BASE + 300
"""Beside the stack tests share, below the ports of passing connections: one would take that of a part that is down."""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    """A stack of which tests start only what they need."""
    settings = StackSettings(
        state_dir=tmp_path / "stack", port_base=STACK_PORT_BASE, databases=DATABASES, start_timeout_s=60
    )
    settings.state_dir.mkdir(mode=0o711)
    (settings.state_dir / "stack.json").write_text(encode_settings(settings))
    write_secret_files(settings)
    stack = LocalStack(settings)
    yield stack
    for part in stack.part_names:
        stack.kill_part(part)
    stack.down(purge=True)


def data_of(stack: LocalStack, part: str) -> Path:
    """Where the server keeps its data: below pytest's private folder it is not the state folder, as root."""
    return find_home(stack.settings.state_dir, part).data_dir


def pid_of(stack: LocalStack, part: str) -> int | None:
    return next(status.pid for status in stack.status() if status.part == part)


def query(stack: LocalStack, key: str, statement: str) -> object:
    with psycopg.connect(environment_lines(stack.settings)[key], autocommit=True) as connection:
        row = connection.execute(statement.encode()).fetchone()
    return None if row is None else row[0]


def test_a_taken_port_is_named_with_its_part(stack: LocalStack) -> None:
    port = database_port(stack.settings, "shop")
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PartFailed) as caught:
        stack.start_part("postgres-shop")
    assert caught.value.part == "postgres-shop"
    assert str(port) in str(caught.value)
    assert caught.value.hint


def test_a_part_that_fails_shows_the_end_of_its_log(stack: LocalStack) -> None:
    stack.start_part("postgres-shop")
    stack.stop_part("postgres-shop")
    (data_of(stack, "postgres-shop") / "PG_VERSION").write_text("9\n")
    with pytest.raises(PartFailed) as caught:
        stack.start_part("postgres-shop")
    assert caught.value.part == "postgres-shop"
    assert "incompatible with server" in str(caught.value)
    assert pid_of(stack, "postgres-shop") is None


def test_starting_twice_leaves_a_running_part_alone(stack: LocalStack) -> None:
    stack.start_part("postgres-shop")
    before = pid_of(stack, "postgres-shop")
    stack.start_part("postgres-shop")
    assert before is not None
    assert pid_of(stack, "postgres-shop") == before


def test_a_part_is_killed_and_started_alone_and_keeps_its_data(stack: LocalStack) -> None:
    for part in ("postgres-shop", "postgres-warehouse"):
        stack.start_part(part)
    with psycopg.connect(environment_lines(stack.settings)["SHOP_DSN"], autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    neighbour = pid_of(stack, "postgres-warehouse")
    stack.kill_part("postgres-shop")
    assert pid_of(stack, "postgres-shop") is None
    assert pid_of(stack, "postgres-warehouse") == neighbour
    stack.start_part("postgres-shop")
    assert query(stack, "SHOP_DSN", "SELECT n FROM kept") == 7


def test_a_purge_that_was_killed_does_not_hinder_the_next_start(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.start_part("postgres-shop")
    stack.stop_part("postgres-shop")

    def half(path: Path, **_: object) -> None:
        (path / "PG_VERSION").unlink(missing_ok=True)
        for found in path.rglob("PG_VERSION"):
            found.unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(shutil, "rmtree", half)
        PostgresPart(stack.settings, "shop").remove()
    stack.start_part("postgres-shop")
    assert query(stack, "SHOP_DSN", "SELECT 1") == 1


def test_roles_can_do_what_they_are_for_and_no_more(stack: LocalStack) -> None:
    stack.start_part("postgres-shop")
    environment = environment_lines(stack.settings)
    with psycopg.connect(environment["SHOP_DSN"], autocommit=True) as owner:
        owner.execute("CREATE TABLE orders (id int PRIMARY KEY)")
        owner.execute("CREATE PUBLICATION owned FOR TABLE orders")
        owner.execute("CREATE ROLE another_capture LOGIN REPLICATION")
        assert owner.execute("SHOW wal_level").fetchone() == ("logical",)
    for key in ("SHOP_CAPTURE_DSN", "SHOP_WRITER_DSN"):
        with psycopg.connect(environment[key], autocommit=True) as connection:
            for refused in (
                "SELECT * FROM orders",
                "CREATE TABLE mine (id int)",
                "CREATE TEMP TABLE mine (id int)",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(refused.encode())
    with psycopg.connect(environment["SHOP_CAPTURE_DSN"], autocommit=True) as capture:
        capture.execute("SELECT pg_create_logical_replication_slot('mine', 'pgoutput')")
        capture.execute("SELECT pg_drop_replication_slot('mine')")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(environment["SHOP_DSN"], password="wrong")


@pytest.mark.parametrize("lock_file_left", [False, True])
def test_a_stale_pid_file_neither_hinders_a_start_nor_ends_a_stranger(stack: LocalStack, lock_file_left: bool) -> None:
    """After a power cut the pid in a file may belong to anybody."""
    stack.start_part("postgres-shop")
    stack.kill_part("postgres-shop")
    pid_file = stack.settings.state_dir / "run" / "postgres-shop.pid"
    with subprocess.Popen(SLEEPER) as stranger:
        pid_file.write_bytes(msgspec.json.encode(PidRecord(stranger.pid, "another boot/1")))
        if lock_file_left:
            own_lock = data_of(stack, "postgres-shop") / "postmaster.pid"
            lines = own_lock.read_text().split("\n", 1)
            own_lock.write_text(f"{stranger.pid}\n{lines[1]}")
        stack.stop_part("postgres-shop")
        stack.start_part("postgres-shop")
        stack.down()
        assert stranger.poll() is None, "a stranger was ended"
        stranger.kill()


def test_down_after_a_killed_run_ends_what_that_run_started(stack: LocalStack) -> None:
    """The program that brought the stack up is gone; the pid files are what is left."""
    start = (
        "import sys; from pathlib import Path; from trueup.stack import LocalStack\n"
        "import os, signal\n"
        "stack = LocalStack.at(Path(sys.argv[1])); stack.start_part('postgres-shop')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", start, str(stack.settings.state_dir)], env=environment, check=False)
    assert result.returncode == -signal.SIGKILL
    pid = pid_of(stack, "postgres-shop")
    assert pid is not None
    stack.down(purge=True)
    assert not stack.settings.state_dir.exists()
    eventually(lambda: not Path(f"/proc/{pid}").exists(), within_s=10, what="the server has ended")


def test_an_unfamiliar_part_is_refused_with_the_names_there_are(stack: LocalStack) -> None:
    with pytest.raises(Refused, match="postgres-shop"):
        stack.logs("postgres")


def test_purge_spares_a_folder_that_is_no_stack(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(Refused):
        LocalStack(StackSettings(state_dir=tmp_path)).down(purge=True)
    assert (tmp_path / "precious").exists()


def test_there_is_no_stack_where_none_was_brought_up(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no local stack"):
        LocalStack.at(tmp_path)


def test_a_folder_of_other_settings_is_refused_before_anything_starts(stack: LocalStack) -> None:
    three = LocalStack(msgspec.structs.replace(stack.settings, brokers=3))
    with pytest.raises(Refused, match="other settings"):
        three.up()
    assert all(status.pid is None for status in stack.status())
