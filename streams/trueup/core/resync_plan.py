"""Which epoch a run of `trueup resync` makes, whether it completes one that was killed, what it refuses. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trueup.core.evolution import ColumnChanges
from trueup.model.errors import UnsafeChange
from trueup.model.source_table import ResyncNote


def next_run(note: ResyncNote | None, registered: int, applied: Iterable[int]) -> ResyncNote:
    """The note this run works by.

    A note that is not done is completed, unless an epoch above it is known: then the source was restored to a state in
    which that older resync was under way.
    :param registered: the epoch in the registration.
    :param applied: epochs found at the source and in the connector's settings; a registration may be older than they.
    """
    highest = max(registered, *applied, 1)
    if note is not None and note.stage != "done" and note.epoch >= highest:
        return note
    return ResyncNote(epoch=max(highest, 0 if note is None else note.epoch) + 1, stage="begun")


def resumes(run: ResyncNote, note: ResyncNote | None) -> bool:
    """Whether a run completes the noted one."""
    return note is not None and run.epoch == note.epoch


def refuse_changed_columns(system: str, changes: Mapping[str, ColumnChanges]) -> None:
    """A new epoch publishes every row with the columns as they are; a copy made with others would show null for them.

    :param changes: by table, since it was applied.
    :raises UnsafeChange: there are some.
    """
    changed = {table: str(what) for table, what in changes.items() if what}
    if not changed:
        return
    tables = ", ".join(f'"{table}"' for table in changed)
    raise UnsafeChange(
        f"the columns of {tables} changed at the source and were not taken over",
        detail="; ".join(f"{table}: {what}" for table, what in changed.items()),
        hint="take them over first: trueup apply --rebuild; if that asks for a resync, run: "
        f"trueup resync {system} --take-columns, and then trueup apply --rebuild; until that has run, "
        "copies show null in columns that the source has no more",
    )
