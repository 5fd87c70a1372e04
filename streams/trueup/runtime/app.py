"""Faust apps on the batch lane: one for deciding, one per replica for applying. No module-level app (design 12)."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import faust
import faust.streams

from trueup.model.errors import BrokenInvariant
from trueup.model.settings import Settings
from trueup.runtime.batch_lane import BatchSchema, BatchTransport
from trueup.runtime.breaker import Breaker
from trueup.runtime.lane import Handler, Lane
from trueup.runtime.outages import Outages

_FAUST: Final = "0.15.3"  # 0.13.1 to 0.15.1 break on each rebalance; the lane overrides private methods of this version
_AIOKAFKA: Final = "0.14.0"


class LaneApp(faust.App):
    """A Faust app whose consumer is the batch lane."""

    lane: Lane
    batch_rows_max: int


def check_runtime() -> None:
    """The versions the lane was written against. Raises BrokenInvariant: nothing may run on others."""
    found = {"faust-streaming": version("faust-streaming"), "aiokafka": version("aiokafka")}
    if found != {"faust-streaming": _FAUST, "aiokafka": _AIOKAFKA}:
        raise BrokenInvariant(
            "the batch lane does not know these versions",
            detail=f"found {found}, written against faust-streaming {_FAUST} and aiokafka {_AIOKAFKA}",
            hint="install from the lock file",
        )
    if getattr(faust.streams, "_CStreamIterator", None) is None:
        raise BrokenInvariant(
            "Faust runs without its C extension",
            detail="stale messages would be acked unprocessed then",
            hint="install the wheel and unset NO_CYTHON",
        )


def build_app(
    app_id: str,
    topics: Iterable[str],
    handler: Handler,
    settings: Settings,
    datadir: Path,
    outages: Outages,
    breaker: Breaker | None = None,
) -> LaneApp:
    """A worker's app: one agent per topic, each handing whole batches to the lane.

    :param app_id: Faust's app id is the consumer group.
    :param outages: of the worker: what its partitions wait for.
    :param breaker: of the part that the handler takes partitions over at.
    """
    check_runtime()
    kafka = settings.kafka
    app = LaneApp(
        app_id,
        broker=[f"aiokafka://{server}" for server in kafka.bootstrap_servers.split(",")],
        datadir=str(datadir),
        store="memory://",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_replication_factor=1,
        processing_guarantee="at_least_once",
        stream_wait_empty=False,
        stream_buffer_maxsize=64,
        broker_session_timeout=kafka.session_timeout_ms / 1000,
        broker_heartbeat_interval=kafka.session_timeout_ms / 1000 / 5,
        broker_request_timeout=max(30.0, kafka.session_timeout_ms / 1000 + 5),
        broker_rebalance_timeout=60.0,
        broker_max_poll_interval=1000.0,
        consumer_max_fetch_size=settings.worker.batch_bytes_max,
        consumer_auto_offset_reset="earliest",
        table_standby_replicas=0,
        worker_redirect_stdouts=False,
        debug=False,
    )
    app.transport = BatchTransport(app.conf.broker_consumer, app)
    app.lane = Lane(handler, outages, breaker)
    app.batch_rows_max = settings.worker.batch_rows_max
    for name in topics:
        _add_agent(app, name)
    app.on_partitions_revoked.connect(_revoke)  # type: ignore[arg-type]
    return app


def _add_agent(app: LaneApp, topic_name: str) -> None:
    topic = app.topic(topic_name, schema=BatchSchema(), internal=False, acks=False)

    async def batches(stream: Any) -> None:
        async for batch in stream.noack():
            app.lane.begin(batch)

    app.agent(topic, name=f"trueup.batches.{topic_name}", concurrency=1)(batches)


async def _revoke(app: LaneApp, revoked: Any, **_: Any) -> None:
    await app.lane.revoke_all()
