"""When a key that looks different is different. Pure: `runtime.verify_pass` looks, this file judges.

A change needs time to arrive, so one look proves nothing. Each further look at a suspect comes after the copy has
applied everything the source had committed when it was last seen there; the copy is read first, then the source.

    equal        the copy shows what the source has now, or had at the look before
    different    the source's row rested between two looks, and so did the copy's, and they differ, twice
    unproven     neither of these within LOOKS_MAX looks: the key never rests

A row rests when its mark is the same (`model.proof.Seen`): then it was not written, not even to and fro. Why twice: a
key without a row has no mark, so a row might have come and gone between two looks. The second look at the same row of
the copy, after the copy has passed the first, cannot be explained so.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from trueup.model.proof import Difference, Seen

LOOKS_MAX: Final = 8
RESTED_LOOKS: Final = 2


class Verdict(enum.StrEnum):
    """What a look settles."""

    OPEN = "open"
    EQUAL = "equal"
    DIFFERENT = "different"
    UNPROVEN = "unproven"


class Suspect(msgspec.Struct, frozen=True):
    """A key that looked different, as it was seen last.

    :param looks: how often it was looked at again; `rested` in a row without any write at either side.
    """

    source: Seen | None
    replica: Seen | None
    looks: int = 0
    rested: int = 0


def look_again(suspect: Suspect, source: Seen | None, replica: Seen | None) -> tuple[Verdict, Suspect]:
    """Judges one more look, made as the top of this file says."""
    shown = _hash(replica)
    if shown in {_hash(source), _hash(suspect.source)}:
        return Verdict.EQUAL, suspect
    rests = source == suspect.source and replica == suspect.replica
    seen = Suspect(source, replica, suspect.looks + 1, suspect.rested + 1 if rests else 0)
    if seen.rested >= RESTED_LOOKS:
        return Verdict.DIFFERENT, seen
    return (Verdict.UNPROVEN if seen.looks >= LOOKS_MAX else Verdict.OPEN), seen


def kind_of(suspect: Suspect) -> Difference:
    """How a different key is different."""
    if suspect.source is None:
        return Difference.EXTRA
    return Difference.MISSING if suspect.replica is None else Difference.CHANGED


def _hash(seen: Seen | None) -> str | None:
    return None if seen is None else seen.hash
