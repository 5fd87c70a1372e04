"""Every panel shows something over what the code exposes: promtool evaluates their queries.

`make demo OBSERVE=1` asks the same of real workers; this one costs no server.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from tests.alerting import demo_project, registries
from tests.unit.core.test_dashboards import DOCUMENTS
from trueup.adapters.promtool import Promtool, find_program
from trueup.adapters.whole_file import write_whole
from trueup.core.alert_worlds import Series
from trueup.core.dashboards import queries_of
from trueup.runtime.alert_files import rules_text
from trueup.stack.settings import StackSettings

STEPS, STEP_S = 12, 30


def exposed_series(tmp_path: Path) -> list[Series]:
    """What each worker exposes: counters rise, gauges are 1."""
    found = {}
    for number, registry in enumerate(registries(demo_project(), tmp_path)):
        scraped = {"job": "trueup", "instance": f"w{number}:1", "worker": f"w{number}"}
        for family in registry.collect():
            values = f"1+{0 if family.type == 'gauge' else 1}x{STEPS}"
            for sample in family.samples:
                if sample.name.startswith(("trueup_", "process_")):
                    one = Series(sample.name, {**scraped, **sample.labels}, values)
                    found[one.text] = one
    return list(found.values())


def evaluated(promtool: Promtool, series: list[Series], queries: list[str], tmp_path: Path) -> dict[str, list[float]]:
    """The values of each query. Asked for as a test that expects nothing: promtool tells what there is instead."""
    write_whole(tmp_path / "rules.yml", rules_text(demo_project()))
    at = f"{STEPS * STEP_S}s"
    test = {
        "interval": f"{STEP_S}s",
        "input_series": [{"series": one.text, "values": one.values} for one in series],
        "promql_expr_test": [{"expr": query, "eval_time": at, "exp_samples": []} for query in queries],
    }
    document = {"rule_files": ["rules.yml"], "evaluation_interval": f"{STEP_S}s", "tests": [test]}
    write_whole(tmp_path / "tests.yml", json.dumps(document))
    said = promtool.test_rules(tmp_path / "tests.yml") or ""
    found: dict[str, list[float]] = {}
    for query, got in re.findall(r'expr: ("(?:[^"\\]|\\.)*"), time: \S+\s+exp: \S+\s+got: (.*)', said):
        found[json.loads(query)] = [float(value) for value in re.findall(r"\} ([^\s,]+)", got)]
    return found


@pytest.mark.promtool
def test_no_panel_is_empty_over_what_workers_expose(tmp_path: Path) -> None:
    program = find_program("promtool", cache_dir=StackSettings().cache_dir)
    if program is None:
        pytest.skip("promtool is not installed; make prometheus brings it")
    queries = [query for document in DOCUMENTS.values() for _, asked in queries_of(document) for query in asked]
    nonsense = "sum by (table) (trueup_nobody_says_this)"
    values = evaluated(Promtool(program), exposed_series(tmp_path), [*queries, nonsense], tmp_path)
    assert len(values) > len(queries) / 2, "promtool words its answer otherwise"
    empty = {query for query in [*queries, nonsense] if not any(map(math.isfinite, values.get(query, [])))}
    assert empty == {nonsense}
