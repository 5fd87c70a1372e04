"""Heartbeats of the simulated source: their records, what must have arrived by each, and how a worker follows them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping

import fastavro

from tests.envelopes import envelope_schema, source_of
from tests.simulation import tables
from tests.simulation.kafka_clients import connection_lost
from tests.simulation.log import Offered, SimulatedLog
from tests.simulation.schedule import Process
from trueup.adapters.kafka_errors import from_kafka
from trueup.core.decode import EPOCH_HEADER
from trueup.model.columns import CapturedTable, Column
from trueup.model.event import LogRecord

_TABLE = CapturedTable(
    table="heartbeat",
    key=("system",),
    columns=(
        Column(name="system", pg_type="text", nullable=False),
        Column(name="beat", pg_type="bigint", nullable=False),
        Column(name="filled", pg_type="text", nullable=True),
    ),
)
SCHEMA = envelope_schema(_TABLE, tables.HEARTBEATS)
_WRITER = fastavro.parse_schema(SCHEMA)
_IDLE_S_MAX = 3.0
_ROWS_MAX = (1, 3, 50)

BeatName = tuple[int, int]
"""Epoch and position of a beat: what tells it from all others."""


def beat_record(
    epoch: int,
    position: tuple[int, int],
    time_us: int,
    number: int,
    filled: str | None = tables.ORDERS.table,
    system: str = "shop",
) -> Offered:
    """The update of the heartbeat row, as Debezium writes it."""
    row = {"system": system, "beat": number, "filled": filled}
    data = {
        "before": row | {"beat": number - 1},
        "after": row,
        "source": source_of("u", 0, position, time_us) | {"name": system, "schema": "trueup", "table": "heartbeat"},
        "transaction": None,
        "op": "u",
        "ts_ms": None,
        "ts_us": None,
        "ts_ns": None,
    }
    out = io.BytesIO()
    out.write(b"\x00" + tables.HEARTBEAT_ID.to_bytes(4, "big"))
    fastavro.schemaless_writer(out, _WRITER, data)
    return Offered(b'{"system":"%b"}' % system.encode(), out.getvalue(), ((EPOCH_HEADER, b"%d" % epoch),))


class SimulatedHeartbeats:
    """`adapters.heartbeat_log` on the simulated broker.

    :ivar sees_committed_ends: a planted bug: ends are taken as readers of committed records see them.
    """

    sees_committed_ends = False

    def __init__(self, log: SimulatedLog, process: Process) -> None:
        self._log, self._process = log, process
        self._partition = log.partitions[tables.HEARTBEATS, 0]
        self._position = 0
        self._rows_max = log.world.rng.choice(_ROWS_MAX)

    async def start(self, starts: Mapping[str, int]) -> None:
        await self._reach("before read beats")
        self._position = starts.get(tables.HEARTBEATS, self._partition.stable_end())

    async def poll(self, timeout_s: float) -> list[LogRecord]:
        records, position = self._partition.read(self._position, self._rows_max)
        if position == self._position:
            await self._waits(timeout_s)
            records, position = self._partition.read(self._position, self._rows_max)
        self._position = position
        await self._reach("after read beats")
        return [LogRecord(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers) for r in records]

    async def _waits(self, timeout_s: float) -> None:
        """Until something comes. Asking ten times a second, as the real one does, would be most of a run's work."""
        if timeout_s < 0.1:
            await self._process.passes(timeout_s)
            return
        woken = self._process.loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        self._log.tell_when_moved(tables.HEARTBEATS, wake)
        self._log.tell_when_moved(tables.ORDERS.capture_topic, wake)
        timer = self._process.loop.call_later(_IDLE_S_MAX, wake)
        await woken
        timer.cancel()

    async def ends(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        await self._reach("before read ends")
        partitions = {place: self._log.partitions[place] for place in places}
        ends = {p: found.stable_end() if self.sees_committed_ends else found.end for p, found in partitions.items()}
        await self._reach("after read ends")
        return ends

    async def stop(self) -> None: ...

    async def _reach(self, point: str) -> None:
        try:
            await self._process.reach(point, connection_lost)
        except Exception as exc:
            raise from_kafka(exc, point) from exc
