"""A key is different when both sides rested and differ; else it is equal, or not proven."""

import pytest

from trueup.core.suspects import LOOKS_MAX, RESTED_LOOKS, Suspect, Verdict, kind_of, look_again
from trueup.model.proof import Difference, Seen

OWNED = Seen("owned", "1")
DAMAGED = Seen("damaged", "9")


def looks(suspect: Suspect, *seen: tuple[Seen | None, Seen | None]) -> Verdict:
    verdict = Verdict.OPEN
    for source, replica in seen:
        assert verdict is Verdict.OPEN
        verdict, suspect = look_again(suspect, source, replica)
    return verdict


@pytest.mark.parametrize(
    ("source", "replica", "kind"),
    [
        (OWNED, DAMAGED, Difference.CHANGED),
        (OWNED, None, Difference.MISSING),
        (None, DAMAGED, Difference.EXTRA),
    ],
)
def test_what_rests_and_differs_is_different_after_two_looks(
    source: Seen | None, replica: Seen | None, kind: Difference
) -> None:
    suspect = Suspect(source, replica)
    assert looks(suspect, (source, replica)) is Verdict.OPEN
    assert looks(suspect, *[(source, replica)] * RESTED_LOOKS) is Verdict.DIFFERENT
    assert kind_of(suspect) is kind


@pytest.mark.parametrize(("source", "replica"), [(OWNED, Seen("owned", "7")), (None, None)])
def test_what_arrived_meanwhile_is_equal(source: Seen | None, replica: Seen | None) -> None:
    assert looks(Suspect(source, DAMAGED), (source, replica)) is Verdict.EQUAL


def test_a_copy_that_shows_what_the_source_had_at_the_look_before_is_equal() -> None:
    assert looks(Suspect(OWNED, DAMAGED), (Seen("newer", "2"), Seen("owned", "7"))) is Verdict.EQUAL


def test_what_never_rests_is_unproven() -> None:
    moving = [(Seen(f"n{n}", str(n)), Seen("old", str(n))) for n in range(LOOKS_MAX)]
    assert looks(Suspect(OWNED, DAMAGED), *moving) is Verdict.UNPROVEN


def test_a_row_that_left_and_came_back_did_not_rest() -> None:
    back = [(Seen("owned", str(n)), DAMAGED) for n in range(2, 2 + LOOKS_MAX)]
    assert looks(Suspect(OWNED, DAMAGED), *back) is Verdict.UNPROVEN


def test_a_row_of_the_copy_that_was_written_again_did_not_rest() -> None:
    rewritten = [(None, Seen("extra", str(n))) for n in range(LOOKS_MAX)]
    assert looks(Suspect(None, Seen("extra", "x")), *rewritten) is Verdict.UNPROVEN


def test_rest_is_counted_anew_after_a_move() -> None:
    moved = Seen("moved", "2")
    assert looks(Suspect(OWNED, DAMAGED), (OWNED, DAMAGED), (moved, DAMAGED), (moved, DAMAGED)) is Verdict.OPEN
