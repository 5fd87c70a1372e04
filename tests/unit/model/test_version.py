"""Versions: the byte order is the tuple order, as the properties show; here stand its layout and ends."""

import struct

import pytest

from trueup.model.version import (
    EPOCH_MAX,
    RANK_MAX,
    RANK_MIN,
    VERSION_BYTES,
    describe_version,
    epoch_of,
    make_version,
    split_version,
)

OFFSET_MAX = (1 << 64) - 1


def test_the_layout_is_fixed_for_ever() -> None:
    """It stands in truth topics and replicas: a change here is a migration there."""
    assert VERSION_BYTES == 20
    assert make_version(1, 2, 3).hex() == "00000001" + "8000000000000003" + "0000000000000002"
    assert make_version(0, 0, RANK_MIN).hex() == "00" * 20
    assert make_version(EPOCH_MAX, OFFSET_MAX, RANK_MAX).hex() == "ff" * 20


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ((1, 9, 0), (2, 0, 0)),
        ((1, 255, 0), (1, 256, 0)),
        ((1, 9, -1), (1, 0, 0)),
        ((1, 9, 0), (1, 0, 1)),
        ((1, 9, RANK_MAX), (2, 0, RANK_MIN)),
        ((1, 9, RANK_MIN), (1, 0, RANK_MIN + 1)),
    ],
)
def test_epoch_goes_before_rank_and_rank_before_offset(
    lower: tuple[int, int, int], higher: tuple[int, int, int]
) -> None:
    assert make_version(*lower) < make_version(*higher)


@pytest.mark.parametrize("version", [(1, 2, 3), (0, 0, RANK_MIN), (EPOCH_MAX, OFFSET_MAX, RANK_MAX), (7, 1, -5)])
def test_split_is_the_way_back(version: tuple[int, int, int]) -> None:
    epoch, offset, rank = version
    assert split_version(make_version(epoch, offset, rank)) == (epoch, rank, offset)
    assert epoch_of(make_version(epoch, offset, rank)) == epoch


@pytest.mark.parametrize(
    "version",
    [(EPOCH_MAX + 1, 0, 0), (-1, 0, 0), (1, -1, 0), (1, OFFSET_MAX + 1, 0), (1, 0, RANK_MAX + 1), (1, 0, RANK_MIN - 1)],
)
def test_what_does_not_fit_is_a_broken_invariant_and_not_another_version(version: tuple[int, int, int]) -> None:
    with pytest.raises(struct.error):
        make_version(*version)


def test_people_read_it_as_text() -> None:
    assert describe_version(make_version(1, 42)) == "1/42"
    assert describe_version(make_version(1, 42, -7)) == "1/-7/42"
