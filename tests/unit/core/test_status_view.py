"""The lines of status: the worst first, and which of them somebody has to look at."""

import pytest

from tests.status_example import EXAMPLE, KAFKA_AWAY, look, shown, view_of
from trueup.core.copy_state import RANK, CopyState
from trueup.core.status_problems import Problem
from trueup.core.status_view import worst_first


def test_the_worst_state_comes_first_whatever_its_lag() -> None:
    for example in (EXAMPLE, KAFKA_AWAY):
        ranks = [RANK[line.state] for line in example.tables]
        assert ranks == sorted(ranks)
    states = {line.state for line in EXAMPLE.tables + KAFKA_AWAY.tables}
    assert states == set(CopyState), "the examples have every state"


def test_within_a_state_the_most_that_waits_comes_first_at_whichever_stage() -> None:
    few, decide, apply = look("a", "r", to_apply=1), look("b", "r", to_decide=9), look("c", "r", to_apply=5)
    lines = worst_first(shown(each, []) for each in (few, apply, decide))
    assert [line.table for line in lines] == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("seen", "finds"),
    [
        ({"age_s": 6}, True),
        ({"age_s": 6, "moved": True}, True),
        ({"answered": False}, True),
        ({"seen": None, "to_decide": None, "to_apply": None}, True),
        ({"seen": None, "to_decide": None, "to_apply": None, "age_s": 6}, True),
        ({"age_s": None, "to_apply": 9}, False),
        ({"to_apply": 9}, False),
        ({}, False),
    ],
)
def test_who_is_late_or_away_is_a_finding(seen: dict[str, object], finds: bool) -> None:
    assert view_of([look("orders", "reporting", **seen)], []).has_findings is finds  # type: ignore[arg-type]


def test_a_problem_is_a_finding_without_any_copy() -> None:
    assert view_of([], [Problem(what="no worker runs on this host", next="trueup worker all")]).has_findings


def test_what_kafka_would_know_is_not_known_while_it_is_away_and_nothing_is_taken_for_zero() -> None:
    for line in KAFKA_AWAY.tables:
        assert (line.captured, line.decide_lag, line.lag, line.filling) == (None, None, None, None)
        assert line.window_s is not None
    late = next(line for line in KAFKA_AWAY.tables if line.state is CopyState.LATE)
    assert (late.as_of_age_s, late.window_s, late.fresh) == (1_260, 300, False)
