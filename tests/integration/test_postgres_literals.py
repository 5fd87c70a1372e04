"""adapters.postgres_literals on a real PostgreSQL 18: what a person types becomes what the log has of such a value."""

import psycopg
import pytest

from trueup.adapters.postgres_literals import written_by_postgres
from trueup.core.case_values import captured_value, reason_not_typed
from trueup.model.columns import Column
from trueup.model.errors import Refused

pytest_plugins = ["tests.fix_postgres"]
pytestmark = pytest.mark.integration

# Typed, and as Debezium 3.7.0 delivers it, from the snapshot and from the log.
VALUES: list[tuple[str, str, object]] = [
    ("inet", "10.0.0.1", "10.0.0.1"),
    ("inet", "10.0.0.1/32", "10.0.0.1"),
    ("inet", "10.0.0.1/8", "10.0.0.1/8"),
    ("inet", "::1", "::1"),
    ("inet", "::1/64", "::1/64"),
    ("cidr", "10/8", "10.0.0.0/8"),
    ("cidr", "10.1.2.3", "10.1.2.3/32"),
    ("macaddr", "08-00-2B-01-02-03", "08:00:2b:01:02:03"),
    ("uuid", "{0188A5EB-8D3E-7CC0-A1B2-000000000001}", "0188a5eb-8d3e-7cc0-a1b2-000000000001"),
    ("character(5)", "ab", "ab   "),
    ("character(5)", "ab         ", "ab   "),
    ("character(5)", "", "     "),
    ("character varying(4)", "ab  ", "ab  "),
    ("text", " 100% %s 'x' \\ ", " 100% %s 'x' \\ "),
    ("json", '{"b":  1,"b":2}', '{"b":  1,"b":2}'),
    ("numeric", "1e-7", "0.0000001"),
    ("numeric", "1.10", "1.10"),
    ("numeric", "nan", "NaN"),
    ("numeric(6,2)", "10", "10.00"),
    ("numeric(6,2)", "1.500", "1.50"),
    ("numeric(6,2)", "NaN", "NaN"),
    ("numeric(3,5)", "0.00123", "0.00123"),
    ("boolean", "yes", True),
    ("boolean", "off", False),
    ("bigint", "-9223372036854775808", -(2**63)),
    ("oid", "4294967295", 2**32 - 1),
    ("real", "0.1", 0.1),
    ("double precision", "-0", -0.0),
    ("double precision", "inf", "Infinity"),
    ('public."mo%od(1)"', "so so", "so so"),
]


def column(pg_type: str) -> Column:
    return Column(name="c", pg_type=pg_type, nullable=True, kind="e" if '"' in pg_type else "b")


def written(dsn: str, pg_type: str, text: str) -> str:
    return written_by_postgres(dsn, "shop", {column(pg_type): text})["c"]


def with_enum(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("""CREATE TYPE public."mo%od(1)" AS ENUM ('sad', 'so so')""")


def test_a_value_is_written_as_the_log_has_it(database: str) -> None:
    """Debezium is given a value's text by the type's output function, as every reader of a table is."""
    with_enum(database)
    for pg_type, text, delivered in VALUES:
        assert reason_not_typed(column(pg_type)) is None
        found = written(database, pg_type, text)
        with psycopg.connect(database) as connection:
            connection.execute(f"CREATE TEMP TABLE one (c {pg_type})".encode())
            connection.execute("INSERT INTO one VALUES (%s)", (text,))
            result = connection.execute("SELECT c FROM one").pgresult
            assert result is not None
            stored = result.get_value(0, 0)
        assert stored == found.encode(), (pg_type, text)
        assert repr(captured_value(column(pg_type), found)) == repr(delivered), (pg_type, text)


@pytest.mark.parametrize(
    ("pg_type", "text", "would_be"),
    [
        ("character varying(4)", "abcdef", "abcd"),
        ("character varying(4)", "abcd ", "abcd"),
        ("character(4)", "abcdef", "abcd"),
        ("numeric(6,2)", "1.005", "1.01"),
        ("numeric(6,2)", "0.001", "0.00"),
        ("numeric(5,-2)", "12345", "12300"),
        ("timestamp(0) without time zone", "2026-01-05 10:00:00.4", "2026-01-05 10:00:00"),
        ("time(2) without time zone", "10:00:00.004", "10:00:00"),
    ],
)
def test_a_value_that_would_be_cut_or_rounded_is_refused(database: str, pg_type: str, text: str, would_be: str) -> None:
    with pytest.raises(Refused) as refused:
        written(database, pg_type, text)
    assert str(refused.value).startswith('column "c" cannot hold the value as it is')
    assert f'"{text}" would become "{would_be}": its type is {pg_type}' in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("pg_type", "text"),
    [
        ("timestamp(3) without time zone", "2026-01-05T10:00:00.001Z"),
        ("timestamp(3) with time zone", "2026-01-05 12:00:00.001+02"),
        ("time(2) without time zone", "10:00:00.1Z"),
        ("character(4)", "ab"),
        ("numeric(6,2)", "1e1"),
    ],
)
def test_another_spelling_of_a_value_is_no_other_value(database: str, pg_type: str, text: str) -> None:
    assert written(database, pg_type, text)


@pytest.mark.parametrize(("pg_type", "text"), [("integer", "x"), ("numeric(6,2)", "12345.6"), ("text", "\0")])
def test_a_value_of_another_type_is_refused(database: str, pg_type: str, text: str) -> None:
    with pytest.raises(Refused, match='does not take the value for column "c"') as refused:
        written(database, pg_type, text)
    assert refused.value.hint == f"its type is {pg_type}"
