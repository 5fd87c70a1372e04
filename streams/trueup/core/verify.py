"""Comparing a source with a copy: buckets of hashes first, keys only where buckets differ. Pure.

`adapters.postgres_compare` runs the queries, `core.suspects` judges what looks different, `runtime.verify_pass` goes
through the ranges of a table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from trueup.core.suspects import Suspect
from trueup.model.proof import Difference, Finding, Seen
from trueup.model.registration import Table

KEYS_SHOWN_MAX: Final = 20

Buckets = Mapping[int, tuple[int, int]]  # bucket -> (rows, sum of hashes)
Rows = Mapping[str, Seen]  # by key


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One copy against its source. `keys` are the first differing ones; explained and unproven ones are apart.

    :param kinds: how each of `keys` differs, in the same order.
    :param explained: differing keys that an open dead letter or case holds.
    :param proven_through: source time through which the copy is proven equal by this comparison; None: it is not.
    """

    table: str
    replica: str
    rows_source: int
    rows_replica: int
    differing: int
    explained: int
    unproven: int
    keys: list[str]
    caught_up: bool
    changed: int = 0
    missing: int = 0
    extra: int = 0
    kinds: list[Difference] = []
    unproven_keys: list[str] = []
    proven_through: str | None = None

    def shown_keys(self) -> dict[str, list[str]]:
        """The first keys by what is wrong with them."""
        shown: dict[str, list[str]] = {}
        for key, kind in zip(self.keys, self.kinds, strict=True):
            shown.setdefault(kind.value, []).append(key)
        return shown | ({"unproven": self.unproven_keys} if self.unproven_keys else {})


def differing_buckets(source: Buckets, replica: Buckets) -> set[int]:
    """Buckets whose count or hash differs. A sum with the count, not XOR: pairs would cancel each other."""
    return {bucket for bucket in source.keys() | replica.keys() if source.get(bucket) != replica.get(bucket)}


def first_suspects(source: Rows, replica: Rows) -> dict[str, Suspect]:
    """Keys that look missing, extra or changed."""
    pairs = {key: (source.get(key), replica.get(key)) for key in source.keys() | replica.keys()}
    return {key: Suspect(here, there) for key, (here, there) in pairs.items() if _hash(here) != _hash(there)}


def _hash(seen: Seen | None) -> str | None:
    return None if seen is None else seen.hash


def counted_kinds(findings: Sequence[Finding]) -> dict[Difference, int]:
    """How many findings are of each kind; every kind is there."""
    return {kind: sum(finding.kind is kind for finding in findings) for kind in Difference}


def cure_of(table: Table, replica: str) -> str:
    """The next command where a copy differs. What several systems write is no copy: nothing but they may mend it."""
    if replica in table.writers:
        return f'trueup cases list --table {table.table}; then "Two writers of a table differ" in infra/README.md'
    return f"trueup repair {table.table} --replica {replica} --dry-run"


def captured_key_text(key: bytes, columns: tuple[str, ...]) -> str | None:
    """A captured key as `model.proof.key_text` writes keys; None when it is no key.

    It is so for keys of whole numbers, texts and uuids. Other types are written by PostgreSQL in another way than by
    Debezium, and such a key is not found by its text.
    """
    try:
        values: dict[str, Any] = json.loads(key)
        return json.dumps([str(values[column]) for column in columns], separators=(", ", ": "), ensure_ascii=False)
    except (ValueError, KeyError, TypeError):
        return None
