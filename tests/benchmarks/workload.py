"""What is captured: a table in the manner of pgbench (12 columns, about 200 bytes) and changes of single rows.

75 % updates, 20 % inserts, 5 % deletes, keys uniform, 100 changes in a transaction (W1b of the benchmark plan).
Every change changes something and no transaction touches a row twice, so each becomes exactly one record of truth.
"""

from __future__ import annotations

import random
from typing import Any, Final

import psycopg

TABLE: Final = "accounts"
REGISTRATION: Final = """\
table: accounts
owner: {system: shop, team: benchmark}
source: {table: public.accounts}
key: [account_id]
version: log
replicas:
  - {replica: reporting}
"""
COLUMNS: Final = {
    "account_id": "bigint",
    "branch_id": "integer",
    "balance": "bigint",
    "credit_limit": "numeric(12,2)",
    "currency": "text",
    "status": "text",
    "holder": "text",
    "email": "text",
    "opened_on": "date",
    "updated_at": "timestamp with time zone",
    "revision": "integer",
    "filler": "text",
}
"""The first one is the key."""

PER_TRANSACTION: Final = 100
_UPDATES, _INSERTS, _DELETES = 75, 20, 5
_SEED: Final = 20_261_125

_ROW = """
SELECT id, mod(id, 1000), mod(id * 7, 100000), mod(id, 100000)::numeric / 100, 'EUR', 'open', 'holder ' || id,
       'holder.' || id || '@example.org', date '2020-01-01' + mod(id, 2000)::int, now(), 0,
       repeat(chr(97 + mod(id, 26)::int), 84)"""
_INSERT = f"INSERT INTO public.accounts {_ROW} FROM "
_UPDATE = """
UPDATE public.accounts SET balance = balance + 1, revision = revision + 1, updated_at = clock_timestamp()
WHERE account_id = ANY(%s)"""
_DELETE = "DELETE FROM public.accounts WHERE account_id = ANY(%s)"


def create_rows(dsn: str, rows: int) -> None:
    """Make the table with its first rows."""
    columns = ", ".join(f"{name} {kind} NOT NULL" for name, kind in COLUMNS.items())
    with psycopg.connect(dsn) as connection:
        connection.execute(f"CREATE TABLE public.accounts ({columns}, PRIMARY KEY (account_id))".encode())
        connection.execute(f"{_INSERT} generate_series(1, %s::bigint) AS id".encode(), [rows])


def change_rows(dsn: str, rows: int, changes: int) -> None:
    """Commit the changes, `PER_TRANSACTION` at a time, in one pipeline: the writer is not what is measured."""
    chance = random.Random(_SEED)
    live, newest = list(range(1, rows + 1)), rows
    with psycopg.connect(dsn, autocommit=True) as connection, connection.pipeline():
        for _ in range(changes // PER_TRANSACTION):
            places = chance.sample(range(len(live)), _UPDATES + _DELETES)
            updated = [live[place] for place in places[_DELETES:]]
            deleted = [live[place] for place in places[:_DELETES]]
            for place in sorted(places[:_DELETES], reverse=True):
                live[place] = live[-1]
                live.pop()
            inserted = list(range(newest + 1, newest + 1 + _INSERTS))
            newest += _INSERTS
            live += inserted
            with connection.transaction():
                connection.execute(_UPDATE.encode(), [updated])
                connection.execute(f"{_INSERT} unnest(%s::bigint[]) AS id".encode(), [inserted])
                connection.execute(_DELETE.encode(), [deleted])


def content(dsn: str, table: str) -> tuple[Any, ...]:
    """Number of rows, and a checksum that does not depend on their order."""
    row = f"md5(concat_ws('|', {', '.join(f'{name}::text' for name in COLUMNS)}))"
    query = f"SELECT count(*), sum(('x' || left({row}, 15))::bit(60)::bigint::numeric) FROM {table}"
    with psycopg.connect(dsn, options="-c TimeZone=UTC") as connection:
        found = connection.execute(query.encode()).fetchone()
    assert found is not None
    return found
