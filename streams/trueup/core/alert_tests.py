"""Tests of the rules for promtool, generated from the registrations: each alert fires where something is broken, for
exactly those it concerns, and none fires in a healthy installation, idle or busy. Pure.

Format: https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from trueup.core.alert_cases import CASES, Break, Case, Subject
from trueup.core.alert_rules import RUNBOOKS, annotations_of, labels_of
from trueup.core.alert_worlds import STEP_S, STEPS, Series, healthy
from trueup.model.alerting import Alert, RuleGroup
from trueup.model.registration import Project

_END_S: Final = STEP_S * (STEPS - 1)
_HEALTHY_AT_S: Final = (60, 300, _END_S)
_OPTIONAL: Final = re.compile(r"\{\{ if \$labels\.(\w+) \}\}(.*?)\{\{ end \}\}")
_LABEL: Final = re.compile(r"\{\{ \$labels\.(\w+) \}\}")


def test_document(
    project: Project, groups: Iterable[RuleGroup], rules_file: str, runbooks: str = RUNBOOKS
) -> dict[str, Any]:
    """The file that `promtool test rules` reads.

    :param rules_file: where the rules of `groups` are, relative to this file.
    """
    alerts = [alert for group in groups for alert in group.alerts]
    return {
        "rule_files": [rules_file],
        "evaluation_interval": f"{STEP_S}s",
        "tests": [*_healthy(project, alerts), *_broken(project, alerts, runbooks)],
    }


def filled_in(text: str, labels: Mapping[str, str]) -> str:
    """A summary as Prometheus writes it for an alert with these labels."""
    kept = _OPTIONAL.sub(lambda found: found[2] if labels.get(found[1]) else "", text)
    return _LABEL.sub(lambda found: labels.get(found[1], ""), kept)


def _healthy(project: Project, alerts: list[Alert]) -> Iterator[dict[str, Any]]:
    names = sorted({alert.alert for alert in alerts})
    for how, is_busy in (("idle", False), ("busy", True)):
        silence = [_expected(name, at_s, []) for at_s in _HEALTHY_AT_S for name in names]
        yield _test(f"healthy and {how}: no alert", healthy(project, is_busy=is_busy), silence)


def _broken(project: Project, alerts: list[Alert], runbooks: str) -> Iterator[dict[str, Any]]:
    for case in CASES:
        subjects = case.subjects(project)
        for half in (subjects[::2], subjects[1::2]):
            if half:
                series = [_broken_series(one, case.breaks, half) for one in healthy(project, is_busy=_is_busy(case))]
                about = [alert for alert in alerts if alert.alert == case.alert]
                fired = [_fired(about, case, subject, runbooks) for subject in half] if case.fires else []
                silent = [_expected(name, _END_S, []) for name in case.silent]
                yield _test(f"{case.alert}: {case.what}", series, [_expected(case.alert, _END_S, fired), *silent])


def _is_busy(case: Case) -> bool:
    """Changes must come for some to be late; everything else is broken in an idle world."""
    return any(each.name.startswith("trueup_convergence") for each in case.breaks)


def _broken_series(series: Series, breaks: Iterable[Break], subjects: Iterable[Subject]) -> Series:
    for each in breaks:
        for subject in subjects:
            wanted = {**subject.labels, **each.also(subject)}
            if series.name == each.name and all(series.labels.get(k, "") == v for k, v in wanted.items()):
                return msgspec.structs.replace(series, values=each.values(subject))
    return series


def _fired(about: Iterable[Alert], case: Case, subject: Subject, runbooks: str) -> dict[str, Any]:
    """The alert as it must be. Of several rules of a name it is the one that names the subject."""
    alert = next(alert for alert in about if _concerns(alert, subject))
    labels = {name: value for name, value in {**subject.labels, **case.adds, **labels_of(alert)}.items() if value}
    annotations = {key: filled_in(text, labels) for key, text in annotations_of(alert, runbooks).items()}
    return {"exp_labels": labels, "exp_annotations": annotations}


def _concerns(alert: Alert, subject: Subject) -> bool:
    """Whether a rule made for one system or worker was made for this one; a rule for all was."""
    mine = dict(re.findall(r'\b(system|kind|replica)="([^"]+)"', alert.expr))
    return all(subject.labels.get(name) == value for name, value in mine.items())


def _expected(name: str, at_s: int, fired: list[dict[str, Any]]) -> dict[str, Any]:
    return {"eval_time": f"{at_s}s", "alertname": name, "exp_alerts": fired}


def _test(name: str, series: Iterable[Series], expected: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "interval": f"{STEP_S}s",
        "input_series": [{"series": one.text, "values": one.values} for one in series],
        "alert_rule_test": expected,
    }
