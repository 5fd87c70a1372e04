"""What an SRE would see: every worker scraped, every panel with something on it, rules that promtool agrees with."""

from __future__ import annotations

import json

from trueup.adapters.prometheus_api import Prometheus
from trueup.core.dashboards import queries_of
from trueup.demo.checks import Checks
from trueup.demo.commands import Commands
from trueup.demo.folder import DemoFolder
from trueup.demo.progress import Steps
from trueup.demo.waiting import NotInTime, until
from trueup.model.errors import TrueUpError
from trueup.stack.prometheus import SCRAPE_S
from trueup.stack.settings import LOOPBACK, prometheus_port

_SCRAPED_WITHIN_S = 60.0
_PANELS_WITHIN_S = 60.0  # rates need two scrapes, and rules an evaluation
_LOOK_INTERVAL_S = 2.0


class Observation:
    """Steers and asks the Prometheus of the demo's stack."""

    def __init__(
        self, folder: DemoFolder, commands: Commands, steps: Steps, prometheus: Prometheus | None = None
    ) -> None:
        assert folder.observed is not None, "the demo was asked for without Prometheus"
        self._rules_file = folder.observed.rules_file
        self._dashboards_dir = folder.state_dir / "dashboards"
        self._commands, self._steps = commands, steps
        self._prometheus = prometheus or Prometheus(f"http://{LOOPBACK}:{prometheus_port(folder.stack)}")

    def close(self) -> None:
        """Close the connection."""
        self._prometheus.close()

    def begin(self) -> None:
        """Have Prometheus evaluate the rules of the demo's registrations from now on."""
        self._commands.alerts("--output", str(self._rules_file), "--scrape-interval", str(SCRAPE_S))
        self._prometheus.reload()

    def check(self, workers: list[str], checks: Checks) -> None:
        """Look at all of it; while the load is not long over."""
        self._steps.say("Prometheus: are all workers scraped, and does every panel show something?")
        try:
            self._scraped(workers, checks)
            self._panels(checks)
            self._rules(checks)
        except TrueUpError as error:  # of Prometheus: a promise not held, and the others are still looked at
            checks.add("Prometheus answers", False, f"{error.primary}: {error.detail}")
        self._steps.say("promtool: are the rules well-formed, does every alert fire where it must?")
        said = self._commands.check_alerts()
        checks.add("promtool check and test: the rules hold", said is None, said or "every alert, and none too many")

    def _scraped(self, workers: list[str], checks: Checks) -> None:
        def missing() -> list[str]:
            health = self._prometheus.health_of_workers()
            return [worker for worker in workers if health.get(worker) != "up"]

        try:
            until(lambda: not missing(), what="all scraped", within_s=_SCRAPED_WITHIN_S, pause_s=_LOOK_INTERVAL_S)
        except NotInTime:
            checks.add("Prometheus scraped every worker", False, f"not {', '.join(missing())}")
        else:
            checks.add("Prometheus scraped every worker", True, f"{len(workers)} found by their target files")

    def _panels(self, checks: Checks) -> None:
        """Every query: Grafana draws nothing for one without a finite series."""
        self._commands.dashboards(str(self._dashboards_dir))
        documents = [
            json.loads(path.read_text(encoding="utf-8")) for path in sorted(self._dashboards_dir.glob("*.json"))
        ]
        panels = {title: queries for document in documents for title, queries in queries_of(document)}

        def empty() -> list[str]:
            return [
                f"{title} ({query})"
                for title, queries in panels.items()
                for query in queries
                if self._prometheus.finite(query) == 0
            ]

        try:
            until(lambda: not empty(), what="no panel is empty", within_s=_PANELS_WITHIN_S, pause_s=_LOOK_INTERVAL_S)
            missing = []
        except NotInTime:
            missing = empty()
        seen = "; ".join(missing) or f"{sum(map(len, panels.values()))} queries of {len(panels)} panels"
        checks.add("every dashboard panel shows something", bool(panels) and not missing, seen)

    def _rules(self, checks: Checks) -> None:
        rules = self._prometheus.rules()
        wrong = [f"{rule['name']}: {rule.get('lastError', '')}" for rule in rules if rule["health"] == "err"]
        text = "; ".join(wrong) or f"{len(rules)} rules"
        checks.add("Prometheus evaluates every rule", bool(rules) and not wrong, text)
