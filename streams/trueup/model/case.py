"""A case: a conflict that rules cannot decide, kept with its images until a person, or a later change, decides it.

One record per key in `trueup.cases.<table>`, as JSON; the newest is what is so. `core.cases` is the only place that
makes one case of another; `core.case_decision` is what a person's decision becomes.
"""

from __future__ import annotations

import enum
import string
from typing import Any

import msgspec

from trueup.model.event import Op
from trueup.model.version import VERSION_BYTES, Version


class CaseStatus(enum.StrEnum):
    """Where a case stands. Only an open one lets its key wait."""

    OPEN = "open"
    DECIDED = "decided"
    SUPERSEDED = "superseded"


class Side(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One image of the key.

    :param version: as hexadecimal text, which sorts as versions do; empty for a key of which nothing was held.
    :param origin: the system whose change it is; None for what a person decided, and where nothing was held.
    :param row: by field, as `core.row_json` writes it; None: the row is deleted, or was never there.
    :param content_hash: of the row, as hexadecimal text.
    """

    version: str = ""
    origin: str | None = None
    op: Op = Op.DELETE
    row: dict[str, Any] | None = None
    content_hash: str = ""
    commit_time_us: int = 0
    cause: str | None = None
    flags: tuple[str, ...] = ()

    @property
    def order(self) -> Version:
        """The version; that of nothing is below every other one."""
        return Version(bytes.fromhex(self.version) or bytes(VERSION_BYTES))


class CaseDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What a person decided, in the log and in the case.

    :param id: of this decision, so that whoever asked can tell it from another one.
    :param case: the id of the case it is about.
    :param based_on: the versions of the sides the person saw; others are not decided on.
    :param take: the letter of a side.
    :param set: values put in the place of the side's, by field, as `core.row_json` writes them.
    """

    id: str
    case: str
    based_on: tuple[str, ...]
    take: str
    because: str
    by: str
    at_us: int
    set: dict[str, Any] = {}


class RefusedDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The latest decision that was not obeyed while the case was open."""

    id: str
    why: str


class Case(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A case as it is kept.

    :param id: table/epoch/partition/offset of the record that opened it.
    :param key: the captured key, as text.
    :param rule: what could not decide; `reason` says why, without a value.
    :param opened_at_us: commit time of the change that opened it, microseconds since 1970.
    :param sides: A is what was held, the others what came; the newest image of each.
    :param closed_by: the version of the truth that ended it, hexadecimal.
    """

    id: str
    table: str
    partition: int
    key: str
    status: CaseStatus
    rule: str
    reason: str
    opened_at_us: int
    deadline_us: int
    sides: tuple[Side, ...]
    decision: CaseDecision | None = None
    refused: RefusedDecision | None = None
    closed_at_us: int | None = None
    closed_by: str | None = None

    @property
    def is_open(self) -> bool:
        return self.status is CaseStatus.OPEN

    @property
    def versions(self) -> tuple[str, ...]:
        """What a decision has to be based on."""
        return tuple(side.version for side in self.sides)

    def side(self, letter: str) -> Side | None:
        """The side a person names; None for a letter that names none."""
        index = string.ascii_uppercase.find(letter) if len(letter) == 1 else -1
        return self.sides[index] if 0 <= index < len(self.sides) else None


def letter_of(index: int) -> str:
    """How people name a side."""
    return string.ascii_uppercase[index]
