"""Collects what `trueup status` shows: durable totals first, workers' own metrics where a worker answers."""

from __future__ import annotations

import json
import time

import httpx

from trueup.adapters.secret_references import Secrets
from trueup.core.status_view import (
    CopyLine,
    DecideLine,
    Filling,
    Problem,
    StatusView,
    case_problems,
    difference_problems,
    losses_first,
    quantiles,
    unready,
    worst_first,
)
from trueup.model.errors import TrueUpError, Unreachable
from trueup.model.registration import Project
from trueup.model.settings import Settings
from trueup.runtime.captures import look_at_captures
from trueup.runtime.cases import Cases
from trueup.runtime.progress_read import ProgressReader
from trueup.runtime.topic_status import topic_problems

_SCRAPE_TIMEOUT_S = 3.0


def read_status(settings: Settings, project: Project, secrets: Secrets) -> StatusView:
    """Raises Unreachable when Kafka does not answer; everything else that is wrong is a problem line.

    Problems stand in the order of the pipeline: a capture that stands still is why everything behind it does.
    """
    reader = ProgressReader(settings.kafka.bootstrap_servers, project, secrets)
    decided = reader.decided(list(project.tables.values()))
    captures = look_at_captures(settings, project, secrets)
    unreachable, replicas = list(captures.unreachable), list[Problem]()
    workers, convergence = _workers(settings)
    lines = []
    for replica in project.replicas:
        try:
            applied, proofs, fresh = reader.applied(replica), reader.proofs(replica), reader.freshness(replica)
        except TrueUpError as exc:
            replicas.append(Problem(what=exc.primary, next="see its server; apply workers wait for it by themselves"))
            if isinstance(exc, Unreachable):
                unreachable.append(exc.part)
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
                    as_of_age_s=fresh[table].age_s if table in fresh else None,
                    fresh=fresh[table].fresh if table in fresh else None,
                    proven_age_s=proofs[table].age_s if table in proofs else None,
                )
            )
            if table in proofs:
                replicas += difference_problems(table, replica, proofs[table].differing_keys)
    problems = [*captures.problems, *topic_problems(settings, project, reader.topics), *replicas, *workers]
    cases = Cases(settings, project, secrets).counts(time.time_ns() // 1000)
    problems += [problem for table, found in cases.items() for problem in case_problems(table, found)]
    decide = [
        DecideLine(
            table=t,
            counts={k: v for k, v in p.counts.items() if v},
            lag=p.lag,
            cases_open=cases[t].open,
            cases_overdue=cases[t].overdue,
        )
        for t, p in decided.items()
    ]
    problems = losses_first(problems)
    return StatusView(problems=problems, unreachable=unreachable, tables=worst_first(lines), decide=decide)


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
            problems.append(Problem(what=f"worker {entry['name']} does not answer", next=_start_of(entry)))
            continue
        if not ready.is_success:
            problems += unready(entry["name"], ready.text.splitlines())
        found |= quantiles(text)
    return problems, found


def _start_of(entry: dict[str, str]) -> str:
    return " ".join(filter(None, ("trueup worker", entry["kind"], entry["replica"])))
