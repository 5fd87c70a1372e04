"""Can capture go on where it stands, or did the source lose what was not captured yet? Pure.

Asked by `trueup status` and, before it starts a connector, by `trueup apply`. Debezium fails by itself when the slot is
gone. A slot that was advanced by hand it takes as it is, `offset.mismatch.strategy=trust_offset` or not (measured with
3.7.0: the task runs on behind the gap), so that is seen here alone, and only until the connector is started again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from trueup.model.errors import SlotLost, SourceWentBack, Stop
from trueup.model.source_table import Slot

_POSITIONS: Final = ("lsn", "lsn_proc", "lsn_commit")


def captured_position(offsets: Iterable[Mapping[str, Any]]) -> int | None:
    """How far the connector has read, from its committed offsets; None before its first commit."""
    found = [int(offset[name]) for offset in offsets for name in _POSITIONS if isinstance(offset.get(name), int)]
    return max(found, default=None)


def has_streamed(offsets: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a connector's first snapshot is over, from its committed offsets: it read the log since."""
    return any(isinstance(offset.get("lsn"), int) and not offset.get("snapshot") for offset in offsets)


def capture_problem(system: str, slot: Slot | None, log_end: int, captured: int | None) -> Stop | None:
    """Why capture may not go on without a new epoch.

    :param slot: read before `captured`: a running connector moves the offset first and the slot after it.
    """
    hint = f"trueup resync {system}"
    if captured is None:
        return None
    if log_end < captured:
        return SourceWentBack(
            f'source "{system}" went back: its log ends before what was captured',
            detail=f"the log ends at {log_end}, captured is {captured}: a restore, or a failover to a server behind",
            hint=hint,
        )
    if slot is None:
        return SlotLost(
            f'the slot of source "{system}" is gone',
            detail="changes since were not kept for the connector: rows deleted meanwhile are still in the copies",
            hint=hint,
        )
    if slot.lost:
        return SlotLost(
            f'source "{system}" gave up the log its slot needs',
            detail="wal_status is lost: max_slot_wal_keep_size was smaller than an outage",
            hint=hint,
        )
    if slot.confirmed > captured:
        return SlotLost(
            f'the slot of source "{system}" was advanced by hand',
            detail=f"it stands at {slot.confirmed}, captured is {captured}: changes between are lost",
            hint=hint,
        )
    return None
