"""Rule files of a project: written where they are wanted, and proven by promtool."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from trueup.adapters.promtool import Promtool
from trueup.adapters.rule_files import yaml_text
from trueup.adapters.whole_file import write_whole
from trueup.core.alert_rules import RUNBOOKS, SCRAPE_S, rule_document, rule_groups
from trueup.core.alert_tests import test_document
from trueup.model.alerting import RuleGroup
from trueup.model.registration import Project

_RULES_HEAD: Final = "Written by: trueup alerts. Made from the registrations: do not edit, run it again."
_TESTS_HEAD: Final = "Written by: trueup alerts --tests. For: promtool test rules."


def rules_text(project: Project, runbooks: str = RUNBOOKS, scrape_s: float = SCRAPE_S) -> str:
    """The rule file of a project."""
    return yaml_text(rule_document(rule_groups(project, scrape_s), runbooks), _RULES_HEAD)


def tests_text(project: Project, rules_file: str, runbooks: str = RUNBOOKS, scrape_s: float = SCRAPE_S) -> str:
    """The tests of that file."""
    document = test_document(project, rule_groups(project, scrape_s), rules_file, runbooks)
    return (
        f"# {_TESTS_HEAD}\n{json.dumps(document)}\n"  # JSON is YAML too, and megabytes of it are read by machines only
    )


def prove(project: Project, promtool: Promtool, groups: Iterable[RuleGroup] | None = None) -> str | None:
    """Check and test the rules of a project in a folder of their own; what promtool says, None when all holds.

    :param groups: other rules than the project's: for tests of the tests.
    """
    made = rule_groups(project) if groups is None else list(groups)
    with tempfile.TemporaryDirectory(prefix="trueup-rules-") as name:
        rules, tests = Path(name) / "rules.yml", Path(name) / "tests.yml"
        write_whole(rules, yaml_text(rule_document(made), _RULES_HEAD))
        write_whole(tests, tests_text(project, rules.name))
        return promtool.check_rules(rules) or promtool.test_rules(tests)


def dashboard_text(document: Mapping[str, Any]) -> str:
    """A dashboard as Grafana imports it."""
    return json.dumps(document, indent=2) + "\n"
