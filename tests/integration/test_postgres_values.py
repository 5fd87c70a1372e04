"""Values on their way through adapters.postgres_replica into a real PostgreSQL 18: exact, cast, masked."""

import math
from typing import Any

import psycopg
import pytest

from tests.replica_batches import Partition, column, plan_of, write_of
from tests.replica_database import nonzero, play, rows
from trueup.adapters.postgres_sql import source_expression
from trueup.core.rules_copy import mask_sha256
from trueup.model.registration import ColumnRule

pytest_plugins = ["tests.fix_postgres"]
pytestmark = pytest.mark.integration

TYPES: list[tuple[str, Any, str | None]] = [
    ("numeric(30,10)", "12345678901234567890.1234567890", "12345678901234567890.1234567890"),
    ("numeric", "1.10", "1.10"),
    ("numeric", "NaN", "NaN"),
    ("numeric", "-Infinity", "-Infinity"),
    ("bigint", -(2**63), "-9223372036854775808"),
    ("smallint", 32767, "32767"),
    ("boolean", False, "false"),
    ("real", 1.100000023841858, "1.1"),
    ("double precision", math.nan, "NaN"),
    ("double precision", -0.0, "-0"),
    ("double precision", 5e-324, "5e-324"),
    ("bytea", b"\x00\xff\\'", r"\x00ff5c27"),
    ("uuid", "0188a5eb-8d3e-7cc0-a1b2-000000000001", "0188a5eb-8d3e-7cc0-a1b2-000000000001"),
    ("jsonb", '{"b": [1, null], "a": "\\u00e4"}', '{"a": "ä", "b": [1, null]}'),
    ("json", '{"b":  1,"b":2}', '{"b":  1,"b":2}'),
    ("timestamp with time zone", "infinity", "infinity"),
    ("timestamp with time zone", "2026-01-05T10:00:00.123456Z", "2026-01-05 10:00:00.123456+00"),
    ("timestamp without time zone", "2026-01-05T10:00:00.000001Z", "2026-01-05 10:00:00.000001"),
    ("date", "2026-01-05Z", "2026-01-05"),
    ("date", "0044-03-15 BC", "0044-03-15 BC"),
    ("time without time zone", "24:00:00", "24:00:00"),
    ("interval", "P1Y2M3DT4H5M6.7S", "1 year 2 mons 3 days 04:05:06.7"),
    ("character(5)", "ab", "ab   "),
    ("inet", "10.0.0.1/8", "10.0.0.1/8"),
    ("int4range", "[1,5)", "[1,5)"),
    ("text", "emoji 😀 'quote\" \\ %s %", "emoji 😀 'quote\" \\ %s %"),
    ("text", "", ""),
    ("text", None, None),
    ("text[]", ["a", None, "", "NULL", 'q"\\,{}', "ä\n"], None),
    ("integer[]", [1, None, -3], "{1,NULL,-3}"),
    ("integer[]", [], "{}"),
    ("numeric(6,2)[]", ["1.50", None], "{1.50,NULL}"),
    ("boolean[]", [True, None, False], "{t,NULL,f}"),
    ("double precision[]", [math.nan, math.inf, 0.1], "{NaN,Infinity,0.1}"),
    ("bytea[]", [b"\x00", None], '{"\\\\x00",NULL}'),
    ("jsonb[]", ['{"a": 1}'], '{"{\\"a\\": 1}"}'),
    ("timestamp with time zone[]", ["infinity", None], "{infinity,NULL}"),
]


def test_values_of_every_type_arrive_as_they_were(database: str) -> None:
    columns = [column(f"c{n}", pg_type) for n, (pg_type, _, _) in enumerate(TYPES)]
    plan = plan_of(column("id", "bigint"), *columns, column("mood", "mood", kind="e"))
    values = [value for _, value, _ in TYPES]
    nothing = (2, *(None for _ in values), None)

    async def scenario(partition: Partition) -> None:
        result = await partition.apply(write_of(1, 1, (1, *values, "happy")), write_of(2, 2, nothing))
        assert nonzero(result.counts) == {"applied": 2}, result.refused

    play(database, scenario, plan)
    shown = ", ".join(
        f"array_to_json(c{n})"
        if pg_type == "text[]"
        else f"c{n}::bpchar::varchar"
        if "char" in pg_type
        else f"c{n}::text"
        for n, (pg_type, _, _) in enumerate(TYPES)
    )
    with psycopg.connect(database, options="-c TimeZone=UTC") as connection:
        (row,) = connection.execute(f"SELECT {shown}, mood, pg_typeof(mood)::text FROM public.orders WHERE id = 1")
        (empty,) = connection.execute(f"SELECT num_nonnulls(c0, mood, {shown}) FROM public.orders WHERE id = 2")
    for (pg_type, value, text), found in zip(TYPES, row, strict=False):
        want = value if pg_type == "text[]" else text.rstrip() if pg_type == "character(5)" and text else text
        assert found == want, pg_type
    assert row[-2:] == ("happy", "text")
    assert empty == (0,)


def test_casts_and_masks_are_what_verify_will_ask_of_the_source(database: str) -> None:
    plan = plan_of(
        column("id", "bigint"),
        column("amount", "numeric(14,4)"),
        column("at", "timestamp with time zone"),
        column("email", "text"),
        column("code", "character(5)"),
        target="copies.orders",
        shown={
            "id": "id",
            "eur": ColumnRule(from_="amount", cast="numeric(12,1)"),
            "whole": ColumnRule(from_="amount", cast="int"),
            "day": ColumnRule(from_="at", cast="date"),
            "email": ColumnRule(from_="email", mask="sha256"),
            "code": ColumnRule(from_="code", cast="text"),
        },
    )
    rows(
        database,
        "CREATE TABLE public.orders (id bigint, amount numeric(14,4), at timestamptz, email text, code char(5))",
    )
    rows(database, "INSERT INTO public.orders VALUES (1, 2.55, '2026-01-05 23:30-05', 'ä@b', 'ab')")
    rows(database, "INSERT INTO public.orders VALUES (2)")

    async def scenario(partition: Partition) -> None:
        first = (1, "2.5500", "2.5500", "2026-01-06T04:30:00Z", mask_sha256("ä@b"), "ab   ")
        await partition.apply(write_of(1, 1, first), write_of(2, 2, (2, None, None, None, None, None)))

    play(database, scenario, plan)
    expected = ", ".join(source_expression(shown) for shown in plan.columns)
    with psycopg.connect(database, options="-c TimeZone=UTC") as connection:
        source = connection.execute(f"SELECT {expected} FROM public.orders ORDER BY 1").fetchall()
        copy = connection.execute("SELECT id, eur, whole, day, email, code FROM copies.orders ORDER BY 1").fetchall()
    assert source == copy
