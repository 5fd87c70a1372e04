"""The queries of a comparison against a real database: ranges, borders, marks, keys of every shape."""

import asyncio
from contextlib import closing

import pytest

from tests.replica_batches import column, plan_of
from tests.replica_database import provision, rows
from trueup.adapters.postgres_compare import Side, replica_relation, source_relation
from trueup.adapters.postgres_proofs import ProofStore
from trueup.core.suspects import Suspect
from trueup.core.verify import differing_buckets, first_suspects
from trueup.model.proof import Key, KeyRange, PassState, Proof, key_of_text
from trueup.model.registration import ColumnRule
from trueup.model.write import CopyPlan

pytest_plugins = ["tests.fix_postgres"]
pytestmark = pytest.mark.integration

NUMBERS = plan_of(column("id", "integer"), column("amount", "numeric(12,2)"), column("note", "text"))
FIRST = PassState(began_at="2026-11-25 10:00:00.5+00", position="0/10", fingerprint="f")


def side(dsn: str, plan: CopyPlan, table: str | None = None) -> Side:
    relation = replica_relation(plan) if table is None else source_relation(plan, "public", table)
    return Side("test", dsn, relation)


def ranges(found: Side, rows_per_range: int) -> list[KeyRange]:
    made, after = [], None
    while (through := found.border(after, rows_per_range)) is not None:
        made.append(KeyRange(after, through))
        after = through
    return [*made, KeyRange(after, None)]


def test_ranges_cover_every_row_once_and_name_what_differs(database: str) -> None:
    rows(database, "CREATE TABLE here (id integer PRIMARY KEY, amount numeric(12,2), note text)")
    rows(database, "CREATE TABLE orders (id integer PRIMARY KEY, amount numeric(12,2), note text)")
    rows(database, "INSERT INTO here SELECT n, n, 'note ' || n FROM generate_series(-100, 900) n")
    rows(database, "INSERT INTO orders SELECT * FROM here")
    rows(database, "UPDATE orders SET note = NULL WHERE id = 7")
    rows(database, "DELETE FROM orders WHERE id = 8")
    rows(database, "INSERT INTO orders VALUES (901, 1, ''), (-101, 1, '')")
    with closing(side(database, NUMBERS, "here")) as source, closing(side(database, NUMBERS)) as copy:
        made = ranges(source, 100)
        assert len(made) == 11
        assert made[0] == KeyRange(None, ("-1",)), "numbers sort as numbers"
        assert sum(count for within in made for count, _ in source.buckets(within).values()) == 1_001
        assert sum(count for within in made for count, _ in copy.buckets(within).values()) == 1_002
        suspects: dict[str, Suspect] = {}
        for within in made:
            if different := differing_buckets(source.buckets(within), copy.buckets(within)):
                suspects |= first_suspects(source.rows(within, different), copy.rows(within, different))
        assert sorted(suspects) == ['["-101"]', '["7"]', '["8"]', '["901"]']
        looked = copy.look([key_of_text(key) for key in suspects])
        assert sorted(looked) == ['["-101"]', '["7"]', '["901"]']


@pytest.mark.parametrize(
    ("kinds", "keys"),
    [
        (("integer", "text"), [("1", "a, b"), ("1", 'quote " and \\ and %s'), ("2", ""), ("2", "ä")]),
        (("uuid",), [("6f1f2a0e-1111-4222-8333-444455556666",), ("7f1f2a0e-1111-4222-8333-444455556666",)]),
        (("timestamp with time zone",), [("2026-01-01 00:00:00.5+00",), ("2026-06-01 00:00:00+00",)]),
        (("numeric(20,4)",), [("1.5000",), ("12.0000",)]),
        (("bytea",), [("\\x00ff",), ("\\x01",)]),
        (("character varying(40)",), [("b",), ("ba",)]),
        (("boolean",), [("false",), ("true",)]),
        (("double precision",), [("0.1",), ("1e+300",)]),
    ],
)
def test_keys_of_every_shape_are_found_by_their_text(database: str, kinds: tuple[str, ...], keys: list[Key]) -> None:
    names = ('strange % "name', "c0")[: len(kinds)]
    quoted = [f'''"{name.replace('"', '""')}"''' for name in names]
    plan = plan_of(*(column(n, k) for n, k in zip(names, kinds, strict=True)), column("note", "text"), key=names)
    definitions = ", ".join(f"{name} {kind}" for name, kind in zip(quoted, kinds, strict=True))
    for table in ("here", "orders"):
        rows(database, f"CREATE TABLE {table} ({definitions}, note text, PRIMARY KEY ({', '.join(quoted)}))")
        for key in keys:
            values = ", ".join(f"%s::{kind}" for kind in kinds)
            rows(database, f"INSERT INTO {table} VALUES ({values}, 'n')", *key)
    with closing(side(database, plan, "here")) as source, closing(side(database, plan)) as copy:
        for found in (source, copy):
            seen = found.look(keys)
            assert sorted(map(key_of_text, seen)) == sorted(keys)
            made = ranges(found, 1)
            assert [within.through for within in made] == [*keys, None]
            in_ranges = [key for within in made for key in found.rows(within, set(range(64)))]
            assert [key_of_text(key) for key in in_ranges] == keys
        assert {k: s.hash for k, s in source.look(keys).items()} == {k: s.hash for k, s in copy.look(keys).items()}


def test_a_mark_tells_a_row_that_was_written_from_one_that_rested(database: str) -> None:
    rows(database, "CREATE TABLE here (id integer PRIMARY KEY, amount numeric(12,2), note text)")
    rows(database, "INSERT INTO here VALUES (1, 1, 'a'), (2, 2, 'b')")
    with closing(side(database, NUMBERS, "here")) as source:
        before = source.look([("1",), ("2",)])
        rows(database, "UPDATE here SET note = 'c' WHERE id = 1")
        rows(database, "UPDATE here SET note = 'a' WHERE id = 1")
        after = source.look([("1",), ("2",)])
    assert before['["2"]'] == after['["2"]']
    assert before['["1"]'].hash == after['["1"]'].hash
    assert before['["1"]'].mark != after['["1"]'].mark


def test_a_key_that_one_side_cannot_hold_is_not_there(database: str) -> None:
    """Somebody added a row to the copy whose key the source's type has no room for."""
    shown: dict[str, str | ColumnRule] = {"id": ColumnRule(from_="id", cast="bigint"), "note": "note"}
    plan = plan_of(column("id", "integer"), column("note", "text"), shown=shown)
    rows(database, "CREATE TABLE here (id integer PRIMARY KEY, note text)")
    rows(database, "INSERT INTO here VALUES (1, 'a')")
    with closing(side(database, plan, "here")) as source:
        assert list(source.look([("1",), ("3000000000",), ("no number",)])) == ['["1"]']


def test_a_range_is_read_by_the_index(database: str) -> None:
    """A statement about 100 of 20,000 rows must not read them all, or a pass through a large table is quadratic."""
    rows(database, "CREATE TABLE here (id integer PRIMARY KEY, amount numeric(12,2), note text)")
    rows(database, "INSERT INTO here SELECT n, n, 'x' FROM generate_series(1, 20000) n")
    rows(database, "VACUUM ANALYZE here")
    with closing(side(database, NUMBERS, "here")) as source:
        for within in ranges(source, 2_000)[:8]:
            source.buckets(within)
            source.look([("5",), ("6",)])
        source._connection.execute("SELECT pg_stat_force_next_flush()")
    scans = "SELECT seq_scan, seq_tup_read FROM pg_stat_user_tables WHERE relname = 'here'"
    ((_, before),) = rows(database, scans)
    assert before <= 40_000, "the table was read as a whole again and again"


def test_a_pass_is_kept_until_it_is_complete(database: str) -> None:
    asyncio.run(provision(database, NUMBERS))
    store = ProofStore("reporting", database)
    target = NUMBERS.target
    assert store.keeps
    assert store.pass_of(target) is None
    state = PassState(began_at="t", position="p", fingerprint="f", after=("5", 'a"b'), doubtful=('["1"]',))
    store.note(target, state)
    assert store.pass_of(target) == state
    proof = Proof(
        table="orders",
        target=target,
        through=FIRST.began_at,
        position=FIRST.position,
        rows=9,
        differing_keys=0,
        unproven_keys=1,
        held_keys=0,
    )
    store.record(proof)
    assert store.pass_of(target) is None
    (line,) = store.lines()
    assert (line.table, line.target, line.unproven_keys, line.proven_through_s) == ("orders", target, 1, 1795600800.5)
    store.close()
