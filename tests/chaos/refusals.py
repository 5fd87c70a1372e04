"""A replica that is there and refuses: read-only, full, sessions ended, deadlocks (F-18, F-20)."""

import contextlib
import random
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.chaos.findings import Anomaly, Finding, Report
from tests.chaos.outages import everything_moves
from tests.chaos.registers import KEYS
from tests.chaos.rig import CABLED_REPLICA, Rig
from tests.waiting import eventually
from trueup.stack.postgres_home import find_home

REFUSED_S = 12.0
SMALL_DISK_MB = 24
NOTICED_WITHIN_S = 60.0
DEADLOCKS_WITHIN_S = 60.0
DEADLOCKS = 3
LOCKERS = 4
LOCKED_KEYS = 30  # by one locker at a time; of 8 a batch seldom had two
REPLICA = "warehouse"
"""Whose copy of the registers has the names of the source."""

_END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"


def sessions_ended(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-18: somebody ends the worker's sessions at the replica, again and again."""
    ended = 0
    with psycopg.connect(rig.superuser_dsn(CABLED_REPLICA), autocommit=True) as connection:
        for _ in range(40):
            ended += len(connection.execute(_END_SESSIONS, (f"trueup apply {CABLED_REPLICA}",)).fetchall())
            threading.Event().wait(dice.uniform(0, 0.5))
    everything_moves(rig, report)
    report.facts["sessions ended"] = str(ended)


def replica_read_only(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-18: the replica becomes read-only, as a server that was demoted, and is writable again after a while."""
    threading.Event().wait(dice.uniform(0, 2))
    with psycopg.connect(rig.superuser_dsn(CABLED_REPLICA), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {CABLED_REPLICA} SET default_transaction_read_only = on".encode())
        connection.execute(_END_SESSIONS, (f"trueup apply {CABLED_REPLICA}",))
        try:
            threading.Event().wait(REFUSED_S)
        finally:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER DATABASE {CABLED_REPLICA} RESET default_transaction_read_only".encode())
    everything_moves(rig, report)


def replica_full(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-18: a copy lies on a small disk, and that is full. Skipped where none can be mounted."""
    target = next(copy.target for table, copy in rig.all_copies() if copy.replica == CABLED_REPLICA)
    log = rig.processes.log_path(f"apply-{CABLED_REPLICA}")
    with _small_disk(rig) as disk, psycopg.connect(rig.superuser_dsn(CABLED_REPLICA), autocommit=True) as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{disk}'".encode())
        try:
            _moved(connection, target, "small")
            # Else updates may find room in pages of the table, and nobody meets the full disk.
            _with_its_lock(connection, f"VACUUM (FULL) {target}", f"{target} has no free room left")
            noticed = log.stat().st_size
            filler = disk / "filler"
            _fill(filler)
            eventually(
                lambda: "refused for now" in rig.processes.log_since(f"apply-{CABLED_REPLICA}", noticed),
                within_s=NOTICED_WITHIN_S,
                what="the worker says that the replica refuses",
            )
            _fill(filler)
            threading.Event().wait(REFUSED_S + dice.uniform(0, 2))
            filler.unlink()
            everything_moves(rig, report)
        finally:
            _moved(connection, target, "pg_default")
            connection.execute("DROP TABLESPACE small")
    report.facts["disk"] = f"{SMALL_DISK_MB} MB under {target}, full for {REFUSED_S:.0f} s"


@contextlib.contextmanager
def _small_disk(rig: Rig) -> Iterator[Path]:
    """A file system of its own, for the server's user alone."""
    home = find_home(rig.folder.stack.state_dir, f"postgres-{CABLED_REPLICA}")
    place = home.data_dir.with_name("small")
    place.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_MB}m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        place.rmdir()
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        disk = place / "space"
        disk.mkdir(mode=0o700)
        if home.user is not None:
            subprocess.run(["chown", home.user, str(disk)], check=True)
        yield disk
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


def _moved(connection: psycopg.Connection[tuple[object, ...]], target: str, space: str) -> None:
    """The table with its values out of line."""
    _with_its_lock(connection, f"ALTER TABLE {target} SET TABLESPACE {space}", f"{target} moves to {space}")


def _with_its_lock(connection: psycopg.Connection[tuple[object, ...]], statement: str, what: str) -> None:
    """Writers and readers of the table are busy, so its lock may take some attempts."""
    connection.execute("SET lock_timeout = '10s'")

    def done() -> bool:
        try:
            connection.execute(statement.encode())
        except psycopg.errors.LockNotAvailable as error:
            raise AssertionError(str(error)) from error
        return True

    eventually(done, within_s=NOTICED_WITHIN_S, what=what)


def _fill(filler: Path) -> None:
    """Until nothing more fits."""
    with filler.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * size) == size:
                    pass


def deadlocks(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-20: others lock rows of the copies in crossing orders. Whoever is chosen as the victim tries again."""
    (table, *_) = rig.copies
    target = table.source
    before = _deadlocks(rig)
    over = threading.Event()

    def lock_crosswise(own: random.Random) -> None:
        with psycopg.connect(rig.dsn(REPLICA), autocommit=True, application_name="chaos locker") as connection:
            while not over.is_set():
                with contextlib.suppress(psycopg.errors.DeadlockDetected), connection.transaction():
                    for key in sorted(own.sample(range(1, KEYS + 1), LOCKED_KEYS), reverse=True):
                        connection.execute(f"SELECT 1 FROM {target} WHERE k = %s FOR UPDATE".encode(), (key,))
                        over.wait(0.01)

    lockers = [threading.Thread(target=lock_crosswise, args=[random.Random(dice.random())]) for _ in range(LOCKERS)]
    for locker in lockers:
        locker.start()
    try:
        eventually(
            lambda: _deadlocks(rig) >= before + DEADLOCKS,
            within_s=DEADLOCKS_WITHIN_S,
            what="the server finds deadlocks",
        )
        threading.Event().wait(5)
    finally:
        over.set()
        for locker in lockers:
            locker.join()
    everything_moves(rig, report)
    found = _deadlocks(rig) - before
    report.facts["deadlocks"] = str(found)
    if not found:
        report.findings.append(Finding(Anomaly.STUCK, "no deadlock was made"))


def _deadlocks(rig: Rig) -> int:
    sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = %s"
    ((count,),) = rig.query(REPLICA, sql, (REPLICA,))
    return int(count)
