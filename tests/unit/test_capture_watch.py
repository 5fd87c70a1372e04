"""Failed connectors are restarted with patience; what a person paused stays paused."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry

from tests.lane_fakes import run
from trueup.adapters.kafka_connect import ConnectorStatus
from trueup.model.errors import SlotLost, Stop, Unreachable
from trueup.runtime.capture_metrics import CaptureMetrics
from trueup.runtime.capture_watch import CaptureWatch
from trueup.runtime.outages import Outages

RUNNING = ConnectorStatus(connector="RUNNING", tasks=("RUNNING",))
FAILED = ConnectorStatus(connector="RUNNING", tasks=("FAILED",), trace="java.net.ConnectException")
PAUSED = ConnectorStatus(connector="PAUSED", tasks=("PAUSED",))


class FakeConnect:
    """Connect with one connector; a restart gives it the state that a test wants next."""

    def __init__(self, status: ConnectorStatus | None) -> None:
        self.state: ConnectorStatus | None = status
        self.after_restart: ConnectorStatus = RUNNING
        self.reachable = True
        self.restarted_at: list[float] = []

    def status(self, name: str) -> ConnectorStatus | None:
        assert name == "trueup_shop"
        if not self.reachable:
            raise Unreachable("connect")
        return self.state

    def restart_failed(self, name: str) -> None:
        assert name == "trueup_shop"
        self.restarted_at.append(round(asyncio.get_running_loop().time(), 1))
        self.state = self.after_restart


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The jumping clock of the tests does not wait for threads."""

    async def at_once(function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr("trueup.runtime.capture_watch.asyncio.to_thread", at_once)


def watched(connect: FakeConnect) -> tuple[CaptureWatch, Outages, CollectorRegistry]:
    registry, outages = CollectorRegistry(), Outages()
    return CaptureWatch(["shop"], connect, outages, CaptureMetrics(registry, ["shop"])), outages, registry


async def for_seconds(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await work


def test_a_failed_task_is_restarted_and_named_once() -> None:
    async def test() -> None:
        connect = FakeConnect(FAILED)
        watch, outages, registry = watched(connect)
        with structlog.testing.capture_logs() as logs:
            await watch.look()
            assert outages.reasons() == ['capture of "shop" failed']
            await for_seconds(30, watch.run())
        assert connect.restarted_at == [0.0]
        assert outages.reasons() == watch.reasons() == []
        events = [entry["event"] for entry in logs]
        assert events == ["waiting", "capture restarted", "goes on"]
        assert "ConnectException" in logs[0]["detail"]
        assert registry.get_sample_value("trueup_capture_running", {"system": "shop"}) == 1
        assert registry.get_sample_value("trueup_capture_restarts_total", {"system": "shop"}) == 1

    run(test)


def test_one_that_fails_again_and_again_is_restarted_ever_less_often() -> None:
    async def test() -> None:
        connect = FakeConnect(FAILED)
        connect.after_restart = FAILED
        watch, outages, _ = watched(connect)
        with structlog.testing.capture_logs() as logs:
            await for_seconds(1_000, watch.run())
        pauses = [
            later - earlier for earlier, later in zip(connect.restarted_at, connect.restarted_at[1:], strict=False)
        ]
        assert pauses[:4] == sorted(pauses[:4])
        assert max(pauses) == pytest.approx(120, abs=4)
        assert len(connect.restarted_at) < 15
        assert [entry["event"] for entry in logs].count("waiting") == 1
        assert outages.reasons() == ['capture of "shop" failed']

    run(test)


@pytest.mark.parametrize(("status", "said"), [(PAUSED, "PAUSED"), (None, "trueup apply")])
def test_what_a_person_did_is_shown_and_left_alone(status: ConnectorStatus | None, said: str) -> None:
    async def test() -> None:
        connect = FakeConnect(status)
        watch, outages, registry = watched(connect)
        await for_seconds(100, watch.run())
        assert connect.restarted_at == []
        assert outages.reasons() == []
        assert any(said in reason for reason in watch.reasons())
        assert registry.get_sample_value("trueup_capture_running", {"system": "shop"}) == 0

    run(test)


def test_connect_that_does_not_answer_is_an_outage_until_it_does() -> None:
    async def test() -> None:
        connect = FakeConnect(RUNNING)
        watch, outages, _ = watched(connect)
        connect.reachable = False
        await for_seconds(30, watch.run())
        assert outages.reasons() == ['cannot reach "connect"']
        connect.reachable = True
        await for_seconds(5, watch.run())
        assert outages.reasons() == watch.reasons() == []
        assert connect.restarted_at == []

    run(test)


def test_a_capture_that_lost_its_place_is_not_restarted() -> None:
    """Debezium would run on behind a slot that was advanced by hand."""

    async def test() -> None:
        connect = FakeConnect(FAILED)
        found: list[Stop] = [SlotLost('the slot of source "shop" was advanced by hand', hint="trueup resync shop")]
        metrics = CaptureMetrics(CollectorRegistry(), ["shop"])
        watch = CaptureWatch(["shop"], connect, Outages(), metrics, lambda _: found[0] if found else None)
        await watch.look()
        assert connect.restarted_at == []
        assert watch.reasons() == [
            'capture of shop: the slot of source "shop" was advanced by hand -> trueup resync shop'
        ]
        found.clear()
        await watch.look()
        assert len(connect.restarted_at) == 1

    run(test)
