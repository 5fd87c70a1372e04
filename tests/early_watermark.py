"""A decide worker with a bug made on purpose: it marks a partition with a beat one batch before it has passed it.

    python -m tests.early_watermark worker decide ...

For the negative control of `make freshness`: whoever compares what copies say with what they hold must find it.
"""

from faust.types import TP

from trueup.model.watermark import Beat
from trueup.runtime import cli, watermarks
from trueup.runtime.lane import Lane
from trueup.runtime.partition_memory import PartitionMemory

_passed = watermarks.Watermarks.passed


def _one_batch_early(self: watermarks.Watermarks, tp: TP, position: int, memory: PartitionMemory) -> list[Beat]:
    """Whatever the partition waits for is said to be there already."""
    for pending in self._owned[tp].pending.values() if tp in self._owned else ():
        pending._waiting = type(pending._waiting)((beat, 0) for beat, _ in pending._waiting)
    return _passed(self, tp, position, memory)


def _always_due(self: watermarks.Watermarks, tp: TP, lane: Lane) -> bool:
    state = lane.partitions.get(tp)
    waiting = any(pending._waiting for pending in self._owned[tp].pending.values())
    return waiting and state is not None and state.ready and state.in_flight is None and state.stopped is None


watermarks.Watermarks.passed = _one_batch_early  # type: ignore[method-assign]
watermarks.Watermarks._is_due = _always_due  # type: ignore[method-assign]

if __name__ == "__main__":
    cli.main()
