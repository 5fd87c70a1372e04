"""Every metric of TrueUp, in one file (Prometheus conventions: unit in the name, bounded labels, series initialised).

Labels are names from the registration (table, replica), stages and outcomes: sets a person wrote or code fixes, never
data. Workers count here; the durable totals are the ones committed with the progress (`trueup status` reads those).
"""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from trueup.model.decision import Outcome

CONVERGENCE: Final = "trueup_convergence_seconds"
_CONVERGENCE_BUCKETS_S: Final = (
    0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
)  # fmt: skip
_STEP_BUCKETS_S: Final = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_ROWS_BUCKETS: Final = (1, 10, 100, 500, 1000, 2000, 4000, 10_000)


class BatchHistogram(Collector):
    """A histogram filled by the batch: one sort and a few additions instead of a lock per observation."""

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...], buckets: Sequence[float]) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self._bounds = list(buckets)
        self._series: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}

    def initialise(self, *labels: str) -> None:
        self._series.setdefault(labels, ([0] * (len(self._bounds) + 1), [0.0]))

    def observe_many(self, labels: tuple[str, ...], values: Iterable[float]) -> None:
        self.initialise(*labels)
        counts, total = self._series[labels]
        for value in values:
            counts[bisect.bisect_left(self._bounds, value)] += 1
            total[0] += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, (counts, total) in list(self._series.items()):
            cumulative, buckets = 0, []
            for bound, count in zip([*map(str, self._bounds), "+Inf"], counts, strict=True):
                cumulative += count
                buckets.append((bound, float(cumulative)))
            family.add_metric(labels, buckets, total[0])
        yield family


class WorkerMetrics:
    """What both kinds of worker expose."""

    def __init__(self, registry: CollectorRegistry, stage: str, tables: Iterable[str], replica: str = "") -> None:
        self.registry = registry
        self._stage, self._replica = stage, replica
        names = ["stage", "table", "replica"]
        self._records = Counter(
            "trueup_records", "Input records by their one counted outcome.", [*names, "outcome"], registry=registry
        )
        self._lag = Gauge(
            "trueup_lag_records", "Records between read position and last stable offset.", names, registry=registry
        )
        self._rows = Histogram(
            "trueup_batch_records", "Records per batch.", names, buckets=_ROWS_BUCKETS, registry=registry
        )
        self._step = Histogram(
            "trueup_batch_seconds",
            "Seconds per batch and step.",
            [*names, "step"],
            buckets=_STEP_BUCKETS_S,
            registry=registry,
        )
        self._retries = Counter(
            "trueup_retries",
            "Failures that were retried, by error class.",
            ["stage", "replica", "error_class"],
            registry=registry,
        )
        self._stopped = Gauge("trueup_table_stopped", "1 while a table is stopped.", names, registry=registry)
        self.ready = Gauge(
            "trueup_worker_ready", "1 when every assigned partition is being worked on.", registry=registry
        )
        self.rebalances = Counter("trueup_rebalances", "Assignments of partitions to this worker.", registry=registry)
        for table in tables:
            for outcome in Outcome:
                self._records.labels(stage, table, replica, outcome.value)
            for gauge in (self._lag, self._stopped):
                gauge.labels(stage, table, replica).set(0)

    def counted(self, table: str, counts: dict[Outcome, int], steps_s: dict[str, float]) -> None:
        """One batch: its outcomes and the seconds of its steps."""
        for outcome, count in counts.items():
            if count:
                self._records.labels(self._stage, table, self._replica, outcome.value).inc(count)
        self._rows.labels(self._stage, table, self._replica).observe(sum(counts.values()))
        for step, seconds in steps_s.items():
            self._step.labels(self._stage, table, self._replica, step).observe(seconds)

    def lag(self, table: str, records: int) -> None:
        self._lag.labels(self._stage, table, self._replica).set(records)

    def retried(self, error_class: str) -> None:
        self._retries.labels(self._stage, self._replica, error_class).inc()

    def stopped(self, table: str, *, is_stopped: bool) -> None:
        self._stopped.labels(self._stage, table, self._replica).set(1 if is_stopped else 0)


class CaptureMetrics:
    """The capture worker's metrics."""

    def __init__(self, registry: CollectorRegistry, systems: Iterable[str]) -> None:
        self._running = Gauge(
            "trueup_capture_running", "1 while connector and task of a system run.", ["system"], registry=registry
        )
        self._restarts = Counter(
            "trueup_capture_restarts", "Restarts of what failed of a connector.", ["system"], registry=registry
        )
        for system in systems:
            self._running.labels(system).set(0)
            self._restarts.labels(system)

    def running(self, system: str, *, is_running: bool) -> None:
        self._running.labels(system).set(1 if is_running else 0)

    def restarted(self, system: str) -> None:
        self._restarts.labels(system).inc()


class OpenCases(Collector):
    """Cases that wait for a person, of the partitions this worker owns. Overdue is a matter of the hour one asks."""

    def __init__(self, tables: Iterable[str], now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._deadlines_us: dict[str, dict[int, list[int]]] = {table: {} for table in tables}

    def set(self, table: str, partition: int, deadlines_us: Iterable[int]) -> None:
        self._deadlines_us[table][partition] = list(deadlines_us)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        now_us = self._now_s() * 1_000_000
        waiting = GaugeMetricFamily("trueup_cases_open", "Cases that wait for a person.", labels=["table"])
        overdue = GaugeMetricFamily("trueup_cases_overdue", "Open cases beyond their deadline.", labels=["table"])
        for table, partitions in self._deadlines_us.items():
            deadlines = [deadline for found in list(partitions.values()) for deadline in found]
            waiting.add_metric([table], len(deadlines))
            overdue.add_metric([table], sum(1 for deadline in deadlines if deadline < now_us))
        yield from (waiting, overdue)


class DecideMetrics(WorkerMetrics):
    """The decide worker's metrics."""

    def __init__(self, registry: CollectorRegistry, tables: Sequence[str]) -> None:
        super().__init__(registry, "decide", tables)
        self._recovery_s = Gauge(
            "trueup_recovery_seconds",
            "Seconds the latest catch-up of a truth table took.",
            ["table"],
            registry=registry,
        )
        self._recovered = Counter(
            "trueup_recovered_records", "Truth records read to catch up.", ["table"], registry=registry
        )
        self._cases = OpenCases(tables)
        registry.register(self._cases)
        for table in tables:
            self._recovery_s.labels(table).set(0)
            self._recovered.labels(table)

    def cases(self, table: str, partition: int, deadlines_us: Iterable[int]) -> None:
        """The open cases of a partition this worker owns, by their deadlines."""
        self._cases.set(table, partition, deadlines_us)

    def recovered(self, table: str, records: int, seconds: float) -> None:
        self._recovery_s.labels(table).set(seconds)
        self._recovered.labels(table).inc(records)


class AsOfAge(Collector):
    """How old the copies are, by the partitions this worker holds; the oldest counts. Computed when it is asked for.

    +Inf while it is not known, as before the first filling is complete; NaN for a table of which it holds nothing,
    which max() over the workers passes over.
    """

    def __init__(self, tables: Iterable[str], replica: str, now_us: Callable[[], int]) -> None:
        self._replica, self._now_us = replica, now_us
        self._partitions: dict[str, dict[int, int | None]] = {table: {} for table in tables}

    def put(self, table: str, partition: int, time_us: int | None) -> None:
        self._partitions[table][partition] = time_us

    def forget(self, table: str, partition: int) -> None:
        self._partitions[table].pop(partition, None)

    def age_s(self, table: str) -> float:
        times = list(self._partitions[table].values())
        if not times:
            return math.nan
        known = [time_us for time_us in times if time_us is not None]
        return (self._now_us() - min(known)) / 1e6 if len(known) == len(times) else math.inf

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "trueup_as_of_age_seconds", "Age of what a copy is known to be as of.", labels=["table", "replica"]
        )
        for table in list(self._partitions):
            family.add_metric([table, self._replica], self.age_s(table))
        yield family


class ApplyMetrics(WorkerMetrics):
    """An apply worker's metrics."""

    def __init__(
        self,
        registry: CollectorRegistry,
        tables: Sequence[str],
        replica: str,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        super().__init__(registry, "apply", tables, replica)
        self._age = AsOfAge(tables, replica, now_us)
        registry.register(self._age)
        self._convergence = BatchHistogram(
            CONVERGENCE,
            "Seconds from the source's commit to the replica's commit, per applied change.",
            ("table", "replica"),
            _CONVERGENCE_BUCKETS_S,
        )
        registry.register(self._convergence)
        self._replica_name = replica
        for table in tables:
            self._convergence.initialise(table, replica)

    def as_of(self, table: str, partition: int, time_us: int | None) -> None:
        """What a partition of a copy is as of now; None: not known."""
        self._age.put(table, partition, time_us)

    def given_up(self, table: str, partition: int) -> None:
        self._age.forget(table, partition)

    def converged(self, table: str, seconds: Iterable[float]) -> None:
        self._convergence.observe_many((table, self._replica_name), seconds)
