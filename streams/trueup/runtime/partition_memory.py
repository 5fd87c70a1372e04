"""What the decide stage remembers of a partition: metadata of the offset its group commits, in the same transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from trueup.core.capture_topic import CaptureLog
from trueup.core.ordering import Guard
from trueup.model.decision import Outcome
from trueup.model.errors import BrokenInvariant
from trueup.model.watermark import Beat

DECIDE_GROUP: Final = "trueup-decide"


def topic_identity(cluster_id: str, topic_id: str) -> str:
    """What tells a topic from one of the same name that was made anew, here or in another cluster."""
    return f"{cluster_id}/{topic_id}"


class PartitionMemory(msgspec.Struct, frozen=True):
    """Outcome totals and the position guard of a partition.

    :param topic: identity of the capture topic the offset belongs to; empty when an earlier version committed it.
    :param marks: by system, the beat the truth partition was last marked with (`core.watermark`).
    :param unswept: an epoch that `trueup resync` began here and whose sweep is not done yet; 0 when there is none.
    """

    totals: dict[Outcome, int]
    guard: Guard
    topic: str = ""
    marks: dict[str, Beat] = {}
    unswept: int = 0

    @classmethod
    def read(cls, text: str) -> PartitionMemory:
        """Raises BrokenInvariant when the metadata is not ours."""
        if not text:
            return cls(dict.fromkeys(Outcome, 0), Guard())
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError as exc:
            raise BrokenInvariant(
                "the committed offset carries metadata that TrueUp did not write",
                detail=str(exc),
                hint=f"see who else commits in group {DECIDE_GROUP}",
            ) from exc

    def write(self) -> str:
        """The metadata's text. A broker takes 4,096 bytes, and each of several writers has a guard and a mark.

        So what a guard has by default is left out, and no more: earlier releases read that too, and workers are
        replaced one by one.
        """
        return msgspec.json.encode({**msgspec.structs.asdict(self), "guard": _without_defaults(self.guard)}).decode()

    def plus(self, counts: dict[Outcome, int], guard: Guard) -> PartitionMemory:
        """The memory after a batch."""
        totals = {o: self.totals.get(o, 0) + counts.get(o, 0) for o in Outcome}
        return msgspec.structs.replace(self, totals=totals, guard=guard)

    def guard_of(self, system: str) -> Guard:
        """The guard over the log of a system that writes the table."""
        return self.guard if self.guard.writers is None else self.guard.of(system)

    def marked(self, beats: Iterable[Beat]) -> PartitionMemory:
        """The memory once the truth partition is marked with these beats."""
        return msgspec.structs.replace(self, marks=self.marks | {beat.system: beat for beat in beats})

    def swept(self, epoch: int) -> PartitionMemory:
        """The memory after the sweep of an epoch; 0: there was none."""
        return msgspec.structs.replace(self, unswept=0) if epoch >= self.unswept else self


def _without_defaults(guard: Guard) -> dict[str, object]:
    # Not omit_defaults of msgspec: it compares positions by identity, and one that was read is equal only.
    default = msgspec.structs.asdict(Guard())
    said = {name: value for name, value in msgspec.structs.asdict(guard).items() if value != default[name]}
    if guard.writers is not None:
        said["writers"] = {system: _without_defaults(of_writer) for system, of_writer in guard.writers.items()}
    return said


def begun(
    memory: PartitionMemory, committed: int | None, log: CaptureLog, epoch: int, writer: str | None = None
) -> tuple[PartitionMemory, int]:
    """A partition's memory and next offset when an epoch begins. The totals go on as long as the topic is the same.

    :param committed: the next offset to decide; None when nothing was committed.
    :param writer: of several writers the one whose epoch it is; the others' guards stay.
    """
    same = committed is not None and memory.topic in {"", log.topic} and committed <= log.end
    totals = memory.totals if same else dict.fromkeys(Outcome, 0)
    guard = memory.guard
    if writer is not None:
        guard = guard if guard.of(writer).epoch >= epoch else guard.moved(writer, Guard(epoch))
    elif guard.epoch < epoch:
        guard = Guard(epoch)
    unswept = max(memory.unswept, epoch if guard is not memory.guard else 0)
    start = max(committed, log.begin) if same and committed is not None else log.begin
    return PartitionMemory(totals, guard, log.topic, memory.marks, unswept), start
