"""Several writers of one table on the real stack: the last write wins, whichever arrives first, and nothing loops."""

import datetime
from collections.abc import Iterator

import pytest

from tests.integration.two_writers import Row, TwoWriters, moment, two_writers
from tests.pipeline import Pipeline
from tests.waiting import always, eventually
from trueup.model.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

LAST_WRITE_WINS = "conflicts: {{policy: last_write_wins}}\nversion: {{column: updated_at, uncertainty: 2s}}"
PREFER_A = "conflicts: {{policy: prefer, system: {a}}}"
MANY = 1_000


@pytest.fixture(scope="module")
def shared(
    pipeline: Pipeline, stack_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TwoWriters]:
    """Both writers had rows before: the same, their own, and three that differ."""
    folder = tmp_path_factory.mktemp("writers")
    with two_writers(pipeline, stack_settings, folder, LAST_WRITE_WINS) as made:
        for writer, first, last in ((made.a, 1, 200), (made.b, 101, 300)):
            rows = f"SELECT n, 'as ever', '{moment(0)}' FROM generate_series({first}, {last}) n"
            made.query(writer, f"INSERT INTO customers (id, name, updated_at) {rows}")
            made.query(writer, "ALTER TABLE customers DISABLE TRIGGER sign; UPDATE customers SET signed = 'before';"
                               " ALTER TABLE customers ENABLE TRIGGER sign")  # fmt: skip
        made.write(made.a, 101, "newer at a", 100)
        made.write(made.b, 102, "newer at b", 100)
        made.start()
        made.equal(within_s=90)
        yield made


def test_tables_that_were_filled_before_become_one(shared: TwoWriters) -> None:
    shared.everywhere({101: shared.row(shared.a, "newer at a", 100), 102: shared.row(shared.b, "newer at b", 100)})
    assert set(range(1, 301)) <= shared.rows(shared.r).keys()
    shared.verified()


def test_inserts_updates_and_deletes_of_both_reach_all_and_nothing_goes_round(shared: TwoWriters) -> None:
    shared.verified()
    before = shared.captured()
    for writer, base in ((shared.a, 10_000), (shared.b, 20_000)):
        shared.write(writer, base, "inserted", 10)
        shared.write(writer, base + 1, "inserted", 10)
        shared.write(writer, base + 1, "updated", 20)
        shared.write(writer, base + 2, "inserted", 10)
        shared.query(writer, f"DELETE FROM customers WHERE id = {base + 2}")
    expected: dict[int, Row | None] = {}
    for writer, base in ((shared.a, 10_000), (shared.b, 20_000)):
        expected |= {
            base: shared.row(writer, "inserted", 10),
            base + 1: shared.row(writer, "updated", 20),
            base + 2: None,
        }
    shared.everywhere(expected)

    # Each changes and deletes what the other had made: made upon what is held, so no conflict, whatever the clock says.
    shared.write(shared.b, 10_000, "b upon a", 5)
    shared.query(shared.b, "DELETE FROM customers WHERE id = 10001")
    shared.write(shared.a, 20_000, "a upon b", 5)
    shared.write(shared.a, 20_002, "again", 30)
    shared.everywhere(
        {
            10_000: shared.row(shared.b, "b upon a", 5),
            10_001: None,
            20_000: shared.row(shared.a, "a upon b", 5),
            20_002: shared.row(shared.a, "again", 30),
        }
    )
    shared.verified()
    assert shared.captured() - before == 2 * 5 + 4, "exactly what was changed at the writers themselves"
    totals = shared.decided()
    assert totals.get("escalated", 0) == totals.get("rejected", 0) == 0


@pytest.mark.parametrize("late", ["the older", "the newer"])
def test_the_last_write_wins_whichever_arrives_first(shared: TwoWriters, late: str) -> None:
    key = {"the older": 30_000, "the newer": 30_001}[late]
    shared.write(shared.a, key, "base", 0)
    shared.everywhere({key: shared.row(shared.a, "base", 0)})
    b_at, a_at = (50, 100) if late == "the older" else (100, 50)
    with shared.held_back(shared.b):
        shared.write(shared.b, key, "by b", b_at)
        shared.write(shared.a, key, "by a", a_at)
        shared.write(shared.a, key + 100, "passed", 0)
        # At b its own change stays while it is the newer one; where it is the older one it is overtaken at once.
        first: dict[int, Row | None] = {key: shared.row(shared.a, "by a", a_at)}
        if late == "the older":
            shared.everywhere(first)
        else:
            eventually_at(shared, shared.r, key, "by a")
            eventually_at(shared, shared.b, key + 100, "passed")
            assert shared.rows(shared.b)[key] == shared.row(shared.b, "by b", b_at)
    winner, at_s = ("by a", a_at) if late == "the older" else ("by b", b_at)
    shared.verified()
    shared.everywhere({key: shared.row(shared.a if winner == "by a" else shared.b, winner, at_s)})
    shared.verified()


def eventually_at(shared: TwoWriters, place: str, key: int, name: str) -> None:
    eventually(lambda: shared.rows(place).get(key, ("",))[0] == name, within_s=40, what=f"{name} at {place}")


def test_a_copy_is_as_of_what_the_writer_that_is_known_least_far_is(shared: TwoWriters) -> None:
    def as_of() -> list[datetime.datetime]:
        """At both writers and at the replica."""
        said = f"SELECT as_of FROM trueup.freshness WHERE table_name = '{shared.table}' AND as_of IS NOT NULL"
        return [moment for place in shared.databases for (moment,) in shared.query(place, said)]  # type: ignore[misc]

    def all_after(moment: datetime.datetime) -> bool:
        return len(found := as_of()) == 3 and min(found) > moment

    eventually(lambda: len(as_of()) == 3, within_s=40, what="all three say as of when they are")
    with shared.held_back(shared.b):
        stopped_at = now(shared, shared.b)
        shared.write(shared.b, 32_000, "not captured yet", 10)
        written_at = now(shared, shared.b)
        shared.write(shared.a, 32_001, "passed", 10)
        eventually_at(shared, shared.r, 32_001, "passed")
        always(lambda: assert_none_after(as_of(), stopped_at), for_s=3, every_s=0.3)
    eventually(lambda: all_after(written_at), within_s=60, what="as_of moves on")
    for place in shared.databases:
        assert shared.rows(place)[32_000] == shared.row(shared.b, "not captured yet", 10), "what as_of promises"


def now(shared: TwoWriters, place: str) -> datetime.datetime:
    ((moment,),) = shared.query(place, "SELECT clock_timestamp()")
    assert isinstance(moment, datetime.datetime)
    return moment


def assert_none_after(found: list[datetime.datetime], moment: datetime.datetime) -> None:
    assert found, "it is known"
    assert max(found) <= moment


@pytest.mark.long
def test_a_newer_change_on_its_way_is_not_overwritten_by_an_older_one(shared: TwoWriters) -> None:
    shared.write(shared.a, 31_000, "base", 0)
    shared.everywhere({31_000: shared.row(shared.a, "base", 0)})
    with shared.held_back(shared.b):
        shared.write(shared.b, 31_000, "on its way", 90)
        shared.write(shared.a, 31_000, "older", 40)
        shared.write(shared.a, 31_001, "behind it", 40)
        eventually_at(shared, shared.b, 31_001, "behind it")
        always(
            lambda: assert_row(shared, shared.b, 31_000, shared.row(shared.b, "on its way", 90)), for_s=1, every_s=0.2
        )
    shared.everywhere({31_000: shared.row(shared.b, "on its way", 90)})
    shared.verified()


def assert_row(shared: TwoWriters, place: str, key: int, expected: object) -> None:
    assert shared.rows(place).get(key) == expected


@pytest.mark.long
def test_deletes_and_updates_that_cross(shared: TwoWriters) -> None:
    """A delete is as new as the row it deletes: an update that did not know of it is newer, and brings it back."""
    shared.write(shared.a, 32_000, "base", 0)
    shared.everywhere({32_000: shared.row(shared.a, "base", 0)})
    with shared.held_back(shared.b):
        shared.write(shared.b, 32_000, "kept by b", 90)
        shared.query(shared.a, "DELETE FROM customers WHERE id = 32000")
        shared.write(shared.a, 32_001, "passed", 0)
        eventually_at(shared, shared.b, 32_001, "passed")
    shared.everywhere({32_000: shared.row(shared.b, "kept by b", 90)})
    shared.verified()


def test_a_thousand_customers_of_both_converge(shared: TwoWriters) -> None:
    """Each writer touches all of them, at times that differ by more than the window."""
    rows = f"SELECT n, 'base', '{moment(0)}' FROM generate_series(50001, {50_000 + MANY}) n"
    shared.query(shared.a, f"INSERT INTO customers (id, name, updated_at) {rows}")
    shared.equal()
    touched = "UPDATE customers SET name = '{0}', updated_at = timestamptz '{1}' + id % 7 * {2} * interval '10 s'"
    with shared.held_back(shared.b):
        for writer, sign in ((shared.a, 1), (shared.b, -1)):
            statement = touched.format(f"by {writer}", moment(605), sign)
            shared.query(writer, f"{statement} WHERE id > 50000 AND id <= {50_000 + MANY} AND id % 7 > 0")
    shared.equal()
    winners = {name for key, (name, _, _) in shared.rows(shared.r).items() if 50_000 < key <= 50_000 + MANY}
    assert winners == {"base", f"by {shared.a}"}
    shared.verified()


def test_authority_names_writers_and_policy(shared: TwoWriters) -> None:
    shown = shared.trueup("authority", "--json").stdout
    assert f'"writers":["{shared.a}","{shared.b}"]' in shown.replace(" ", "").replace("\n", "")
    assert "last write wins" in shown


@pytest.mark.long
def test_a_writer_that_lost_its_slot_gets_back_what_it_lacks(shared: TwoWriters) -> None:
    """`trueup resync` of one writer: what its snapshot does not bring the others have, so it is written there again."""
    for key in range(60_000, 60_020):
        shared.write(shared.a, key, "base", 0)
    shared.equal()
    with shared.held_back(shared.b):
        shared.query(shared.b, f"SELECT pg_drop_replication_slot('trueup_{shared.b}')")
        shared.query(shared.b, "DELETE FROM customers WHERE id BETWEEN 60000 AND 60004")
        shared.write(shared.b, 60_010, "while blind", 500)
        shared.write(shared.b, 60_030, "inserted while blind", 500)
    ran = shared.trueup("resync", shared.b, "--yes", "--timeout", "120")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    shared.everywhere(
        {
            60_000: shared.row(shared.a, "base", 0),
            60_010: shared.row(shared.b, "while blind", 500),
            60_030: shared.row(shared.b, "inserted while blind", 500),
        },
        within_s=60,
    )
    shared.equal()
    shared.verified()
    shared.write(shared.a, 60_011, "after", 600)
    shared.write(shared.b, 60_012, "after", 600)
    shared.everywhere({60_011: shared.row(shared.a, "after", 600), 60_012: shared.row(shared.b, "after", 600)})


@pytest.mark.long
def test_what_the_preferred_writer_said_is_restored_where_it_was_overwritten(
    pipeline: Pipeline, stack_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Without a version column only the log tells its database that its own change is the one that counts."""
    with two_writers(pipeline, stack_settings, tmp_path_factory.mktemp("prefer"), PREFER_A) as made:
        made.write(made.a, 1, "base", 0)
        made.start()
        made.everywhere({1: made.row(made.a, "base", 0)}, within_s=90)
        with made.held_back(made.a):
            made.write(made.a, 1, "by a", 0)
            made.write(made.b, 1, "by b", 0)
            made.everywhere({1: made.row(made.b, "by b", 0)})
        made.everywhere({1: made.row(made.a, "by a", 0)})
        with made.held_back(made.b):
            made.write(made.b, 1, "by b", 0)
            made.write(made.a, 1, "by a again", 0)
            made.everywhere({1: made.row(made.a, "by a again", 0)})
        made.verified()
        made.everywhere({1: made.row(made.a, "by a again", 0)})
