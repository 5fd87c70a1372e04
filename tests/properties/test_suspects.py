"""Whatever a key goes through at its source, and however far its copy lags: no true copy is called different.

The model is one key: a line of states at the source, and a copy that shows any state between the one the last look
saw at the source, which it has applied by then, and the present one.
"""

from hypothesis import given
from hypothesis import strategies as st

from trueup.core.suspects import LOOKS_MAX, RESTED_LOOKS, Suspect, Verdict, look_again
from trueup.model.proof import Seen

# A state: None is no row. Few values, so that rows come back to what they were.
STATES = st.lists(st.sampled_from([None, "a", "b"]), min_size=1, max_size=30)


class Line:
    """States of a key in the order of the source's commits; the first is there from the beginning."""

    def __init__(self, states: list[str | None]) -> None:
        self.states = states

    def source(self, at: int) -> Seen | None:
        value = self.states[at]
        return None if value is None else Seen(value, f"s{at}")

    def copy(self, at: int) -> Seen | None:
        """The copy skips what was overtaken, but each row it shows was written by the change it shows."""
        value = self.states[at]
        return None if value is None else Seen(value, f"r{at}")


@given(STATES, st.data())
def test_a_true_copy_is_never_different(states: list[str | None], data: st.DataObject) -> None:
    line, last = Line(states), len(states) - 1

    def between(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    source_at = between(0, last)
    copy_at = between(0, source_at)
    suspect = Suspect(line.source(source_at), line.copy(copy_at))
    verdict = Verdict.OPEN
    while verdict is Verdict.OPEN:
        reaches = between(source_at, last)  # the source goes on
        copy_at = between(max(copy_at, source_at), reaches)  # it has passed what the last look saw
        source_at = between(reaches, last)  # read after the copy
        verdict, suspect = look_again(suspect, line.source(source_at), line.copy(copy_at))
        assert verdict is not Verdict.DIFFERENT


@given(STATES, st.integers(0, 40), st.sampled_from(["changed", "deleted", "added"]))
def test_damage_to_a_key_that_comes_to_rest_is_found(states: list[str | None], moves: int, how: str) -> None:
    """The negative control: the copy is damaged and stays so, the source rests at the end of its line."""
    line = Line(states if how == "added" else [*states, "owned"])
    if how == "added":
        line = Line([*states, None])
    last = len(line.states) - 1
    damaged = {"changed": Seen("damaged", "d"), "deleted": None, "added": Seen("added", "d")}[how]
    at = max(0, last - moves)
    suspect, looks, verdict = Suspect(line.source(at), damaged), 0, Verdict.OPEN
    while verdict is Verdict.OPEN:
        at, looks = min(last, at + 1), looks + 1
        verdict, suspect = look_again(suspect, line.source(at), damaged)
    rests_in_time = moves + RESTED_LOOKS <= LOOKS_MAX
    # A row that the copy lost is not missed while the source has none either.
    if rests_in_time and not (how == "deleted" and None in line.states[max(0, last - moves) :]):
        assert verdict is Verdict.DIFFERENT


def test_with_one_rested_look_a_true_copy_could_be_called_different() -> None:
    """Why two: a row that came after the look and went before the next is still at the copy, and left no mark."""
    line = Line([None, "a", None])
    suspect = Suspect(line.source(0), line.copy(1))  # the copy was read after the insert had arrived
    verdict, seen = look_again(suspect, line.source(2), line.copy(1))
    assert verdict is Verdict.OPEN
    assert seen.rested == 1
