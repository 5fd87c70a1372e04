"""What the decide stage remembers of a partition: metadata of the offset its group commits, in the same transaction."""

from __future__ import annotations

from typing import Final

import msgspec

from trueup.core.ordering import Guard
from trueup.model.decision import Outcome
from trueup.model.errors import BrokenInvariant

DECIDE_GROUP: Final = "trueup-decide"


class PartitionMemory(msgspec.Struct, frozen=True):
    """Outcome totals and the position guard of a partition."""

    totals: dict[Outcome, int]
    guard: Guard

    @classmethod
    def read(cls, text: str) -> PartitionMemory:
        """Raises BrokenInvariant when the metadata is not ours."""
        if not text:
            return cls(dict.fromkeys(Outcome, 0), Guard())
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError as exc:
            raise BrokenInvariant(
                "the committed offset carries metadata that TrueUp did not write",
                detail=str(exc),
                hint=f"see who else commits in group {DECIDE_GROUP}",
            ) from exc

    def write(self) -> str:
        """The metadata's text."""
        return msgspec.json.encode(self).decode()

    def plus(self, counts: dict[Outcome, int], guard: Guard) -> PartitionMemory:
        """The memory after a batch."""
        return PartitionMemory({o: self.totals.get(o, 0) + counts.get(o, 0) for o in Outcome}, guard)
