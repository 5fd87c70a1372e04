"""The hops of a change at the decide stage: from the source's commit to Kafka, and from there to the decision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from trueup.model.decision import TruthRecord
from trueup.model.event import LogRecord, Op
from trueup.model.settings import Settings
from trueup.model.version import make_version
from trueup.runtime.decide_agent import DecideHandler
from trueup.runtime.metrics import DecideMetrics


def record(offset: int, captured_ms: int) -> LogRecord:
    return LogRecord("shop.public.orders", 0, offset, captured_ms, b"k", b"v")


def truth(offset: int, committed_ms: int, op: Op = Op.UPDATE) -> TruthRecord:
    return TruthRecord(b"k", make_version(1, offset), b"h", op, committed_ms * 1000, None, None, (), None, None)


def measured(records: list[LogRecord], truths: list[TruthRecord], now_ms: float) -> dict[str, tuple[float, float]]:
    """Count and sum by hop."""
    registry = CollectorRegistry()
    metrics = DecideMetrics(registry, ["orders"])
    outside: Any = None
    handler = DecideHandler(
        {}, Settings(), outside, outside, metrics, Path(), outside, outside, outside, now_ms=lambda: now_ms
    )
    handler._measure(records, truths, "orders")

    def of(hop: str) -> tuple[float, float]:
        labels = {"hop": hop, "table": "orders", "replica": ""}
        count = registry.get_sample_value("trueup_hop_seconds_count", labels)
        total = registry.get_sample_value("trueup_hop_seconds_sum", labels)
        assert count is not None
        assert total is not None
        return count, round(total, 6)

    return {"capture": of("capture"), "decide": of("decide")}


def test_each_change_is_timed_for_both_hops() -> None:
    records = [record(7, 1_200), record(8, 1_300)]
    truths = [truth(7, 1_000), truth(8, 1_250)]
    assert measured(records, truths, 1_500) == {"capture": (2, 0.25), "decide": (2, 0.5)}


def test_rows_of_a_snapshot_are_no_changes() -> None:
    assert measured([record(7, 1_200)], [truth(7, 0, Op.READ)], 1_500) == {"capture": (0, 0), "decide": (0, 0)}


def test_a_replayed_letter_with_the_age_of_its_original_is_not_timed() -> None:
    """It waited for a person, not for the pipeline."""
    assert measured([record(90, 9_000)], [truth(7, 1_000)], 9_500) == {"capture": (0, 0), "decide": (0, 0)}
