"""adapters.postgres_sql and postgres_arrays: names that want to be something else, and values as arrays."""

import re

import pytest

from tests.replica_batches import ORDERS, column, plan_of
from trueup.adapters import postgres_ddl as ddl
from trueup.adapters import postgres_sql as sql
from trueup.adapters.postgres_arrays import Unencodable, array_literal, binary_array
from trueup.model.registration import ColumnRule

HOSTILE = ['x"; DROP TABLE y; --', "100%", "%(a)s", "50%s", "select", "Mixed Case", "a'b", "é" * 31, "tab\tle"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_quoted_name_is_one_identifier(name: str) -> None:
    quoted = sql.quoted(name)
    assert quoted[0] == quoted[-1] == '"'
    assert quoted[1:-1].replace('""', "") == name.replace('"', "")
    assert '"' not in quoted[1:-1].replace('""', "")


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 64, "é" * 32])
def test_a_name_postgres_could_not_keep_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        sql.quoted(name)


@pytest.mark.parametrize("kind", ["text; drop", 'te"xt', "text)", "text'", "a--b", "", "numeric(1,2", "x(select)"])
def test_a_type_that_could_be_more_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="type"):
        sql.type_name(kind)


def test_a_literal_keeps_its_quotes_inside() -> None:
    assert sql.literal("it's") == "'it''s'"
    with pytest.raises(ValueError, match="NUL"):
        sql.literal("a\0b")


@pytest.mark.parametrize("name", HOSTILE)
def test_every_percent_of_a_name_is_doubled_where_parameters_are_bound(name: str) -> None:
    plan = plan_of(column("id", "bigint"), column(name, "text"), target=f"{name}.{name}")
    statements = sql.batch_statements(plan)
    for statement in (getattr(statements, field) for field in statements.__struct_fields__):
        placeholders = re.findall(r"%b::[a-z0-9]+\[\]", statement)
        rest = re.sub(r"%b::[a-z0-9]+\[\]", "", statement).replace("%%", "")
        assert placeholders
        assert "%" not in rest


@pytest.mark.parametrize("name", HOSTILE)
def test_a_definition_is_sent_without_parameters_and_holds_names_as_they_are(name: str) -> None:
    assert sql.quoted(name) in ddl.create_copy(plan_of(column("id", "bigint"), column(name, "text")))


def test_a_plan_with_a_name_too_long_is_refused_before_anything_is_sent() -> None:
    plan = plan_of(column("id", "bigint"), column("x" * 64, "text"))
    with pytest.raises(ValueError, match="63 bytes"):
        sql.batch_statements(plan)
    with pytest.raises(ValueError, match="63 bytes"):
        ddl.create_copy(plan)


def test_values_become_the_source_type_before_the_cast() -> None:
    plan = plan_of(
        column("id", "bigint"),
        column("at", "timestamp with time zone"),
        column("mood", "mood", kind="e"),
        shown={"id": "id", "day": ColumnRule(from_="at", cast="date"), "mood": "mood"},
    )
    assert "s.c1::timestamp with time zone::date" in sql.batch_statements(plan).upsert


def test_the_source_expression_gives_what_the_copy_holds() -> None:
    plan = plan_of(
        column("id", "bigint"),
        column("mood", "mood", kind="e"),
        column("email", "text"),
        column("amount", "numeric(14,4)"),
        shown={
            "id": "id",
            "mood": "mood",
            "email": ColumnRule(from_="email", mask="sha256"),
            "eur": ColumnRule(from_="amount", cast="numeric(12,2)"),
        },
    )
    assert [sql.source_expression(item) for item in plan.columns] == [
        '"id"::bigint',
        '"mood"::text',
        "encode(sha256(convert_to(\"email\"::text, 'UTF8')), 'hex')",
        '"amount"::numeric(14,4)::numeric(12,2)',
    ]


def test_an_adopted_table_begins_with_the_lowest_version() -> None:
    assert r"DEFAULT '\x" + "00" * 20 + "'::bytea" in ddl.adopt_copy(ORDERS)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "{}"),
        ([1, None, -2], "{1,NULL,-2}"),
        ([True, False, None], "{t,f,NULL}"),
        (["", "NULL", 'a"b', "c\\d", "e,f", "{}"], '{"","NULL","a\\"b","c\\\\d","e,f","{}"}'),
        ([b"\x00\xff"], '{"\\\\x00ff"}'),
        ([1.5, float("nan"), float("-inf")], "{1.5,nan,-inf}"),
        ([[1, 2], [3, None]], "{{1,2},{3,NULL}}"),
    ],
)
def test_an_array_travels_as_its_text(values: list[object], text: str) -> None:
    assert array_literal(values) == text


@pytest.mark.parametrize(
    ("staged_type", "value"),
    [
        ("text", "\ud800 SECRET"),
        ("text", 5),
        ("int8", 2**63),
        ("int8", "SECRET"),
        ("float4", 1e300),
        ("bytea", 5),
        ("bytea", "SECRET"),
        ("text[]", 5),
    ],
)
@pytest.mark.parametrize("others", [[], [None]])
def test_a_value_without_a_form_is_named_by_type_alone(staged_type: str, value: object, others: list[None]) -> None:
    with pytest.raises(Unencodable, match=re.escape(staged_type)) as refused:
        binary_array(staged_type, [value, *others])
    assert "SECRET" not in str(refused.value)


def test_a_column_is_one_array_with_and_without_nulls() -> None:
    assert binary_array("int8", [1]).data.hex() == "000000010000000000000014000000010000000100000008" + (
        "0000000000000001"
    )
    assert binary_array("text", ["ä", None]).data.endswith(b"\x00\x00\x00\x02\xc3\xa4\xff\xff\xff\xff")
    assert binary_array("bool", [True, None]).data[:8] == b"\x00\x00\x00\x01\x00\x00\x00\x01"
