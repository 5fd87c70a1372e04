"""Versions: which change of a key is newer. One fixed-width byte string that sorts as its tuple does (design 5).

Layout, 20 bytes, big-endian: epoch (uint32) | rank (int64, sign bit flipped) | offset (uint64).
A `log` table has rank 0 for every change, so the order is (epoch, capture offset). A table ordered by a column of the
application carries that column as rank: microseconds since 1970 for a time, the number itself for a counter.
"""

from __future__ import annotations

import struct
from typing import Final, NewType

Version = NewType("Version", bytes)

_LAYOUT: Final = struct.Struct(">IQQ")
_RANK_BIAS: Final = 1 << 63  # maps int64 onto uint64 with the order kept

VERSION_BYTES: Final = _LAYOUT.size
EPOCH_MAX: Final = (1 << 32) - 1
RANK_MIN: Final = -_RANK_BIAS
RANK_MAX: Final = _RANK_BIAS - 1


def make_version(epoch: int, offset: int, rank: int = 0) -> Version:
    """The version of one change. Raises struct.error (a broken invariant) outside the ranges of the layout."""
    return Version(_LAYOUT.pack(epoch, rank + _RANK_BIAS, offset))


def epoch_of(version: Version) -> int:
    """The epoch, without unpacking the rest."""
    return int.from_bytes(version[:4], "big")


def rank_in(version: Version) -> int:
    """The rank, without unpacking the rest."""
    return int.from_bytes(version[4:12], "big") - _RANK_BIAS


def offset_of(version: Version) -> int:
    """The capture offset, without unpacking the rest."""
    return int.from_bytes(version[12:], "big")


def place_of(version: Version) -> tuple[int, int]:
    """(epoch, offset): where it stands in the capture log, whatever its rank."""
    return epoch_of(version), offset_of(version)


def split_version(version: Version) -> tuple[int, int, int]:
    """(epoch, rank, offset), for people and for tests."""
    epoch, rank, offset = _LAYOUT.unpack(version)
    return epoch, rank - _RANK_BIAS, offset


def describe_version(version: Version) -> str:
    """`epoch/rank/offset` as text; rank is left out where it is 0."""
    epoch, rank, offset = split_version(version)
    return f"{epoch}/{offset}" if rank == 0 else f"{epoch}/{rank}/{offset}"
