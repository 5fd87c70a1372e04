"""F-37: the columns of a table change while it is written. The change arrives, or that table stops and says what to do;
the others go on, and nothing is lost once the change is taken over.

Each test has a table of its own, written all the time, beside one that nobody changes.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.integration.scratch_pipeline import ScratchPipeline, scratch_pipeline
from tests.integration.scratch_system import Killed
from tests.pipeline import Pipeline
from tests.waiting import eventually
from trueup.runtime.provision_steps import Fill, RegisterSchema, WriteSchema

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

CALM = "calm"
ROWS = 200
TABLES = {
    CALM: "additive",
    "nullable": "additive",
    "defaulted": "additive",
    "killed": "stop",
    "watched": "stop",
    "ignoring": "ignore",
    "listed": "additive",
    "dropped": "additive",
    "renamed": "additive",
    "widened": "additive",
    "retyped": "additive",
    "reborn": "additive",
    "moods": "stop",
    "keyed": "additive",
    "nulls": "ignore",
    "nulls_added": "additive",
    "undone": "additive",
    "computed": "additive",
}
COLUMNS = ["id", "note", "n"]


class Traffic:
    """Somebody who inserts, updates and deletes until told to stop; only `id` and `n` are touched."""

    def __init__(self, dsn: str, table: str) -> None:
        self._dsn, self._table = dsn, table
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._write, name=f"traffic on {table}")
        self.written = 0

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._thread.join()

    def goes_on(self, more: int = 20) -> None:
        """Wait until so many more transactions are committed."""
        wanted = self.written + more
        eventually(lambda: self.written >= wanted, within_s=30, what="traffic goes on")

    def _write(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            number = 10_000
            while not self._leaving.wait(0.02):
                number += 1
                connection.execute(f"INSERT INTO {self._table} (id, n) VALUES ({number}, 0)".encode())
                connection.execute(f"UPDATE {self._table} SET n = n + 1 WHERE id % 50 = {number % 50}".encode())
                if number % 3 == 0:
                    connection.execute(f"DELETE FROM {self._table} WHERE id = {number - 1}".encode())
                self.written += 1


class Changing:
    """One table under traffic, and the calm one beside it."""

    def __init__(self, running: ScratchPipeline, table: str, traffic: Traffic) -> None:
        self.running, self.table, self.traffic = running, table, traffic

    def alter(self, *statements: str) -> None:
        """With traffic before and after; `{t}` is the table."""
        self.traffic.goes_on()
        self.running.execute(*(statement.replace("{t}", f"{{0}}.{self.table}") for statement in statements))
        self.traffic.goes_on()

    def stops(self, *words: str, cure: str, what: str = "the columns of") -> None:
        """Wait until status names the stopped table and what to do, and the log the change; others go on."""
        place = f'{what} "{self.running.name}.{self.table}" changed at the source'

        def named() -> bool:
            found = [problem for problem in self.running.problems() if place in problem["what"]]
            assert found, self.running.problems()
            assert cure in found[0]["next"], found
            return True

        eventually(named, within_s=60, what="status names the stopped table and its cure")
        said = [line for line in self.running.log("decide").splitlines() if self.table in line and "stopped" in line]
        assert any(all(word in line for word in words) for line in said), said
        self.others_go_on()

    def _has_columns(self) -> bool:
        try:
            return bool(self.running.copy(self.table))
        except psycopg.errors.UndefinedColumn:
            return False

    def others_go_on(self) -> None:
        self.running.execute(f"UPDATE {{0}}.{CALM} SET n = n + 1")
        self.running.converges(CALM, within_s=30)

    def apply(self, *arguments: str) -> None:
        ran = self.running.trueup("apply", *arguments)
        assert ran.returncode == 0, ran.stderr

    def applies_at_last(self, *arguments: str) -> None:
        """A rebuild waits until the rows that were read again are there."""

        def done() -> bool:
            ran = self.running.trueup("apply", *arguments)
            assert ran.returncode == 0, ran.stderr
            return True

        eventually(done, within_s=90, what="the copy is filled anew")

    def arrives(self, columns: list[str]) -> None:
        """Under traffic first, then to the last row; nothing is left in the dead letters."""
        self.running.compare(self.table, columns)
        eventually(self._has_columns, within_s=60, what=f"the copy of {self.table} has {columns}")
        self.traffic.goes_on()
        self.traffic.__exit__()
        self.running.converges(self.table, within_s=90)
        assert self.running.dead_letters(self.table) == []
        self.running.clean(self.table)


@pytest.fixture(scope="module")
def running(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScratchPipeline]:
    with scratch_pipeline(pipeline, tmp_path_factory.mktemp("evolve")) as made:
        made.execute("CREATE TYPE {0}.mood AS ENUM ('sad', 'happy')")
        for table, policy in TABLES.items():
            mood = ", mood {0}.mood" if table == "moods" else ""
            made.execute(
                f"CREATE TABLE {{0}}.{table} (id bigint PRIMARY KEY, note text, n int, amount numeric(6,2),"
                f" code varchar(5){mood})",
                f"INSERT INTO {{0}}.{table} SELECT g, 'note ' || g, 0, g, 'c' FROM generate_series(1, {ROWS}) g",
            )
            if table == "listed":
                continue
            made.register(table, "id", COLUMNS, f"evolve: {policy}\n")
        made.compare("listed", COLUMNS)
        columns = "columns: {id: id, note: note, n: n}"
        made.system.register("listed", "id", f"evolve: additive\nreplicas:\n  - replica: warehouse\n    {columns}\n")
        made.start()
        for table in TABLES:
            made.converges(table)
        yield made


@contextmanager
def changing(running: ScratchPipeline, table: str) -> Iterator[Changing]:
    with Traffic(running.dsn("shop"), f"{running.name}.{table}") as traffic:
        yield Changing(running, table, traffic)


def test_an_added_nullable_column_arrives_by_itself(running: ScratchPipeline) -> None:
    with changing(running, "nullable") as table:
        table.alter("ALTER TABLE {t} ADD COLUMN extra text")
        running.execute("UPDATE {0}.nullable SET extra = 'late ' || id WHERE id % 7 = 0")
        table.others_go_on()
        table.arrives([*COLUMNS, "extra"])
    assert running.copy("nullable")["7"][3] == "late 7"


def test_columns_with_defaults_are_filled_in_rows_nobody_touched(running: ScratchPipeline) -> None:
    """PostgreSQL's fast default writes no log, nor does the rewrite for a volatile one."""
    with changing(running, "defaulted") as table:
        table.alter(
            "ALTER TABLE {t} ADD COLUMN state text NOT NULL DEFAULT 'open'",
            "ALTER TABLE {t} ADD COLUMN dice text NOT NULL DEFAULT md5(random()::text)",
        )
        table.arrives([*COLUMNS, "state", "dice"])
    assert running.copy("defaulted")["199"][3] == "open"
    assert running.copy("defaulted")["199"][4] is not None


def test_a_generated_column_is_not_read_again_and_the_connector_lives(running: ScratchPipeline) -> None:
    """The request would end Debezium's task at each start (dbz#2020). A resync brings the column; or take it back."""
    with changing(running, "computed") as table:
        table.alter("ALTER TABLE {t} ADD COLUMN twice int GENERATED ALWAYS AS (n * 2) STORED")
        table.stops("added: twice", cure="trueup apply")
        refused = running.trueup("apply")
        assert refused.returncode == 2
        assert 'column "twice" is generated' in refused.stderr
        assert f"trueup resync {running.name} --take-columns" in refused.stderr
        table.alter("ALTER TABLE {t} DROP COLUMN twice")
        table.apply()
        table.arrives(COLUMNS)


def test_a_default_given_to_a_nullable_column_stops_the_table_and_no_null_becomes_the_default(
    running: ScratchPipeline,
) -> None:
    """Connect would write the default where the value is null."""
    with changing(running, "nulls") as table:
        table.alter(
            "UPDATE {t} SET note = NULL WHERE id = 7",
            "ALTER TABLE {t} ALTER COLUMN note SET DEFAULT 'default'",
            "INSERT INTO {t} (id, note, n) VALUES (5001, NULL, 0), (5002, 'own', 0)",
        )
        table.stops("null cannot be told from the default: note", cure="SET NOT NULL")
        refused = running.trueup("apply")
        assert refused.returncode == 2
        assert 'column "note" is nullable and has a default' in refused.stderr
        table.alter("ALTER TABLE {t} ALTER COLUMN note DROP DEFAULT")
        table.apply()
        table.arrives(COLUMNS)
    found = running.copy("nulls")
    assert (found["7"][1], found["5001"][1], found["5002"][1]) == (None, None, "own")


@pytest.mark.long
def test_an_added_nullable_column_with_a_default_is_not_taken_over_before_it_is_not_null(
    running: ScratchPipeline,
) -> None:
    with changing(running, "nulls_added") as table:
        table.alter("ALTER TABLE {t} ADD COLUMN extra text DEFAULT 'x'")
        table.stops("added: extra", "null cannot be told from the default: extra", cure="SET NOT NULL")
        table.alter("ALTER TABLE {t} ALTER COLUMN extra SET NOT NULL")
        table.arrives([*COLUMNS, "extra"])
    assert running.copy("nulls_added")["199"][3] == "x"


@pytest.mark.long
def test_a_policy_of_stop_waits_for_a_person_and_loses_nothing(running: ScratchPipeline) -> None:
    with changing(running, "watched") as table:
        table.alter("ALTER TABLE {t} ADD COLUMN extra text NOT NULL DEFAULT 'x'")
        table.stops("added: extra", "evolve: stop", cure="trueup apply")
        before = running.copy("watched")
        table.alter("ALTER TABLE {t} ADD COLUMN more int")
        table.others_go_on()
        assert running.copy("watched") == before, "it stands still"
        table.apply()
        table.arrives([*COLUMNS, "extra", "more"])


@pytest.mark.long
def test_a_take_over_that_is_killed_before_any_step_is_completed_by_the_next(running: ScratchPipeline) -> None:
    with changing(running, "killed") as table:
        table.alter("ALTER TABLE {t} ADD COLUMN extra text NOT NULL DEFAULT 'x'")
        table.stops("added: extra", cure="trueup apply")
        for deadly in (Fill, RegisterSchema, WriteSchema):
            with pytest.raises(Killed):
                running.system.apply(killed_before=deadly)
        table.apply()
        table.arrives([*COLUMNS, "extra"])


def test_a_policy_of_ignore_goes_on_without_the_column_and_still_stops_when_one_is_taken_away(
    running: ScratchPipeline,
) -> None:
    with changing(running, "ignoring") as table:
        table.alter("ALTER TABLE {t} ADD COLUMN extra text NOT NULL DEFAULT 'x'")
        table.traffic.goes_on()
        running.execute("UPDATE {0}.ignoring SET note = 'after' WHERE id = 5")
        eventually(lambda: running.copy("ignoring")["5"][1] == "after", within_s=30, what="it goes on")
        table.apply()
        assert ("extra",) not in running.at_replica(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = '{0}' AND table_name = 'ignoring'"
        )
        table.alter("ALTER TABLE {t} DROP COLUMN note")
        table.stops("gone: note", cure="trueup apply --rebuild")
        table.applies_at_last("--rebuild")
        table.arrives(["id", "n"])


@pytest.mark.long
def test_a_copy_that_lists_its_columns_gets_no_other(running: ScratchPipeline) -> None:
    with changing(running, "listed") as table:
        table.alter("ALTER TABLE {t} ADD COLUMN extra text NOT NULL DEFAULT 'x'")
        table.arrives(COLUMNS)
    found = running.at_replica(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = '{0}' AND table_name = 'listed'"
    )
    assert {name for (name,) in found} == {"id", "note", "n", "_trueup_version"}


def test_a_dropped_column_stops_the_table_until_its_copies_are_rebuilt(running: ScratchPipeline) -> None:
    with changing(running, "dropped") as table:
        table.alter("ALTER TABLE {t} DROP COLUMN note")
        table.stops("gone: note", cure="trueup apply --rebuild")
        refused = running.trueup("apply")
        assert refused.returncode == 2
        assert 'column "note" is removed' in refused.stderr
        table.applies_at_last("--rebuild")
        table.arrives(["id", "n"])


def test_a_column_that_was_taken_over_and_is_taken_away_again_stops_the_table(running: ScratchPipeline) -> None:
    """What is captured then is in the schema of before, which has the id of before. Given again, its rows are read."""
    with changing(running, "undone") as table:
        table.alter("ALTER TABLE {t} ADD COLUMN extra text")
        table.arrives([*COLUMNS, "extra"])
    running.execute("ALTER TABLE {0}.undone DROP COLUMN extra", "UPDATE {0}.undone SET n = n + 1 WHERE id < 9")
    table.stops("gone: extra", cure="trueup apply --rebuild")
    running.execute("ALTER TABLE {0}.undone ADD COLUMN extra text", "UPDATE {0}.undone SET extra = 'x' WHERE id = 3")
    table.apply("--reread", f"{running.name}_undone")
    running.converges("undone", within_s=90)
    assert running.dead_letters("undone") == []
    running.clean("undone")


@pytest.mark.long
def test_a_renamed_column_keeps_its_values(running: ScratchPipeline) -> None:
    with changing(running, "renamed") as table:
        table.alter("ALTER TABLE {t} RENAME COLUMN note TO remark")
        table.stops("added: remark; gone: note", cure="trueup apply --rebuild")
        table.applies_at_last("--rebuild")
        table.arrives(["id", "remark", "n"])
    assert running.copy("renamed")["199"][1] == "note 199"


@pytest.mark.long
def test_wider_types_stop_the_table_before_a_copy_cuts_what_it_does_not_hold(running: ScratchPipeline) -> None:
    with changing(running, "widened") as table:
        running.compare("widened", ["id", "n", "amount", "code"])
        table.alter("ALTER TABLE {t} ALTER n TYPE bigint, ALTER amount TYPE numeric(9,3), ALTER code TYPE varchar(9)")
        running.execute("UPDATE {0}.widened SET n = 5000000000, amount = 999999.125, code = '123456789' WHERE id = 3")
        table.stops("n was integer and is bigint", "amount was numeric(6,2)", cure="trueup apply --rebuild")
        table.applies_at_last("--rebuild")
        table.arrives(["id", "n", "amount", "code"])
    assert running.copy("widened")["3"][2:] == ("999999.125", "123456789")


@pytest.mark.long
def test_a_type_the_truth_cannot_follow_is_refused_and_can_be_taken_back(running: ScratchPipeline) -> None:
    with changing(running, "retyped") as table:
        table.alter("ALTER TABLE {t} ALTER note TYPE int USING length(note)")
        table.stops("note was text and is integer", cure="trueup apply")
        refused = running.trueup("apply", "--rebuild")
        assert refused.returncode == 2
        assert f'"{running.name}_retyped" cannot follow' in refused.stderr
        assert "give the column its former type back" in refused.stderr
        table.alter("ALTER TABLE {t} ALTER note TYPE text USING 'was ' || note")
        table.apply()
        table.arrives(COLUMNS)


def test_a_column_dropped_and_added_with_another_type_is_not_read_as_the_old_one(running: ScratchPipeline) -> None:
    """Text and numeric are both text in Avro: only the schema's word for the type tells them apart."""
    with changing(running, "reborn") as table:
        running.execute("UPDATE {0}.reborn SET note = '17' WHERE id = 4")
        table.alter("ALTER TABLE {t} DROP COLUMN note", "ALTER TABLE {t} ADD COLUMN note numeric")
        running.execute("UPDATE {0}.reborn SET note = 3.50 WHERE id = 5")
        table.stops("note was text and is numeric", cure="trueup apply --rebuild")
        table.applies_at_last("--rebuild")
        table.arrives(["id", "n", "note"])
    assert running.copy("reborn")["4"][2] is None
    assert running.copy("reborn")["5"][2] == "3.50"


@pytest.mark.long
def test_a_value_added_to_an_enum_arrives_as_it_is(running: ScratchPipeline) -> None:
    with changing(running, "moods") as table:
        running.system.execute(f"ALTER TYPE {running.name}.mood ADD VALUE 'furious'")
        running.execute("UPDATE {0}.moods SET mood = 'furious' WHERE id = 1")
        table.arrives([*COLUMNS, "mood"])


@pytest.mark.long
def test_another_key_stops_the_table_and_a_new_epoch_leads_on(running: ScratchPipeline) -> None:
    """The registered key stays unique, so that the connector can write it again."""
    with changing(running, "keyed") as table:
        table.alter("ALTER TABLE {t} DROP CONSTRAINT keyed_pkey", "ALTER TABLE {t} ADD PRIMARY KEY (id, n)")
        table.stops("columns id, n, registered are id", what="the key of", cure=f"trueup resync {running.name}")
        table.alter("ALTER TABLE {t} ADD UNIQUE (id)")
        ran = running.trueup("resync", running.name, "--yes")
        assert ran.returncode == 0, ran.stderr
        table.arrives(COLUMNS)
