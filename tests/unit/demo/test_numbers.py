"""The numbers of the demo's summary: what is counted, what is left out, what a failure leaves open."""

import pytest

from trueup.demo.checks import Checks
from trueup.demo.commands import CopyStatus, DecideStatus, Status
from trueup.demo.ledger import Ledger
from trueup.demo.probes import Outage, Sample, percentile


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)],
)
def test_percentile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected


def test_percentile_of_one_value_is_that_value() -> None:
    assert percentile([0.3], 0.99) == 0.3


@pytest.mark.parametrize(
    ("sample", "touched"),
    [
        (Sample(1.0, 1.5), False),  # arrived before the kill
        (Sample(1.9, 9.0), True),  # on its way when the worker was killed
        (Sample(5.0, 9.0), True),
        (Sample(9.5, 9.9), False),
    ],
)
def test_an_outage_touches_what_was_on_its_way(sample: Sample, touched: bool) -> None:
    assert Outage("decide", 2.0, 9.0).touches(sample) is touched


def test_the_ledger_adds_up_per_table() -> None:
    ledger = Ledger()
    ledger.add({"orders": 1, "order_lines": 3})
    ledger.add({"orders": 2})
    ledger.add({})
    assert ledger.changes() == {"orders": 3, "order_lines": 3}


def test_captured_leaves_out_records_without_a_change() -> None:
    decide = DecideStatus("orders", {"applied": 7, "unchanged": 2, "rejected": 1, "ignored": 4})
    assert Status(tables=[], decide=[decide]).captured == {"orders": 10}


def test_lag_is_not_known_while_a_part_does_not_say() -> None:
    there = CopyStatus(table="orders", replica="warehouse", captured=1, applied=1, lag=3)
    decide = DecideStatus("orders", {}, lag=2)
    assert Status(tables=[there], decide=[decide]).lag == 5
    assert Status(tables=[there], decide=[DecideStatus("orders", {})]).lag is None


def test_checks_tell_what_failed() -> None:
    checks = Checks()
    assert checks.add("holds", True, "seen")
    assert not checks.add("does not", False, "seen otherwise")
    assert [check.claim for check in checks.failed] == ["does not"]
