"""Connect dies, and transactions span what it does: snapshots, streams, COPY, interleaved changes (F-11 to F-14)."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg

from tests.chaos.findings import Anomaly, Finding, Report
from tests.chaos.outages import everything_moves, start_again
from tests.chaos.own_writes import OWN_KEYS, own_transaction
from tests.chaos.registers import TALLIES
from tests.chaos.rig import Rig
from tests.committed_reader import topic_ends
from tests.waiting import eventually

SNAPSHOT_WITHIN_S = 120.0
ARRIVES_WITHIN_S = 120.0
COPIED_ROWS = 10_000
SHORT_TRANSACTIONS = 200


def transaction_open_across_a_snapshot(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-11: it writes before the snapshot and commits after it began. Its changes are the newest of their keys."""
    changed, deleted, *_ = dice.sample(OWN_KEYS, 2)
    with own_transaction(rig, TALLIES) as first:
        first.put(changed, "before")
        first.put(deleted, "before")
        first.commit()
    captured = rig.captured_system(TALLIES)
    made = f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{captured.connector}' AND active"
    noted = f"SELECT epoch FROM trueup.resyncs WHERE stage = 'snapshot' AND system = '{TALLIES.system}'"
    with own_transaction(rig, TALLIES) as open_one, ThreadPoolExecutor(1) as pool:
        open_one.put(changed, f"open across the snapshot {dice.random()}")
        open_one.remove(deleted)
        resync = pool.submit(captured.resync)
        try:
            eventually(
                lambda: resync.done() or captured.at_source(noted), within_s=SNAPSHOT_WITHIN_S, what="the epoch begins"
            )
            eventually(
                lambda: resync.done() or captured.at_source(made), within_s=SNAPSHOT_WITHIN_S, what="the slot is made"
            )
            if resync.done():
                report.findings.append(Finding(Anomaly.STUCK, "the snapshot did not wait for the open transaction"))
        finally:
            open_one.commit()
            resync.result()


def connect_killed_in_the_stream(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-12: again and again, at any moment."""
    for _ in range(3):
        threading.Event().wait(dice.uniform(1, 4))
        rig.stack.kill_part("connect")
        start_again(rig, "connect")
    everything_moves(rig, report)


def connect_killed_in_a_snapshot(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-12: rows that were brought and are deleted before the next attempt leave no orphans."""
    ballast = rig.ballast
    captured = rig.captured_system(next(table for table in rig.copies if table.system == ballast.system))
    before = _captured(rig)
    with ThreadPoolExecutor(1) as pool:
        resync = pool.submit(captured.resync)
        try:
            eventually(
                lambda: resync.done() or _captured(rig) > before + 2_000,
                within_s=SNAPSHOT_WITHIN_S,
                what="rows of the first attempt",
            )
        finally:
            rig.stack.kill_part("connect")
        brought = _captured(rig) - before
        rig.query(ballast.system, "DELETE FROM public.ballast WHERE id %% 97 = %s", (dice.randrange(97),))
        start_again(rig, "connect")
        resync.result()
    ballast_arrives(rig)
    report.facts["rows brought before the kill"] = str(brought)


def connect_killed_in_a_copy(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-13: COPY of 10,000 rows, many at one position of the log; all of them arrive (dbz#1554)."""
    before = _captured(rig)
    ((highest,),) = rig.query(rig.ballast.system, "SELECT max(id) FROM public.ballast")
    with psycopg.connect(rig.dsn(rig.ballast.system)) as connection, connection.cursor() as cursor:
        with cursor.copy("COPY public.ballast (id, note) FROM STDIN") as copy:
            for number in range(COPIED_ROWS):
                copy.write_row((highest + 1 + number, f"copied {number}"))
        connection.commit()
    seen = dice.randrange(1, COPIED_ROWS // 2)
    eventually(lambda: _captured(rig) > before + seen, within_s=ARRIVES_WITHIN_S, what="some rows of the COPY")
    rig.stack.kill_part("connect")
    captured = _captured(rig) - before
    start_again(rig, "connect")
    ballast_arrives(rig)
    report.facts["rows captured before the kill"] = f"{captured} of {COPIED_ROWS}"


def connect_killed_between_interleaved_transactions(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-14: a long transaction among many short ones, Connect killed before and after it commits (dbz#76)."""
    first, second, *others = dice.sample(OWN_KEYS, 12)
    with own_transaction(rig, TALLIES) as long_one:
        long_one.put(first, f"long {dice.random()}")
        for number in range(SHORT_TRANSACTIONS):
            key = dice.choice(others)
            with own_transaction(rig, TALLIES) as short_one:
                short_one.put(key, f"short {number}")
                short_one.commit()
            if number == SHORT_TRANSACTIONS // 2:
                long_one.put(second, f"long again {dice.random()}")
                rig.stack.kill_part("connect")
        start_again(rig, "connect")
        threading.Event().wait(dice.uniform(0, 4))
        long_one.commit()
    rig.stack.kill_part("connect")
    start_again(rig, "connect")
    everything_moves(rig, report)


def ballast_arrives(rig: Rig) -> None:
    """Wait until the copy of the ballast has the rows of its source."""
    sql = "SELECT count(*), sum(id), sum(hashtext(note)::bigint) FROM public.ballast"

    def same() -> bool:
        source, copy = rig.query(rig.ballast.system, sql), rig.query(rig.ballast.replica, sql)
        assert source == copy, f"source {source}, copy {copy}"
        return True

    eventually(same, within_s=ARRIVES_WITHIN_S, what="the ballast arrives")


def _captured(rig: Rig) -> int:
    return sum(topic_ends(rig.bootstrap, [rig.ballast.capture_topic]).values())
