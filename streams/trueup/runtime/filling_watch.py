"""Tables that joined a running connector are filled by an incremental snapshot: this is who sees it complete.

Until then no heartbeat names such a table, so its copies are as of nothing (`runtime.watermarks`). The order is the
guarantee: 1. the notification that the table was read is visible, so its rows are in Kafka; 2. that is noted at the
source; 3. the next heartbeat says so. A table whose reading failed is asked for again: Debezium does not do so itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol
from uuid import uuid4

import structlog

from trueup.adapters import postgres_source_sql as sql
from trueup.core.filling import Reading, Scan, reading_of
from trueup.model.errors import TrueUpError
from trueup.model.source_table import Filling

_LOOK_S: Final = 3.0  # one query at each source, and nothing else while no table is being filled
_ASK_AGAIN_S: Final = 60.0  # what failed at once would fail at once again

log = structlog.get_logger("trueup.capture")


class Source(Protocol):
    """What is asked of a source; `runtime.capture_worker` has the real one."""

    def fillings(self) -> list[Filling]: ...

    def execute(self, *statements: str) -> None: ...


class Scans(Protocol):
    """What is asked of Kafka; `runtime.scan_read` is the real one."""

    def end(self, system: str) -> int: ...

    def since(self, system: str, offset: int) -> list[Scan]: ...


class FillingWatch:
    """Looks at the tables that are being filled, again and again. Which those are stands at their sources, so it sees
    also what was registered since the worker started."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        scans: Scans,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources, self._scans, self._clock = sources, scans, clock
        self._asked_at: dict[tuple[str, str], float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(_LOOK_S)

    def look(self) -> None:
        """One look at every system. That a part does not answer is said by the probes."""
        for system in self._sources:
            try:
                self._look_at(system)
            except TrueUpError as exc:
                log.debug("fillings are not known", system=system, error=exc.primary, detail=exc.detail)

    def _look_at(self, system: str) -> None:
        fillings = self._sources[system].fillings()
        if not fillings:
            return
        scans = self._scans.since(system, min(filling.notified_from for filling in fillings))
        for filling in fillings:
            reading = reading_of(filling, scans)
            if reading is Reading.COMPLETE:
                self._sources[system].execute(sql.note_filled(system, filling.table, filling.signal_id))
                log.info("table filled", system=system, table=filling.table)
            elif reading is Reading.FAILED:
                self._ask_again(system, filling)

    def _ask_again(self, system: str, filling: Filling) -> None:
        """Where notifications begin is taken before, as it was at first."""
        now, key = self._clock(), (system, filling.table)
        if now - self._asked_at.get(key, -_ASK_AGAIN_S) < _ASK_AGAIN_S:
            return
        self._asked_at[key] = now
        log.warning("the rows of a table could not be read: asked for again", system=system, table=filling.table)
        begin = self._scans.end(system)
        again = sql.ask_again(system, filling, uuid4().hex, begin)
        self._sources[system].execute(again)
