"""Asks the parts a worker needs whether they are there, so that an idle worker knows of an outage as a busy one does.

A probe changes nothing; what it finds goes to /readyz and once to the log. Work is retried by the lane, not by probes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from trueup.model.errors import TrueUpError, Unreachable
from trueup.runtime.backoff import backoff_s
from trueup.runtime.outages import Outages

_INTERVAL_S: Final = 3.0  # an outage is in /readyz after so long; a probe is one small request
_BACKOFF_S_MAX: Final = 5.0
_ANSWER_S_MAX: Final = 10.0  # a part that is stopped, not ended, accepts and never answers

Probe = Callable[[], Awaitable[None]]


class PartProbes:
    """The probes of one worker.

    :param probes: by the part's name; each raises TrueUpError when its part does not answer, or refuses.
    """

    def __init__(self, probes: Mapping[str, Probe], outages: Outages) -> None:
        self._probes, self._outages = probes, outages
        outages.expect(*probes)

    async def run(self) -> None:
        """Until cancelled; parts do not wait for each other."""
        await asyncio.gather(*(self._watch(part, probe) for part, probe in self._probes.items()))

    async def _watch(self, part: str, probe: Probe) -> None:
        failures = 0
        while True:
            try:
                async with asyncio.timeout(_ANSWER_S_MAX):
                    await probe()
            except TrueUpError as exc:  # a refused login, too: it is shown while it lasts
                self._outages.begin(f"probe of {part}", exc, part=part)
                failures += 1
            except TimeoutError:
                silent = Unreachable(part, detail=f"no answer within {_ANSWER_S_MAX:.0f} s")
                self._outages.begin(f"probe of {part}", silent, part=part)
                failures += 1
            else:
                self._outages.end(f"probe of {part}")
                failures = 0
            await asyncio.sleep(backoff_s(failures + 1, _BACKOFF_S_MAX) if failures else _INTERVAL_S)
