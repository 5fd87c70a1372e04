"""Dashboards are what Grafana can load, ask for what exists, and are the committed ones."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest

from tests.alerting import ROOT, demo_project, exposed, series_of
from trueup.core.alert_rules import rule_groups
from trueup.core.dashboards import ANY, GRID_WIDTH, dashboard_documents, queries_of
from trueup.model.alerting import Recording
from trueup.runtime.alert_files import dashboard_text

PROJECT = demo_project()
DOCUMENTS = dashboard_documents(PROJECT)
NAMES = list(DOCUMENTS)
RECORDED = {rule.record for group in rule_groups(PROJECT) for rule in group.rules if isinstance(rule, Recording)}


def test_there_is_one_for_each_question() -> None:
    names = ("overview", "table", "replica", "workers", "capture")
    assert [f"trueup-{name}.json" for name in names] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_file_is_up_to_date(name: str) -> None:
    committed = (ROOT / "infra" / "grafana" / name).read_text(encoding="utf-8")
    assert committed == dashboard_text(DOCUMENTS[name]), "run: trueup dashboards infra/grafana"


def test_no_committed_file_is_left_over() -> None:
    assert {path.name for path in (ROOT / "infra" / "grafana").glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_grafana_can_load_it(name: str) -> None:
    """What its JSON model demands: ids that differ, a grid without overlaps, a data source, targets with letters."""
    document = json.loads(dashboard_text(DOCUMENTS[name]))
    assert re.fullmatch(r"[a-z-]{1,40}", document["uid"])
    assert document["schemaVersion"] >= 36  # the first in which a data source is an object everywhere
    panels: list[dict[str, Any]] = document["panels"]
    ids = [panel["id"] for panel in panels]
    assert ids == list(range(1, len(panels) + 1))
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == ["A", "B", "C"][: len(letters)] != []
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        assert panel["type"] in {"timeseries", "stat"}
        assert panel["description"].endswith((".", ":"))
        assert 0 <= panel["gridPos"]["x"] <= GRID_WIDTH - panel["gridPos"]["w"]
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, "two panels lie on each other"


@pytest.mark.parametrize("name", NAMES)
def test_panels_ask_for_what_exists(name: str) -> None:
    known = exposed(PROJECT)
    for title, queries in queries_of(DOCUMENTS[name]):
        for query in queries:
            for metric, labels in series_of(query):
                assert metric in RECORDED or metric in known, f"{title}: {metric}"
                assert labels <= known.get(metric, labels), f"{title}: {metric} has no {labels - known[metric]}"


@pytest.mark.parametrize("name", NAMES)
def test_legends_name_labels_that_the_query_leaves(name: str) -> None:
    """A legend with a label that was summed away would be the same for all lines."""
    for panel in DOCUMENTS[name]["panels"]:
        for target in panel["targets"]:
            wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            given = re.findall(r"(?:by|on|group_left) \(([^)]*)\)", target["expr"])
            left = {label.strip() for labels in given for label in labels.split(",")}
            recorded = any(series in target["expr"] for series in RECORDED)
            assert wanted <= left | ({"table", "replica"} if recorded else set()) | {"part"}, panel["title"]


def test_choices_are_the_registered_names() -> None:
    (chosen,) = [v for v in DOCUMENTS["trueup-table.json"]["templating"]["list"] if v["name"] == "table"]
    assert [option["value"] for option in chosen["options"]] == ["$__all", *PROJECT.tables]
    assert chosen["allValue"] == ANY
    queries = [query for _, queries in queries_of(DOCUMENTS["trueup-table.json"]) for query in queries]
    assert queries
    assert not [query for query in queries if "$" in query]
