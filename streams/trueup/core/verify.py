"""Comparing a source with a copy: buckets of hashes first, keys only where buckets differ. Pure.

`adapters.postgres_compare` runs the queries; `runtime.verify_run` decides when to look.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

KEYS_SHOWN_MAX: Final = 20

Buckets = Mapping[int, tuple[int, int]]  # bucket -> (rows, sum of hashes)
Rows = Mapping[str, str]  # key -> hash of the row


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One copy against its source. `keys` are the first differing ones; explained and unproven ones are apart."""

    table: str
    replica: str
    rows_source: int
    rows_replica: int
    differing: int
    explained: int
    unproven: int
    keys: list[str]
    caught_up: bool


def differing_buckets(source: Buckets, replica: Buckets) -> set[int]:
    """Buckets whose count or hash differs. A sum with the count, not XOR: pairs would cancel each other."""
    return {bucket for bucket in source.keys() | replica.keys() if source.get(bucket) != replica.get(bucket)}


def differing_keys(source: Rows, replica: Rows) -> dict[str, str | None]:
    """Keys that are missing, extra or different, with the source's hash (None: the source does not have it)."""
    return {key: source.get(key) for key in source.keys() | replica.keys() if source.get(key) != replica.get(key)}


def split_persistent(
    before: Mapping[str, str | None], after: Mapping[str, str | None]
) -> tuple[dict[str, str | None], set[str]]:
    """Keys that differ at both looks: (those whose source row rested, those that moved and prove nothing)."""
    both = before.keys() & after.keys()
    resting = {key: after[key] for key in both if before[key] == after[key]}
    return resting, both - resting.keys()


def key_text(key: bytes, columns: tuple[str, ...]) -> str | None:
    """A captured key as `adapters.postgres_compare` writes keys: a JSON array of texts; None when it is no key."""
    try:
        values: dict[str, Any] = json.loads(key)
        return json.dumps([str(values[column]) for column in columns], separators=(", ", ": "), ensure_ascii=False)
    except (ValueError, KeyError, TypeError):
        return None
