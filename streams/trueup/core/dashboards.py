"""Grafana's dashboards for the registered tables, as plain data. Pure.

What stands on them is in `core.dashboard_panels`; this is Grafana's JSON: a dashboard has panels on a grid 24 wide, a
panel has targets (queries) and a unit. Data source and choices are variables, so that a file fits any Grafana.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from trueup.core.dashboard_panels import dashboards_of
from trueup.model.dashboard import Dashboard, Panel
from trueup.model.registration import Project

SCHEMA_VERSION: Final = 38  # of Grafana 10; later ones convert it when they load it
GRID_WIDTH: Final = 24
_HEIGHT: Final = 8
_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
ANY: Final = ".+"  # what a choice says when all is chosen


def dashboard_documents(project: Project) -> dict[str, dict[str, Any]]:
    """The dashboards by file name."""
    return {f"{board.uid}.json": _document(board) for board in dashboards_of(project)}


def queries_of(document: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Title and queries of each panel of a dashboard, with all chosen of each variable."""
    names = [variable["name"] for variable in document["templating"]["list"] if variable["type"] == "custom"]
    found = []
    for panel in document["panels"]:
        queries = [target["expr"] for target in panel["targets"]]
        for name in names:
            queries = [query.replace(f"${name}", ANY) for query in queries]
        found.append((f"{document['title']}: {panel['title']}", queries))
    return found


def _document(board: Dashboard) -> dict[str, Any]:
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.description,
        "tags": ["trueup"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [_datasource(), *(_choice(name, values) for name, values in board.choices.items())]},
        "panels": list(_panels(board.panels)),
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}


def _choice(name: str, values: Iterable[str]) -> dict[str, Any]:
    values = list(values)
    everything = {"selected": True, "text": ["All"], "value": ["$__all"]}
    options = [{"selected": False, "text": value, "value": value} for value in values]
    return {
        "name": name,
        "label": name,
        "type": "custom",
        "query": ",".join(values),
        "multi": True,
        "includeAll": True,
        "allValue": ANY,
        "current": everything,
        "options": [{**everything, "text": "All", "value": "$__all"}, *options],
        "hide": 0,
    }


def _panels(panels: Iterable[Panel]) -> Iterable[dict[str, Any]]:
    """From left to right, then the next row."""
    x = y = 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > GRID_WIDTH:
            x, y = 0, y + _HEIGHT
        yield _panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": _HEIGHT})
        x += panel.width


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.red_from is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.red_from}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    options: dict[str, Any] = {"tooltip": {"mode": "multi", "sort": "desc"}, "legend": {"showLegend": True}}
    if panel.kind == "stat":
        options = {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "background",
        }
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + place_in),
                "datasource": _DATASOURCE,
                "expr": query,
                "legendFormat": legend,
                "instant": panel.kind == "stat",
                "range": panel.kind != "stat",
            }
            for place_in, (legend, query) in enumerate(panel.queries.items())
        ],
    }
