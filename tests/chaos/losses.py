"""What was to be captured or decided is lost: capture stops loudly, status names the cure, the cure heals.

F-16, F-17, F-22, F-23, and F-25, whose clock only looks like a loss.
"""

import random
import threading

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from tests.chaos.findings import Anomaly, Finding, Report
from tests.chaos.kills import BACK_WITHIN_S, DRAIN_WITHIN_S
from tests.chaos.ledger import Ending, Write
from tests.chaos.outages import everything_moves
from tests.chaos.registers import TALLIES
from tests.chaos.rig import DECIDE, Rig
from tests.chaos.writers import digest
from tests.committed_reader import quiet_client
from tests.forged_records import Forged, Forger
from tests.pipeline import DECIDE_GROUP
from tests.waiting import eventually
from trueup.runtime.cli_project import open_settings

GROUP_EMPTY_WITHIN_S = 30.0
HOUR_US = 3_600_000_000
FORGED_KEYS = range(200_000, 200_004)


def slot_dropped(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-16: while the connector is stopped; what is written meanwhile was kept by nobody."""
    captured = rig.captured_system(TALLIES)
    with captured.captured_stopped():
        captured.drop_slot()
        threading.Event().wait(dice.uniform(2, 5))
    captured.capture_failed()
    captured.names_cure("slot", "gone")
    captured.resync()
    everything_moves(rig, report)


def slot_advanced(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-16: Debezium would run on behind the hole."""
    captured = rig.captured_system(TALLIES)
    with captured.captured_stopped():
        threading.Event().wait(dice.uniform(2, 5))
        captured.advance_slot()
        captured.names_cure("advanced by hand")
        captured.resync()
    everything_moves(rig, report)


def source_went_back(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-17: as the workers see a restore: changes at lower positions, with newer commit times."""
    captured = rig.captured_system(TALLIES)
    threading.Event().wait(dice.uniform(0, 2))
    captured.raise_guard()
    captured.names_cure("went back")
    captured.resync()
    everything_moves(rig, report)


def retention_passed_the_undecided(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-22: never a silent jump to the beginning of what is left."""
    captured = rig.captured_system(TALLIES)
    rig.processes.terminate([DECIDE], DRAIN_WITHIN_S)
    before = captured.captured()
    eventually(lambda: captured.captured() > before + 100, within_s=60, what="changes that nobody decides")
    decided = sum(rig.decide_totals(TALLIES.capture_topic).values())
    captured.delete_undecided()
    rig.readings.pop(TALLIES.capture_topic, None)
    rig.forgotten[TALLIES.capture_topic] = decided
    rig.start_missing_workers()
    captured.names_cure("lost records before they were decided")
    captured.resync()
    everything_moves(rig, report)


def topic_deleted(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-22: and made anew by somebody, as large as before; every offset looks right."""
    captured = rig.captured_system(TALLIES)
    with captured.captured_stopped():
        threading.Event().wait(dice.uniform(0, 2))
        captured.delete_topics()
        captured.make_topic(4)
    _forget(rig)
    captured.names_cure("made anew")
    captured.resync()
    everything_moves(rig, report)


def partitions_added(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-22: a key in two partitions has no order."""
    captured = rig.captured_system(TALLIES)
    threading.Event().wait(dice.uniform(0, 2))
    captured.add_partition()
    captured.names_cure("capture partitions")
    _forget(rig)
    captured.resync()
    everything_moves(rig, report)


def _forget(rig: Rig) -> None:
    """The topic is made anew: its records and their totals are counted from the beginning."""
    rig.readings.pop(TALLIES.capture_topic, None)
    rig.forgotten.pop(TALLIES.capture_topic, None)


def group_offsets_deleted(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-23: every captured record is decided again, and every outcome is counted once more: a replay of no effect."""
    if rig.forgotten:
        pytest.skip("retention has cut a capture topic in this run: what it held cannot be replayed")
    names = [name for name in rig.processes.names() if name != "capture"]
    rig.processes.terminate(names, DRAIN_WITHIN_S)
    groups = [DECIDE_GROUP, *(f"trueup-apply-{name}" for name in rig.replicas)]
    admin = AdminClient(quiet_client(rig.bootstrap))
    eventually(lambda: _members(admin, groups) == 0, within_s=GROUP_EMPTY_WITHIN_S, what="the groups have no members")
    deleted = []
    for group, future in admin.delete_consumer_groups(groups).items():
        try:
            future.result(20)
        except KafkaException as error:  # appliers commit nothing, so Kafka may have forgotten their groups by itself
            assert error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND, error
            continue
        deleted.append(group)
    threading.Event().wait(dice.uniform(0, 2))
    rig.start_missing_workers()
    rig.processes.all_ready(BACK_WITHIN_S)
    everything_moves(rig, report)
    report.facts["deleted"] = ", ".join(deleted)
    if DECIDE_GROUP not in deleted:
        report.findings.append(Finding(Anomaly.STUCK, f"group {DECIDE_GROUP} was not there to be deleted"))


def _members(admin: AdminClient, groups: list[str]) -> int:
    found = admin.describe_consumer_groups(groups, request_timeout=GROUP_EMPTY_WITHIN_S)
    return sum(len(future.result(GROUP_EMPTY_WITHIN_S).members) for future in found.values())


def clock_jumps(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-25: changes of the future, then all others from the past: the log goes on, so everything is taken in order.

    A row is made, changed and deleted again by forged records, so that the source is right about it in the end.
    """
    captured = rig.captured_system(TALLIES)
    forger = Forger(open_settings(rig.folder.project_dir), TALLIES.capture_topic)
    try:
        with captured.captured_stopped():
            newest = forger.newest_changes()
            for partition, record in newest.items():
                made, changed, gone = (_booked(rig, FORGED_KEYS[partition], text) for text in ("made", "changed", None))
                future_us = HOUR_US + dice.randrange(HOUR_US)
                life = [
                    Forged("c", None, made, future_us),
                    Forged("u", made, changed, -HOUR_US),
                    Forged("d", changed or gone, None, -2 * HOUR_US),
                ]
                forger.write(forger.following(record, b'{"k":%d}' % FORGED_KEYS[partition], life))
    finally:
        forger.close()
    if not newest:
        report.findings.append(Finding(Anomaly.STUCK, "no change was there to be followed"))
    everything_moves(rig, report)
    report.facts["jumps"] = f"hours forth and back, in {len(newest)} partitions"


def _booked(rig: Rig, key: int, value: str | None) -> dict[str, object] | None:
    """A row of the writers' table that the ledger knows of: a reader may see it for a moment."""
    ((number,),) = rig.query(TALLIES.system, "SELECT nextval(%s)", (TALLIES.sequence,))
    content = None if value is None else digest(value)
    rig.ledgers[TALLIES].record([Write(key, number, content)], Ending.INFO)
    return None if value is None else {"k": key, "v": value, "writer": "forger", "n": number}
