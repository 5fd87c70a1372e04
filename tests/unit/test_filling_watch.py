"""runtime.filling_watch: a table is noted as filled when it was read, and asked for again when that failed."""

import pytest

from trueup.core.filling import Scan
from trueup.model.errors import Unreachable
from trueup.model.source_table import Filling
from trueup.runtime.filling_watch import FillingWatch

FILLING = Filling(table="orders", epoch=3, signal_id="fill-orders-3-a", notified_from=10, source="public.orders")


class FakeSource:
    def __init__(self) -> None:
        self.found = [FILLING]
        self.executed: list[tuple[str, ...]] = []
        self.away = False

    def fillings(self) -> list[Filling]:
        if self.away:
            raise Unreachable("source shop")
        return self.found

    def execute(self, *statements: str) -> None:
        self.executed.append(statements)


class FakeScans:
    def __init__(self) -> None:
        self.ended: list[Scan] = []
        self.read: list[tuple[str, int]] = []

    def end(self, system: str) -> int:
        return 77

    def since(self, system: str, offset: int) -> list[Scan]:
        self.read.append((system, offset))
        return self.ended


class World:
    def __init__(self) -> None:
        self.source, self.other, self.scans, self.now = FakeSource(), FakeSource(), FakeScans(), 1000.0
        self.other.found = []
        sources = {"crm": self.other, "shop": self.source}
        self.watch = FillingWatch(sources, self.scans, clock=lambda: self.now)


def test_a_table_that_was_read_is_noted_as_filled_and_nothing_before() -> None:
    world = World()
    world.watch.look()
    assert world.source.executed == []
    world.scans.ended = [Scan("public.orders", 12, "SUCCEEDED")]
    world.watch.look()
    (statements,) = world.source.executed
    assert statements == (
        "UPDATE trueup.fills SET filling = false WHERE system = 'shop' "
        "AND table_name = 'orders' AND signal_id = 'fill-orders-3-a'",
    )
    assert world.scans.read == [("shop", 10)] * 2
    assert world.other.executed == []


def test_nothing_is_read_while_no_table_is_being_filled() -> None:
    world = World()
    world.source.found = []
    world.watch.look()
    assert world.scans.read == []


def test_a_table_whose_reading_failed_is_asked_for_again_but_not_without_end() -> None:
    world = World()
    world.scans.ended = [Scan("public.orders", 12, "SQL_EXCEPTION")]
    world.watch.look()
    ((statement,),) = world.source.executed
    update, insert = statement.split(" INSERT ")
    assert "'execute-snapshot'" in insert
    assert "public.orders" in insert
    assert "notified_from = 77" in update
    assert "SET signal_id = 'fill-orders-3-" in update
    assert "AND signal_id = 'fill-orders-3-a' AND filling" in update, "unless there is another request meanwhile"
    world.now += 59
    world.watch.look()
    assert len(world.source.executed) == 1
    world.now += 1
    world.watch.look()
    assert len(world.source.executed) == 2
    assert world.source.executed[0][0] != world.source.executed[1][0]


def test_a_source_that_is_away_keeps_no_other_from_being_looked_at() -> None:
    world = World()
    world.other.away = True
    world.scans.ended = [Scan("public.orders", 12, "EMPTY")]
    world.watch.look()
    assert len(world.source.executed) == 1


@pytest.mark.parametrize("status", ["SUCCEEDED", "EMPTY"])
def test_another_request_meanwhile_is_not_taken_for_filled(status: str) -> None:
    """The statement names the request it was seen complete for."""
    world = World()
    world.scans.ended = [Scan("public.orders", 12, status)]
    world.watch.look()
    assert "signal_id = 'fill-orders-3-a'" in world.source.executed[0][0]
