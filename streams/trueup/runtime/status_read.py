"""Collects what `trueup status` shows: durable totals first, workers' own metrics where a worker answers."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import msgspec

from trueup.adapters.kafka_errors import PART as KAFKA
from trueup.adapters.secret_references import Secrets
from trueup.core.case_view import CaseCounts
from trueup.core.status_problems import (
    Problem,
    Scope,
    case_problems,
    difference_problems,
    kafka_away,
    losses_first,
    scope_of_worker,
    unready,
)
from trueup.core.status_view import CopyLine, DecideLine, StatusView, line_of, quantiles, worst_first
from trueup.model.errors import Unreachable
from trueup.model.registration import Project
from trueup.model.settings import Settings
from trueup.runtime.captures import look_at_captures
from trueup.runtime.cases import Cases
from trueup.runtime.copy_looks import Seen, SeenCopy, look_at_copies, look_at_replicas
from trueup.runtime.progress_read import ProgressReader
from trueup.runtime.topic_status import topic_problems

_SCRAPE_TIMEOUT_S = 3.0


class _Workers(msgspec.Struct):
    """The workers of this host.

    :ivar names: by (kind, replica).
    :ivar convergence: p50 and p99 in seconds by (table, replica).
    """

    names: dict[tuple[str, str], str] = {}
    problems: list[Problem] = []
    convergence: dict[tuple[str, str], tuple[float | None, float | None]] = {}


class _Copies(msgspec.Struct):
    """The copies, and what Kafka says of their tables.

    :ivar problems: of topics, or that Kafka does not answer.
    :ivar cases: by table; empty then.
    """

    seen: Seen
    problems: list[Problem]
    cases: dict[str, CaseCounts]
    unreachable: list[str] = []


def read_status(settings: Settings, project: Project, secrets: Secrets) -> StatusView:
    """A part that does not answer is a problem line, and what it knows is missing. Raises what Kafka refuses.

    Problems stand in the order of the pipeline: a capture that stands still is why everything behind it does.
    """
    with ThreadPoolExecutor(1) as pool:  # each may let one wait for its timeout; Connect does when Kafka is away
        asked = pool.submit(look_at_captures, settings, project, secrets)
        copies, workers = _copies(settings, project, secrets), _workers(settings, project)
        captures = asked.result()
    seen, cases = copies.seen, copies.cases
    problems = [*captures.problems, *copies.problems, *seen.problems]
    for (table, replica), copy in seen.copies.items():
        if copy.proof is not None:
            problems += difference_problems(project.tables[table], replica, copy.proof.differing_keys)
    problems += workers.problems
    problems += [problem for table, found in cases.items() for problem in case_problems(table, found)]
    problems = losses_first(problems)
    decide = [
        DecideLine(
            table=t,
            counts={k: v for k, v in p.counts.items() if v},
            lag=p.lag,
            cases_open=cases[t].open,
            cases_overdue=cases[t].overdue,
        )
        for t, p in seen.decided.items()
    ]
    lines = [_line(copy, workers, problems) for copy in seen.copies.values()]
    unreachable = copies.unreachable + captures.unreachable + seen.unreachable
    return StatusView(problems=problems, unreachable=unreachable, tables=worst_first(lines), decide=decide)


def _copies(settings: Settings, project: Project, secrets: Secrets) -> _Copies:
    """Without Kafka: what the replicas alone say."""
    reader = ProgressReader(settings.kafka.bootstrap_servers, project, secrets)
    try:
        return _Copies(
            seen=look_at_copies(reader, project),
            problems=topic_problems(settings, project, reader.topics),
            cases=Cases(settings, project, secrets).counts(time.time_ns() // 1000),
        )
    except Unreachable as exc:
        if exc.part != KAFKA:
            raise
        away = kafka_away(settings.kafka.bootstrap_servers)
        return _Copies(seen=look_at_replicas(reader, project), problems=[away], cases={}, unreachable=[KAFKA])


def _line(copy: SeenCopy, workers: _Workers, problems: list[Problem]) -> CopyLine:
    look, applied = copy.look, copy.applied
    convergence_s = workers.convergence.get((look.table, look.replica), (None, None))
    line = line_of(look, problems, workers.names, convergence_s)
    if applied is None:
        return line
    return msgspec.structs.replace(
        line,
        applied=applied.counts["applied"],
        other={name: n for name, n in applied.counts.items() if n and name != "applied"},
        fresh=None if copy.freshness is None else copy.freshness.fresh,
        proven_age_s=None if copy.proof is None else copy.proof.age_s,
    )


def _workers(settings: Settings, project: Project) -> _Workers:
    found = _Workers()
    tables = {topic: t.table for t in project.tables.values() for topic in (t.capture_topic, t.truth_topic)}
    entries = sorted((settings.state_dir / "workers").glob("*.json"))
    if not entries:
        found.problems.append(Problem(what="no worker runs on this host", next="trueup worker all", about=Scope()))
    with httpx.Client(timeout=_SCRAPE_TIMEOUT_S, trust_env=False) as client:
        for path in entries:
            entry = json.loads(path.read_text(encoding="utf-8"))
            serves = scope_of_worker(entry["kind"], entry["replica"])
            found.names[entry["kind"], entry["replica"]] = entry["name"]
            try:
                ready = client.get(f"{entry['url']}/readyz")
                text = client.get(f"{entry['url']}/metrics").text
            except httpx.HTTPError:
                what = f"worker {entry['name']} does not answer"
                found.problems.append(Problem(what=what, next=_start_of(entry), about=serves))
                continue
            if not ready.is_success:
                found.problems += unready(entry["name"], ready.text.splitlines(), serves, tables)
            found.convergence |= quantiles(text)
    return found


def _start_of(entry: dict[str, str]) -> str:
    if entry["kind"] == "verify":
        return "trueup verify --follow"
    parts = ["trueup worker", entry["kind"], entry["replica"]]
    if entry["name"] not in {entry["kind"], f"apply-{entry['replica']}"}:
        parts.append(f"--name {entry['name']} --metrics-port 0")  # beside another one of its kind
    return " ".join(filter(None, parts))
