"""What the demo says of Prometheus can be no: a worker that is down, an empty panel, a rule that is none, no answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.alerting import demo_project
from trueup.core.dashboards import dashboard_documents
from trueup.demo import observation
from trueup.demo.checks import Checks
from trueup.demo.folder import DemoFolder
from trueup.demo.observation import Observation
from trueup.demo.progress import Steps
from trueup.model.errors import Unreachable

WORKERS = ["decide", "apply-reporting"]


class FakePrometheus:
    """Everything is well until a test says otherwise."""

    def __init__(self) -> None:
        self.health = dict.fromkeys(WORKERS, "up")
        self.empty = ""
        self.all_rules: list[dict[str, Any]] = [{"name": "TrueUpCopyStuck", "health": "ok"}]
        self.is_there = True

    def health_of_workers(self) -> dict[str, str]:
        if not self.is_there:
            raise Unreachable("prometheus")
        return self.health

    def finite(self, query: str) -> int:
        return 0 if self.empty and self.empty in query else 2

    def rules(self) -> list[dict[str, Any]]:
        return self.all_rules


class FakeCommands:
    """Writes the real dashboards; promtool says what the test wants."""

    def __init__(self) -> None:
        self.promtool: str | None = None

    def dashboards(self, folder: str) -> None:
        Path(folder).mkdir(parents=True)
        for name, document in dashboard_documents(demo_project()).items():
            (Path(folder) / name).write_text(json.dumps(document))

    def check_alerts(self) -> str | None:
        return self.promtool


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_SCRAPED_WITHIN_S", "_PANELS_WITHIN_S", "_LOOK_INTERVAL_S"):
        monkeypatch.setattr(observation, name, 0.0)


def failed(tmp_path: Path, prometheus: Any, commands: Any) -> list[str]:
    folder = DemoFolder(tmp_path, 20_000, observe=True)
    checks = Checks()
    Observation(folder, commands, Steps(Console(quiet=True)), prometheus).check(WORKERS, checks)
    assert checks.results
    return [f"{check.claim}: {check.seen}" for check in checks.failed]


def test_all_is_well(tmp_path: Path) -> None:
    assert failed(tmp_path, FakePrometheus(), FakeCommands()) == []


def test_a_worker_that_is_down_or_was_never_found(tmp_path: Path) -> None:
    prometheus = FakePrometheus()
    prometheus.health = {"decide": "down"}
    assert failed(tmp_path, prometheus, FakeCommands()) == [
        "Prometheus scraped every worker: not decide, apply-reporting"
    ]


def test_one_empty_query_of_one_panel(tmp_path: Path) -> None:
    prometheus = FakePrometheus()
    prometheus.empty = "trueup_slot_headroom_bytes"
    (no,) = failed(tmp_path, prometheus, FakeCommands())
    assert no.startswith("every dashboard panel shows something: TrueUp capture: Log kept for the slot, and room (")


def test_a_rule_that_cannot_be_evaluated(tmp_path: Path) -> None:
    prometheus = FakePrometheus()
    prometheus.all_rules.append({"name": "TrueUpMemory", "health": "err", "lastError": "many-to-many"})
    (no,) = failed(tmp_path, prometheus, FakeCommands())
    assert "TrueUpMemory: many-to-many" in no


def test_no_rule_at_all(tmp_path: Path) -> None:
    prometheus = FakePrometheus()
    prometheus.all_rules.clear()
    assert [no.partition(":")[0] for no in failed(tmp_path, prometheus, FakeCommands())] == [
        "Prometheus evaluates every rule"
    ]


def test_promtool_objects(tmp_path: Path) -> None:
    commands = FakeCommands()
    commands.promtool = "FAILED: alertname: TrueUpCopyStuck"
    (no,) = failed(tmp_path, FakePrometheus(), commands)
    assert "TrueUpCopyStuck" in no


def test_a_prometheus_that_does_not_answer_is_no_end_of_the_report(tmp_path: Path) -> None:
    prometheus = FakePrometheus()
    prometheus.is_there = False
    assert [no.partition(":")[0] for no in failed(tmp_path, prometheus, FakeCommands())] == ["Prometheus answers"]
