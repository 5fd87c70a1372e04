"""Property: the bytes of two versions compare as their tuples do (design 5)."""

from hypothesis import given
from hypothesis import strategies as st

from trueup.model.version import EPOCH_MAX, RANK_MAX, RANK_MIN, VERSION_BYTES, epoch_of, make_version, split_version


def near(low: int, high: int) -> st.SearchStrategy[int]:
    """Small numbers, so that parts tie; the ends; and everything between."""
    return st.integers(max(low, -2), 2) | st.sampled_from([low, low + 1, high - 1, high]) | st.integers(low, high)


VERSIONS = st.tuples(near(0, EPOCH_MAX), near(RANK_MIN, RANK_MAX), near(0, 2**64 - 1))


@given(VERSIONS, VERSIONS)
def test_byte_order_is_tuple_order(left: tuple[int, int, int], right: tuple[int, int, int]) -> None:
    left_bytes = make_version(left[0], left[2], left[1])
    right_bytes = make_version(right[0], right[2], right[1])
    assert (left_bytes < right_bytes) is (left < right)
    assert (left_bytes == right_bytes) is (left == right)


@given(VERSIONS)
def test_a_version_comes_back(version: tuple[int, int, int]) -> None:
    packed = make_version(version[0], version[2], version[1])
    assert len(packed) == VERSION_BYTES
    assert split_version(packed) == version
    assert epoch_of(packed) == version[0]
