"""The steps of `trueup apply` as values: what would be done, and how a person reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from trueup.core.connector_config import masked
from trueup.core.truth_schema import canonical_text
from trueup.model.rebuild import Rebuild
from trueup.model.topic import TopicSpec
from trueup.model.write import CopyPlan


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step; it may be repeated."""


class WriteSchema(_Step, frozen=True):
    """Write a truth schema into the project."""

    table: str
    path: Path
    schema: dict[str, Any]


class RegisterSchema(_Step, frozen=True):
    """Make a truth schema a version of its subject, which from then on refuses what could not be read."""

    subject: str
    schema: dict[str, Any]
    compatibility: str


class CreateTopic(_Step, frozen=True):
    """Create a topic."""

    spec: TopicSpec


class AlterTopic(_Step, frozen=True):
    """Change settings of a topic."""

    name: str
    config: dict[str, str]


class SourceSql(_Step, frozen=True):
    """A statement at a source; `why` where it touches what is the user's."""

    system: str
    statement: str
    why: str | None = None


class ReplicaSql(_Step, frozen=True):
    """Statements at a replica, all or none. `plans` are the copies they make."""

    replica: str
    statements: tuple[str, ...]
    plans: tuple[CopyPlan, ...]


class RebuildCopy(_Step, frozen=True):
    """Fill a copy anew and swap it in. `shadow` is empty where a killed run has made it already."""

    rebuild: Rebuild
    shadow: tuple[str, ...]
    swap: tuple[str, ...]


class PutConnector(_Step, frozen=True):
    """Create a connector or change its settings.

    :param changed: names of the settings that differ; empty for a new connector.
    :param streams: it has streamed before, so that it will again within seconds.
    """

    system: str
    name: str
    config: dict[str, str]
    changed: tuple[str, ...]
    streams: bool


class RestartConnector(_Step, frozen=True):
    """Restart what failed of a connector."""

    system: str
    name: str


class Fill(_Step, frozen=True):
    """Have the running connector send the existing rows of a table.

    :param digest: of the settings that know the table: only a task that runs with them can obey.
    :param is_first: the table was registered later than its connector began, and its rows were never read.
    """

    system: str
    connector: str
    table: str
    digest: str
    statements: tuple[str, ...]
    is_first: bool


Step = (
    WriteSchema
    | RegisterSchema
    | CreateTopic
    | AlterTopic
    | SourceSql
    | ReplicaSql
    | PutConnector
    | RestartConnector
    | Fill
    | RebuildCopy
)


def title(step: Step) -> str:
    """A step in one line: the part, and what is done there."""
    match step:
        case WriteSchema():
            return f"project: write {step.path}"
        case RegisterSchema():
            return f'registry: register subject "{step.subject}"'
        case CreateTopic():
            return f'kafka: create topic "{step.spec.name}"'
        case AlterTopic():
            return f'kafka: change settings of topic "{step.name}"'
        case SourceSql():
            reason = f"  -- {step.why}" if step.why else ""
            return f"source {step.system}: {step.statement}{reason}"
        case ReplicaSql():
            return f"replica {step.replica}: {len(step.statements)} statements in one transaction"
        case PutConnector() if step.changed:
            return f'connect: change connector "{step.name}": {", ".join(step.changed)}'
        case PutConnector():
            return f'connect: create connector "{step.name}"'
        case RestartConnector():
            return f'connect: restart what failed of connector "{step.name}"'
        case Fill():
            return f'source {step.system}: fill table "{step.table}" by an incremental snapshot'
        case RebuildCopy(rebuild=rebuild):
            where = f'replica {rebuild.new.replica}: fill copy "{rebuild.new.target}" anew from its truth'
            return f"{where}: {'; '.join(rebuild.changes)}"


def lines(step: Step) -> list[str]:
    """What a dry run shows below the title: every statement and setting, secrets masked."""
    match step:
        case WriteSchema() | RegisterSchema():
            return canonical_text(step.schema).splitlines() if isinstance(step, WriteSchema) else []
        case CreateTopic():
            spec = step.spec
            head = {"partitions": spec.partitions, "replication.factor": spec.replication_factor}
            return [f"{key}={value}" for key, value in {**head, **spec.config}.items()]
        case AlterTopic():
            return [f"{key}={value}" for key, value in step.config.items()]
        case ReplicaSql() | Fill():
            return [f"{statement};" for statement in step.statements]
        case RebuildCopy():
            return [
                *(f"{statement};" for statement in step.shadow),
                f'-- fill "{step.rebuild.shadow.target}" from topic {step.rebuild.new.truth_topic}, then at once:',
                *(f"{statement};" for statement in step.swap),
            ]
        case PutConnector():
            return [f"{key}={value}" for key, value in masked(step.config).items()]
        case SourceSql() | RestartConnector():
            return []


def as_data(step: Step) -> dict[str, Any]:
    """A step for programs."""
    return {"step": type(step).__name__, "title": title(step), "lines": lines(step)}


def as_json(steps: list[Step], *, dry_run: bool) -> str:
    """The plan for programs."""
    data = {"dry_run": dry_run, "changes": len(steps), "steps": [as_data(step) for step in steps]}
    return json.dumps(data, indent=2, ensure_ascii=False)
