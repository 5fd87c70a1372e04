"""Pauses grow and end at their limit, however long an outage lasts."""

from trueup.runtime.backoff import backoff_s


def test_pauses_double_up_to_their_limit() -> None:
    assert [backoff_s(failures, 5.0) for failures in range(1, 7)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_an_outage_of_hours_is_no_error() -> None:
    """A power of two that no float holds ended the probes, and with them the worker, after 85 minutes."""
    assert backoff_s(100_000, 15.0) == 15.0
