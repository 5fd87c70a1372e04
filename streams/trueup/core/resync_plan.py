"""Which epoch a run of `trueup resync` makes, and whether it completes one that was killed. Pure."""

from __future__ import annotations

from collections.abc import Iterable

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
