"""Properties of several writers: the truth does not depend on whose changes arrive first, and versions never fall.

A model of two writers that make changes without seeing each other's (the hardest case: every change of the other is
concurrent), merged in every way that keeps each one's own order.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from tests.several_writers import BASE, CRM, SHOP, UNCERTAINTY_S, batch, event, plan_of, row
from trueup.core.pipeline import DecidePlan
from trueup.core.truth_codec import peek, peek_origin
from trueup.model.decision import Outcome
from trueup.model.event import LogRecord
from trueup.model.version import rank_in

LAST_WINS = plan_of("last_write_wins")
PREFER_SHOP = plan_of("prefer", system="shop")
ESCALATED = plan_of("escalate")
_STEP_S = UNCERTAINTY_S + 1  # any two times are further apart than the window


class Made(NamedTuple):
    """A change of a writer, before it has a place in the log."""

    system: str
    op: str
    after: dict[str, Any] | None
    before: dict[str, Any] | None


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Made], list[Made]]:
    """What two writers did to one row both had, each by itself; all times differ by more than the window.
    A clock may go back: times are drawn, not counted."""
    lengths = draw(st.tuples(st.integers(0, 5), st.integers(0, 5)))
    times = iter(draw(st.permutations(range(1, sum(lengths) + 1))))
    made = []
    for system, length in zip((SHOP, CRM), lengths, strict=True):
        present: dict[str, Any] | None = row("base")
        changes = []
        for number in range(length):
            delete = present is not None and draw(st.booleans()) and draw(st.booleans())
            after = None if delete else row(f"{system} {number}", at=next(times) * _STEP_S)
            changes.append(Made(system, "d" if delete else "u" if present else "c", after, present))
            present = after
        made.append(changes)
    return made[0], made[1]


@st.composite
def merges(draw: st.DrawFn, first: list[Made], second: list[Made]) -> list[LogRecord]:
    """One order of both, the own order of each kept; the base row comes first, from either."""
    left, right = list(first), list(second)
    log = [event(SHOP, 0, "c", row("base"))]
    while left or right:
        side = left if left and (not right or draw(st.booleans())) else right
        system, op, after, before = side.pop(0)
        log.append(event(system, len(log), op, after, before=before))
    return log


def decided(plan: DecidePlan, log: list[LogRecord], cuts: set[int]) -> tuple[bytes, str | None, list[bytes]]:
    """Content and origin of the truth in the end, and every version, in the order of the topic."""
    held: dict[bytes, Any] = {}
    guard = None
    versions: list[bytes] = []
    bounds = [0, *sorted(cut for cut in cuts if 0 < cut < len(log)), len(log)]
    for start, end in pairwise(bounds):
        answer = batch(plan, *log[start:end], held=held, guard=guard)
        held |= answer.held
        guard = answer.guard
        for truth in answer.truths:
            assert truth.encoded is not None
            assert peek(truth.encoded).version == truth.version
            versions.append(truth.version)
        published = answer.counts[Outcome.APPLIED] + answer.counts[Outcome.STALE]
        assert len(answer.truths) == published, "what loses publishes the truth again"
    record = held[BASE].record
    assert peek_origin(record) == held[BASE].origin
    assert peek(record).content_hash == held[BASE].content_hash
    return held[BASE].content_hash, held[BASE].origin, versions


def _rises(versions: list[bytes]) -> bool:
    return all(lower < higher for lower, higher in pairwise(versions))


@given(histories(), st.data(), st.sets(st.integers(1, 10)))
def test_last_write_wins_ends_the_same_whatever_the_order(
    made: tuple[list[Made], list[Made]], data: st.DataObject, cuts: set[int]
) -> None:
    """Deletes left out: a delete has no time of its own, so it ties with the row it deletes."""
    first, second = (_updates_only(side) for side in made)
    one = decided(LAST_WINS, data.draw(merges(first, second)), cuts)
    other = decided(LAST_WINS, data.draw(merges(first, second)), set())
    assert one[:2] == other[:2]
    assert _rises(one[2])
    assert _rises(other[2])


def _updates_only(changes: list[Made]) -> list[Made]:
    """The updates alone, each made upon the one before."""
    present: dict[str, Any] | None = row("base")
    made = []
    for change in (one for one in changes if one.op == "u"):
        made.append(Made(change.system, "u", change.after, present))
        present = change.after
    return made


@given(histories(), st.data())
def test_the_preferred_writer_has_the_last_word_whatever_the_order(
    made: tuple[list[Made], list[Made]], data: st.DataObject
) -> None:
    first, second = made
    content, origin, versions = decided(PREFER_SHOP, data.draw(merges(first, second)), set())
    assert _rises(versions)
    if first:
        expected = decided(PREFER_SHOP, data.draw(merges(first, [])), set())
        same_end = content == expected[0]
        assert same_end or _overtaken(first, second), (origin, first, second)


def _overtaken(first: list[Made], second: list[Made]) -> bool:
    """An insert upon the preferred writer's delete was made upon what is held: no conflict."""
    return first[-1].op == "d" and any(one.op == "c" for one in second)


@given(histories(), st.data(), st.sampled_from([LAST_WINS, PREFER_SHOP, ESCALATED]))
def test_versions_never_fall_and_every_record_has_one_outcome(
    made: tuple[list[Made], list[Made]], data: st.DataObject, plan: DecidePlan
) -> None:
    log = data.draw(merges(*made))
    answer = batch(plan, *log)
    assert _rises([truth.version for truth in answer.truths])
    ranks = [rank_in(truth.version) for truth in answer.truths]
    assert ranks == sorted(ranks)
