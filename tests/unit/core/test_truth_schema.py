"""The truth schema: laid out for slicing, and the way back to the columns."""

import json

import fastavro
import msgspec
import pytest

from tests.envelopes import CAPTURED, ORDERS
from trueup.core.avro_types import STAGED_AS, avro_primitive, base_type, is_array, staged_type
from trueup.core.truth_schema import avro_name, canonical_text, captured_table, truth_schema
from trueup.model.columns import CapturedTable, Column

SCHEMA = truth_schema(ORDERS, CAPTURED)


def column(pg_type: str, kind: str = "b") -> Column:
    return Column(name="x", pg_type=pg_type, nullable=True, kind=kind)


def test_version_and_hash_come_first_and_the_row_last() -> None:
    """Recovery slices the first bytes, hashing the last: `core.truth_codec` stands on this order."""
    names = [field["name"] for field in SCHEMA["fields"]]
    assert names[:2] == ["version", "content_hash"]
    assert names[-1] == "row"
    assert [field["type"]["type"] for field in SCHEMA["fields"][:2]] == ["fixed", "fixed"]
    assert [field["type"]["size"] for field in SCHEMA["fields"][:2]] == [20, 16]


def test_the_schema_is_avro() -> None:
    fastavro.parse_schema(json.loads(canonical_text(SCHEMA)))


def test_the_columns_come_back_from_the_schema_as_the_registry_has_it() -> None:
    odd = CapturedTable(
        table="odd",
        key=("b", "2nd key"),
        columns=(
            Column(name="2nd key", pg_type="uuid", nullable=False),
            Column(name="b", pg_type="integer[]", nullable=True),
            Column(name="Größe", pg_type="mood", nullable=True, kind="e"),
            Column(name="total", pg_type="numeric(12,2)", nullable=True, generated=True),
        ),
    )
    schema = truth_schema(msgspec.structs.replace(ORDERS, table="odd", key=["b", "2nd key"]), odd)
    assert captured_table(json.loads(canonical_text(schema))) == odd


def test_every_field_is_nullable_since_not_null_is_a_promise_of_the_source() -> None:
    row = SCHEMA["fields"][-1]["type"][1]
    assert all(field["type"][0] == "null" and field["default"] is None for field in row["fields"])


def test_the_same_registration_gives_the_same_text() -> None:
    assert canonical_text(truth_schema(ORDERS, CAPTURED)) == canonical_text(SCHEMA)


def test_two_tables_have_two_names() -> None:
    """Else a registry would hold them for versions of one type."""
    other = truth_schema(msgspec.structs.replace(ORDERS, table="lines"), CAPTURED)
    assert other["namespace"] != SCHEMA["namespace"]


@pytest.mark.parametrize("pg_type", ["point", "tsquery", "bit varying(3)", "regclass", "int4multirange", "mood"])
def test_an_unsupported_type_is_refused_by_name(pg_type: str) -> None:
    table = CapturedTable(table="orders", key=("x",), columns=(column(pg_type),))
    with pytest.raises(ValueError, match=r'column "x" has type') as caught:
        truth_schema(ORDERS, table)
    assert pg_type in str(caught.value)
    with pytest.raises(KeyError):
        staged_type(column(pg_type))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a", "a"), ("A_1", "A_1"), ("net-amount", "net_amount"), ("2nd", "_2nd"), ("Größe", "Gr__e"), ("a b", "a_b")],
)
def test_names_are_adjusted_as_debezium_does(name: str, expected: str) -> None:
    assert avro_name(name) == expected


@pytest.mark.parametrize(
    ("pg_type", "base", "array", "primitive", "staged"),
    [
        ("bigint", "bigint", False, "long", "int8"),
        ("numeric(12,2)", "numeric", False, "string", "text"),
        ("numeric(12,2)[]", "numeric", True, "string", "text[]"),
        ("character varying(40)", "character varying", False, "string", "text"),
        ("timestamp(3) with time zone", "timestamp with time zone", False, "string", "text"),
        ("timestamp(0) with time zone[]", "timestamp with time zone", True, "string", "text[]"),
        ("bytea", "bytea", False, "bytes", "bytea"),
        ("boolean[]", "boolean", True, "boolean", "bool[]"),
        ("double precision", "double precision", False, "double", "float8"),
        ("real", "real", False, "float", "float4"),
        ("smallint", "smallint", False, "int", "int8"),
    ],
)
def test_types_as_the_log_and_the_replica_see_them(
    pg_type: str, base: str, array: bool, primitive: str, staged: str
) -> None:
    typed = column(pg_type)
    assert base_type(pg_type) == base
    assert is_array(typed) is array
    assert avro_primitive(typed) == primitive
    assert staged_type(typed) == staged


def test_an_enum_travels_as_text_whatever_its_name() -> None:
    assert avro_primitive(column("integer_like", kind="e")) == "string"
    assert staged_type(column("integer", kind="e")) == "text"
    assert avro_primitive(column("mood[]", kind="e")) is None, "capture stops at a null among its elements"


def test_every_primitive_has_a_way_into_the_replica() -> None:
    primitives = {avro_primitive(c) for c in CAPTURED.columns} | {"int", "boolean", "float"}
    assert primitives <= STAGED_AS.keys()
