"""Partitions move between workers: more and fewer of them, rolling restarts, a batch that cannot end (F-07, F-08)."""

import random
import threading

import psycopg

from tests.chaos.findings import Report
from tests.chaos.kills import BACK_WITHIN_S, DRAIN_WITHIN_S
from tests.chaos.rig import CABLED_REPLICA, DECIDE, Rig, apply_worker
from tests.waiting import eventually

STILL_S_MAX = 60.0
"""Faust's rebalance timeout: no copy stands still for longer while partitions move."""

HELD_S = 25.0
"""Beyond session, statement and lock timeouts together."""

MORE = 2


def workers_scaled(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-07: one worker becomes three and one again, at both stages."""
    arguments = {DECIDE: (DECIDE,), apply_worker(CABLED_REPLICA): ("apply", CABLED_REPLICA)}
    added = []
    for number in range(2, 2 + MORE):
        for name, words in arguments.items():
            added.append(f"{name}-{number}")
            rig.processes.start(added[-1], *words)
        rig.processes.all_ready(BACK_WITHIN_S)
    threading.Event().wait(dice.uniform(2, 5))
    _move(rig)
    for name in dice.sample(added, len(added)):
        rig.processes.terminate([name], DRAIN_WITHIN_S)
        threading.Event().wait(dice.uniform(0, 1))
    rig.processes.all_ready(BACK_WITHIN_S)
    _move(rig)
    report.facts["workers"] = f"{len(added)} came and went"


def workers_restarted_one_by_one(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-07: a rolling restart, as of a new release."""
    names = rig.processes.names()
    for name in dice.sample(names, len(names)):
        ends = rig.processes.terminate([name], DRAIN_WITHIN_S)
        rig.start_missing_workers()
        eventually(lambda name=name: rig.processes.is_ready(name), within_s=BACK_WITHIN_S, what=f"{name} is back")  # type: ignore[misc]
        report.facts[f"{name} restarted"] = f"ended with {ends[0].code} after {ends[0].seconds:.1f} s"
    _move(rig)


def rebalance_while_a_batch_is_stuck(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-08: somebody holds a lock on a copy; meanwhile a second worker comes, and goes. Nobody is evicted for it."""
    second = f"{apply_worker('warehouse')}-2"
    (table, *_) = rig.copies
    ends_before = len(rig.processes.ended_by_themselves())
    with psycopg.connect(rig.dsn("warehouse")) as holder:
        holder.execute(f"LOCK TABLE {table.source} IN EXCLUSIVE MODE".encode())
        threading.Event().wait(dice.uniform(1, 3))
        rig.processes.start(second, "apply", "warehouse")
        threading.Event().wait(HELD_S)
    rig.processes.all_ready(BACK_WITHIN_S)
    _move(rig)
    rig.processes.terminate([second], DRAIN_WITHIN_S)
    ended = rig.processes.ended_by_themselves()[ends_before:]
    report.facts["lock"] = f"held {HELD_S:.0f} s; {len(ended)} workers ended by themselves"


def _move(rig: Rig) -> None:
    """Both stages go on."""
    decided, applied = rig.decided(), rig.applied(CABLED_REPLICA)
    eventually(
        lambda: rig.decided() > decided + 20 and rig.applied(CABLED_REPLICA) > applied + 20,
        within_s=BACK_WITHIN_S,
        what="changes are decided and applied again",
    )
