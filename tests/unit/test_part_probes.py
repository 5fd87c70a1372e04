"""Outages are met by probes too: named once, shown while they last, ended by an answer."""

from __future__ import annotations

import asyncio

import structlog

from tests.lane_fakes import passes, run
from trueup.model.errors import Unreachable
from trueup.runtime.outages import Outages
from trueup.runtime.part_probes import PartProbes


class FakePart:
    """Answers while it is up; silent: it accepts and never answers, as a stopped process does."""

    def __init__(self, name: str) -> None:
        self.name, self.up, self.silent = name, True, False
        self.asked: list[float] = []

    async def probe(self) -> None:
        self.asked.append(asyncio.get_running_loop().time())
        if self.silent:
            await asyncio.get_running_loop().create_future()
        if not self.up:
            raise Unreachable(self.name)


def test_an_outage_is_shown_while_it_lasts_and_named_once() -> None:
    async def test() -> None:
        outages, part, other = Outages(), FakePart("registry"), FakePart("kafka")
        with structlog.testing.capture_logs() as logs:
            probing = asyncio.create_task(PartProbes({"registry": part.probe, "kafka": other.probe}, outages).run())
            await passes(10)
            assert outages.reasons() == []
            part.up = False
            await passes(60)
            assert outages.reasons() == ['cannot reach "registry"']
            asked_before = len(part.asked)
            part.up = True
            await passes(6)
            assert outages.reasons() == []
            assert len(part.asked) > asked_before
            probing.cancel()
        assert [(entry["event"], entry.get("error"), entry.get("after")) for entry in logs] == [
            ("waiting", 'cannot reach "registry"', None),
            ("goes on", None, 'cannot reach "registry"'),
        ]

    run(test)


def test_a_part_that_accepts_and_never_answers_is_an_outage() -> None:
    async def test() -> None:
        outages, part = Outages(), FakePart("kafka")
        part.silent = True
        probing = asyncio.create_task(PartProbes({"kafka": part.probe}, outages).run())
        await passes(11)
        assert outages.reasons() == ['cannot reach "kafka"']
        part.silent = False
        await passes(16)
        assert outages.reasons() == []
        probing.cancel()

    run(test)


def test_the_end_is_told_when_the_last_who_waits_has_seen_it() -> None:
    outages = Outages()
    with structlog.testing.capture_logs() as logs:
        outages.begin("orders/0", Unreachable("kafka"))
        outages.begin("orders/1", Unreachable("kafka"))
        outages.begin("orders/1", Unreachable("replica reporting"))
        outages.end("orders/0")
        assert outages.reasons() == ['cannot reach "replica reporting"']
        outages.forget("orders/1")
        outages.end("orders/1")
    assert outages.reasons() == []
    assert [entry["event"] for entry in logs] == ["waiting", "waiting", "goes on"]
