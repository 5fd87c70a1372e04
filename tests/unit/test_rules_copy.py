"""core.rules_copy: what a copy shows of a row, and what is refused when a copy is registered."""

import base64
import hashlib
import json
from typing import Any

import msgspec
import pytest

from tests.replica_batches import column, plan_of
from trueup.core.rules_copy import CopyRules, compile_copy, mask_sha256
from trueup.core.type_names import catalog_name
from trueup.model.columns import CapturedTable, Column
from trueup.model.decision import DELETED_HASH, TruthRecord
from trueup.model.errors import DecodeFailed
from trueup.model.event import Op, Position
from trueup.model.registration import ColumnRule, ColumnVersion, Conflicts, Copy, Source, Table
from trueup.model.version import make_version
from trueup.model.write import CopyPlan

SHARED = Table(
    table="orders",
    writers=["shop", "crm"],
    conflicts=Conflicts(policy="last_write_wins"),
    source=Source(table="public.orders"),
    key=["id"],
    version=ColumnVersion(column="at"),
    replicas=[Copy(replica="reporting")],
)
COLUMNS = (
    column("id", "bigint"),
    column("amount", "numeric(14,4)"),
    column("email", "character varying(80)"),
    column("state", "order_state", kind="e"),
    column("tags", "text[]"),
    column("odd name", "text"),
)


def truth(row: dict[str, Any] | None, key: dict[str, Any] | bytes = b'{"id": 1}') -> TruthRecord:
    return TruthRecord(
        key=key if isinstance(key, bytes) else json.dumps(key).encode(),
        version=make_version(1, 5),
        content_hash=DELETED_HASH,
        op=Op.DELETE if row is None else Op.UPDATE,
        commit_time_us=0,
        position=None,
        cause=None,
        flags=(),
        row=row,
        row_bytes=None,
    )


ROW = {"id": 1, "amount": "1.5000", "email": "a@b", "state": "open", "tags": ["x", None], "odd_name": "o"}


def test_a_record_older_than_a_column_is_null_there_at_a_copy_and_refused_where_a_copy_is_filled_anew() -> None:
    plan = plan_of(*COLUMNS)
    older = {name: value for name, value in ROW.items() if name != "state"}
    assert CopyRules(plan, complete=False).values_of(truth(older)) == (1, "1.5000", "a@b", None, ["x", None], "o")
    with pytest.raises(DecodeFailed):
        CopyRules(plan).write_of(truth(older), 7, b"")


def test_without_columns_every_column_is_copied_as_it_is() -> None:
    plan = plan_of(*COLUMNS)
    assert [c.name for c in plan.columns] == [c.name for c in COLUMNS]
    assert [c.target_type for c in plan.columns] == [
        "bigint",
        "numeric(14,4)",
        "character varying(80)",
        "text",  # the enum is not made at the replica
        "text[]",
        "text",
    ]
    assert plan.whole
    assert CopyRules(plan).values_of(truth(ROW)) == (1, "1.5000", "a@b", "open", ["x", None], "o")


def test_columns_are_renamed_cast_masked_and_left_out() -> None:
    plan = plan_of(
        *COLUMNS,
        target="sales.orders",
        shown={
            "number": "id",
            "amount_eur": ColumnRule(from_="amount", cast="decimal(12, 2)"),
            "email": ColumnRule(from_="email", mask="sha256"),
        },
    )
    assert plan.target == "sales.orders"
    assert plan.key == ("number",)
    assert not plan.whole
    assert [c.target_type for c in plan.columns] == ["bigint", "numeric(12,2)", "text"]
    assert CopyRules(plan).values_of(truth(ROW)) == (1, "1.5000", hashlib.sha256(b"a@b").hexdigest())


def test_a_masked_null_stays_null() -> None:
    assert mask_sha256(None) is None
    assert mask_sha256("ä") == hashlib.sha256("ä".encode()).hexdigest()


def test_a_copy_of_one_column_makes_tuples_too() -> None:
    rules = CopyRules(plan_of(column("id", "integer")))
    assert rules.values_of(truth({"id": 7})) == (7,)


@pytest.mark.parametrize(
    ("pg_type", "captured", "staged"),
    [
        ("integer", 5, 5),
        ("text", "x", "x"),
        ("uuid", "0188a5eb-8d3e-7cc0-a1b2-000000000001", "0188a5eb-8d3e-7cc0-a1b2-000000000001"),
        ("numeric(20,0)", "12345678901234567890", "12345678901234567890"),
        ("numeric", 5, "5"),
        ("boolean", True, True),
        ("double precision", "NaN", pytest.approx(float("nan"), nan_ok=True)),
        ("bytea", base64.b64encode(b"\x00\xff").decode(), b"\x00\xff"),
        ("date", "+5877611-06-21Z", "infinity"),
        ("date", "-0043-03-15Z", "0044-03-15 BC"),
        ("timestamp(3) without time zone", "+294276-12-31T23:59:59Z", "294276-12-31 23:59:59+00"),
        ("timestamp with time zone", "infinity", "infinity"),
        ("numeric(12,2)", "NAN", "NaN"),
    ],
)
def test_a_delete_takes_its_key_from_the_captured_key(pg_type: str, captured: Any, staged: Any) -> None:
    rules = CopyRules(plan_of(column("note", "text"), column("id", pg_type)))
    write = rules.write_of(truth(None, {"id": captured}), 9, b"bytes")
    assert write.deleted
    assert write.values == (None, staged)


def test_a_composite_key_is_found_by_name() -> None:
    rules = CopyRules(plan_of(column("line no", "integer"), column("id", "bigint"), key=("id", "line no")))
    assert rules.values_of(truth(None, {"id": 1, "line_no": 2})) == (2, 1)
    assert rules.plan.key == ("id", "line no")


@pytest.mark.parametrize("key", [b"not json", b'{"other": 1}', b'{"id": "one"}', b'{"id": true}', b"[1]"])
def test_a_key_that_does_not_fit_is_a_dead_letter_without_values(key: bytes) -> None:
    rules = CopyRules(plan_of(*COLUMNS))
    with pytest.raises(DecodeFailed) as refused:
        rules.write_of(truth(None, key), 9, b"bytes")
    assert "one" not in str(refused.value)


def test_a_row_without_a_column_is_a_dead_letter() -> None:
    with pytest.raises(DecodeFailed, match="orders"):
        CopyRules(plan_of(*COLUMNS)).write_of(truth({"id": 1}), 9, b"bytes")


def test_text_that_cannot_be_hashed_is_a_dead_letter() -> None:
    rules = CopyRules(plan_of(*COLUMNS, shown={"id": "id", "email": ColumnRule(from_="email", mask="sha256")}))
    with pytest.raises(DecodeFailed):
        rules.write_of(truth(ROW | {"email": "\ud800"}), 9, b"bytes")


@pytest.mark.parametrize(
    ("shown", "complaint"),
    [
        ({"id": "id", "x": "missing"}, '"x" comes from "missing"'),
        ({"x": "amount"}, 'key column "id" is not copied'),
        ({"id": ColumnRule(from_="id", mask="sha256")}, '"id" cannot be masked'),
        ({"id": ColumnRule(from_="id", cast="integer")}, "keys could fall together"),
        ({"id": "id", "x": ColumnRule(from_="amount", mask="sha256")}, '"x" cannot be masked'),
        ({"id": "id", "x": ColumnRule(from_="tags", mask="sha256")}, '"x" cannot be masked'),
        ({"id": "id", "x": ColumnRule(from_="email", mask="sha256", cast="text")}, "a mask and a cast"),
        ({"id": "id", "x": ColumnRule(from_="amount", cast="mystery")}, '"x" cannot be cast'),
        ({"id": "id", "x": ColumnRule(from_="amount", cast="text; drop table y")}, '"x" cannot be cast'),
        ({"id": "id", "_trueup_version": "amount"}, "_trueup_version"),
    ],
)
def test_what_cannot_be_copied_is_refused_by_name(shown: dict[str, str | ColumnRule], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        plan_of(*COLUMNS, shown=shown)


def test_a_masked_key_is_refused_as_such() -> None:
    with pytest.raises(ValueError, match='key column "id" cannot be masked'):
        plan_of(column("id", "text"), shown={"id": ColumnRule(from_="id", mask="sha256")})


def test_a_key_may_become_wider() -> None:
    plan = plan_of(*COLUMNS, shown={"id": ColumnRule(from_="id", cast="numeric")})
    assert plan.key_columns[0].target_type == "numeric"


def test_the_fingerprint_follows_the_content() -> None:
    plan = plan_of(*COLUMNS)
    same = msgspec.json.decode(msgspec.json.encode(plan), type=type(plan))
    assert same.fingerprint == plan.fingerprint
    others: list[dict[str, str | ColumnRule]] = [
        {"id": "id"},
        {"id": "id", "email": ColumnRule(from_="email", mask="sha256")},
    ]
    for shown in others:
        assert plan_of(*COLUMNS, shown=shown).fingerprint != plan.fingerprint


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("int", "integer"),
        ("VARCHAR(20)", "character varying(20)"),
        ("timestamptz", "timestamp with time zone"),
        ("timestamptz(3)", "timestamp(3) with time zone"),
        ("timestamp(3) with time zone", "timestamp(3) with time zone"),
        ("numeric( 12 , 2 )", "numeric(12,2)"),
        ("double  precision", "double precision"),
        ("int8[]", "bigint[]"),
        ("sales.mood", "sales.mood"),
    ],
)
def test_types_are_brought_to_the_names_of_the_catalog(written: str, name: str) -> None:
    assert catalog_name(written) == name


@pytest.mark.parametrize("written", ["", "regclass", "text--", 'sales."x"', "int)", "pg_catalog.text; select", "a.b.c"])
def test_other_text_is_no_type(written: str) -> None:
    with pytest.raises(ValueError, match="type"):
        catalog_name(written)


# --- at one of several writers ----------------------------------------------------------------------------------------


def shared_plan(replica: str, *more: Column) -> CopyPlan:
    columns = (column("id", "bigint"), column("at", "timestamp with time zone"), *more)
    copy = SHARED.copy_at(replica)
    assert copy is not None
    return compile_copy(SHARED, copy, CapturedTable(table="orders", key=("id",), columns=columns))


def test_a_writers_own_table_is_written_whole_in_its_own_types() -> None:
    total = Column(name="total", pg_type="bigint", nullable=True, generated=True)
    state = column("state", "public.order_state", kind="e")
    plan = shared_plan("crm", total, state)
    assert (plan.writer, plan.rank_column, plan.target) == (True, "at", "public.orders")
    assert [c.name for c in plan.columns] == ["id", "at", "state"], "generated ones are computed there"
    assert plan.columns[-1].target_type == "public.order_state"
    elsewhere = shared_plan("reporting", total, state)
    assert (elsewhere.writer, elsewhere.rank_column) == (False, None)
    assert [c.target_type for c in elsewhere.columns][-2:] == ["bigint", "text"]


def test_a_plan_of_an_ordinary_copy_is_written_down_as_before() -> None:
    """Replicas have recorded plans of an earlier version; equal must mean equal."""
    assert not {"writer", "rank_column"} & msgspec.to_builtins(plan_of(*COLUMNS)).keys()


@pytest.mark.parametrize("pg_type", ["citext", "hstore"])
def test_a_type_that_cannot_be_named_there_is_refused(pg_type: str) -> None:
    with pytest.raises(ValueError, match="several writers"):
        shared_plan("crm", column("odd", pg_type))


@pytest.mark.parametrize(
    ("origin", "position", "own", "at"),
    [("crm", Position(3, 4), True, 4), ("shop", Position(3, 4), False, 4), (None, None, False, -1)],
)
def test_a_write_at_a_writer_says_whether_the_change_was_made_there(
    origin: str | None, position: Position | None, own: bool, at: int
) -> None:
    record = truth({"id": 1, "at": "2026-01-05T12:00:00Z"})
    write = CopyRules(shared_plan("crm")).write_of(
        msgspec.structs.replace(record, origin=origin, position=position), 3, b""
    )
    assert (write.own, write.position) == (own, at)
