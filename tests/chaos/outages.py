"""Parts that go away and come back, and connections that break or fall silent (F-10, F-15, F-18, F-19)."""

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException

from tests.chaos.findings import Anomaly, Finding, Report
from tests.chaos.rig import CABLED_REPLICA, CABLED_SYSTEM, REPLICA_CABLE, Rig
from tests.chaos.scenario import Inject
from tests.committed_reader import topic_ends
from tests.waiting import eventually
from trueup.model.errors import PartFailed

T = TypeVar("T")

BROKER_DOWN_S = 40.0
DOWN_S = 20.0
CUT_S = 20.0
"""Three sessions, and all timeouts of a replica's session."""

BACK_WITHIN_S = 120.0
"""Backoff of workers, connectors and clients after the longest outage, on a busy machine."""

SILENT_S_MAX = 30.0
"""With others down a copy goes on: far less than the outage it is not concerned by, with room for a busy machine."""


def broker_down(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-10: the one broker is killed under load, and started again after a while."""
    ended = len(rig.processes.ended_by_themselves())
    rig.stack.kill_part("kafka-1")
    threading.Event().wait(BROKER_DOWN_S + dice.uniform(0, 5))
    start_again(rig, "kafka-1")
    everything_moves(rig, report)
    report.facts["outage"] = (
        f"{BROKER_DOWN_S:.0f} s; {len(rig.processes.ended_by_themselves()) - ended} workers ended by themselves"
    )


def cable_cut(cable: str) -> Inject:
    """Connections break and are refused, while both ends live on."""

    def inject(rig: Rig, dice: random.Random, report: Report) -> None:
        _trouble(rig, dice, report, cable, silent=False)

    inject.__name__ = f"{cable.replace(' ', '_')}_cut"
    return inject


def cable_silent(cable: str) -> Inject:
    """Nothing arrives and nothing breaks: a black hole, until what was sent arrives after all."""

    def inject(rig: Rig, dice: random.Random, report: Report) -> None:
        _trouble(rig, dice, report, cable, silent=True)

    inject.__name__ = f"{cable.replace(' ', '_')}_silent"
    return inject


def _trouble(rig: Rig, dice: random.Random, report: Report, cable: str, *, silent: bool) -> None:
    threading.Event().wait(dice.uniform(0, 2))
    carried = rig.network.connections(cable)
    (rig.network.silence if silent else rig.network.cut)(cable)
    try:
        if cable == REPLICA_CABLE:
            _others_go_on(rig, report, CUT_S)
        else:
            threading.Event().wait(CUT_S)
    finally:
        rig.network.heal(cable)
    everything_moves(rig, report)
    if not carried:
        report.findings.append(Finding(Anomaly.STUCK, f"nobody uses the cable {cable}"))
    report.facts["outage"] = f"{cable}, {CUT_S:.0f} s; {rig.network.connections(cable) - carried} connections since"


def source_killed(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-15: the server of a source, which is a replica of another one, crashes under load, twice."""
    for _ in range(2):
        threading.Event().wait(dice.uniform(1, 3))
        rig.kill_database(CABLED_SYSTEM)
        threading.Event().wait(dice.uniform(2, 6))
        start_again(rig, f"postgres-{CABLED_SYSTEM}")
        everything_moves(rig, report)


def replica_killed(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-18: the server of a replica crashes, and is away for a while: back-pressure, no dead letters."""
    threading.Event().wait(dice.uniform(0, 2))
    rig.kill_database(CABLED_REPLICA)
    threading.Event().wait(DOWN_S)
    start_again(rig, f"postgres-{CABLED_REPLICA}")
    everything_moves(rig, report)


def one_replica_down(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-19: a replica is shut down; the others go on as if nothing were."""
    threading.Event().wait(dice.uniform(0, 2))
    rig.stack.stop_part(f"postgres-{CABLED_REPLICA}")
    try:
        _others_go_on(rig, report, DOWN_S)
    finally:
        start_again(rig, f"postgres-{CABLED_REPLICA}")
    everything_moves(rig, report)


def start_again(rig: Rig, part: str) -> None:
    """A part that was killed a moment ago may hold its port still."""

    def started() -> bool:
        try:
            rig.stack.start_part(part)
        except PartFailed as error:
            raise AssertionError(str(error)) from error
        return True

    eventually(started, within_s=BACK_WITHIN_S, what=f"{part} is back")


def answered(look: Callable[[], T]) -> T:
    """What was looked for. A part that came back a moment ago may not know it yet: "not yet", and no failure."""
    try:
        return look()
    except (KafkaException, KafkaError, psycopg.OperationalError, TimeoutError) as error:
        raise AssertionError(f"no answer: {error}") from error


def everything_moves(rig: Rig, report: Report) -> None:
    """Every source is captured, and every replica applies, again. Raises NeverBecameTrueError."""
    began = time.monotonic()
    workers = rig.processes
    before = eventually(lambda: answered(lambda: _progress(rig)), within_s=BACK_WITHIN_S, what="all parts answer")

    def moved() -> bool:
        now = answered(lambda: _progress(rig))
        still = [name for name, count in now.items() if count <= before[name] + 10]
        assert not still, f"{still} stand still"
        return True

    eventually(moved, within_s=BACK_WITHIN_S, what="everything moves")
    workers.all_ready(BACK_WITHIN_S)
    report.facts["everything moves again after"] = f"{time.monotonic() - began:.1f} s"


def _progress(rig: Rig) -> dict[str, int]:
    captured = dict.fromkeys((f"capture of {table.system}" for table in rig.copies), 0)
    systems = {table.capture_topic: table.system for table in rig.copies}
    for (topic, _), end in topic_ends(rig.bootstrap, systems).items():
        captured[f"capture of {systems[topic]}"] += end
    return captured | {f"replica {name}": rig.applied(name) for name in rig.replicas}


def _others_go_on(rig: Rig, report: Report, for_s: float) -> None:
    """For so long. Each standstill is a finding: nobody waits for a replica that is not theirs."""
    others = [name for name in rig.replicas if name != CABLED_REPLICA]
    end = time.monotonic() + for_s
    moved = {name: (rig.applied(name), time.monotonic()) for name in others}
    longest = 0.0
    while time.monotonic() < end:
        threading.Event().wait(0.5)
        for name in others:
            count, now = rig.applied(name), time.monotonic()
            longest = max(longest, now - moved[name][1])
            if count > moved[name][0]:
                moved[name] = (count, now)
    if longest > min(SILENT_S_MAX, for_s - 2):
        report.findings.append(Finding(Anomaly.STUCK, f"with {CABLED_REPLICA} down another copy stood {longest:.1f} s"))
    report.facts["others stood still for at most"] = f"{longest:.1f} s"
