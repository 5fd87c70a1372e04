"""Which defaults reach a captured schema: what was measured of Debezium 3.7.0, and what is taken for it unmeasured."""

from typing import Any

import pytest

from trueup.core.captured_defaults import loses_null, writes_default
from trueup.model.columns import Column

WRITTEN = [
    ("text", "'x'::text"),
    ("text", "''::text"),
    ("text", "md5((random())::text)"),
    ("text", "CURRENT_USER"),
    ("text", "('a'::text || 'b'::text)"),
    ("character varying(10)", "'x'::character varying"),
    ("character(3)", "'x'::bpchar"),
    ("integer", "5"),
    ("smallint", "'-5'::integer"),
    ("bigint", "nextval('s'::regclass)"),
    ("integer", "NULLIF(5, 5)"),
    ("integer", "(length(a) + 1)"),
    ("bigint", "(a + '5'::bigint)"),
    ("numeric(8,2)", "1.5"),
    ("double precision", "random()"),
    ("boolean", "false"),
    ("boolean", "(random() < (2)::double precision)"),
    ("date", "CURRENT_DATE"),
    ("timestamp without time zone", "now()"),
    ("timestamp(3) with time zone", "CURRENT_TIMESTAMP"),
    ("time without time zone", "'10:00:00'::time without time zone"),
    ("interval", "'1 day'::interval"),
    ("uuid", "gen_random_uuid()"),
    ("jsonb", "'{}'::jsonb"),
    ("json", "json_build_object()"),
    ("bit(3)", "'101'::\"bit\""),
    ("a type nobody measured", "5"),
]
NOT_WRITTEN = [
    ("text", None),
    ("character varying(10)", "NULL::character varying"),
    ("numeric(8,2)", "NULL::numeric"),
    ("integer", "(a * 2)"),
    ("numeric", "((a + b) * 2)"),
    ("bytea", "'\\x00'::bytea"),
    ("text[]", "'{}'::text[]"),
    ("integer[]", "ARRAY[1, 2]"),
    ("inet", "'1.2.3.4'::inet"),
    ("oid", "5"),
    ("money", "5"),
    ("hstore", "''::hstore"),
    ("citext", "'x'::citext"),
    ("daterange", "'[2026-01-01,2026-01-02)'::daterange"),
]


def column(pg_type: str, kind: str = "b") -> Column:
    return Column(name="c", pg_type=pg_type, nullable=True, kind=kind)


@pytest.mark.parametrize(("pg_type", "expression"), WRITTEN)
def test_what_debezium_takes_for_a_default(pg_type: str, expression: str) -> None:
    assert writes_default(column(pg_type), expression)


@pytest.mark.parametrize(("pg_type", "expression"), NOT_WRITTEN)
def test_what_it_leaves_alone(pg_type: str, expression: str | None) -> None:
    assert not writes_default(column(pg_type), expression)


def test_an_enum_is_told_by_its_kind_whatever_its_name_is() -> None:
    assert writes_default(column("integer", "e"), "('red'::hue)")
    assert writes_default(column("citext", "e"), "'red'::hue")


@pytest.mark.parametrize(
    ("field", "loses"),
    [
        ({"type": ["null", "string"], "default": None}, False),
        ({"type": "string", "default": "x"}, False),
        ({"type": {"type": "string", "connect.default": "x"}, "default": "x"}, False),
        ({"type": [{"type": "string", "connect.default": "x"}, "null"], "default": "x"}, True),
        ({"type": [{"type": "int", "connect.default": 0}, "null"], "default": 0}, True),
        ({"type": [{"type": "boolean", "connect.default": False}, "null"]}, True),
        ({"type": ["string", "null"], "default": ""}, True),
        ({"type": ["null", {"type": "array", "items": ["null", "string"]}], "default": None}, False),
    ],
)
def test_a_nullable_field_with_a_default_loses_its_nulls(field: dict[str, Any], loses: bool) -> None:
    assert loses_null(field) == loses
