"""Metrics of every worker process: who it is, which parts it waits for, the disk of its state, memory and CPU."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import GC_COLLECTOR, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from trueup import __version__
from trueup.runtime.breaker import Breaker, State
from trueup.runtime.outages import Outages


class ProcessMetrics(Collector):
    """Read when they are asked for.

    :param state_dir: where the worker keeps its state.
    """

    def __init__(self, *, kind: str, name: str, replica: str, state_dir: Path, outages: Outages) -> None:
        self._info = (kind, name, replica, __version__)
        self._state_dir, self._outages = state_dir, outages

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "trueup_worker_info", "1; says what this worker is.", labels=["kind", "name", "replica", "version"]
        )
        info.add_metric(self._info, 1)
        yield info
        outage = GaugeMetricFamily("trueup_outage", "1 while this worker waits for a part.", labels=["part"])
        for part, is_out in self._outages.parts().items():
            outage.add_metric([part], float(is_out))
        yield outage
        begun = CounterMetricFamily("trueup_outages", "Outages of a part that began.", labels=["part"])
        for part, count in self._outages.begun().items():
            begun.add_metric([part], count)
        yield begun
        usage = shutil.disk_usage(next(path for path in (self._state_dir, *self._state_dir.parents) if path.exists()))
        yield GaugeMetricFamily("trueup_state_disk_size_bytes", "Size of the disk of the state folder.", usage.total)
        yield GaugeMetricFamily("trueup_state_disk_free_bytes", "Free on the disk of the state folder.", usage.free)


class BreakerMetrics(Collector):
    """Of the breaker of an apply worker."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker

    def collect(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "trueup_breaker_state", "1 for the state that the breaker of a part is in.", labels=["part", "state"]
        )
        for one in State:
            state.add_metric([self._breaker.part, one], float(self._breaker.state is one))
        yield state
        opened = CounterMetricFamily(
            "trueup_breaker_opened", "How often the breaker of a part opened.", labels=["part"]
        )
        opened.add_metric([self._breaker.part], self._breaker.opened)
        yield opened


def register_process(registry: CollectorRegistry, metrics: ProcessMetrics) -> None:
    """Register these, and what the client library knows of a Python process."""
    registry.register(metrics)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(GC_COLLECTOR)
