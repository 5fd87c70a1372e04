"""What workers count and measure: series exist before anything happened, and windows are edges of buckets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from faust.types import TP
from prometheus_client import CollectorRegistry, generate_latest

from tests.lane_fakes import ORDERS_0, ORDERS_1, FakeHandler, passes, run
from trueup.adapters.kafka_connect import ConnectorStatus
from trueup.adapters.scrape_targets import remove_target, write_target
from trueup.model.errors import SlotLost, SourceWentBack, TopicChanged, TransientReplica, Unreachable
from trueup.model.source_table import CapturePlace, Slot
from trueup.runtime.capture_metrics import CaptureMetrics
from trueup.runtime.lane import Lane
from trueup.runtime.metrics import ApplyMetrics, DecideMetrics
from trueup.runtime.outages import Outages
from trueup.runtime.process_metrics import ProcessMetrics, register_process
from trueup.runtime.slot_watch import SlotWatch
from trueup.runtime.watchdog import Watchdog

COPY = {"table": "orders", "replica": "reporting"}


def apply_metrics() -> tuple[ApplyMetrics, CollectorRegistry]:
    registry = CollectorRegistry()
    return ApplyMetrics(registry, ["orders"], "reporting", edges_s=(7.5, 300.0)), registry


def test_a_window_is_an_edge_so_that_changes_that_kept_it_are_counted() -> None:
    metrics, registry = apply_metrics()
    metrics.converged("orders", [7.4, 7.5, 7.6])
    kept = registry.get_sample_value("trueup_convergence_seconds_bucket", {**COPY, "le": "7.5"})
    assert kept == 2
    assert registry.get_sample_value("trueup_convergence_seconds_count", COPY) == 3


def test_a_clock_that_is_behind_lets_no_sum_fall() -> None:
    metrics, registry = apply_metrics()
    metrics.converged("orders", [-0.5])
    assert registry.get_sample_value("trueup_convergence_seconds_sum", COPY) == 0
    assert registry.get_sample_value("trueup_convergence_seconds_count", COPY) == 1


def test_series_exist_before_anything_happened() -> None:
    metrics, registry = apply_metrics()
    DecideMetrics(decide := CollectorRegistry(), ["orders"])
    at_replica = {"stage": "apply", "replica": "reporting"}
    for error_class in ("Unreachable", "TransientReplica"):
        found = registry.get_sample_value("trueup_retries_total", {**at_replica, "error_class": error_class})
        assert found == 0, error_class
    for error_class in ("SourceWentBack", "SchemaChanged", "TopicChanged", "DeadLetterCapReached"):
        labels = {"stage": "decide", "table": "orders", "replica": "", "error_class": error_class}
        assert decide.get_sample_value("trueup_table_stopped", labels) == 0, error_class
    for hop, of in (("capture", decide), ("decide", decide), ("apply", registry)):
        labels = {"hop": hop, "table": "orders", "replica": "reporting" if hop == "apply" else ""}
        assert of.get_sample_value("trueup_hop_seconds_count", labels) == 0, hop
    metrics.retried(TransientReplica("reporting", "40001"))
    one = registry.get_sample_value("trueup_retries_total", {**at_replica, "error_class": "TransientReplica"})
    assert one == 1


def test_a_stopped_table_says_by_which_class_and_only_while_it_is() -> None:
    metrics, registry = apply_metrics()

    def is_stopped(error_class: str) -> float | None:
        labels = {**COPY, "stage": "apply", "error_class": error_class}
        return registry.get_sample_value("trueup_table_stopped", labels)

    metrics.stopped("orders", [TopicChanged("gone")])
    assert (is_stopped("TopicChanged"), is_stopped("SourceWentBack")) == (1, 0)
    metrics.stopped("orders", [])
    assert is_stopped("TopicChanged") == 0


def test_a_partition_that_is_being_taken_over_is_timed_and_its_retries_are_counted() -> None:
    async def test() -> None:
        metrics, registry = apply_metrics()
        handler = FakeHandler()
        handler.prepare_fails = [Unreachable("replica reporting")] * 3
        lane = Lane(handler)
        lane.on_retry, lane.on_assigned = metrics.retried, metrics.rebalances.inc
        watchdog = Watchdog(lane, metrics, dict.fromkeys((ORDERS_0.topic, ORDERS_1.topic), "orders"), 60.0)
        labels = {**COPY, "stage": "apply"}
        lane.assigned([ORDERS_0])
        await watchdog.look()
        await passes(2)
        await watchdog.look()
        assert registry.get_sample_value("trueup_preparing_seconds", labels) == pytest.approx(2)
        retries = {"stage": "apply", "replica": "reporting", "error_class": "Unreachable"}
        assert registry.get_sample_value("trueup_retries_total", retries) == 3
        assert registry.get_sample_value("trueup_rebalances_total") == 1
        lane.partitions[ORDERS_0].ready = True
        await watchdog.look()
        assert registry.get_sample_value("trueup_preparing_seconds", labels) == 0
        await lane.revoke_all()

    run(test)


def test_a_partition_given_up_is_not_timed_on() -> None:
    async def test() -> None:
        metrics, registry = apply_metrics()
        lane = Lane(FakeHandler())
        watchdog = Watchdog(lane, metrics, {ORDERS_0.topic: "orders"}, 60.0)
        lane.assigned([TP(ORDERS_0.topic, 3)])
        await watchdog.look()
        await lane.revoke_all()
        await passes(30)
        await watchdog.look()
        assert registry.get_sample_value("trueup_preparing_seconds", {**COPY, "stage": "apply"}) == 0

    run(test)


def process_registry(outages: Outages, state_dir: Path) -> CollectorRegistry:
    registry = CollectorRegistry()
    about = ProcessMetrics(kind="apply", name="a", replica="reporting", state_dir=state_dir, outages=outages)
    register_process(registry, about)
    return registry


def test_outages_are_shown_by_part_whoever_meets_them(tmp_path: Path) -> None:
    outages = Outages()
    outages.expect("kafka", "registry")
    registry = process_registry(outages, tmp_path)
    outages.begin("orders/0", Unreachable("kafka"))
    outages.begin("orders/1", Unreachable("kafka"))
    outages.begin("orders/2", TransientReplica("reporting", "40001"))
    shown = {part: registry.get_sample_value("trueup_outage", {"part": part}) for part in ("kafka", "registry")}
    assert shown == {"kafka": 1, "registry": 0}
    assert registry.get_sample_value("trueup_outage", {"part": "replica reporting"}) == 1
    assert registry.get_sample_value("trueup_outages_total", {"part": "kafka"}) == 1
    outages.end("orders/0")
    assert registry.get_sample_value("trueup_outage", {"part": "kafka"}) == 1
    outages.forget("orders/1")
    assert registry.get_sample_value("trueup_outage", {"part": "kafka"}) == 0


def test_a_worker_says_who_it_is_and_how_its_disk_is_before_its_folder_exists(tmp_path: Path) -> None:
    registry = process_registry(Outages(), tmp_path / "not" / "yet")
    size = registry.get_sample_value("trueup_state_disk_size_bytes")
    free = registry.get_sample_value("trueup_state_disk_free_bytes")
    assert size is not None
    assert free is not None
    assert 0 < free < size
    assert b'trueup_worker_info{kind="apply",name="a",replica="reporting",version=' in generate_latest(registry)
    assert registry.get_sample_value("process_resident_memory_bytes")


SLOT = Slot(confirmed=900, lost=False, active=True, restart=400, headroom_bytes=2_000)


@pytest.mark.parametrize(
    ("slot", "expected"),
    [
        (SLOT, {"retained": 600.0, "headroom": 2_000.0, "active": 1.0, "SlotLost": 0.0}),
        (
            msgspec.structs.replace(SLOT, headroom_bytes=None),
            {"retained": 600.0, "headroom": float("inf"), "active": 1.0, "SlotLost": 0.0},
        ),
        (
            msgspec.structs.replace(SLOT, headroom_bytes=None, lost=True, active=False),
            {"retained": 600.0, "headroom": 0.0, "active": 0.0, "SlotLost": 1.0},
        ),
    ],
)
def test_a_slot_says_how_much_log_it_keeps_and_how_much_it_may(slot: Slot, expected: dict[str, float]) -> None:
    registry = CollectorRegistry()
    place = CapturePlace(slot=slot, log_end=1_000, captured=950)
    asyncio.run(SlotWatch(["shop"], lambda _: place, CaptureMetrics(registry, ["shop"])).look())
    shop = {"system": "shop"}
    assert {
        "retained": registry.get_sample_value("trueup_slot_retained_bytes", shop),
        "headroom": registry.get_sample_value("trueup_slot_headroom_bytes", shop),
        "active": registry.get_sample_value("trueup_slot_active", shop),
        "SlotLost": registry.get_sample_value("trueup_capture_lost", {**shop, "error_class": SlotLost.__name__}),
    } == expected
    assert registry.get_sample_value("trueup_capture_behind_bytes", shop) == 50


def test_a_source_that_went_back_is_seen_without_a_failed_connector() -> None:
    registry = CollectorRegistry()
    place = CapturePlace(slot=SLOT, log_end=800, captured=950)
    asyncio.run(SlotWatch(["shop"], lambda _: place, CaptureMetrics(registry, ["shop"])).look())
    labels = {"system": "shop", "error_class": SourceWentBack.__name__}
    assert registry.get_sample_value("trueup_capture_lost", labels) == 1


def test_what_a_source_does_not_say_is_no_number() -> None:
    registry, answers = CollectorRegistry(), [CapturePlace(slot=SLOT, log_end=1_000, captured=950)]

    def place(_: str) -> CapturePlace:
        if answers:
            return answers.pop()
        raise Unreachable("source shop")

    watch = SlotWatch(["shop"], place, CaptureMetrics(registry, ["shop"]))
    asyncio.run(watch.look())
    asyncio.run(watch.look())
    retained = registry.get_sample_value("trueup_slot_retained_bytes", {"system": "shop"})
    assert retained != retained  # noqa: PLR0124 - NaN


def test_connector_and_task_have_one_state_each_from_a_fixed_set() -> None:
    registry = CollectorRegistry()
    metrics = CaptureMetrics(registry, ["shop"])

    def states(part: str) -> list[str]:
        (family,) = (family for family in registry.collect() if family.name == "trueup_capture_state")
        return [s.labels["state"] for s in family.samples if s.labels["part"] == part and s.value == 1]

    assert (states("connector"), states("task")) == (["UNKNOWN"], ["UNKNOWN"])
    metrics.connector("shop", ConnectorStatus(connector="RUNNING", tasks=("FAILED",)))
    assert (states("connector"), states("task")) == (["RUNNING"], ["FAILED"])
    assert registry.get_sample_value("trueup_capture_failed", {"system": "shop"}) == 1
    metrics.connector("shop", ConnectorStatus(connector="A_LATER_WORD", tasks=()))
    assert (states("connector"), states("task")) == (["UNKNOWN"], ["ABSENT"])
    metrics.connector("shop", None)
    assert (states("connector"), states("task")) == (["ABSENT"], ["ABSENT"])


def test_a_worker_leaves_a_target_for_prometheus_and_takes_it_away(tmp_path: Path) -> None:
    write_target(tmp_path, "apply-reporting", "127.0.0.1:29102")
    files = list((tmp_path / "targets").iterdir())
    assert [file.name for file in files] == ["apply-reporting.json"]
    said = msgspec.json.decode(files[0].read_bytes())
    assert said == [{"targets": ["127.0.0.1:29102"], "labels": {"worker": "apply-reporting"}}]
    remove_target(tmp_path, "apply-reporting")
    remove_target(tmp_path, "apply-reporting")
    assert not list((tmp_path / "targets").iterdir())
