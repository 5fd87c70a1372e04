"""Prometheus' rule file for the registered tables, as plain data. Pure.

The rules are in `core.window_alerts`, `core.stage_alerts`, `core.capture_alerts` and `core.worker_alerts`; their tests
in `core.alert_tests`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from trueup.core.capture_alerts import capture_groups
from trueup.core.stage_alerts import stage_group
from trueup.core.window_alerts import window_groups
from trueup.core.worker_alerts import worker_groups
from trueup.model.alerting import Alert, Recording, Rule, RuleGroup
from trueup.model.registration import Project

RUNBOOKS: Final = "infra/README.md"
SCRAPE_S: Final = 15.0


def rule_groups(project: Project, scrape_s: float = SCRAPE_S) -> list[RuleGroup]:
    """Everything that is recorded and alarmed about.

    :param scrape_s: how often workers are scraped; what was not scraped lately is not known.
    """
    return [*window_groups(project, scrape_s), stage_group(), *capture_groups(project), *worker_groups(project)]


def rule_document(groups: Iterable[RuleGroup], runbooks: str = RUNBOOKS) -> dict[str, Any]:
    """The file.

    :param runbooks: where infra/README.md is for those who are woken: a link begins with it.
    """
    return {"groups": [{"name": g.name, "rules": [_rule(rule, runbooks) for rule in g.rules]} for g in groups]}


def labels_of(alert: Alert) -> dict[str, str]:
    """The labels a rule adds."""
    return {**alert.labels, "severity": alert.severity}


def annotations_of(alert: Alert, runbooks: str = RUNBOOKS) -> dict[str, str]:
    """What is said to whoever is alarmed."""
    return {"summary": alert.summary, "runbook_url": f"{runbooks}#{anchor(alert.runbook)}"}


def anchor(heading: str) -> str:
    """The link target of a Markdown heading, as forges make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _rule(rule: Rule, runbooks: str) -> dict[str, Any]:
    if isinstance(rule, Recording):
        return {"record": rule.record, "expr": rule.expr} | ({"labels": rule.labels} if rule.labels else {})
    waits = {"for": f"{rule.for_s}s"} if rule.for_s else {}
    return {
        "alert": rule.alert,
        "expr": rule.expr,
        **waits,
        "labels": labels_of(rule),
        "annotations": annotations_of(rule, runbooks),
    }
