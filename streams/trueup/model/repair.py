"""The repair of one key of a copy: what was asked for, and how it ended."""

from __future__ import annotations

import enum

import msgspec

from trueup.model.proof import Difference


class RepairOutcome(enum.StrEnum):
    """How the repair of a key ended.

    mended         the copy has what the truth has, which is what the owner has
    equal          it had that already: another repair, or the worker, was there first
    on_its_way     a newer change of the key is in the truth and not yet at the copy: the worker brings it
    moved          the owner changed the row since it was compared
    truth_differs  the truth is not what the owner has: the copy is left alone, since the truth must be put right first
    refused        the copy does not take the row: a check of the copy, or its database
    """

    MENDED = "mended"
    EQUAL = "equal"
    ON_ITS_WAY = "on_its_way"
    MOVED = "moved"
    TRUTH_DIFFERS = "truth_differs"
    REFUSED = "refused"


class KeyRepair(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a key.

    :param key: as text (`model.proof.key_text`).
    :param columns: names of the columns that were not right, of a changed row. Values are written nowhere.
    :param version: of the truth record that was applied.
    :param why: in words, where there is something to say.
    :param next: the command that leads on.
    """

    key: str
    kind: Difference
    outcome: RepairOutcome
    columns: tuple[str, ...] = ()
    version: str | None = None
    why: str | None = None
    next: str | None = None
