"""Is a capture partition still the log that was decided so far? Pure; asked before reading starts, and by status.

A topic that was deleted, made anew, cut by retention or given more partitions never makes reading jump to its beginning
or end in silence: changes would be lost, or would look older than what is held. The cure is a new epoch.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from trueup.model.decision import Held
from trueup.model.errors import TopicChanged
from trueup.model.registration import Table
from trueup.model.version import epoch_of


class CaptureLog(msgspec.Struct, frozen=True, kw_only=True):
    """A capture partition as it is: which topic (cluster and topic id), its first offset and its end."""

    topic: str
    partition: int
    begin: int
    end: int


def partitions_problem(table: Table, capture: int | None, truth: int | None) -> TopicChanged | None:
    """What is wrong with the numbers of partitions; None stands for a topic that does not exist."""
    for topic, count in ((table.capture_topic, capture), (table.truth_topic, truth)):
        if count is None:
            return TopicChanged(
                f'topic "{topic}" does not exist',
                detail=f'it was never made, or it was deleted with changes of "{table.table}" in it',
                hint=f"run trueup apply if the table is new, else: {cure(table)}",
            )
    if capture == truth:
        return None
    return TopicChanged(
        f'table "{table.table}" has {capture} capture partitions and {truth} truth partitions',
        detail="partitions were added: the changes of a key lie in two of them, without an order",
        hint=f"make the capture topic anew with a new snapshot: {cure(table)}",
    )


def cases_problem(table: Table) -> TopicChanged:
    """The error when a table has no topic for its cases."""
    return TopicChanged(
        f'topic "{table.cases_topic}" does not exist',
        detail=f'open cases of "{table.table}" are kept there; tables applied before TrueUp had cases have none',
        hint="run: trueup apply",
    )


def log_problem(table: Table, log: CaptureLog, committed: int | None, topic: str) -> TopicChanged | None:
    """What is wrong with a partition, given what was committed for it.

    :param committed: the next offset to decide; None when nothing was ever committed.
    :param topic: the topic the commit was made for; empty when that is not known.
    """
    where = f"{table.capture_topic}/{log.partition}"
    if committed is not None and topic not in {"", log.topic}:
        return _changed(table, "was deleted and made anew", f"{where} begins at {log.begin} again")
    if committed is None and log.begin > 0:
        return _changed(table, "lost records before they were decided", f"{where} begins at {log.begin}")
    if committed is not None and committed < log.begin:
        detail = f"{where} begins at {log.begin}, next to decide was {committed}; its retention was too short"
        return _changed(table, "lost records before they were decided", detail)
    if committed is not None and committed > log.end:
        return _changed(table, "ends before what was decided", f"{where} ends at {log.end}, {committed} was next")
    return None


def probes(held: Iterable[tuple[bytes, Held]]) -> list[tuple[bytes, Held]]:
    """What must be found again in a topic without committed offsets if it is the one the truth was decided from.

    :param held: the newest keys. Only the newest epoch counts: an earlier one may have been captured in another topic.
    """
    known = list(held)
    newest = max((epoch_of(one.version) for _, one in known), default=0)
    return [(key, one) for key, one in known if epoch_of(one.version) == newest]


def made_anew(table: Table, partition: int, offset: int) -> TopicChanged:
    """The error when a probe fails."""
    detail = f"{table.capture_topic}/{partition} does not hold at offset {offset} what was decided from there"
    return _changed(table, "was deleted and made anew", detail)


def cure(table: Table) -> str:
    """The command that mends every such loss."""
    return " and ".join(f"trueup resync {system}" for system in table.systems)


def _changed(table: Table, what: str, detail: str) -> TopicChanged:
    return TopicChanged(
        f'the capture topic of table "{table.table}" {what}',
        detail=detail,
        hint=f"the rows are at the source still: {cure(table)}",
    )
