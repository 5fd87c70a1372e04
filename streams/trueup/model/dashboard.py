"""Dashboards as values: panels with the questions they answer. Grafana's form is `core.dashboards`."""

from __future__ import annotations

from typing import Literal

import msgspec


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One panel.

    :param says: what a person reads from it.
    :param queries: by legend.
    :param unit: Grafana's id: s, bytes, percentunit, cps, short.
    :param red_from: from this value on it is red.
    """

    title: str
    says: str
    queries: dict[str, str]
    unit: str = "short"
    kind: Literal["timeseries", "stat"] = "timeseries"
    width: int = 12
    red_from: float | None = None


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """One dashboard. `choices` are variables with the registered names to choose from."""

    uid: str
    title: str
    description: str
    panels: tuple[Panel, ...]
    choices: dict[str, list[str]] = {}
