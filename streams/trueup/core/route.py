"""Step 6: the decided truth as a record for the table's truth topic."""

from __future__ import annotations

from trueup.model.decision import DELETED_HASH, Apply, TruthRecord
from trueup.model.event import ChangeEvent, Op, Position
from trueup.model.version import Version


def route(
    event: ChangeEvent,
    version: Version,
    content_hash: bytes,
    row_bytes: bytes | None,
    flags: tuple[str, ...],
    cause: str | None,
    origin: str | None = None,
) -> Apply:
    """Publish the event as truth. A delete is a record with op d and its version, never a null value (design 2)."""
    return Apply(
        TruthRecord(
            key=event.key,
            version=version,
            content_hash=content_hash,
            op=event.op,
            commit_time_us=event.commit_time_us,
            position=event.position,
            cause=cause,
            flags=flags,
            row=None if row_bytes is None else event.row,
            row_bytes=row_bytes,
            origin=origin,
        )
    )


def row_gone(
    key: bytes, version: Version, commit_time_us: int, cause: str, position: Position | None = None
) -> TruthRecord:
    """The truth that a key is gone, where no delete of its own says so."""
    return TruthRecord(
        key=key,
        version=version,
        content_hash=DELETED_HASH,
        op=Op.DELETE,
        commit_time_us=commit_time_us,
        position=position,
        cause=cause,
        flags=(),
        row=None,
        row_bytes=None,
    )
