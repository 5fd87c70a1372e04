"""The check of `make freshness` finds what it is made for, and nothing else."""

import pytest

from tests.freshness_ledger import PositionLedger, Reading, findings


def ledger() -> PositionLedger:
    made = PositionLedger()
    for key, number, position in ((1, 10, 100), (2, 20, 150), (1, 11, 200)):
        made.add(key, number, position)
    return made


@pytest.mark.parametrize(
    ("as_of", "numbers", "missing"),
    [
        (None, {}, 0),
        (99, {}, 0),
        (100, {1: 10}, 0),
        (100, {1: 11}, 0),
        (149, {}, 1),
        (150, {1: 10}, 1),
        (150, {1: 10, 2: 20}, 0),
        (199, {1: 10, 2: 20}, 0),
        (200, {1: 10, 2: 20}, 1),
        (10_000, {1: 9, 2: 19}, 2),
        (10_000, {1: 12, 2: 20}, 0),
    ],
)
def test_a_write_at_or_below_the_position_is_there_with_at_least_its_number(
    as_of: int | None, numbers: dict[int, int], missing: int
) -> None:
    assert len(findings(ledger(), [Reading(as_of, numbers)])) == missing
    assert ledger().count() == 3
