"""How the capture of each system is: its connector at Connect, and the parts that capture needs. For commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec

from trueup.adapters.kafka_connect import PART, ConnectorStatus, KafkaConnect
from trueup.adapters.postgres_source import PostgresSource
from trueup.adapters.schema_registry import SchemaRegistry
from trueup.adapters.secret_references import Secrets
from trueup.core.connector_config import connector_name
from trueup.core.status_problems import Problem, Scope
from trueup.model.errors import Refused, TrueUpError, Unreachable
from trueup.model.registration import Project, System
from trueup.model.settings import Settings
from trueup.runtime.capture_look import look_at_capture

_HELD_BY_SOMEBODY = frozenset({"PAUSED", "STOPPED"})
_RESTART = "trueup apply"  # the command that restarts what failed, at once


class Captures(msgspec.Struct, frozen=True, kw_only=True):
    """What `trueup status` says about capture."""

    problems: list[Problem]
    unreachable: list[str]


def look_at_captures(settings: Settings, project: Project, secrets: Secrets) -> Captures:
    """Asks Connect, the registry and the sources, all at once: each may let one wait for its timeout."""
    systems = [system for system in project.systems.values() if project.tables_owned_by(system.system)]
    scopes = {system.system: _fed_by(project, system.system) for system in systems}
    looks: list[tuple[Scope, Callable[[], list[Problem]]]] = [
        (Scope(), partial(_connectors, settings, scopes)),
        (Scope(), partial(_registry, settings)),
        *((scopes[system.system], partial(_source, settings, system, secrets, scopes)) for system in systems),
    ]
    problems: list[Problem] = []
    unreachable: list[str] = []
    with ThreadPoolExecutor(len(looks)) as pool:
        for about, asked in [(about, pool.submit(look)) for about, look in looks]:
            try:
                problems += asked.result()
            except Unreachable as exc:
                cure = f"start {exc.part}; capture goes on by itself when it is back"
                problems.append(Problem(what=exc.primary, next=cure, about=about))
                unreachable.append(exc.part)
            except TrueUpError as exc:
                problems.append(Problem(what=exc.primary, next=exc.hint or "see its server", about=about))
    return Captures(problems=problems, unreachable=unreachable)


def _fed_by(project: Project, system: str) -> Scope:
    """The copies that changes of a system reach."""
    return Scope(tables=tuple(table.table for table in project.tables_owned_by(system)))


def refuse_without_capture(settings: Settings, systems: Iterable[str]) -> None:
    """For commands that would wait in vain for a change to be captured.

    Raises Unreachable without Connect; Refused when a connector is missing or failed. One that is just starting is
    waited for by the caller.
    """
    for system, status in _statuses(settings, systems).items():
        if status is None:
            raise Refused(f'system "{system}" is not captured', detail="it has no connector", hint="trueup apply")
        if status.failed:
            raise Refused(
                f'capture of "{system}" failed',
                detail=status.trace,
                hint=f"remove the cause; then {_RESTART} restarts it",
            )


def _connectors(settings: Settings, scopes: Mapping[str, Scope]) -> list[Problem]:
    """:param scopes: by system, whom its capture feeds."""
    problems = _unordered(settings, scopes)
    for system, status in _statuses(settings, scopes).items():
        about = scopes[system]
        if status is None:
            what = f"system {system} is not captured"
            problems.append(Problem(what=what, next="trueup apply", about=about, stops=True))
        elif status.failed:
            why = f"capture of {system} failed: {status.trace or 'without a reason'}"
            cure = f"{_RESTART}, which restarts it; trueup worker capture does so by itself"
            problems.append(Problem(what=why, next=cure, about=about, stops=True))
        elif not status.running:
            state = f"{status.connector}, tasks {', '.join(status.tasks) or 'none yet'}"
            what = f"capture of {system} does not run: {state}"
            problems.append(Problem(what=what, next=_next_of(status, settings, system), about=about))
    return problems


def _next_of(status: ConnectorStatus, settings: Settings, system: str) -> str:
    """Perhaps it is just starting. A resync that was ended leaves it stopped, and a problem of its own that says so."""
    if status.connector in _HELD_BY_SOMEBODY:
        return f"curl -X PUT {settings.connect.url}/connectors/{connector_name(system)}/resume"
    return "see Connect's log"


def _unordered(settings: Settings, systems: Iterable[str]) -> list[Problem]:
    """Systems whose connector does not write in transactions: a heartbeat proves little then; see ARCHITECTURE."""
    connect = KafkaConnect(settings.connect.url)
    try:
        configs = {system: connect.config(connector_name(system)) for system in systems}
    finally:
        connect.close()
    return [
        Problem(
            what=f"capture of {system} runs without exactly-once: as_of says what was sent, not what arrived",
            next=_RESTART,
        )
        for system, config in configs.items()
        if config is not None and config.get("exactly.once.support") != "required"
    ]


def _statuses(settings: Settings, systems: Iterable[str]) -> dict[str, ConnectorStatus | None]:
    connect = KafkaConnect(settings.connect.url)
    try:
        return {system: connect.status(connector_name(system)) for system in systems}
    finally:
        connect.close()


def _registry(settings: Settings) -> list[Problem]:
    registry = SchemaRegistry(settings.registry.url)
    try:
        registry.ping()
    finally:
        registry.close()
    return []


def _source(settings: Settings, system: System, secrets: Secrets, scopes: Mapping[str, Scope]) -> list[Problem]:
    """Whether the source still has what was not captured yet, and a resync that is not done."""
    name, connect = system.system, KafkaConnect(settings.connect.url)
    source = PostgresSource(name, secrets.owner_dsn(system))
    try:
        note = source.resync_note()
        if note is not None and note.stage != "done":
            what = f"the resync of {name} to epoch {note.epoch} is not done"
            return [Problem(what=what, next=f"trueup resync {name}", about=scopes[name])]  # perhaps it is under way
        lost = look_at_capture(name, source, connect)
    except Unreachable as exc:
        if exc.part == PART:
            return []  # `_connectors` says so
        raise
    finally:
        source.close()
        connect.close()
    if lost is None:
        return []
    what, cure = f"{lost.primary}: {lost.detail}", lost.hint or "see its server"
    return [Problem(what=what, next=cure, about=scopes[name], stops=True)]
