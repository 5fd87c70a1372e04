"""The state of a copy: every edge, and what holds of all of them; and the next command."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.copy_state import (
    FINE,
    RANK,
    WATCH,
    CopyLook,
    CopyState,
    copy_state,
    has_moved,
    next_command,
)
from trueup.core.status_problems import Problem, Scope, kafka_away

AT_REST = CopyLook(table="orders", replica="reporting", seen=10, to_decide=0, window_s=5, age_s=1)
KAFKA_AWAY = msgspec.structs.replace(AT_REST, seen=None, to_decide=None, to_apply=None)
WITHOUT_VIEW = msgspec.structs.replace(AT_REST, has_watermark=False, age_s=None)
ALL_WORKERS = {("decide", ""): "decide", ("apply", "reporting"): "apply-reporting-2"}


def look(base: CopyLook = AT_REST, **changes: object) -> CopyLook:
    return msgspec.structs.replace(base, **changes)


def stop(tables: tuple[str, ...] | None, replica: str | None = None) -> Problem:
    return Problem(what="it stopped", next="mend it", about=Scope(tables=tables, replica=replica), stops=True)


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (look(), CopyState.IDLE),
        (look(age_s=5), CopyState.IDLE),
        (look(age_s=-1), CopyState.IDLE),
        (look(age_s=5.001), CopyState.STUCK),
        (look(age_s=5.001, moved=True), CopyState.SLOW),
        (look(to_apply=1), CopyState.FLOWING),
        (look(to_decide=1), CopyState.FLOWING),
        (look(to_apply=1, moved=True), CopyState.FLOWING),
        (look(age_s=6, to_decide=1), CopyState.STUCK),
        (look(age_s=6, to_apply=1, moved=True), CopyState.SLOW),
        (look(age_s=None), CopyState.FILLING),
        (look(age_s=None, to_apply=1), CopyState.FILLING),
        (look(age_s=None, seen=0), CopyState.FILLING),
        (look(seen=0), CopyState.IDLE),
        (look(answered=False, age_s=None), CopyState.UNKNOWN),
        (look(answered=False, age_s=None, seen=0, has_watermark=False), CopyState.UNKNOWN),
        (look(WITHOUT_VIEW), CopyState.IDLE),
        (look(WITHOUT_VIEW, seen=0), CopyState.FILLING),
        (look(WITHOUT_VIEW, to_apply=1, moved=True), CopyState.FLOWING),
        (look(WITHOUT_VIEW, to_apply=1), CopyState.STUCK),
        (look(WITHOUT_VIEW, to_decide=1), CopyState.STUCK),
        (look(KAFKA_AWAY), CopyState.UNKNOWN),
        (look(KAFKA_AWAY, age_s=5), CopyState.UNKNOWN),
        (look(KAFKA_AWAY, age_s=5.001), CopyState.LATE),
        (look(KAFKA_AWAY, age_s=None), CopyState.FILLING),
        (look(KAFKA_AWAY, age_s=None, has_watermark=False), CopyState.UNKNOWN),
        (look(KAFKA_AWAY, age_s=None, answered=False), CopyState.UNKNOWN),
    ],
)
def test_each_edge(seen: CopyLook, state: CopyState) -> None:
    assert copy_state(seen) is state


@pytest.mark.parametrize(
    ("problem", "state"),
    [
        (stop(None), CopyState.STOPPED),
        (stop(("stock", "orders")), CopyState.STOPPED),
        (stop(("orders",), "reporting"), CopyState.STOPPED),
        (stop(("orders",), "warehouse"), CopyState.IDLE),
        (stop(("stock",)), CopyState.IDLE),
        (stop(()), CopyState.IDLE),
        (msgspec.structs.replace(stop(None), stops=False), CopyState.IDLE),
        (msgspec.structs.replace(stop(None), about=None), CopyState.IDLE),
    ],
)
def test_stopped_is_a_copy_that_a_problem_stops(problem: Problem, state: CopyState) -> None:
    assert copy_state(AT_REST, [problem]) is state


WITH_KAFKA = st.builds(
    CopyLook,
    table=st.just("orders"),
    replica=st.just("reporting"),
    seen=st.integers(0, 3),
    to_decide=st.integers(0, 3),
    to_apply=st.integers(0, 3),
    window_s=st.sampled_from([0.5, 5.0]),
    answered=st.booleans(),
    has_watermark=st.booleans(),
    age_s=st.none() | st.floats(-1, 10),
    moved=st.booleans(),
)
WITHOUT_KAFKA = WITH_KAFKA.map(lambda seen: look(seen, seen=None, to_decide=None, to_apply=None, moved=False))
LOOKS = WITH_KAFKA | WITHOUT_KAFKA


@given(LOOKS)
def test_older_than_its_window_is_what_the_alert_says(seen: CopyLook) -> None:
    """TrueUpCopyStuck fires on age > window; TrueUpCopyNotProven on an age that is not known."""
    if seen.answered and seen.has_watermark:
        is_late = seen.age_s is not None and seen.age_s > seen.window_s
        assert (copy_state(seen) in {CopyState.STUCK, CopyState.SLOW, CopyState.LATE}) == is_late
        assert (copy_state(seen) is CopyState.FILLING) == (seen.age_s is None)


@given(LOOKS)
def test_late_is_what_is_said_without_kafka_and_never_idle_or_flowing(seen: CopyLook) -> None:
    without = look(seen, seen=None, to_decide=None, to_apply=None)
    assert copy_state(without) not in {CopyState.IDLE, CopyState.FLOWING, CopyState.STUCK, CopyState.SLOW}
    if seen.waiting is not None:
        assert copy_state(seen) is not CopyState.LATE


@given(LOOKS, st.floats(0, 10))
def test_growing_older_never_makes_it_better(seen: CopyLook, more_s: float) -> None:
    if seen.age_s is not None:
        older = look(seen, age_s=seen.age_s + more_s)
        assert RANK[copy_state(older)] <= RANK[copy_state(seen)]


@given(LOOKS)
def test_moving_never_makes_it_worse(seen: CopyLook) -> None:
    assert RANK[copy_state(look(seen, moved=False))] <= RANK[copy_state(look(seen, moved=True))]


@given(LOOKS, st.lists(st.sampled_from([stop(None), stop(("stock",)), Problem(what="w", next="n", about=Scope())])))
def test_whoever_is_not_fine_is_told_what_to_run(seen: CopyLook, problems: list[Problem]) -> None:
    state = copy_state(seen, problems)
    step = next_command(state, seen, problems, {})
    assert (step is None) == (state in FINE)


@pytest.mark.parametrize(
    ("before", "after", "to_apply", "moved"),
    [
        ((5, 5), (5, 5), 0, False),
        ((5, 5), (5, 6), 3, True),
        ((5, 5), (9, 5), 3, False),
        ((5, 5), (9, 5), 0, True),
        ((5, 9), (5, 2), 3, True),
    ],
)
def test_what_is_decided_is_no_progress_of_a_copy_that_does_not_apply(
    before: tuple[int, int], after: tuple[int, int], to_apply: int, moved: bool
) -> None:
    assert has_moved(before, after, to_apply) is moved


def test_the_problem_of_the_fewest_copies_knows_best() -> None:
    everybody = Problem(what="no registry", next="start it", about=Scope())
    nobody = Problem(what="an open case", next="trueup cases list")
    its_worker = Problem(what="no worker", next="trueup worker apply reporting", about=Scope(replica="reporting"))
    late = look(age_s=9)
    assert next_command(CopyState.STUCK, late, [nobody, everybody, its_worker], ALL_WORKERS) == its_worker.next
    assert next_command(CopyState.STUCK, late, [nobody, everybody], ALL_WORKERS) == everybody.next
    assert next_command(CopyState.STOPPED, late, [its_worker, stop(None)], ALL_WORKERS) == "mend it"


def test_kafka_comes_before_whoever_knows_better_but_not_before_a_replica_that_is_away() -> None:
    worker = Problem(what="not ready", next="see its log", about=Scope(replica="reporting"))
    problems = [kafka_away("kafka:9092"), worker, stop(None)]
    for state in (CopyState.STOPPED, CopyState.LATE, CopyState.UNKNOWN, CopyState.FILLING):
        step = next_command(state, KAFKA_AWAY, problems, ALL_WORKERS)
        assert step == "start kafka; workers go on by themselves then"
    away = look(KAFKA_AWAY, answered=False, age_s=None)
    assert next_command(CopyState.UNKNOWN, away, problems, ALL_WORKERS) == "see its log"


@pytest.mark.parametrize(
    ("seen", "workers", "step"),
    [
        (look(age_s=9), {}, "trueup worker decide"),
        (look(age_s=9, to_decide=1, to_apply=1), {}, "trueup worker decide"),
        (look(age_s=9, to_apply=1), {}, "trueup worker apply reporting"),
        (look(age_s=9, to_apply=1), {("apply", "warehouse"): "w"}, "trueup worker apply reporting"),
        (look(age_s=9, to_decide=1, to_apply=1), {("decide", ""): "decide"}, "trueup worker apply reporting"),
        (look(age_s=9, to_decide=1), ALL_WORKERS, "see the log of worker decide"),
        (look(age_s=9), ALL_WORKERS, "trueup verify orders"),
    ],
)
def test_a_copy_that_stands_without_a_problem(seen: CopyLook, workers: dict[tuple[str, str], str], step: str) -> None:
    assert next_command(CopyState.STUCK, seen, [], workers) == step


def test_a_worker_that_applies_nothing_is_named_with_what_it_may_wait_for() -> None:
    step = next_command(CopyState.STUCK, look(age_s=9, to_apply=1), [], ALL_WORKERS)
    assert step is not None
    assert "apply-reporting-2" in step
    assert "pg_locks" in step


def test_what_moves_is_watched() -> None:
    assert next_command(CopyState.SLOW, look(age_s=9, moved=True), [], {}) == WATCH
    assert next_command(CopyState.FILLING, look(age_s=None), [], {}) == WATCH


def test_a_filling_that_nobody_may_see_complete_names_who_would() -> None:
    filling = look(age_s=None)
    assert next_command(CopyState.FILLING, filling, [], ALL_WORKERS) == "trueup worker capture"
    assert next_command(CopyState.FILLING, filling, [], {**ALL_WORKERS, ("capture", ""): "capture"}) == WATCH
    assert next_command(CopyState.FILLING, look(filling, to_apply=1), [], ALL_WORKERS) == WATCH
    assert next_command(CopyState.FILLING, look(filling, seen=0), [], ALL_WORKERS) == WATCH
