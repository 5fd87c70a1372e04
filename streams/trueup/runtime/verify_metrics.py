"""The metrics of `trueup verify --follow`: how old what is proven of each copy is, and what was found.

They are read from the replicas, where every run leaves its result, so they tell of runs by hand as well.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from trueup.adapters.postgres_proofs import ProofLine


class VerifyMetrics:
    """Series of every registered copy. A copy that was never proven equal is proven through the year 1970."""

    def __init__(self, registry: CollectorRegistry, copies: Iterable[tuple[str, str]]) -> None:
        names = ["table", "replica"]
        self._through = Gauge(
            "trueup_proven_equal_timestamp_seconds",
            "Source time through which the copy is proven equal, seconds since 1970.",
            names,
            registry=registry,
        )
        self._differing = Gauge(
            "trueup_differing_keys", "Keys that the last complete comparison found different.", names, registry=registry
        )
        self._unproven = Gauge(
            "trueup_unproven_keys", "Keys that never rested during that comparison.", names, registry=registry
        )
        self._rows = Counter("trueup_compared_rows", "Rows of the source that were compared.", names, registry=registry)
        for labels in copies:
            for gauge in (self._through, self._differing, self._unproven):
                gauge.labels(*labels).set(0)
            self._rows.labels(*labels)

    def recorded(self, replica: str, line: ProofLine) -> None:
        """What stands at a replica of a copy."""
        labels = (line.table, replica)
        self._through.labels(*labels).set(line.proven_through_s or 0)
        self._differing.labels(*labels).set(line.differing_keys)
        self._unproven.labels(*labels).set(line.unproven_keys)

    def compared(self, table: str, replica: str, rows: int) -> None:
        """So many more rows were compared."""
        self._rows.labels(table, replica).inc(rows)
