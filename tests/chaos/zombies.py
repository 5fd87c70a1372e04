"""F-06: a worker stands still past its session (SIGSTOP), another takes over and goes on, the first one comes to.

It is stopped with a batch in flight, so that it has a late write to try. What must refuse it: the producer's epoch at
the broker, and the writer's token at the replica.
"""

import random
import signal
import threading

import psycopg

from tests.chaos.findings import Anomaly, Finding, Report
from tests.chaos.rig import DECIDE, SESSION_TIMEOUT_S, Rig, apply_worker
from tests.committed_reader import topic_ends
from tests.waiting import eventually
from tests.worker_processes import signal_process

REPLICA = "warehouse"
FENCED_EXIT = 70
TAKEN_OVER_WITHIN_S = 60.0
COMES_TO_WITHIN_S = 30.0
ATTEMPTS_MAX = 200
"""Of catching a worker in the act; some one in five succeeds."""


def decide_zombie(rig: Rig, dice: random.Random, report: Report) -> None:
    """Stopped in an open transaction, which the next owner's start aborts; the late commit is refused."""
    second = f"{DECIDE}-2"
    topics = [table.source for table in rig.copies]
    log_end = rig.processes.log_path(DECIDE).stat().st_size
    open_partitions = _stop_in_transaction(rig, dice)
    pid = rig.processes.pid(DECIDE)
    before = rig.decided()
    try:
        rig.processes.start(second, "decide")
        eventually(lambda: rig.processes.is_ready(second), within_s=TAKEN_OVER_WITHIN_S, what=f"{second} took over")
        eventually(
            lambda: rig.decided() > before + 50,
            within_s=TAKEN_OVER_WITHIN_S,
            what="newer changes of the zombie's tables are decided",
        )
    finally:
        rig.processes.resume(DECIDE)
    _expect_fenced(rig, report, DECIDE, pid, log_end, "no longer owns the partition")
    eventually(lambda: rig.processes.is_ready(DECIDE), within_s=TAKEN_OVER_WITHIN_S, what=f"{DECIDE} comes back")
    rig.processes.terminate([second], 30)
    report.facts["zombie"] = (
        f"{DECIDE} stopped inside transactions of {', '.join(sorted(open_partitions))}; {len(topics)} tables"
    )


def _stop_in_transaction(rig: Rig, dice: random.Random) -> set[str]:
    """SIGSTOP until an open transaction is seen behind it: records beyond the last stable offset."""
    pause = threading.Event()
    for _ in range(ATTEMPTS_MAX):
        pause.wait(dice.uniform(0, 0.2))
        rig.processes.pause(DECIDE)
        found = _open_transactions(rig)
        if found:
            return found
        rig.processes.resume(DECIDE)
    raise AssertionError(f"{ATTEMPTS_MAX} times stopped, never in a transaction")


def _open_transactions(rig: Rig) -> set[str]:
    """Truth partitions of the registers whose end lies beyond what is committed."""
    topics = [f"trueup.truth.{table.name}" for table in rig.copies]
    committed = topic_ends(rig.bootstrap, topics)
    written = topic_ends(rig.bootstrap, topics, committed=False)
    return {f"{topic}/{number}" for (topic, number), end in written.items() if end > committed[topic, number]}


def apply_zombie(rig: Rig, dice: random.Random, report: Report) -> None:
    """Stopped between the begin of its transaction and the look at its token: its sessions at the server stop too."""
    first, second = apply_worker(REPLICA), f"{apply_worker(REPLICA)}-2"
    log_end = rig.processes.log_path(first).stat().st_size
    threading.Event().wait(dice.uniform(0, 2))
    sessions = _stop_idle_sessions(rig)
    try:
        tokens = _tokens(rig)
        threading.Event().wait(2)  # batches are in flight by now: the writers write to every partition
        pid = rig.processes.pause(first)
        try:
            rig.processes.start(second, "apply", REPLICA)
            eventually(
                lambda: all(token > tokens[place] for place, token in _tokens(rig).items()),
                within_s=TAKEN_OVER_WITHIN_S,
                what=f"{second} holds every partition",
            )
            seen = rig.applied(REPLICA)
            eventually(
                lambda: rig.applied(REPLICA) > seen + 50,
                within_s=TAKEN_OVER_WITHIN_S,
                what="newer changes are applied",
            )
        finally:
            for session in sessions:
                signal_process(session, signal.SIGCONT)
            rig.processes.resume(first)
    finally:
        for session in sessions:
            signal_process(session, signal.SIGCONT)
    _expect_fenced(rig, report, first, pid, log_end, "has another writer")
    eventually(lambda: rig.processes.is_ready(first), within_s=TAKEN_OVER_WITHIN_S, what=f"{first} comes back")
    rig.processes.terminate([second], 30)
    report.facts["zombie"] = (
        f"{first} stopped beyond its session of {SESSION_TIMEOUT_S} s with {len(sessions)} sessions"
    )


def _stop_idle_sessions(rig: Rig) -> list[int]:
    """Stop the worker's sessions at the server while each is outside a transaction: its next batch hangs at BEGIN."""
    pause = threading.Event()
    for _ in range(ATTEMPTS_MAX):
        sessions = list(_sessions(rig))
        for pid in sessions:
            signal_process(pid, signal.SIGSTOP)
        if sessions and set(_sessions(rig).values()) == {"idle"}:
            return sessions
        for pid in sessions:
            signal_process(pid, signal.SIGCONT)
        pause.wait(0.05)
    raise AssertionError(f"{ATTEMPTS_MAX} times stopped, never between transactions")


def _sessions(rig: Rig) -> dict[int, str]:
    """What the worker's sessions are doing, by the pid of the server's process."""
    sql = "SELECT pid, state FROM pg_stat_activity WHERE application_name = %s"
    with psycopg.connect(rig.superuser_dsn(REPLICA), autocommit=True) as connection:
        return dict(connection.execute(sql, (f"trueup apply {REPLICA}",)).fetchall())


def _tokens(rig: Rig) -> dict[tuple[str, int], int]:
    rows = rig.query(REPLICA, "SELECT topic, partition, token FROM trueup.progress")
    return {(topic, partition): token for topic, partition, token in rows}


def _expect_fenced(rig: Rig, report: Report, name: str, pid: int, log_end: int, said: str) -> None:
    """The zombie ends with the exit code of a process that is no longer fit, and says why."""
    end = eventually(lambda: rig.processes.end_of(pid), within_s=COMES_TO_WITHIN_S, what=f"{name} notices and ends")
    assert end is not None
    log = rig.processes.log_since(name, log_end)
    if end.code != FENCED_EXIT or said not in log:
        lines = [line for line in log.splitlines() if "error" in line][-3:]
        report.findings.append(Finding(Anomaly.UNFENCED, f"{name} ended with {end.code}: {lines}"))
