"""runtime.fill_plan: which tables join a running connector, and what is asked of it."""

import msgspec

from trueup.model.registration import Owner, Source, System, Table
from trueup.model.source_table import SourceState
from trueup.runtime.fill_plan import fill, fill_again, has_late_tables

SHOP = System(system="shop", kind="postgresql", dsn="${env:SHOP_DSN}", epoch=3)
STATE = SourceState(
    schema=True,
    tables=frozenset(),
    columns=frozenset(),
    heartbeat_row=True,
    heartbeat_config="x",
    publication=None,
    slot=True,
    fills={"orders": 3, "gone": 3},
    late=frozenset({"gone"}),
    missing=frozenset(),
)


def table(name: str) -> Table:
    return Table(table=name, owner=Owner(system="shop"), source=Source(table=f"public.{name}"), key=["id"])


def test_tables_of_the_first_snapshot_and_tables_that_left_are_not_late() -> None:
    assert not has_late_tables([table("orders")], STATE)


def test_a_table_that_joins_is_late_and_stays_so_until_a_resync() -> None:
    orders, joins = table("orders"), table("joins")
    assert has_late_tables([orders, joins], STATE)
    joined = msgspec.structs.replace(STATE, fills={"orders": 3, "joins": 3}, late=frozenset({"joins"}))
    assert has_late_tables([orders, joins], joined)
    resynced = msgspec.structs.replace(joined, late=frozenset())
    assert not has_late_tables([orders, joins], resynced)


def test_only_the_first_reading_makes_a_table_one_that_is_being_filled() -> None:
    first, again = fill(SHOP, table("orders"), {"a": "b"}), fill_again(SHOP, table("orders"), {"a": "b"})
    assert first.is_first
    assert any("trueup.fills" in statement for statement in first.statements)
    assert not again.is_first
    assert not any("trueup.fills" in statement for statement in again.statements)
    assert (first.connector, first.digest) == (again.connector, again.digest)
