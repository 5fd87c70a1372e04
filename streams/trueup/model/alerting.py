"""Rules for Prometheus as values: what is recorded, what alarms whom, and where the cure stands."""

from __future__ import annotations

from typing import Literal

import msgspec

Severity = Literal["page", "ticket"]  # wakes somebody; waits for working hours


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded series. `labels` are added to those of the expression."""

    record: str
    expr: str
    labels: dict[str, str] = {}


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert.

    :param summary: for whoever is woken, with names in double quotes; `{{ $labels.x }}` and
        `{{ if $labels.x }}...{{ end }}` are filled in by Prometheus.
    :param runbook: the heading of its section in infra/README.md.
    :param for_s: how long the expression must hold.
    """

    alert: str
    expr: str
    severity: Severity
    summary: str
    runbook: str
    for_s: int = 0
    labels: dict[str, str] = {}


Rule = Recording | Alert


class RuleGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Rules that are evaluated one after the other: a rule sees what those before it recorded."""

    name: str
    rules: tuple[Rule, ...]

    @property
    def alerts(self) -> list[Alert]:
        return [rule for rule in self.rules if isinstance(rule, Alert)]
