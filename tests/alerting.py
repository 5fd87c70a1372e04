"""What the rules and dashboards are made of in tests: the demo's registrations, and the metrics the code exposes."""

from __future__ import annotations

import functools
import re
import tempfile
from pathlib import Path

from prometheus_client import CollectorRegistry

from trueup.adapters.project_files import read_project
from trueup.core.registration_rules import problems_of
from trueup.core.window_edges import edges_of
from trueup.model.registration import Project
from trueup.runtime.breaker import Breaker
from trueup.runtime.capture_metrics import CaptureMetrics
from trueup.runtime.metrics import ApplyMetrics, DecideMetrics
from trueup.runtime.outages import Outages
from trueup.runtime.process_metrics import BreakerMetrics, ProcessMetrics, register_process

ROOT = Path(__file__).resolve().parents[1]

# Labels that a scrape adds to what a worker says.
SCRAPED = {"job", "instance", "worker"}

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_RANGE = re.compile(r"\[[^\]]*\]")
_BY = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)")
_SELECTOR = re.compile(r"\b([a-z][a-z0-9_:]*[a-z0-9])\b(?!\s*\()(?:\{([^}]*)\})?")
_WORDS = {"and", "or", "unless", "offset", "bool", "by", "on", "time"}


@functools.cache
def demo_project() -> Project:
    """The registrations in this repository."""
    return read_project(ROOT, problems_of)


def metrics_of(project: Project, state_dir: Path) -> dict[str, set[str]]:
    """Labels by the name of every sample that workers of a project expose before anything happened."""
    found: dict[str, set[str]] = {}
    for registry in registries(project, state_dir):
        for family in registry.collect():
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def registries(project: Project, state_dir: Path) -> list[CollectorRegistry]:
    """A registry per worker, filled as `runtime.wiring` does."""
    decide, capture = CollectorRegistry(), CollectorRegistry()
    DecideMetrics(decide, list(project.tables))
    CaptureMetrics(capture, list(project.systems))
    applying = []
    for replica in project.replicas:
        registry = CollectorRegistry()
        copied = [table.table for table, _ in project.tables_copied_to(replica)]
        ApplyMetrics(registry, copied, replica, edges_of(project))
        registry.register(BreakerMetrics(Breaker(f"replica {replica}")))
        applying.append(registry)
    for registry in (decide, capture, *applying):
        about = ProcessMetrics(kind="k", name="n", replica="r", state_dir=state_dir, outages=Outages())
        register_process(registry, about)
    return [decide, capture, *applying]


@functools.cache
def _exposed(project_id: int) -> dict[str, set[str]]:
    with tempfile.TemporaryDirectory() as state_dir:
        return metrics_of(demo_project(), Path(state_dir))


def exposed(project: Project) -> dict[str, set[str]]:
    """Labels by the name of every sample, with those that a scrape adds; and `up`, which Prometheus makes itself."""
    labels = {name: labels | SCRAPED for name, labels in _exposed(id(project)).items()}
    return labels | {"up": set(SCRAPED)}


def series_of(expr: str) -> list[tuple[str, set[str]]]:
    """The series an expression selects, by name, with the labels it asks for."""
    without = _BY.sub(" ", _RANGE.sub("", _STRING.sub('""', expr)))
    return [
        (name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside or "")))
        for name, inside in _SELECTOR.findall(without)
        if name not in _WORDS and ("_" in name or ":" in name or name == "up")
    ]
