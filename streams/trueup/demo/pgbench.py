"""pgbench, PostgreSQL's own load generator: a client that nobody here wrote."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from trueup.demo.ledger import Ledger
from trueup.demo.waiting import CannotGoOn
from trueup.stack.postgres_home import client_program

# What a transaction of the built-in script (tpcb-like) updates, once each; it inserts into pgbench_history.
_UPDATED = ("pgbench_accounts", "pgbench_tellers", "pgbench_branches")
_INITIALISE_TIMEOUT_S = 60
_END_TIMEOUT_S = 30
_PROCESSED = re.compile(r"^number of transactions actually processed: (\d+)", re.MULTILINE)


class PgbenchFailed(CannotGoOn):
    """pgbench ended with an error; the message has the end of its output."""


def initialise_pgbench(dsn: str, log: Path) -> None:
    """Make pgbench's four tables at scale 1: 100,000 accounts. Tables that are there stay."""
    with psycopg.connect(dsn) as connection:
        (found,) = connection.execute("SELECT to_regclass('public.pgbench_accounts')").fetchone() or (None,)
    if found is not None:
        return
    with log.open("w") as output:
        result = subprocess.run(
            [str(client_program("pgbench")), "--initialize", "--scale=1", "--quiet"],
            env=_environment(dsn),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=_INITIALISE_TIMEOUT_S,
            check=False,
        )
    if result.returncode != 0:
        raise PgbenchFailed(log.read_text()[-2000:])


class PgbenchLoad:
    """One run of the built-in script at a limited rate."""

    def __init__(self, dsn: str, ledger: Ledger, log: Path, *, seconds: int, transactions_per_s: int) -> None:
        self._ledger = ledger
        self._log = log
        self._argv = [
            *(str(client_program("pgbench")), "--no-vacuum", "--client=2", "--jobs=1"),
            *(f"--rate={transactions_per_s}", f"--time={seconds}"),
        ]
        self._environment = _environment(dsn)
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin; returns at once."""
        with self._log.open("w") as output:
            self._process = subprocess.Popen(
                self._argv,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def finish(self) -> int:
        """Wait for the end, count what was committed, and return the number of transactions."""
        assert self._process is not None
        code = self._process.wait(self._seconds + _END_TIMEOUT_S)
        text = self._log.read_text()
        processed = _PROCESSED.search(text)
        if code != 0 or processed is None:
            raise PgbenchFailed(text[-2000:])
        transactions = int(processed[1])
        self._ledger.add(dict.fromkeys(_UPDATED, transactions))
        return transactions

    def abandon(self) -> None:
        """End it if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def _environment(dsn: str) -> dict[str, str]:
    """Return the environment that makes pgbench connect; everybody could read a password in its arguments."""
    parts = conninfo_to_dict(dsn)
    names = {
        "host": "PGHOST",
        "port": "PGPORT",
        "user": "PGUSER",
        "password": "PGPASSWORD",
        "dbname": "PGDATABASE",
    }
    return dict(os.environ) | {names[key]: str(value) for key, value in parts.items() if key in names}
