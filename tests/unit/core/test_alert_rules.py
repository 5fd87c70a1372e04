"""Rules made from registrations: they name what exists, and lead whoever is woken to what is to be done."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from tests.alerting import ROOT, demo_project, exposed, metrics_of, series_of
from trueup.core.alert_cases import CASES, copies
from trueup.core.alert_rules import anchor, annotations_of, rule_document, rule_groups
from trueup.core.alert_tests import filled_in
from trueup.core.window_alerts import budget_of
from trueup.core.window_edges import edges_of
from trueup.model.alerting import Recording
from trueup.model.registration import Copy, Project, Source, Table, Window

PROJECT = demo_project()
GROUPS = rule_groups(PROJECT)
ALERTS = [alert for group in GROUPS for alert in group.alerts]

RECORDED = {rule.record for group in GROUPS for rule in group.rules if isinstance(rule, Recording)}


def test_rules_name_only_metrics_and_labels_that_exist() -> None:
    known = exposed(PROJECT)
    named = [series for group in GROUPS for rule in group.rules for series in series_of(rule.expr)]
    assert {name for name, _ in named} - RECORDED - set(known) == set()
    wrong = [(name, labels - known[name]) for name, labels in named if name in known and not labels <= known[name]]
    assert not wrong


def test_every_alert_can_be_made_to_fire() -> None:
    assert {alert.alert for alert in ALERTS} == {case.alert for case in CASES if case.fires}


def test_every_runbook_link_has_its_section() -> None:
    text = (ROOT / "infra" / "README.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (.+)\n\n((?:(?!^#).*\n?)+)", text, re.MULTILINE))
    for alert in ALERTS:
        assert alert.runbook in sections, alert.alert
        assert annotations_of(alert)["runbook_url"] == f"infra/README.md#{anchor(alert.runbook)}"
    for alert in ALERTS:
        told = f"`{alert.alert}`"
        assert told in text, f"{alert.alert} is explained nowhere in infra/README.md"


def test_a_summary_names_what_it_is_about() -> None:
    """A table where there is one; of a system or a missing worker all tables that stand still with it."""
    for alert in ALERTS:
        by_label = {"table", "part", "instance"} & set(re.findall(r"\$labels\.(\w+)", alert.summary))
        by_name = [table for table in PROJECT.tables if f'"{table}"' in alert.summary]
        assert by_label or by_name, alert.alert
    (shop,) = [alert for alert in ALERTS if alert.alert == "TrueUpSlotLost" and alert.labels == {"system": "shop"}]
    assert '"orders"' in shop.summary
    assert '"stock"' not in shop.summary, "owned by the warehouse"


def test_a_summary_is_filled_in_as_prometheus_does() -> None:
    text = 'table "{{ $labels.table }}"{{ if $labels.replica }} of "{{ $labels.replica }}"{{ end }}'
    assert filled_in(text, {"table": "orders", "replica": "reporting"}) == 'table "orders" of "reporting"'
    assert filled_in(text, {"table": "orders"}) == 'table "orders"'


def test_each_copy_has_its_window_and_budget() -> None:
    recorded = {
        (rule.labels["table"], rule.labels["replica"], rule.record): rule.expr
        for group in GROUPS
        for rule in group.rules
        if isinstance(rule, Recording) and rule.labels
    }
    assert recorded["stock", "shop", "trueup:window_seconds"] == "vector(5)"
    assert recorded["stock", "reporting", "trueup:window_seconds"] == "vector(300)"
    assert recorded["stock", "shop", "trueup:error_budget:ratio"] == "vector(0.001)"
    count = sum(len(table.copies) for table in PROJECT.tables.values())
    assert len(recorded) == 2 * count


def test_the_copies_at_writers_have_windows_and_are_tried_out() -> None:
    shared = Table(
        table="shared",
        writers=["shop", "warehouse"],
        source=Source(table="public.shared"),
        key=["id"],
        window=Window(within="7s"),
        replicas=[Copy(replica="reporting")],
    )
    project = msgspec.structs.replace(PROJECT, tables={"shared": shared})
    windows = [
        (rule.labels["replica"], rule.expr)
        for group in rule_groups(project)
        for rule in group.rules
        if isinstance(rule, Recording) and rule.record == "trueup:window_seconds"
    ]
    assert windows == [(replica, "vector(7)") for replica in ("shop", "warehouse", "reporting")]
    assert [subject.labels["replica"] for subject in copies(project)] == ["shop", "warehouse", "reporting"]
    assert edges_of(project) == (7.0,)


@pytest.mark.parametrize(("objective", "budget"), [("99.9%", 0.001), ("99.95%", 0.0005), ("90%", 0.1)])
def test_what_an_objective_leaves(objective: str, budget: float) -> None:
    assert budget_of(objective) == budget


def test_windows_are_edges_and_rules_ask_for_these() -> None:
    assert edges_of(PROJECT) == (5.0, 60.0, 300.0)
    exprs = " ".join(rule.expr for group in GROUPS for rule in group.rules)
    assert set(re.findall(r'le="([^"]+)"', exprs)) == {"5.0", "60.0", "300.0"}


def test_a_project_without_tables_has_rules_that_say_nothing_wrong() -> None:
    groups = rule_groups(Project(systems={}, replicas={}, tables={}))
    assert not [alert for group in groups for alert in group.alerts if alert.alert == "TrueUpWorkerMissing"]
    assert rule_document(groups)["groups"]


def test_the_metrics_named_here_are_not_imagined(tmp_path: Path) -> None:
    """The check above can fail."""
    assert series_of('sum by (table) (rate(trueup_records_total{outcome="rejected"}[5m])) > 1') == [
        ("trueup_records_total", {"outcome"})
    ]
    assert "trueup_records_totals" not in exposed(PROJECT)
    assert msgspec.structs.asdict(ALERTS[0])["severity"] in {"page", "ticket"}
    assert "trueup_lag_records" in metrics_of(PROJECT, tmp_path)
