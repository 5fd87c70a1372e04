"""promtool agrees: rules are well-formed, each alert fires where it must, and the tests of the rules can fail."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from tests.alerting import ROOT, demo_project
from trueup.adapters.promtool import Promtool, find_program, program
from trueup.core.alert_rules import rule_groups
from trueup.model.alerting import Alert, RuleGroup
from trueup.model.errors import Refused
from trueup.model.registration import Project
from trueup.runtime.alert_files import prove
from trueup.stack.settings import StackSettings

NEVER, ALWAYS = "vector(0) > 1", "vector(1)"


@pytest.fixture(scope="module")
def promtool() -> Promtool:
    found = find_program("promtool", cache_dir=StackSettings().cache_dir)
    if found is None:
        pytest.skip("promtool is not installed; make prometheus brings it")
    return Promtool(found)


def small_project() -> Project:
    """Two systems, three replicas, windows of 5 s and 5 min: everything that a rule can take for something else."""
    demo = demo_project()
    return msgspec.structs.replace(demo, tables={name: demo.tables[name] for name in ("orders", "stock")})


def with_every_alert(expr: str) -> list[RuleGroup]:
    def changed(group: RuleGroup) -> RuleGroup:
        rules = [
            msgspec.structs.replace(rule, expr=expr, for_s=0) if isinstance(rule, Alert) else rule
            for rule in group.rules
        ]
        return msgspec.structs.replace(group, rules=tuple(rules))

    return [changed(group) for group in rule_groups(small_project())]


def all_alerts() -> set[str]:
    return {alert.alert for group in rule_groups(small_project()) for alert in group.alerts}


@pytest.mark.promtool
@pytest.mark.timeout(600)
def test_every_rule_of_the_demo_is_well_formed_and_fires_where_it_must(promtool: Promtool) -> None:
    assert prove(demo_project(), promtool) is None


@pytest.mark.promtool
def test_an_alert_that_never_fires_is_found(promtool: Promtool) -> None:
    found = prove(small_project(), promtool, with_every_alert(NEVER))
    assert set(re.findall(r"alertname: (\w+)", found or "")) == all_alerts()


@pytest.mark.promtool
def test_an_alert_that_fires_in_a_healthy_installation_is_found(promtool: Promtool) -> None:
    found = prove(small_project(), promtool, with_every_alert(ALWAYS))
    for how in ("idle", "busy"):
        named = re.findall(rf"name: healthy and {how}: no alert,\s+alertname: (\w+)", found or "")
        assert set(named) == all_alerts(), how


@pytest.mark.promtool
def test_a_rule_that_measures_another_window_is_found(promtool: Promtool) -> None:
    def of_wrong_edge(group: RuleGroup) -> RuleGroup:
        rules = [msgspec.structs.replace(r, expr=r.expr.replace('le="300.0"', 'le="5.0"')) for r in group.rules]
        return msgspec.structs.replace(group, rules=tuple(rules))

    found = prove(small_project(), promtool, [of_wrong_edge(group) for group in rule_groups(small_project())])
    assert "healthy and busy" in (found or "")


@pytest.mark.promtool
def test_an_expression_that_is_none_is_found(promtool: Promtool) -> None:
    assert "parse" in (prove(small_project(), promtool, with_every_alert("sum by (")) or "")


@pytest.mark.promtool
def test_prometheus_can_read_the_configuration_for_docker(promtool: Promtool, tmp_path: Path) -> None:
    text = (ROOT / "infra" / "compose" / "prometheus.yml").read_text(encoding="utf-8")
    (tmp_path / "rules.yml").write_text("groups: []\n")
    written = tmp_path / "prometheus.yml"
    written.write_text(text.replace("/etc/prometheus/rules.yml", str(tmp_path / "rules.yml")))
    assert promtool.check_config(written) is None
    written.write_text(text.replace("file_sd_configs", "file_configs"))
    assert "file_configs" in (promtool.check_config(written) or "")


def test_without_promtool_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused) as refused:
        program("promtool", cache_dir=tmp_path)
    assert "make prometheus" in (refused.value.hint or "")
    home = tmp_path / "prometheus" / "usr" / "bin"
    home.mkdir(parents=True)
    (home / "promtool").write_text("#!/bin/sh\n")
    (home / "promtool").chmod(0o755)
    assert program("promtool", cache_dir=tmp_path) == home / "promtool"
