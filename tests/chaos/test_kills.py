"""The kill suite: `make chaos-kills`. Workers are killed, stopped, told to end, robbed of their state, under load."""

import random
import threading

import pytest

from tests.chaos.conftest import Book
from tests.chaos.faults import FAULTS
from tests.chaos.findings import Report
from tests.chaos.rig import Rig
from tests.chaos.scenario import run
from tests.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

NEW_REPLICA = "latecomer"


def test_fault(rig: Rig, book: Book, seed: str, fault: str, round_number: int) -> None:
    book(run(rig, f"{fault} {FAULTS[fault].__name__}, round {round_number}", FAULTS[fault], seed))


def test_a_new_replica_is_filled_from_the_truth_topics_alone(rig: Rig, book: Book, seed: str) -> None:
    """Registered after all faults, with a database of its own. Nothing else writes meanwhile: what would be captured
    while it is filled could only be the sources read again.
    """
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

    eventually(filled, within_s=120, what=f"every truth is applied at {NEW_REPLICA}")
    assert {table.table: rig.committed_records(table.capture_topic) for table in tables} == captured
    book(run(rig, "new replica from the truth topics alone, then live", wait_a_while, seed))


def wait_a_while(rig: Rig, dice: random.Random, report: Report) -> None:
    """No fault: the load alone."""
    threading.Event().wait(5 + dice.random())
    rig.processes.all_ready()
    report.facts["replicas"] = ", ".join(rig.replicas)
