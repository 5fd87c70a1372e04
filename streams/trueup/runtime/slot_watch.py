"""Measures, again and again, where slots and connectors stand in the log of their sources: for metrics alone.

What failed is restarted by `runtime.capture_watch`, its neighbour in the capture worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from trueup.core.capture_health import capture_problem
from trueup.model.errors import TrueUpError
from trueup.model.source_table import CapturePlace
from trueup.runtime.capture_metrics import CaptureMetrics

_LOOK_S: Final = 10.0  # three small requests; a slot fills in minutes


class SlotWatch:
    """Looks at the slots of some systems.

    :param place: where the capture of a system stands; raises TrueUpError when a part does not say.
    """

    def __init__(self, systems: Iterable[str], place: Callable[[str], CapturePlace], metrics: CaptureMetrics) -> None:
        self._systems, self._place, self._metrics = tuple(systems), place, metrics

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """One look at every slot. That a part does not answer is said by the probes."""
        for system in self._systems:
            try:
                place = await asyncio.to_thread(self._place, system)
            except TrueUpError:
                self._metrics.not_known(system)
            else:
                self._metrics.place(system, place)
                self._metrics.lost(system, capture_problem(system, place.slot, place.log_end, place.captured))
