"""The largest memories of a capture partition: numbers as long as they get, as many writers as may be registered."""

from __future__ import annotations

from typing import Final

from trueup.core.ordering import Guard
from trueup.model.decision import Outcome
from trueup.model.event import Position
from trueup.model.version import EPOCH_MAX
from trueup.model.watermark import Beat
from trueup.runtime.partition_memory import PartitionMemory

WRITERS: Final = tuple(f"w{number}".ljust(40, "_") for number in range(8))
"""As many and as long as a registration takes; a test says so."""

_TOTALS: Final = dict.fromkeys(Outcome, 2**63 - 1)
_POSITION: Final = Position(2**64 - 1, 2**64 - 1)
_TIME_US: Final = -(2**63)
_TOPIC: Final = "t" * 60  # cluster id and topic id have 22 letters each


def largest_of_owner() -> PartitionMemory:
    """Of one owner: a truncate was passed on and carried out."""
    guard = Guard(EPOCH_MAX, _POSITION, _TIME_US, _POSITION, _POSITION, suspects=True, passed_on=_POSITION)
    return PartitionMemory(_TOTALS, guard, _TOPIC, _marks(WRITERS[:1]), EPOCH_MAX)


def largest_of_writers() -> PartitionMemory:
    """Of several writers: a truncate of one of them is a dead letter, so their guards know of none."""
    guard = Guard(EPOCH_MAX, writers={writer: Guard(EPOCH_MAX, _POSITION, _TIME_US) for writer in WRITERS})
    return PartitionMemory(_TOTALS, guard, _TOPIC, _marks(WRITERS), EPOCH_MAX)


def _marks(systems: tuple[str, ...]) -> dict[str, Beat]:
    return {system: Beat(system, EPOCH_MAX, _POSITION, _TIME_US, 2**63 - 1) for system in systems}
