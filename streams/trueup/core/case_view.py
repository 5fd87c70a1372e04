"""Cases as people and scripts see them: rows of a list, images side by side with what differs marked. Pure.

`runtime.cases` fetches them, `runtime.cli_cases` draws them; what changes a case is `core.cases`.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from trueup.core.truth_schema import avro_name
from trueup.model.case import Case, CaseDecision, CaseStatus, letter_of
from trueup.model.columns import CapturedTable
from trueup.model.version import describe_version

_EPOCH_START = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class CaseEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `trueup cases list`. Times are ISO 8601, UTC."""

    id: str
    table: str
    key: str
    status: CaseStatus
    rule: str
    reason: str
    opened_at: str
    deadline: str
    overdue: bool
    decision: CaseDecision | None


class SideView(msgspec.Struct, frozen=True, kw_only=True):
    """The head of one image."""

    letter: str
    origin: str | None
    op: str
    version: str
    committed_at: str
    cause: str | None
    flags: tuple[str, ...]
    exists: bool


class ColumnView(msgspec.Struct, frozen=True, kw_only=True):
    """One column across the sides; where a row does not exist its values are null."""

    column: str
    values: list[Any]
    differs: bool


class CaseView(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of `trueup cases show`."""

    entry: CaseEntry
    sides: list[SideView]
    columns: list[ColumnView]
    refused: str | None


class CaseCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many cases of a table wait, and how many of them wait for too long."""

    open: int = 0
    overdue: int = 0


def is_overdue(case: Case, now_us: int) -> bool:
    """Whether an open case is beyond its deadline."""
    return case.is_open and case.deadline_us < now_us


def counts(cases: Iterable[Case], now_us: int) -> CaseCounts:
    """Of one table."""
    waiting = [case for case in cases if case.is_open]
    return CaseCounts(open=len(waiting), overdue=sum(is_overdue(case, now_us) for case in waiting))


def entry_of(case: Case, now_us: int) -> CaseEntry:
    """A case as a line."""
    return CaseEntry(
        id=case.id,
        table=case.table,
        key=case.key,
        status=case.status,
        rule=case.rule,
        reason=case.reason,
        opened_at=_moment(case.opened_at_us),
        deadline=_moment(case.deadline_us),
        overdue=is_overdue(case, now_us),
        decision=case.decision,
    )


def view_of(case: Case, captured: CapturedTable, now_us: int) -> CaseView:
    """A case as a whole.

    :param captured: the columns in the order people know.
    """
    return CaseView(
        entry=entry_of(case, now_us),
        sides=[
            SideView(
                letter=letter_of(index),
                origin=side.origin,
                op=side.op.value,
                version=describe_version(side.order) if side.version else "",
                committed_at=_moment(side.commit_time_us) if side.version else "",
                cause=side.cause,
                flags=side.flags,
                exists=side.row is not None,
            )
            for index, side in enumerate(case.sides)
        ],
        columns=[_column_view(case, column.name) for column in captured.columns],
        refused=None if case.refused is None else case.refused.why,
    )


def differing_columns(case: Case, columns: Sequence[str]) -> list[str]:
    """Columns in which the sides are not the same; all of them where a side has no row."""
    return [name for name in columns if _column_view(case, name).differs]


def _column_view(case: Case, column: str) -> ColumnView:
    field = avro_name(column)
    values = [None if side.row is None else side.row.get(field) for side in case.sides]
    exist = {side.row is not None for side in case.sides}
    return ColumnView(column=column, values=values, differs=len(exist) > 1 or any(v != values[0] for v in values))


def _moment(time_us: int) -> str:
    return (_EPOCH_START + datetime.timedelta(microseconds=time_us)).isoformat(timespec="seconds")
