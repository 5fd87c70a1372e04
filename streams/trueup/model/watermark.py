"""Watermarks: how far a partition is known to be true (design 10).

A system's heartbeat is a row it updates itself. When everything that was committed before heartbeat h is decided in a
partition, a marker saying so goes into its truth partition; a copy that has met the marker is as of h.
"""

from __future__ import annotations

import msgspec

from trueup.model.event import Position


class Beat(msgspec.Struct, frozen=True, gc=False):
    """A heartbeat that came through the log of its system.

    :param position: of the update of the heartbeat row: every transaction whose commit lies below was captured before.
    :param time_us: when it was committed, microseconds since 1970 by the clock of the source.
    :param offset: in the heartbeat topic.
    """

    system: str
    epoch: int
    position: Position
    time_us: int
    offset: int

    def is_after(self, other: Beat | None) -> bool:
        """Whether it says more than another one of its system."""
        return other is None or (self.epoch, self.position) > (other.epoch, other.position)


class Watermark(msgspec.Struct, frozen=True, gc=False):
    """What a marker says of the truth partition it lies in: all that was committed before the beat lies before it.

    :param dead_lettered_keys: keys whose newest change became a dead letter of the decide stage and is not superseded.
    :param held_keys: keys that wait for the decision of a case.
    :param truncated: position (LSN) of the latest truncate that the partition carried out; 0: none in this epoch.
    """

    beat: Beat
    dead_lettered_keys: int = 0
    held_keys: int = 0
    truncated: int = 0


class AsOf(msgspec.Struct, frozen=True, gc=False):
    """What a partition of a copy is as of: everything that was committed before, by any system that writes the table.

    :param time_us: microseconds since 1970, by the clock of the source that is known least far.
    :param position: in its log, within `epoch`; None of a table of several writers: their logs have nothing in common.
    :param truncated: see `Watermark`. Partitions that carried out different ones do not show one state of the table.
    """

    time_us: int
    position: int | None
    epoch: int | None
    truncated: int = 0
    dead_lettered_keys: int = 0
    held_keys: int = 0
