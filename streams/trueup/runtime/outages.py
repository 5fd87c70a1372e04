"""What a worker waits for, by part: named once in the log and in /readyz, however many partitions meet it.

Partitions (`runtime.lane`) meet an outage when they have work; `runtime.part_probes` looks when there is none.
"""

from __future__ import annotations

from collections import Counter

import structlog

from trueup.model.errors import TrueUpError

log = structlog.get_logger("trueup.outages")


class Outages:
    """The present outages of one worker."""

    def __init__(self) -> None:
        self._met: dict[str, str] = {}

    def begin(self, who: str, exc: TrueUpError, *, named: bool = False) -> None:
        """`who` waits. Somebody waits for one thing at a time: the latest.

        :param named: `who` met it before, without a success since: it is in the log already.
        """
        if not named and exc.primary not in self._met.values():
            log.warning("waiting", error=exc.primary, detail=exc.detail, hint=exc.hint, first_met_by=who)
        self._met[who] = exc.primary

    def end(self, who: str) -> None:
        """`who` waits no longer. Nothing when it did not."""
        primary = self._met.pop(who, None)
        if primary is not None and primary not in self._met.values():
            log.info("goes on", after=primary)

    def forget(self, who: str) -> None:
        """`who` waits no longer, and whether the outage is over is not known."""
        self._met.pop(who, None)

    def reasons(self) -> list[str]:
        """The present outages, a line each, the one that most wait for first."""
        return [primary for primary, _ in Counter(self._met.values()).most_common()]
