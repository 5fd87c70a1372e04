"""`trueup alerts` and `trueup dashboards`: what stands where, and what is said when promtool is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from tests.alerting import ROOT, demo_project
from trueup.core.alert_rules import rule_document, rule_groups
from trueup.runtime.cli import app

PROJECT = ["--project", str(ROOT)]


def test_the_rules_stand_alone_on_stdout_and_are_what_was_meant() -> None:
    result = CliRunner().invoke(app, ["alerts", *PROJECT])
    assert result.exit_code == 0, result.output
    assert YAML(typ="safe").load(result.stdout) == rule_document(rule_groups(demo_project()))


def test_tests_name_the_rules_where_they_are(tmp_path: Path) -> None:
    rules, tests = tmp_path / "rules" / "trueup.yml", tmp_path / "tests" / "trueup.yml"
    arguments = ["alerts", *PROJECT, "--output", str(rules), "--tests", str(tests), "--runbooks", "https://x.test/i"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    comment, _, document = tests.read_text().partition("\n")  # megabytes: as YAML they take a reader in Python a minute
    assert comment.startswith("# ")
    (named,) = json.loads(document)["rule_files"]
    assert (tests.parent / named).resolve() == rules
    assert "https://x.test/i#a-copy-is-stuck" in rules.read_text()
    assert "https://x.test/i#a-copy-is-stuck" in tests.read_text()


def test_a_slower_scrape_leaves_more_time_before_a_copy_is_not_known(tmp_path: Path) -> None:
    slow = CliRunner().invoke(app, ["alerts", *PROJECT, "--scrape-interval", "60"]).stdout
    assert "trueup:window_seconds + 120" in slow
    assert "trueup:window_seconds + 30" in CliRunner().invoke(app, ["alerts", *PROJECT]).stdout


def test_tests_without_a_rule_file_are_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["alerts", *PROJECT, "--tests", str(tmp_path / "t.yml")])
    assert result.exit_code == 2
    assert not (tmp_path / "t.yml").exists()


def test_check_without_promtool_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TRUEUP_CACHE_DIR", str(tmp_path))
    result = CliRunner().invoke(app, ["alerts", *PROJECT, "--check"])
    assert result.exit_code == 2
    assert "make prometheus" in result.stderr


def test_dashboards_are_written_one_file_each(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["dashboards", str(tmp_path / "grafana"), *PROJECT])
    assert result.exit_code == 0, result.output
    files = sorted((tmp_path / "grafana").iterdir())
    titles = [json.loads(file.read_text())["title"] for file in files]
    assert titles == ["TrueUp capture", "TrueUp overview", "TrueUp replica", "TrueUp table", "TrueUp workers"]
