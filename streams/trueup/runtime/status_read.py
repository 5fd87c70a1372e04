"""Collects what `trueup status` shows: durable totals first, workers' own metrics where a worker answers."""

from __future__ import annotations

import json

import httpx

from trueup.adapters.kafka_connect import KafkaConnect
from trueup.adapters.secret_references import Secrets
from trueup.core.connector_config import connector_name
from trueup.core.status_view import (
    CopyLine,
    DecideLine,
    Filling,
    Problem,
    StatusView,
    dead_letter_problems,
    quantiles,
    worst_first,
)
from trueup.model.errors import TrueUpError, Unreachable
from trueup.model.registration import Project
from trueup.model.settings import Settings
from trueup.runtime.progress_read import ProgressReader

_SCRAPE_TIMEOUT_S = 3.0


def read_status(settings: Settings, project: Project, secrets: Secrets) -> StatusView:
    """Raises Unreachable when Kafka does not answer; everything else that is wrong is a problem line."""
    reader = ProgressReader(settings.kafka.bootstrap_servers, project, secrets)
    decided = reader.decided(list(project.tables.values()))
    problems, convergence = _workers(settings)
    problems += _connectors(settings, project)
    lines = []
    for replica in project.replicas:
        try:
            applied = reader.applied(replica)
        except TrueUpError as exc:
            problems.append(
                Problem(what=str(exc.primary), next="see its server; apply workers wait for it by themselves")
            )
            continue
        for table, progress in applied.items():
            p50, p99 = convergence.get((table, replica), (None, None))
            other = {name: n for name, n in progress.counts.items() if n and name != "applied"}
            behind = decided[table].lag + progress.lag
            seen = sum(decided[table].counts.values())
            lines.append(
                CopyLine(
                    table=table,
                    replica=replica,
                    captured=seen,
                    applied=progress.counts["applied"],
                    other=other,
                    lag=progress.lag,
                    convergence_p50_s=p50,
                    convergence_p99_s=p99,
                    filling=Filling(done=seen > 0 and behind == 0),
                )
            )
    for table, progress in decided.items():
        problems += dead_letter_problems(progress.counts, table, "decide")
    decide = [
        DecideLine(table=t, counts={k: v for k, v in p.counts.items() if v}, lag=p.lag) for t, p in decided.items()
    ]
    return StatusView(problems=problems, tables=worst_first(lines), decide=decide)


def _workers(settings: Settings) -> tuple[list[Problem], dict[tuple[str, str], tuple[float | None, float | None]]]:
    problems: list[Problem] = []
    found: dict[tuple[str, str], tuple[float | None, float | None]] = {}
    entries = sorted((settings.state_dir / "workers").glob("*.json"))
    if not entries:
        problems.append(Problem(what="no worker runs on this host", next="trueup worker all"))
    for path in entries:
        entry = json.loads(path.read_text(encoding="utf-8"))
        try:
            ready = httpx.get(f"{entry['url']}/readyz", timeout=_SCRAPE_TIMEOUT_S, trust_env=False)
            text = httpx.get(f"{entry['url']}/metrics", timeout=_SCRAPE_TIMEOUT_S, trust_env=False).text
        except httpx.HTTPError:
            problems.append(
                Problem(what=f"worker {entry['name']} does not answer", next=f"trueup worker {entry['kind']}")
            )
            continue
        if not ready.is_success:
            why = "; ".join(ready.text.split("\n")[:2])
            problems.append(Problem(what=f"worker {entry['name']} is not ready: {why}", next="see its log"))
        found |= quantiles(text)
    return problems, found


def _connectors(settings: Settings, project: Project) -> list[Problem]:
    problems = []
    connect = KafkaConnect(settings.connect.url)
    try:
        for system in project.systems:
            if not project.tables_owned_by(system):
                continue
            status = connect.status(connector_name(system))
            if status is None:
                problems.append(Problem(what=f"system {system} is not captured", next="trueup apply"))
            elif not status.running:
                why = status.trace or f"{status.connector}, tasks {', '.join(status.tasks)}"
                problems.append(Problem(what=f"capture of {system} does not run: {why}", next="trueup apply"))
    except Unreachable as exc:
        problems.append(Problem(what=exc.primary, next="see Connect; capture goes on by itself when it is back"))
    finally:
        connect.close()
    return problems
