"""The metrics of decide and apply workers: unit in the name, bounded labels, series initialised (Prometheus' habits).

Labels are names from the registration (table, replica), stages, outcomes and classes of errors: sets a person wrote or
code fixes, never data. Workers count here; the durable totals are the ones committed with the progress (`trueup status`
reads those). Beside it: `runtime.capture_metrics`, and `runtime.process_metrics` of every worker.
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

from trueup.core.window_edges import CONVERGENCE_EDGES_S, edge_label
from trueup.model.decision import Outcome
from trueup.model.errors import CaptureFailed, Retryable, Stop, TrueUpError, subclasses

CONVERGENCE: Final = "trueup_convergence_seconds"
HOP: Final = "trueup_hop_seconds"
CAPTURE_HOP: Final = "capture"
DECIDE_HOP: Final = "decide"
APPLY_HOP: Final = "apply"
DECIDE_HOPS: Final = (CAPTURE_HOP, DECIDE_HOP)
_HOP_BUCKETS_S: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
STEPS: Final = {"decide": ("decide", "commit"), "apply": ("decode", "apply")}  # of a batch, by stage
_STEP_BUCKETS_S: Final = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_ROWS_BUCKETS: Final = (1, 10, 100, 500, 1000, 2000, 4000, 10_000)


def class_names(of: type[TrueUpError]) -> tuple[str, ...]:
    """Names of an error class and of all below it: what a label `error_class` can say."""
    return tuple(sorted({of.__name__, *(found.__name__ for found in subclasses(of))}))


STOPPED: Final = class_names(Stop)
RETRIED: Final = tuple(name for name in class_names(Retryable) if name != CaptureFailed.__name__)


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
            total[0] += max(0.0, value)  # clocks of two hosts differ, and a sum must not fall

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, (counts, total) in list(self._series.items()):
            cumulative, buckets = 0, []
            for bound, count in zip([*map(edge_label, self._bounds), "+Inf"], counts, strict=True):
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
        self._stopped = Gauge(
            "trueup_table_stopped", "1 while a table is stopped, by why.", [*names, "error_class"], registry=registry
        )
        self._preparing_s = Gauge(
            "trueup_preparing_seconds",
            "Seconds since the longest waiting partition of a table was to be taken over; 0 when all are worked on.",
            names,
            registry=registry,
        )
        self.ready = Gauge(
            "trueup_worker_ready", "1 when every assigned partition is being worked on.", registry=registry
        )
        self.rebalances = Counter("trueup_rebalances", "Assignments of partitions to this worker.", registry=registry)
        for table in tables:
            for outcome in Outcome:
                self._records.labels(stage, table, replica, outcome.value)
            self._rows.labels(stage, table, replica)
            for step in STEPS[stage]:
                self._step.labels(stage, table, replica, step)
            for gauge in (self._lag, self._preparing_s):
                gauge.labels(stage, table, replica).set(0)
            self.stopped(table, ())
        for error_class in RETRIED:
            self._retries.labels(stage, replica, error_class)

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

    def retried(self, exc: Retryable) -> None:
        self._retries.labels(self._stage, self._replica, type(exc).__name__).inc()

    def stopped(self, table: str, why: Iterable[Stop]) -> None:
        """What a table is stopped by; empty when it is not."""
        names = {type(stop).__name__ for stop in why}
        for error_class in STOPPED:
            self._stopped.labels(self._stage, table, self._replica, error_class).set(error_class in names)

    def preparing(self, table: str, seconds: float) -> None:
        self._preparing_s.labels(self._stage, table, self._replica).set(seconds)


def hop_histogram(registry: CollectorRegistry) -> BatchHistogram:
    """Convergence by hop; `replica` is empty before the copies."""
    documentation = "Seconds a change took for one hop: capture, decide or apply. Rows of snapshots are not counted."
    histogram = BatchHistogram(HOP, documentation, ("hop", "table", "replica"), _HOP_BUCKETS_S)
    registry.register(histogram)
    return histogram


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
        self._letters_open = Gauge(
            "trueup_dead_letters_open",
            "Keys whose newest dead letter no newer change has superseded, of the partitions this worker owns.",
            ["stage", "table"],
            registry=registry,
        )
        self._letters: dict[str, dict[int, int]] = {table: {} for table in tables}
        self._hops = hop_histogram(registry)
        for table in tables:
            self._recovery_s.labels(table).set(0)
            self._recovered.labels(table)
            self._letters_open.labels(self._stage, table).set(0)
            for hop in DECIDE_HOPS:
                self._hops.initialise(hop, table, "")

    def cases(self, table: str, partition: int, deadlines_us: Iterable[int]) -> None:
        """The open cases of a partition this worker owns, by their deadlines."""
        self._cases.set(table, partition, deadlines_us)

    def letters(self, table: str, partition: int, keys: int) -> None:
        """How many keys of a partition have an open dead letter; 0 once it is given up."""
        self._letters[table][partition] = keys
        self._letters_open.labels(self._stage, table).set(sum(self._letters[table].values()))

    def recovered(self, table: str, records: int, seconds: float) -> None:
        self._recovery_s.labels(table).set(seconds)
        self._recovered.labels(table).inc(records)

    def hops(self, table: str, captured_s: Iterable[float], decided_s: Iterable[float]) -> None:
        """Of changes published: source commit to capture record, and that to the commit of the decision."""
        self._hops.observe_many((CAPTURE_HOP, table, ""), captured_s)
        self._hops.observe_many((DECIDE_HOP, table, ""), decided_s)


class AsOfAge(Collector):
    """How old the copies are, by the partitions this worker holds; the oldest counts. Computed when it is asked for.

    +Inf while it is not known, as before the first filling is complete; NaN for a table of which it holds nothing,
    which max() over the workers passes over.
    """

    def __init__(self, tables: Iterable[str], replica: str, now_us: Callable[[], int]) -> None:
        self._replica, self._now_us = replica, now_us
        self._partitions: dict[str, dict[int, int | None]] = {table: {} for table in tables}

    def put(self, table: str, partition: int, time_us: int | None) -> None:
        if table in self._partitions:
            self._partitions[table][partition] = time_us

    def forget(self, table: str, partition: int) -> None:
        self._partitions.get(table, {}).pop(partition, None)

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
    """An apply worker's metrics.

    :param edges_s: windows of the project, seconds: each is an edge of the buckets, so that the changes that kept it
        can be counted and not estimated. The same for all copies, or buckets could not be added up.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        tables: Sequence[str],
        replica: str,
        edges_s: Iterable[float] = (),
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        super().__init__(registry, "apply", tables, replica)
        self._age = AsOfAge(tables, replica, now_us)
        registry.register(self._age)
        self._convergence = BatchHistogram(
            CONVERGENCE,
            "Seconds from the source's commit to the replica's commit, per applied change.",
            ("table", "replica"),
            sorted({*CONVERGENCE_EDGES_S, *edges_s}),
        )
        registry.register(self._convergence)
        self._hops = hop_histogram(registry)
        self._replica_name = replica
        for table in tables:
            self._convergence.initialise(table, replica)
            self._hops.initialise(APPLY_HOP, table, replica)

    def as_of(self, table: str, partition: int, time_us: int | None) -> None:
        """What a partition of a copy is as of now; None: not known."""
        self._age.put(table, partition, time_us)

    def given_up(self, table: str, partition: int) -> None:
        self._age.forget(table, partition)

    def converged(self, table: str, seconds: Iterable[float]) -> None:
        self._convergence.observe_many((table, self._replica_name), seconds)

    def hops(self, table: str, applied_s: Iterable[float]) -> None:
        """Of changes applied: truth record to the replica's commit."""
        self._hops.observe_many((APPLY_HOP, table, self._replica_name), applied_s)
