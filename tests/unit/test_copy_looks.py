"""Looking at copies: a second time only at those that seem stuck, and a line even for those that do not answer."""

from collections import Counter

import pytest

from trueup.adapters.postgres_proofs import ProofLine
from trueup.core.copy_state import CopyState, copy_state
from trueup.freshness import Freshness
from trueup.model.errors import Refused, TrueUpError, Unreachable
from trueup.model.registration import Copy, Owner, Project, Replica, Source, System, Table, Window
from trueup.runtime.copy_looks import Seen, look_at_copies, look_at_replicas
from trueup.runtime.progress_read import StageProgress, Totals

WINDOW_S = 5.0
ORDERS = Table(
    table="orders",
    owner=Owner(system="shop"),
    source=Source(table="public.orders"),
    key=["id"],
    window=Window(within="5s"),
    replicas=[Copy(replica="reporting"), Copy(replica="warehouse")],
)
SHARED = Table(table="shared", writers=["shop", "warehouse"], source=Source(table="public.shared"), key=["id"])
PROJECT = Project(
    systems={"shop": System(system="shop", kind="postgresql", dsn="${env:A}")},
    replicas={name: Replica(replica=name, kind="postgresql", dsn="${env:A}") for name in ("reporting", "warehouse")},
    tables={"orders": ORDERS},
)


class Servers:
    """What the n-th look finds, at every replica unless it says otherwise."""

    def __init__(
        self, *looks: tuple[float | None, int, int], project: Project = PROJECT, has_view: bool = True
    ) -> None:
        """:param looks: age of as_of, position of applying, records to apply."""
        self.looks, self.project, self.has_view = list(looks), project, has_view
        self.looked = 0
        self.asked: list[str] = []
        self.away: dict[tuple[int, str], TrueUpError] = {}

    def decided(self, tables: list[Table]) -> dict[str, StageProgress]:
        self.looked += 1
        return {table.table: StageProgress(Counter(applied=10), position=10) for table in tables}

    def applied(self, replica: str) -> dict[str, StageProgress]:
        self.asked.append(replica)
        if (self.looked, replica) in self.away:
            raise self.away[self.looked, replica]
        _, position, lag = self.looks[self.looked - 1]
        counts = Counter(applied=position)
        return {t.table: StageProgress(counts, position=position, lag=lag) for t in self._tables(replica)}

    def totals(self, replica: str) -> dict[str, Totals]:
        self.asked.append(replica)
        if (self.looked, replica) in self.away:
            raise self.away[self.looked, replica]
        return {t.table: Totals(Counter(applied=4), 4) for t in self._tables(replica)}

    def freshness(self, replica: str) -> dict[str, Freshness]:
        age, _, _ = self.looks[self.looked - 1]
        fresh = None if age is None else age <= WINDOW_S
        return {
            t.table: Freshness(t.table, "public.t", None, age, None, None, WINDOW_S, fresh, 0, 0)
            for t in self._tables(replica)
            if self.has_view
        }

    def proofs(self, replica: str) -> dict[str, ProofLine]:
        return {}

    def _tables(self, replica: str) -> list[Table]:
        return [table for table, _ in self.project.tables_copied_to(replica)]

    def seen(self) -> Seen:
        return look_at_copies(self, self.project, apart_s=0)


def states(seen: Seen) -> set[CopyState]:
    return {copy_state(copy.look) for copy in seen.copies.values()}


def test_one_look_is_enough_when_nothing_is_late() -> None:
    for age, state in ((1.0, CopyState.FLOWING), (None, CopyState.FILLING)):
        servers = Servers((age, 3, 7))
        assert states(servers.seen()) == {state}
        assert servers.asked == ["reporting", "warehouse"]


@pytest.mark.parametrize(
    ("second", "state"),
    [
        ((8.0, 3, 7), CopyState.STUCK),
        ((8.0, 5, 5), CopyState.SLOW),
        ((0.5, 5, 0), CopyState.IDLE),  # it had missed a heartbeat
    ],
)
def test_late_copies_are_looked_at_again_and_the_last_look_counts(
    second: tuple[float, int, int], state: CopyState
) -> None:
    servers = Servers((6.0, 3, 7), second)
    seen = servers.seen()
    assert states(seen) == {state}
    assert {copy.look.age_s for copy in seen.copies.values()} == {second[0]}
    assert servers.looked == 2


def test_only_the_late_replica_is_asked_again() -> None:
    servers = Servers((6.0, 3, 7), (6.0, 3, 7))
    servers.away[1, "warehouse"] = Unreachable("replica warehouse")
    seen = servers.seen()
    assert servers.asked == ["reporting", "warehouse", "reporting"]
    assert copy_state(seen.copies["orders", "warehouse"].look) is CopyState.UNKNOWN
    assert copy_state(seen.copies["orders", "reporting"].look) is CopyState.STUCK


@pytest.mark.parametrize("error", [Unreachable("replica warehouse"), Refused("no right")])
def test_a_replica_that_does_not_answer_has_its_lines_and_a_problem(error: TrueUpError) -> None:
    servers = Servers((1.0, 3, 0))
    servers.away[1, "warehouse"] = error
    seen = servers.seen()
    assert set(seen.copies) == {("orders", "reporting"), ("orders", "warehouse")}
    away = seen.copies["orders", "warehouse"]
    assert (away.applied, away.look.seen, away.look.window_s) == (None, 10, WINDOW_S)
    (problem,) = seen.problems
    assert problem.what == error.primary
    assert problem.holds("orders", "warehouse")
    assert not problem.holds("orders", "reporting")
    assert seen.unreachable == (["replica warehouse"] if isinstance(error, Unreachable) else [])


def test_a_replica_that_goes_away_between_the_looks_is_not_known() -> None:
    servers = Servers((6.0, 3, 7), (6.0, 3, 7))
    servers.away[2, "warehouse"] = Unreachable("replica warehouse")
    seen = servers.seen()
    assert copy_state(seen.copies["orders", "warehouse"].look) is CopyState.UNKNOWN
    assert seen.unreachable == ["replica warehouse"]


def test_copies_that_do_not_say_what_they_are_as_of_are_judged_by_what_moves() -> None:
    """`trueup apply` was not run since the view came."""
    standing = Servers((None, 3, 7), (None, 3, 7), has_view=False)
    assert states(standing.seen()) == {CopyState.STUCK}
    moving = Servers((None, 3, 7), (None, 5, 5), has_view=False)
    assert states(moving.seen()) == {CopyState.FLOWING}


def test_copies_of_several_writers_have_a_window_as_all_have() -> None:
    project = Project(systems={}, replicas=PROJECT.replicas, tables={"shared": SHARED})
    assert [replica for replica in project.replicas if project.tables_copied_to(replica)] == ["warehouse"]
    assert states(Servers((600.0, 3, 7), (600.0, 3, 7), project=project).seen()) == {CopyState.STUCK}


def test_the_looks_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("trueup.runtime.copy_looks.time.sleep", slept.append)
    look_at_copies(Servers((6.0, 3, 7), (6.0, 3, 7)), PROJECT, apart_s=1.5)
    look_at_copies(Servers((1.0, 3, 7)), PROJECT, apart_s=1.5)
    assert slept == [1.5]


class ReplicasAlone(Servers):
    """Kafka does not answer."""

    def __init__(self, age: float | None, project: Project = PROJECT) -> None:
        super().__init__((age, 0, 0), project=project)
        self.looked = 1

    def decided(self, tables: list[Table]) -> dict[str, StageProgress]:
        raise Unreachable("kafka")

    def applied(self, replica: str) -> dict[str, StageProgress]:
        raise Unreachable("kafka")


@pytest.mark.parametrize(("age", "state"), [(1.0, CopyState.UNKNOWN), (6.0, CopyState.LATE), (None, CopyState.FILLING)])
def test_without_kafka_a_copy_is_what_its_replica_says_and_what_waits_is_not_known(
    age: float | None, state: CopyState
) -> None:
    servers = ReplicasAlone(age)
    seen = look_at_replicas(servers, PROJECT)
    assert states(seen) == {state}
    assert servers.asked == ["reporting", "warehouse"], "once: nothing moves"
    assert (seen.decided, seen.problems, seen.unreachable) == ({}, [], [])
    for copy in seen.copies.values():
        assert (copy.look.seen, copy.look.to_decide, copy.look.to_apply) == (None, None, None)
        assert (copy.look.age_s, copy.look.window_s) == (age, WINDOW_S)
        assert copy.applied == Totals(Counter(applied=4), 4)


def test_without_kafka_a_replica_that_is_away_has_its_lines_and_a_problem_all_the_same() -> None:
    servers = ReplicasAlone(1.0)
    servers.away[1, "warehouse"] = Unreachable("replica warehouse")
    seen = look_at_replicas(servers, PROJECT)
    assert seen.unreachable == ["replica warehouse"]
    assert seen.copies["orders", "warehouse"].applied is None
    assert seen.copies["orders", "reporting"].applied is not None


def test_kafka_that_goes_away_between_two_questions_is_not_the_replicas_fault() -> None:
    servers = Servers((1.0, 3, 0))
    servers.away[1, "warehouse"] = Unreachable("kafka")
    with pytest.raises(Unreachable, match="kafka"):
        servers.seen()
