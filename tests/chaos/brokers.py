"""Three brokers, three copies of everything: one after the other is killed under load (F-09)."""

import random
import threading
import time

from tests.chaos.findings import Report
from tests.chaos.outages import answered, everything_moves, start_again
from tests.chaos.rig import Rig
from tests.waiting import eventually

AWAY_S = 10.0
GOES_ON_WITHIN_S = 60.0
"""Sessions of a broker (5 s) and of workers (6 s), new leaders, coordinators and assignments, on a busy machine."""


def each_broker_killed(rig: Rig, dice: random.Random, report: Report) -> None:
    """F-09: each leads data, truth and offsets of somebody. Nobody acts, and everything goes on with two of them."""
    waits = []
    for node in dice.sample(range(1, rig.brokers + 1), rig.brokers):
        part = f"kafka-{node}"
        decided = eventually(lambda: answered(rig.decided), within_s=GOES_ON_WITHIN_S, what="the offsets answer")
        applied = {name: rig.applied(name) for name in rig.replicas}
        rig.stack.kill_part(part)
        began = time.monotonic()

        def goes_on(decided: int = decided, applied: dict[str, int] = applied) -> bool:
            still = [name for name in rig.replicas if rig.applied(name) <= applied[name] + 50]
            assert not still, f"{still} stand still"
            assert answered(rig.decided) > decided + 50, "deciding stands still"
            return True

        try:
            eventually(goes_on, within_s=GOES_ON_WITHIN_S, what=f"everything goes on without {part}")
            waits.append(f"{part} {time.monotonic() - began:.1f} s")
            threading.Event().wait(AWAY_S)
        finally:
            start_again(rig, part)
        everything_moves(rig, report)
    report.facts["went on without"] = ", ".join(waits)
