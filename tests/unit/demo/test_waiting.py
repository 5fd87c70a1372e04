"""Waiting in the demo: ends when there is something to see, and says what was missing."""

import pytest

from trueup.demo.waiting import NotInTime, until


def test_what_is_seen_is_returned_even_if_it_is_zero() -> None:
    answers = iter([None, False, 0])
    assert until(lambda: next(answers), what="a number", within_s=5, pause_s=0) == 0


def test_the_deadline_names_what_was_awaited() -> None:
    with pytest.raises(NotInTime, match="the moon"):
        until(lambda: None, what="the moon", within_s=0)
