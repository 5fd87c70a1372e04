"""The observability parts: Prometheus, which scrapes the workers and evaluates the rules, and its Alertmanager.

Their programs are not among the wheels: `adapters.promtool` says where they are found. Both listen on loopback and keep
their data in the state folder.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from trueup.adapters.promtool import program
from trueup.adapters.rule_files import yaml_text
from trueup.adapters.whole_file import write_whole
from trueup.stack.part import Part, replies
from trueup.stack.process import Launch, ServerProcess
from trueup.stack.settings import LOOPBACK, StackSettings, alertmanager_port, prometheus_port

SCRAPE_S: Final = 1  # an alarm cannot come before the second scrape after a window is over
_HEAD: Final = "Written by trueup stack up; written anew at each start."
_PROGRAM: Final = "prometheus"


def refuse_without_program(settings: StackSettings) -> None:
    """Raises Refused, saying how to get Prometheus, before anything is started."""
    program(_PROGRAM, cache_dir=settings.cache_dir)


class PrometheusPart:
    """Prometheus."""

    stop_signal = signal.SIGTERM

    def __init__(self, settings: StackSettings) -> None:
        self.settings = settings
        self.name = "prometheus"
        self.ports = (prometheus_port(settings),)
        self.process = ServerProcess(self.name, settings.state_dir)
        self._dir = settings.state_dir.resolve() / self.name

    def prepare(self) -> Launch:
        """Write the configuration and return how to start."""
        self._configure()
        return Launch(
            argv=(
                str(program(_PROGRAM, cache_dir=self.settings.cache_dir)),
                f"--config.file={self._dir / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._dir / 'data'}",
                f"--web.listen-address={LOOPBACK}:{self.ports[0]}",
                "--web.enable-lifecycle",
            ),
            environment={},
            directory=self._dir,
        )

    def is_ready(self) -> bool:
        """Tell whether it answers queries."""
        return replies(self.ports[0], "/-/ready")

    def finish(self) -> None:
        """Have it read the configuration and rules once more: they may be newer than the process."""
        self._configure()
        replies(self.ports[0], "/-/reload", "POST")

    def _configure(self) -> None:
        write_whole(self._dir / "prometheus.yml", yaml_text(prometheus_settings(self.settings), _HEAD))


class AlertmanagerPart:
    """Alertmanager. It shows alerts and sends them to nobody."""

    stop_signal = signal.SIGTERM

    def __init__(self, settings: StackSettings, found: Path) -> None:
        self.settings, self._program = settings, found
        self.name = "alertmanager"
        self.ports = (alertmanager_port(settings),)
        self.process = ServerProcess(self.name, settings.state_dir)
        self._dir = settings.state_dir.resolve() / self.name

    def prepare(self) -> Launch:
        """Write the configuration and return how to start."""
        write_whole(self._dir / "alertmanager.yml", yaml_text(alertmanager_settings(), _HEAD))
        return Launch(
            argv=(
                str(self._program),
                f"--config.file={self._dir / 'alertmanager.yml'}",
                f"--storage.path={self._dir / 'data'}",
                f"--web.listen-address={LOOPBACK}:{self.ports[0]}",
                "--cluster.listen-address=",  # alone: no gossip, which would listen on every interface
            ),
            environment={},
            directory=self._dir,
        )

    def is_ready(self) -> bool:
        """Tell whether it takes alerts."""
        return replies(self.ports[0], "/-/ready")

    def finish(self) -> None:
        """Nothing."""


def observing_parts(settings: StackSettings) -> list[Part]:
    """What a stack with observability starts last."""
    observed = settings.observability
    if observed is None:
        return []
    parts: list[Part] = [PrometheusPart(settings)]
    return parts if observed.alertmanager is None else [*parts, AlertmanagerPart(settings, observed.alertmanager)]


def prometheus_settings(settings: StackSettings) -> Mapping[str, Any]:
    """Prometheus' configuration: workers by their target files, rules by their file."""
    observed = settings.observability
    assert observed is not None, "a stack without observability has no Prometheus"
    manager = {"static_configs": [{"targets": [f"{LOOPBACK}:{alertmanager_port(settings)}"]}]}
    return {
        "global": {
            "scrape_interval": f"{SCRAPE_S}s",
            "scrape_timeout": f"{SCRAPE_S}s",
            "evaluation_interval": f"{SCRAPE_S}s",
        },
        "rule_files": [str(observed.rules_file)],
        "alerting": {"alertmanagers": [] if observed.alertmanager is None else [manager]},
        "scrape_configs": [
            {
                "job_name": "trueup",
                "file_sd_configs": [{"files": [str(observed.targets_dir / "*.json")], "refresh_interval": "5s"}],
            }
        ],
    }


def alertmanager_settings() -> Mapping[str, Any]:
    """Alertmanager's configuration: a page of a table keeps its tickets quiet."""
    return {
        "route": {"receiver": "nobody", "group_by": ["alertname", "system", "replica"]},
        "receivers": [{"name": "nobody"}],
        "inhibit_rules": [
            {
                "source_matchers": ['severity="page"'],
                "target_matchers": ['severity="ticket"'],
                "equal": ["table", "replica"],
            }
        ],
    }
