"""The age of a copy as a metric: the oldest partition counts, and what is not known is infinitely old."""

import math

from prometheus_client import CollectorRegistry

from trueup.runtime.metrics import ApplyMetrics

NOW_US = 100_000_000


def age(metrics: ApplyMetrics) -> float:
    value = metrics.registry.get_sample_value("trueup_as_of_age_seconds", {"table": "orders", "replica": "reporting"})
    assert value is not None, "the series is there from the beginning"
    return value


def test_the_oldest_partition_speaks() -> None:
    metrics = ApplyMetrics(CollectorRegistry(), ["orders"], "reporting", now_us=lambda: NOW_US)
    assert math.isnan(age(metrics)), "another worker holds it"
    metrics.as_of("orders", 0, NOW_US - 2_000_000)
    assert age(metrics) == 2
    metrics.as_of("orders", 1, None)
    assert math.isinf(age(metrics))
    metrics.as_of("orders", 1, NOW_US - 7_000_000)
    assert age(metrics) == 7
    metrics.given_up("orders", 1)
    assert age(metrics) == 2
