"""The filter of a request for one row on a real PostgreSQL 18: it finds the row whose key was captured so."""

import json

import psycopg
import pytest

from trueup.adapters.postgres_literals import written_by_postgres
from trueup.adapters.postgres_source_sql import snapshot_again
from trueup.core.key_argument import key_of_argument, sought
from trueup.model.columns import CapturedTable, Column

pytest_plugins = ["tests.fix_postgres"]
pytestmark = pytest.mark.integration

# As Debezium 3.7.0 writes keys, with the settings of connectors/debezium/postgresql.json: type, value, captured.
KEYS: list[tuple[str, str, object]] = [
    ("smallint", "1", 1),
    ("oid", "4294967295", 4294967295),
    ("boolean", "false", False),
    ("bytea", "\\x0001", "AAE="),
    ("bytea", "\\x", ""),
    ("bytea", "\\xff27", "/yc="),
    ("numeric(10,2)", "1.10", "1.10"),
    ("numeric(10,2)", "NaN", "NAN"),
    ("numeric(5,-2)", "12300", "12300." + 2046 * "0"),
    ("numeric(30,10)", "0.0000000001", "0.0000000001"),
    ("text", "o'n\\x?%", "o'n\\x?%"),
    ("character(5)", "ab", "ab   "),
    ("character varying(4)", "ab", "ab"),
    ("uuid", "0188a5eb-8d3e-7cc0-a1b2-000000000001", "0188a5eb-8d3e-7cc0-a1b2-000000000001"),
    ("date", "2026-01-05", "2026-01-05Z"),
    ("inet", "10.0.0.1", "10.0.0.1"),
    ("inet", "10.0.0.1/8", "10.0.0.1/8"),
    ("cidr", "10.0.0.0/8", "10.0.0.0/8"),
    ("macaddr", "08:00:2b:01:02:03", "08:00:2b:01:02:03"),
    ("macaddr8", "08:00:2b:ff:fe:01:02:03", "08:00:2b:ff:fe:01:02:03"),
    ("int4range", "empty", "empty"),
    ("int8range", "[1,9)", "[1,9)"),
    ("tsrange", '["2026-01-01 00:00:00.000001",infinity]', '["2026-01-01 00:00:00.000001",infinity]'),
    ("tstzrange", '["2026-01-01 00:00:00+00",)', '["2026-01-01 00:00:00+00",)'),
    ("daterange", "[2026-01-01,infinity]", "[2026-01-01,infinity]"),
]


def filter_of(statement: str) -> str:
    data = json.loads(statement.partition("'execute-snapshot', '")[2].removesuffix("')").replace("''", "'"))
    return str(data["additional-conditions"][0]["filter"])


def test_a_row_is_found_by_its_captured_key(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        for number, (pg_type, value, captured) in enumerate(KEYS):
            name = f"parts_{number}"
            column = Column(name="k", pg_type=pg_type, nullable=False)
            connection.execute(f"CREATE TABLE {name} (k {pg_type} PRIMARY KEY)".encode())
            connection.execute(f"INSERT INTO {name} VALUES (%s)".encode(), (value,))
            table = CapturedTable(table="parts", columns=(column,), key=("k",))
            key = sought(key_of_argument(json.dumps({"k": captured}), ("k",)), table)
            if isinstance(text := key["k"], str):
                written_by_postgres(database, "shop", {column: text})
            row = filter_of(snapshot_again("id", ("public", name), key))
            found = connection.execute(f"SELECT count(*) FROM {name} WHERE ({row})".encode()).fetchone()
            assert found == (1,), (pg_type, value, row)


def test_bytes_are_found_where_a_backslash_is_an_escape(database: str) -> None:
    row = filter_of(snapshot_again("id", ("public", "parts"), {"k": b"\0\x5c"}))
    with psycopg.connect(database) as connection:
        connection.execute("SET standard_conforming_strings = off")
        connection.execute("CREATE TABLE parts AS SELECT decode('005c', 'hex') AS k")
        assert connection.execute(f"SELECT count(*) FROM parts WHERE {row}".encode()).fetchone() == (1,)
