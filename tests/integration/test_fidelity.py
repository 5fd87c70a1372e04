"""Every value arrives as it is, or is refused by name: types, values out of line, deletes, names, partitions.

Source and copy are compared as text, value by value, with plain SQL; `trueup verify` has to agree.
"""

import itertools
import random
from collections.abc import Iterator

import pytest

from tests.integration.exact_values import CHECKS, EXACT, NULLABLE, NULLS_LOST, OWN_TYPES, REFUSED
from tests.integration.scratch_pipeline import ScratchPipeline, scratch_pipeline
from tests.integration.scratch_system import ScratchSystem, scratch_system
from tests.pipeline import Pipeline
from tests.waiting import eventually
from trueup.model.errors import ConfigurationError
from trueup.model.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

TYPED = {f"c{number}": pg_type for number, pg_type in enumerate(EXACT)}
ROWS = max(len(values) for values in EXACT.values())
OUT_OF_LINE_BYTES = 12_800  # as in Debezium's cases: several chunks of TOAST
HOSTILE = [
    'x"; DROP TABLE y;--',
    "100%",
    "50%s",
    "%(a)s",
    "select",
    "Mixed Case",
    "übergröße",
    "n" * 63,
    "'quoted'",
    "back\\slash",
    "line\nbreak",
]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(value: str | None) -> str:
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


def own(pg_type: str) -> str:
    """A type of OWN_TYPES in its schema; others as they are."""
    made = {statement.split()[2].removeprefix("{0}.") for statement in OWN_TYPES}
    return f"{{0}}.{pg_type}" if pg_type.removesuffix("[]") in made else pg_type


def make_own_types(system: ScratchSystem) -> None:
    for extension in ("citext", "hstore"):
        system.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")
    for statement in OWN_TYPES:
        system.execute(statement.replace("{0}", system.name))


def typed_row(row_id: int, number: int) -> str:
    """INSERT of the nth value of every type; null where a type has fewer."""
    values = [
        f"{literal(values[number] if number < len(values) else None)}::text::{own(pg_type)}"
        for pg_type, values in EXACT.items()
    ]
    return f"INSERT INTO {{0}}.every_type VALUES ({row_id}, {', '.join(values)})"


def all_null(row_id: int) -> str:
    """INSERT of a row with an explicit null in every nullable column that can be written."""
    names = ", ".join(f"c{number}" for number, kind in enumerate(NULLABLE) if "GENERATED" not in kind)
    return f"INSERT INTO {{0}}.nulls (id, {names}) VALUES ({row_id}, {', '.join(['NULL'] * (names.count(',') + 1))})"


def incompressible(seed: int) -> str:
    return random.Random(seed).randbytes(OUT_OF_LINE_BYTES // 2).hex()


def make_nulls(running: ScratchPipeline) -> None:
    names = [f"c{number}" for number in range(len(NULLABLE))]
    nullable = ", ".join(f"{name} {kind}" for name, kind in zip(names, NULLABLE, strict=True))
    running.execute(
        "CREATE DOMAIN {0}.filled AS text DEFAULT 'x'",
        f"CREATE TABLE {{0}}.nulls (id int PRIMARY KEY, {nullable}, spare int, kept text NOT NULL DEFAULT 'x')",
        all_null(1),
        all_null(2),
    )
    running.register("nulls", "id", ["id", *names, "kept"])


def make_tables(running: ScratchPipeline) -> None:
    make_own_types(running.system)
    checks = [f"CHECK ({CHECKS[t].format(name)})" for name, t in TYPED.items() if t in CHECKS]
    columns = [f"{name} {own(pg_type)}" for name, pg_type in TYPED.items()]
    running.execute(f"CREATE TABLE {{0}}.every_type (id int PRIMARY KEY, {', '.join([*columns, *checks])})")
    running.execute(*(typed_row(number, number) for number in range(ROWS)))
    # Rows that are all null in the snapshot, and get their values by updates.
    running.execute(f"INSERT INTO {{0}}.every_type (id) SELECT n FROM generate_series(200, {200 + ROWS}) n")
    running.register("every_type", "id", ["id", *TYPED])

    running.execute("CREATE TABLE {0}.early (id int PRIMARY KEY, day date)")
    running.execute("INSERT INTO {0}.early VALUES (1, '0044-03-15 BC'), (2, '1582-10-10'), (3, '2026-01-05')")
    running.register("early", "id", ["id", "day"])

    running.execute("CREATE TABLE {0}.grids (id int PRIMARY KEY, days date[], moments timestamptz[], words text[])")
    running.register("grids", "id", ["id", "days", "moments", "words"])

    running.execute(
        "CREATE TABLE {0}.wide (id int PRIMARY KEY, note int, t text, b bytea, j jsonb, a text[], n int[], h hstore)",
        *(f"ALTER TABLE {{0}}.wide ALTER {name} SET STORAGE EXTERNAL" for name in "tbjanh"),
    )
    for row_id in range(1, 9):
        text = incompressible(row_id)
        running.execute(
            f"INSERT INTO {{0}}.wide SELECT {row_id}, 0, '{text}', decode('{text}', 'hex'),"
            f" jsonb_build_object('k', '{text}'), ARRAY['{text}', NULL, '{text}'],"
            f" (SELECT array_agg(n) FROM generate_series(1, 4000) n), hstore('k', '{text}')"
        )
    running.register("wide", "id", ["id", "note", *"tbjanh"])

    hostile = ", ".join(f"{quoted(name)} text" for name in HOSTILE)
    running.execute(
        f'CREATE TABLE {{0}}.odd (id int, "Key %s" text, {hostile}, PRIMARY KEY (id, "Key %s"))',
        f"INSERT INTO {{0}}.odd SELECT n, 'k%', {', '.join(['n::text'] * len(HOSTILE))} FROM generate_series(1, 3) n",
    )
    running.register("odd", "id, 'Key %s'", ["id", "Key %s", *HOSTILE])

    running.execute(
        "CREATE TABLE {0}.parted (id int, region text, v int, PRIMARY KEY (id, region)) PARTITION BY LIST (region)",
        "CREATE TABLE {0}.parted_north PARTITION OF {0}.parted FOR VALUES IN ('north')",
        "CREATE TABLE {0}.parted_south PARTITION OF {0}.parted FOR VALUES IN ('south')",
        "INSERT INTO {0}.parted SELECT n, CASE WHEN n % 2 = 0 THEN 'north' ELSE 'south' END, 0"
        " FROM generate_series(1, 10) n",
    )
    running.register("parted", "id, region", ["id", "region", "v"])

    running.execute(
        "CREATE TABLE {0}.made (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        " n int GENERATED BY DEFAULT AS IDENTITY, v int, twice int GENERATED ALWAYS AS (v * 2) STORED)",
        "INSERT INTO {0}.made (v) VALUES (1), (2)",
    )
    running.register("made", "id", ["id", "n", "v", "twice"])

    make_nulls(running)

    running.execute(
        "CREATE TABLE {0}.plain (id int PRIMARY KEY, v int)",
        "INSERT INTO {0}.plain SELECT n, 0 FROM generate_series(1, 20) n",
        "CREATE TABLE {0}.nothing (id int PRIMARY KEY, v int)",
        "ALTER TABLE {0}.nothing REPLICA IDENTITY NOTHING",
        "INSERT INTO {0}.nothing VALUES (1, 0), (2, 0)",
    )
    running.register("plain", "id", ["id", "v"])
    running.register("nothing", "id", ["id", "v"])


@pytest.fixture(scope="module")
def running(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScratchPipeline]:
    with scratch_pipeline(pipeline, tmp_path_factory.mktemp("fidelity")) as made:
        make_tables(made)
        made.start()
        made.system.streams()
        yield made


def test_f38_f39_f40_every_type_arrives_from_snapshot_insert_and_update(running: ScratchPipeline) -> None:
    """F-38, F-39, F-40."""
    running.converges("every_type")
    running.execute(*(typed_row(100 + number, number) for number in range(ROWS)))
    names = ", ".join(TYPED)
    running.execute(
        *(
            f"UPDATE {{0}}.every_type t SET ({names}) = (SELECT {names} FROM {{0}}.every_type WHERE id = {number})"
            f" WHERE t.id = {200 + number}"
            for number in range(ROWS)
        )
    )
    running.converges("every_type")
    assert len(running.copy("every_type")) == 3 * ROWS + 1
    running.clean("every_type")


def test_f39_days_no_snapshot_can_tell_apart_are_refused_and_cured_by_the_log(running: ScratchPipeline) -> None:
    """F-39."""

    def both_refused() -> list[str]:
        letters = running.dead_letters("early")
        assert len(letters) == 2, letters
        return letters

    letters = eventually(both_refused, within_s=60, what="dead letters of early days")
    assert all("ValueInexact" in letter and "day" in letter for letter in letters)
    eventually(lambda: running.copy("early"), within_s=30, what="the other row")
    assert running.copy("early") == {"3": ("3", "2026-01-05")}

    running.execute("UPDATE {0}.early SET day = day WHERE day < '1582-10-25'")
    running.execute("INSERT INTO {0}.early (id, day) VALUES (4, '4713-01-01 BC'), (5, '1582-10-14'), (6, '0001-01-01')")
    running.converges("early")
    running.clean("early")
    assert running.dead_letters("early") == []


def test_arrays_that_could_be_others_are_refused(running: ScratchPipeline) -> None:
    refused = [
        ("days", "{0044-03-15 BC}"),
        ("moments", "{1500-01-01 00:00:00+00}"),
        ("days", "{{2026-01-05},{2026-01-06}}"),
        ("moments", "{NULL,NULL}"),
        ("words", "{{a,b},{c,NULL}}"),
    ]
    for row_id, (column, value) in enumerate(refused):
        running.execute(f"INSERT INTO {{0}}.grids (id, {column}) VALUES ({row_id}, {literal(value)})")
    running.execute("INSERT INTO {0}.grids VALUES (9, '{infinity}', '{}', '{[Ljava}')")

    def all_refused() -> list[str]:
        letters = running.dead_letters("grids")
        assert len(letters) == len(refused), letters
        return letters

    letters = eventually(all_refused, within_s=60, what="dead letters of arrays")
    for column in ("days", "moments", "words"):
        named = [letter for letter in letters if "ValueInexact" in letter and f'column \\"{column}\\"' in letter]
        assert len(named) == sum(name == column for name, _ in refused)
    assert list(running.copy("grids")) == ["9"]
    running.execute("DELETE FROM {0}.grids WHERE id < 9")
    eventually(lambda: not running.dead_letters("grids"), within_s=60, what="the letters are superseded")
    running.converges("grids")


def test_f32_values_out_of_line_survive_updates_that_leave_them_alone(running: ScratchPipeline) -> None:
    """F-32."""
    running.converges("wide")
    # Twice in one transaction, so that one batch has both; then a change of one wide column among the others.
    running.execute("UPDATE {0}.wide SET note = 1 WHERE id <= 3", "UPDATE {0}.wide SET note = 2 WHERE id <= 3")
    running.execute(f"UPDATE {{0}}.wide SET t = '{incompressible(77)}' WHERE id = 2")
    running.execute(
        "UPDATE {0}.wide SET t = '__debezium_unavailable_value', j = '\"__debezium_unavailable_value\"',"
        " a = '{__debezium_unavailable_value}' WHERE id = 3"
    )
    running.at_replica("DELETE FROM {0}.wide WHERE id = 4")  # an update for a row that is not there
    running.execute("UPDATE {0}.wide SET note = 3 WHERE id = 4")
    running.converges("wide")
    assert running.copy("wide")["3"][2] == "__debezium_unavailable_value"
    holes = running.at_replica("SELECT count(*) FROM {0}.wide t WHERE t::text LIKE '%__trueup_unavailable%'")
    assert holes == [(0,)]
    assert running.dead_letters("wide") == []


def test_f33_a_key_changes_while_wide_values_stay_and_two_keys_are_swapped(running: ScratchPipeline) -> None:
    """F-33."""
    running.converges("wide")
    running.execute("UPDATE {0}.wide SET id = 105 WHERE id = 5")
    running.execute(
        "UPDATE {0}.wide SET id = 0 WHERE id = 6",
        "UPDATE {0}.wide SET id = 6 WHERE id = 7",
        "UPDATE {0}.wide SET id = 7 WHERE id = 0",
    )
    running.converges("wide")
    found = running.copy("wide")
    assert "5" not in found
    assert "0" not in found
    assert found["7"][2] == incompressible(6)
    assert found["6"][2] == incompressible(7)
    running.clean("wide")


def test_f31_one_key_is_made_changed_deleted_and_made_again_in_one_transaction(running: ScratchPipeline) -> None:
    """F-31."""
    running.converges("plain")
    running.execute(
        "INSERT INTO {0}.plain VALUES (31, 1)",
        "UPDATE {0}.plain SET v = 2 WHERE id = 31",
        "DELETE FROM {0}.plain WHERE id = 31",
        "INSERT INTO {0}.plain VALUES (31, 3)",
        "DELETE FROM {0}.plain WHERE id = 1",
        "INSERT INTO {0}.plain VALUES (1, 4)",
        "INSERT INTO {0}.plain VALUES (32, 1)",
        "DELETE FROM {0}.plain WHERE id = 32",
    )
    running.converges("plain")
    assert running.copy("plain")["31"] == ("31", "3")
    assert running.dead_letters("plain") == []


def test_f34_deletes_with_and_without_the_old_row_and_of_unknown_rows(running: ScratchPipeline) -> None:
    """F-34."""
    running.converges("plain")
    identity = "SELECT relreplident::text FROM pg_class WHERE oid = '{0}.plain'::regclass".replace("{0}", running.name)
    assert running.system.value(identity) == "d", "before holds the key only"
    running.at_replica("DELETE FROM {0}.plain WHERE id = 5")  # unknown at the replica when its delete arrives
    running.execute("DELETE FROM {0}.plain WHERE id IN (4, 5)")
    running.execute("DELETE FROM {0}.wide WHERE id = 8")  # FULL: before holds the whole row
    running.converges("plain")
    running.converges("wide")
    assert running.dead_letters("plain") == []


def test_f35_a_table_without_identity_gets_one_and_loses_no_change(running: ScratchPipeline) -> None:
    """F-35."""
    identity = "SELECT relreplident::text FROM pg_class WHERE oid = '{0}.nothing'::regclass".replace(
        "{0}", running.name
    )
    assert running.system.value(identity) == "f"
    running.execute("UPDATE {0}.nothing SET v = 1 WHERE id = 1", "DELETE FROM {0}.nothing WHERE id = 2")
    running.converges("nothing")


def test_f44_hostile_names_are_names_and_nothing_else(running: ScratchPipeline) -> None:
    """F-44."""
    running.converges("odd")
    values = ", ".join(literal(f"{name} %s %% $1") for name in HOSTILE)
    running.execute(f"INSERT INTO {{0}}.odd VALUES (10, '%(a)s', {values}), (11, '', {values})")
    running.execute(f"UPDATE {{0}}.odd SET {quoted(HOSTILE[0])} = 'changed' WHERE id = 1")
    running.execute("DELETE FROM {0}.odd WHERE id = 2", "UPDATE {0}.odd SET \"Key %s\" = 'other' WHERE id = 3")
    running.converges("odd")
    assert running.dead_letters("odd") == []
    running.clean("odd")


def test_partitions_of_a_table_are_one_copy_and_rows_move_between_them(running: ScratchPipeline) -> None:
    running.converges("parted")
    running.execute(
        "UPDATE {0}.parted SET v = 1 WHERE id <= 4",
        "UPDATE {0}.parted SET region = 'north' WHERE id = 1",
        "DELETE FROM {0}.parted WHERE id = 2",
        "INSERT INTO {0}.parted_south VALUES (20, 'south', 5)",
    )
    running.converges("parted")
    running.clean("parted")


def test_generated_and_identity_columns_are_copied_as_values(running: ScratchPipeline) -> None:
    running.converges("made")
    running.execute("INSERT INTO {0}.made (v) VALUES (3)", "UPDATE {0}.made SET v = 10 WHERE id = 1")
    running.converges("made")
    assert running.copy("made")["1"] == ("1", "1", "10", "20")


def test_a_null_stays_a_null_beside_a_default(running: ScratchPipeline) -> None:
    running.converges("nulls")
    running.execute(all_null(3), "UPDATE {0}.nulls SET kept = 'y' WHERE id = 1")
    running.converges("nulls")
    assert {row[1:-1] for row in running.copy("nulls").values()} == {(None,) * len(NULLABLE)}
    running.clean("nulls")


@pytest.fixture(scope="module")
def refusal(stack_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What `trueup apply` says of tables with the refused types, each in a table and column of its own."""
    with scratch_system(stack_settings, tmp_path_factory.mktemp("refused")) as system:
        make_own_types(system)
        for number, pg_type in enumerate(REFUSED):
            column = f"c{number} {own(pg_type).replace('{0}', system.name)}"
            system.execute(f"CREATE TABLE {system.name}.r{number} (id int PRIMARY KEY, {column})")
            system.register(f"r{number}", "id")
        system.execute(f"CREATE SEQUENCE {system.name}.tickets")
        for number, kind in enumerate(NULLS_LOST):
            column = f"n{number} {kind.replace('{0}', system.name).replace('{1}', f'n{number}')}"
            system.execute(f"CREATE TABLE {system.name}.n{number} (id int PRIMARY KEY, {column})")
            system.register(f"n{number}", "id")
        with pytest.raises(ConfigurationError) as refused:
            system.plan()
        yield str(refused.value)


@pytest.mark.parametrize(("number", "reason"), list(enumerate(REFUSED.values())), ids=list(REFUSED))
def test_a_type_that_would_not_arrive_exactly_is_refused_by_name(refusal: str, number: int, reason: str) -> None:
    lines = [line for line in refusal.splitlines() if f'"c{number}"' in line]
    assert lines
    assert any(reason in line for line in lines), lines
    after = itertools.dropwhile(lambda line: line != lines[0], refusal.splitlines())
    assert any("hint:" in line for line in itertools.islice(after, 4))


@pytest.mark.parametrize("number", range(len(NULLS_LOST)), ids=NULLS_LOST)
def test_a_column_whose_nulls_would_arrive_as_its_default_is_refused_with_the_cure(refusal: str, number: int) -> None:
    lines = refusal.splitlines()
    (at,) = [place for place, line in enumerate(lines) if f'column "n{number}" is nullable' in line]
    assert "capture cannot tell null from" in lines[at]
    assert any("SET NOT NULL, or DROP" in line for line in lines[at : at + 4])
