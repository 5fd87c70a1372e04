"""The text of a request for rows: names are quoted, values are constants, whatever a person typed."""

import json
import re

import pytest

from trueup.adapters.postgres_source_sql import (
    fill_by_first_snapshot,
    fill_by_signal,
    note_resync,
    own_schema,
    privileges,
    snapshot_again,
)
from trueup.model.source_table import ResyncNote, SourceServer, SourceState


def data_of(statement: str) -> dict[str, object]:
    found = re.search(r"'execute-snapshot', '(.*)'\)$", statement, re.DOTALL)
    assert found is not None
    data: dict[str, object] = json.loads(found[1].replace("''", "'"))
    return data


def test_a_whole_table() -> None:
    assert data_of(snapshot_again("id", ("public", "orders"), None)) == {
        "type": "incremental",
        "data-collections": ["public.orders"],
    }


@pytest.mark.parametrize(
    ("key", "row"),
    [
        ({"order_id": "7"}, "\"order_id\" = '7'"),
        ({"b": "x", "a": "1"}, "\"a\" = '1' AND \"b\" = 'x'"),
        ({"a": "1' OR true --"}, "\"a\" = '1'' OR true --'"),
        ({'we"ird': "1"}, '"we""ird" = \'1\''),
        ({"a": b"\0\xff", "b": "\\x00"}, "\"a\" = decode('00ff', 'hex') AND \"b\" = '\\x00'"),
    ],
)
def test_one_row(key: dict[str, str | bytes], row: str) -> None:
    data = data_of(snapshot_again("id", ("public", "orders"), key))
    assert data["additional-conditions"] == [{"data-collection": "public.orders", "filter": row}]


def test_a_note_is_made_or_changed() -> None:
    statement = note_resync("sh'op", ResyncNote(epoch=2, stage="sweep", heartbeat_from=9))
    assert "('sh''op', 2, 'sweep', 9)" in statement
    assert "ON CONFLICT" in statement


def state(tables: set[str], columns: set[tuple[str, str]]) -> SourceState:
    return SourceState(
        schema=True,
        tables=frozenset(tables),
        columns=frozenset(columns),
        heartbeat_row=True,
        heartbeat_config=None,
        publication=None,
        slot=True,
        fills={},
        late=frozenset(),
        missing=frozenset(),
    )


def test_a_table_that_joins_is_being_filled_and_one_of_the_first_snapshot_is_not() -> None:
    signal, fill = fill_by_signal("shop", "orders", ("public", "orders"), 2, "abc")
    assert "fill-orders-2-abc" in signal
    assert "(system, table_name, epoch, how, signal_id, filling, source)" in fill
    assert "'incremental', 'fill-orders-2-abc', true, 'public.orders')" in fill
    first = fill_by_first_snapshot("shop", ["orders"], 3)
    assert "filling)" not in first
    assert "filling = excluded.filling" in first, "a resync ends what was being filled"


def test_columns_that_came_later_are_added_where_they_are_missing() -> None:
    own = {"heartbeat", "signal", "fills", "resyncs"}
    added = own_schema("shop", state(own, {("fills", "how"), ("heartbeat", "config")}))
    assert added == [
        'ALTER TABLE "trueup"."heartbeat" ADD COLUMN IF NOT EXISTS filled text',
        'ALTER TABLE "trueup"."fills" ADD COLUMN IF NOT EXISTS filling boolean NOT NULL DEFAULT false',
        'ALTER TABLE "trueup"."fills" ADD COLUMN IF NOT EXISTS notified_from bigint NOT NULL DEFAULT 0',
        """ALTER TABLE "trueup"."fills" ADD COLUMN IF NOT EXISTS source text NOT NULL DEFAULT ''""",
    ]
    columns = {("heartbeat", "filled"), ("fills", "filling"), ("fills", "notified_from"), ("fills", "source")}
    assert own_schema("shop", state(own, columns)) == []
    fresh = own_schema("shop", state(set(), set()))
    assert len(fresh) == len(own)
    assert all(statement.startswith("CREATE TABLE") for statement in fresh)
    assert all(any(column in statement for statement in fresh) for _, column in columns)


def test_the_capture_role_may_read_what_is_filled_and_not_write_it() -> None:
    server = SourceServer(version=17_00_00, wal_level="logical", database="shop", user="owner")
    rights = {p.right for p in privileges(server, [("public", "orders")]) if p.name == ("trueup", "fills")}
    assert rights == {"SELECT"}
