"""Prometheus and Alertmanager of the stack, without the rest of it: a worker is found, and an alarm arrives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.pipeline import PORT_BASE
from tests.waiting import eventually
from trueup.adapters.prometheus_api import Prometheus
from trueup.adapters.promtool import find_alertmanager, find_program
from trueup.adapters.rule_files import yaml_text
from trueup.adapters.scrape_targets import remove_target, targets_dir, write_target
from trueup.adapters.whole_file import write_whole
from trueup.core.alert_rules import rule_document
from trueup.model.alerting import Alert, RuleGroup
from trueup.model.errors import Refused
from trueup.stack.part import start
from trueup.stack.prometheus import observing_parts
from trueup.stack.settings import Observability, StackSettings, alertmanager_port, prometheus_port

pytestmark = [pytest.mark.promtool, pytest.mark.timeout(300)]

ALARM = Alert(alert="Awake", expr="vector(1)", severity="page", summary="it works", runbook="A copy is stuck")


@pytest.fixture
def observing(tmp_path: Path) -> Iterator[StackSettings]:
    settings = StackSettings(
        state_dir=tmp_path,
        port_base=PORT_BASE,
        observability=Observability(
            targets_dir=targets_dir(tmp_path), rules_file=tmp_path / "rules.yml", alertmanager=find_alertmanager()
        ),
    )
    if find_program("prometheus", cache_dir=settings.cache_dir) is None or find_alertmanager() is None:
        pytest.skip("prometheus and alertmanager are not installed")
    parts = observing_parts(settings)
    try:
        for part in parts:
            start(part, 60)
        yield settings
    finally:
        for part in parts:
            part.process.stop(part.stop_signal, 20)


@pytest.fixture
def prometheus(observing: StackSettings) -> Iterator[Prometheus]:
    client = Prometheus(f"http://127.0.0.1:{prometheus_port(observing)}")
    yield client
    client.close()


def test_a_worker_is_found_by_its_file_and_an_alarm_arrives(
    observing: StackSettings, prometheus: Prometheus, tmp_path: Path
) -> None:
    # Alertmanager speaks the same language: its /metrics stand for a worker's.
    write_target(tmp_path, "decide", f"127.0.0.1:{alertmanager_port(observing)}")
    eventually(lambda: prometheus.health_of_workers() == {"decide": "up"}, within_s=60, what="the worker is scraped")
    assert prometheus.finite('process_resident_memory_bytes{worker="decide"}') == 1

    rules = RuleGroup(name="one", rules=(ALARM,))
    write_whole(tmp_path / "rules.yml", yaml_text(rule_document([rules]), "of a test"))
    prometheus.reload()
    assert [rule["name"] for rule in prometheus.rules()] == ["Awake"]
    url = f"http://127.0.0.1:{alertmanager_port(observing)}/api/v2/alerts"

    def arrived() -> list[str]:
        return [alert["labels"]["alertname"] for alert in httpx.get(url, trust_env=False).json()]

    eventually(lambda: arrived() == ["Awake"], within_s=150, what="the alarm is at Alertmanager")
    remove_target(tmp_path, "decide")
    eventually(lambda: not prometheus.health_of_workers(), within_s=60, what="the worker's target is gone")


def test_rules_and_queries_that_are_none_are_refused(prometheus: Prometheus, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text("groups: [{name: x, rules: [{alert: A, expr: 'sum by ('}]}]")
    with pytest.raises(Refused):
        prometheus.reload()
    with pytest.raises(Refused):
        prometheus.values("sum by (")
    assert prometheus.values("vector(1) / 0") == [float("inf")]
    assert prometheus.finite("vector(1) / 0") == 0
