"""What becomes of a record whose columns are not the registered ones, by policy."""

from typing import Any

import msgspec
import pytest

from tests.envelopes import CAPTURED, ORDERS, SCHEMA_ID, change, envelope_schema, framed, key_of, log_record, order
from trueup.core.decode import EnvelopeDecoder
from trueup.core.evolution import (
    ColumnChanges,
    PassedDecoder,
    column_changes,
    decoder_of,
    goes_on,
    key_change,
    table_changes,
)
from trueup.core.truth_codec import TruthCodec, hash_row
from trueup.core.truth_schema import passed_ids, truth_schema
from trueup.model.columns import CapturedTable, Column
from trueup.model.decision import Reject
from trueup.model.errors import SchemaChanged
from trueup.model.registration import Evolve

EXTRA = Column(name="extra", pg_type="text", nullable=True)


def table_of(*columns: Column) -> CapturedTable:
    return msgspec.structs.replace(CAPTURED, columns=columns)


def changes_to(*columns: Column) -> ColumnChanges:
    return column_changes(CAPTURED, EnvelopeDecoder(envelope_schema(table_of(*columns))).row_schema)


def without(name: str) -> tuple[Column, ...]:
    return tuple(column for column in CAPTURED.columns if column.name != name)


def retyped(name: str, pg_type: str) -> tuple[Column, ...]:
    return tuple(
        msgspec.structs.replace(column, pg_type=pg_type) if column.name == name else column
        for column in CAPTURED.columns
    )


ADDED = (*CAPTURED.columns, EXTRA)
RENAMED = tuple(
    msgspec.structs.replace(column, name="client") if column.name == "customer" else column
    for column in CAPTURED.columns
)
CUSTOMER = next(column for column in CAPTURED.columns if column.name == "customer")
REBORN = (*without("customer"), CUSTOMER)


def test_the_same_columns_are_no_change() -> None:
    assert not changes_to(*CAPTURED.columns)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (ADDED, ColumnChanges(added=("extra",))),
        (without("photo"), ColumnChanges(gone=("photo",))),
        (RENAMED, ColumnChanges(added=("client",), gone=("customer",))),
        (REBORN, ColumnChanges(moved=("customer",))),
        ((*without("photo"), EXTRA), ColumnChanges(added=("extra",), gone=("photo",))),
        (retyped("row_version", "text"), ColumnChanges(retyped=("row_version was bigint and is string",))),
    ],
    ids=["added", "dropped", "renamed", "dropped and added again", "two at once", "another type"],
)
def test_each_kind_of_change_is_named(columns: tuple[Column, ...], expected: ColumnChanges) -> None:
    assert changes_to(*columns) == expected


@pytest.mark.parametrize("policy", ["additive", "stop", "ignore"])
def test_only_ignore_goes_on_and_only_over_additions(policy: Evolve) -> None:
    assert goes_on(ColumnChanges(), policy)
    assert goes_on(ColumnChanges(added=("extra",)), policy) == (policy == "ignore")
    for taken in (ColumnChanges(gone=("a",)), ColumnChanges(retyped=("a",)), ColumnChanges(moved=("a",))):
        assert not goes_on(taken, policy)
        assert not goes_on(msgspec.structs.replace(taken, added=("b",)), policy)


def test_a_stopped_table_says_what_changed_and_what_to_run() -> None:
    with pytest.raises(SchemaChanged) as stop:
        decoder_of(9, envelope_schema(table_of(*ADDED)), ORDERS, CAPTURED, ())
    assert '"public.orders"' in stop.value.primary
    assert stop.value.detail == "added: extra (evolve: additive)"
    assert "run: trueup apply;" in str(stop.value.hint)
    with pytest.raises(SchemaChanged) as stop:
        decoder_of(9, envelope_schema(table_of(*without("photo"))), ORDERS, CAPTURED, ())
    assert "trueup apply --rebuild" in str(stop.value.hint)


def test_changes_of_the_catalog_are_told_with_full_types() -> None:
    now = table_of(*retyped("amount", "numeric(14,3)"))
    assert table_changes(CAPTURED, now).retyped == ("amount was numeric(12,2) and is numeric(14,3)",)
    assert table_changes(CAPTURED, table_of(*REBORN)).moved == ("customer",)
    assert not table_changes(CAPTURED, CAPTURED)


def envelope(columns: tuple[Column, ...], row: dict[str, Any], schema: dict[str, Any] | None = None) -> bytes:
    return framed(
        {
            "before": None,
            "after": row,
            "source": EnvelopeDecoder(envelope_schema()).read(change(0).value or b"")["source"],
            "transaction": None,
            "op": "c",
        },
        schema or envelope_schema(table_of(*columns)),
    )


def test_a_passed_record_has_null_where_it_has_no_column_or_one_of_another_type() -> None:
    older = (*retyped("row_version", "text")[:-1], Column(name="row_version", pg_type="text", nullable=True), EXTRA)
    columns = tuple(column for column in older if column.name != "photo")
    row = {name: value for name, value in order(3).items() if name != "photo"} | {"row_version": "7", "extra": "x"}
    decoder = decoder_of(9, envelope_schema(table_of(*columns)), ORDERS, CAPTURED, {9})
    assert isinstance(decoder, PassedDecoder)
    assert decoder.read(envelope(columns, row))["after"] == order(3, photo=None, row_version=None)


def test_what_fits_is_read_as_it_is_although_it_was_passed_once() -> None:
    assert type(decoder_of(9, envelope_schema(), ORDERS, CAPTURED, {9})) is EnvelopeDecoder


def defaulted(*names: str, columns: tuple[Column, ...] = CAPTURED.columns) -> dict[str, Any]:
    """The envelope's schema when these columns have a default, as the converter writes it."""
    schema = envelope_schema(table_of(*columns))
    for field in EnvelopeDecoder(schema).row_schema["fields"]:
        if field["name"] in names:
            assert field["type"][0] == "null"
            field["type"] = [{"type": field["type"][1], "connect.default": "open"}, "null"]
            field["default"] = "open"
    return schema


def test_a_null_that_arrives_as_the_default_stops_the_table_under_any_policy() -> None:
    for policy in ("additive", "stop", "ignore"):
        table = msgspec.structs.replace(ORDERS, evolve=policy)
        with pytest.raises(SchemaChanged) as stop:
            decoder_of(9, defaulted("customer"), table, CAPTURED, ())
        assert "null cannot be told from the default: customer" in str(stop.value.detail)
        assert "SET NOT NULL" in str(stop.value.hint)
        assert "DROP DEFAULT" in str(stop.value.hint)
        assert str(stop.value.hint).endswith("then run: trueup apply; the table goes on by itself")


def test_a_default_of_a_column_that_is_not_null_changes_nothing() -> None:
    schema = envelope_schema()
    for field in EnvelopeDecoder(schema).row_schema["fields"]:
        if field["name"] == "order_id":
            field["type"], field["default"] = {"type": "long", "connect.default": 7}, 7
    assert type(decoder_of(9, schema, ORDERS, CAPTURED, ())) is EnvelopeDecoder


def test_a_default_matters_only_in_a_column_that_is_read() -> None:
    schema = defaulted("extra", columns=ADDED)
    ignoring = msgspec.structs.replace(ORDERS, evolve="ignore")
    assert type(decoder_of(9, schema, ignoring, CAPTURED, ())) is EnvelopeDecoder
    with pytest.raises(SchemaChanged) as stop:
        decoder_of(9, schema, ORDERS, CAPTURED, ())
    assert "SET NOT NULL" in str(stop.value.hint)
    assert "--rebuild" not in str(stop.value.hint)
    with pytest.raises(SchemaChanged) as stop:
        decoder_of(9, defaulted("customer", columns=without("photo")), ORDERS, CAPTURED, ())
    assert "--rebuild" in str(stop.value.hint)


def test_a_passed_value_that_may_stand_for_a_null_is_null_until_the_row_is_read_again() -> None:
    schema = defaulted("customer")
    decoder = decoder_of(9, schema, ORDERS, CAPTURED, {9})
    assert isinstance(decoder, PassedDecoder)
    value = envelope(CAPTURED.columns, order(3), schema)
    assert decoder.read(value)["after"] == order(3, customer=None)


def refused(key: bytes, epoch: int = 1) -> list[tuple[Any, Any]]:
    record = change(4, key=key)
    why = Reject("validate", "KeyChanged", "the key has columns customer, registered are order_id", "")
    return [(log_record(4, record.value, key=key, headers=((("trueup.epoch"), b"%d" % epoch),)), why)]


def test_a_key_of_other_columns_stops_the_table_and_names_the_new_epoch_as_cure() -> None:
    stop = key_change(refused(b'{"customer":"Ada"}'), ORDERS, CAPTURED, 1)
    assert stop is not None
    assert "trueup resync shop" in str(stop.hint)
    assert "(order_id)" in str(stop.hint)


def test_a_key_nobody_could_have_captured_and_one_of_an_epoch_that_is_over_are_dead_letters_only() -> None:
    assert key_change(refused(b'{"customer":"Ada","line":1}'), ORDERS, CAPTURED, 1) is None
    assert key_change(refused(b'{"customer":"Ada"}', epoch=1), ORDERS, CAPTURED, 2) is None
    other = Reject("validate", "RowMissing", "", "")
    assert key_change([(change(4, key=key_of(1)), other)], ORDERS, CAPTURED, 1) is None


def test_the_schema_remembers_what_is_passed_and_stays_as_it_was_without() -> None:
    assert passed_ids(truth_schema(ORDERS, CAPTURED)) == frozenset()
    assert "trueup.passed" not in truth_schema(ORDERS, CAPTURED)
    schema = truth_schema(ORDERS, CAPTURED, {9, SCHEMA_ID})
    assert schema["trueup.passed"] == [SCHEMA_ID, 9]
    assert passed_ids(schema) == {SCHEMA_ID, 9}


def test_the_same_bytes_under_other_columns_are_another_content() -> None:
    """Else a row read again after a rename would be skipped as unchanged, and no copy would get the new name."""
    first = TruthCodec(truth_schema(ORDERS, CAPTURED), 1)
    renamed = TruthCodec(truth_schema(ORDERS, table_of(*RENAMED), {SCHEMA_ID}), 2)
    row = order(1)
    other = {"client" if name == "customer" else name: value for name, value in row.items()}
    assert first.encode_row(row) == renamed.encode_row(other)
    assert hash_row(first.encode_row(row), first.columns_hash) != hash_row(
        renamed.encode_row(other), renamed.columns_hash
    )
    assert hash_row(b"row") == hash_row(b"row", first.columns_hash), "tables that never changed keep their hashes"
