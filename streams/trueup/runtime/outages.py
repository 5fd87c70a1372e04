"""What a worker waits for, by part: named once in the log and in /readyz, however many partitions meet it.

Partitions (`runtime.lane`) meet an outage when they have work; `runtime.part_probes` looks when there is none.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import structlog

from trueup.model.errors import CaptureFailed, TransientReplica, TrueUpError, Unreachable

OTHER: Final = "other"  # an error that names no part

log = structlog.get_logger("trueup.outages")


def part_of(exc: TrueUpError) -> str:
    """The part whose outage an error is: a bounded set, for labels."""
    match exc:
        case Unreachable():
            return exc.part
        case TransientReplica():
            return f"replica {exc.replica}"
        case CaptureFailed():
            return f"capture of {exc.system}"
        case _:
            return OTHER


class Outages:
    """The present outages of one worker."""

    def __init__(self) -> None:
        self._met: dict[str, str] = {}
        self._part_of: dict[str, str] = {}  # by who
        self._begun: Counter[str] = Counter({OTHER: 0})

    def expect(self, *parts: str) -> None:
        """Parts that may be waited for: they are shown while they are not, too."""
        for part in parts:
            self._begun[part] += 0

    def begin(self, who: str, exc: TrueUpError, *, named: bool = False, part: str | None = None) -> None:
        """`who` waits. Somebody waits for one thing at a time: the latest.

        :param named: `who` met it before, without a success since: it is in the log already.
        :param part: which part is waited for, where the error does not say.
        """
        where = part or part_of(exc)
        if not named and where not in self._part_of.values():
            self._begun[where] += 1
        self._part_of[who] = where
        if not named and exc.primary not in self._met.values():
            log.warning("waiting", error=exc.primary, detail=exc.detail, hint=exc.hint, first_met_by=who)
        self._met[who] = exc.primary

    def end(self, who: str) -> None:
        """`who` waits no longer. Nothing when it did not."""
        self._part_of.pop(who, None)
        primary = self._met.pop(who, None)
        if primary is not None and primary not in self._met.values():
            log.info("goes on", after=primary)

    def forget(self, who: str) -> None:
        """`who` waits no longer, and whether the outage is over is not known."""
        self._met.pop(who, None)
        self._part_of.pop(who, None)

    def parts(self) -> dict[str, bool]:
        """Every part that was expected or met, and whether it is waited for now."""
        waited = set(self._part_of.values())
        return {part: part in waited for part in self._begun}

    def begun(self) -> dict[str, int]:
        """How many outages of each part began."""
        return dict(self._begun)

    def reasons(self) -> list[str]:
        """The present outages, a line each, the one that most wait for first."""
        return [primary for primary, _ in Counter(self._met.values()).most_common()]
