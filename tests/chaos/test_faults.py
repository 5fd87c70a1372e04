"""`make chaos`: every fault of a process, a part or a connection, done to a loaded pipeline; then a new replica."""

import random
import threading

import pytest

from tests.chaos.conftest import Book, Rigs
from tests.chaos.faults import FAULTS
from tests.chaos.findings import Report
from tests.chaos.rig import Rig
from tests.chaos.scenario import run
from tests.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

NEW_REPLICA = "latecomer"


def test_fault(rigs: Rigs, book: Book, seed: str, fault: str, round_number: int) -> None:
    """Faults of one rig share it; with more brokers comes another. The checker's own control is of the first round."""
    chosen = FAULTS[fault]
    name = f"{fault} {chosen.inject.__name__}, round {round_number}"
    rig = rigs.of(chosen.brokers)
    try:
        is_first = round_number == 1
        report = run(rig, name, chosen.inject, seed, still_s_max=chosen.still_s_max, controls=is_first)
    except Exception:
        rigs.stop()
        raise
    rigs.keep(report)
    book(report)


def test_new_replica(rigs: Rigs, book: Book, seed: str) -> None:
    """Filled from the truth topics alone, after all faults, with a database of its own.

    Nothing else writes meanwhile: what would be captured while it is filled could only be the sources read again.
    """
    rig = rigs.of(1)
    tables = list(rig.project().tables.values())
    captured = {table.table: rig.committed_records(table.capture_topic) for table in tables}
    rig.add_replica(NEW_REPLICA)
    rig.apply()
    rig.start_missing_workers()

    def filled() -> bool:
        for table in tables:
            truths = rig.committed_records(table.truth_topic)
            assert rig.apply_totals(NEW_REPLICA, table.truth_topic) == truths, table.table
        return True

    eventually(filled, within_s=180, what=f"every truth is applied at {NEW_REPLICA}")
    assert {table.table: rig.committed_records(table.capture_topic) for table in tables} == captured
    book(run(rig, "new replica from the truth topics alone, then live", wait_a_while, seed))


def wait_a_while(rig: Rig, dice: random.Random, report: Report) -> None:
    """No fault: the load alone."""
    threading.Event().wait(5 + dice.random())
    rig.processes.all_ready()
    report.facts["replicas"] = ", ".join(rig.replicas)
