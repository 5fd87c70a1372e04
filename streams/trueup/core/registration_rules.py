"""Rules between registrations: names, owners, replicas, and that no copy feeds a capture.

`problems_of` is the whole list of checks that need no database. One table by itself is `core.table_rules`;
what needs the columns of the source is `core.column_rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from trueup.core.check_rules import function_problems
from trueup.core.table_rules import problems_of_table
from trueup.model.problem import FieldPath, Problem, Registered, Registrations
from trueup.model.registration import Copy, Replica, System, Table
from trueup.model.rule_function import RuleFunction
from trueup.model.secret_reference import parse_reference


def problems_of(registrations: Registrations, functions: Mapping[str, RuleFunction] | None = None) -> list[Problem]:
    """All mistakes, in the order of files: systems, replicas, tables, then those between tables.

    :param functions: of the project's rules module; None: the caller did not load it, and names are not looked up.
    """
    systems = {entry.value.system: entry.value for entry in registrations.systems}
    replicas = {entry.value.replica: entry.value for entry in registrations.replicas}
    problems: list[Problem] = []
    for system in registrations.systems:
        problems += _name_problems("system", system.value.system, system.file, system.stem)
        references = {"dsn": system.value.dsn, "capture_dsn": system.value.capture_dsn}
        problems += _secret_problems(system.file, references)
    for replica in registrations.replicas:
        problems += _name_problems("replica", replica.value.replica, replica.file, replica.stem)
        problems += _secret_problems(replica.file, {"dsn": replica.value.dsn, "ddl_dsn": replica.value.ddl_dsn})
    known_systems = systems.keys() | registrations.unread_systems
    known_replicas = replicas.keys() | registrations.unread_replicas
    for table in registrations.tables:
        problems += _name_problems("table", table.value.table, table.file, table.stem)
        problems += problems_of_table(table.value, table.file)
        problems += _reference_problems(table, known_systems, known_replicas)
        if functions is not None:
            problems += function_problems(table, functions)
    problems += _double_names(registrations)
    problems += _double_databases(registrations.replicas)
    problems += _double_sources(registrations.tables)
    problems += _double_targets(registrations.tables)
    problems += _loops(registrations.tables, systems, replicas)
    return problems


def _name_problems(kind: str, name: str, file: str, stem: str) -> Iterator[Problem]:
    if name != stem:
        yield Problem(
            file=file,
            path=(kind,),
            primary=f'file "{stem}.yaml" registers {kind} "{name}": the two names differ',
            hint=f"rename the file to {name}.yaml, or write {kind}: {stem}",
        )


def _secret_problems(file: str, references: dict[str, str | None]) -> Iterator[Problem]:
    for field, text in references.items():
        if text is not None and parse_reference(text) is None:
            # The text is not repeated: it may hold a password.
            yield Problem(
                file=file,
                path=(field,),
                primary=f'"{field}" is not a reference to a secret',
                hint="write ${env:NAME} or ${file:PATH}, and keep the address and password out of this file",
            )


def _reference_problems(
    entry: Registered[Table], known_systems: Iterable[str], known_replicas: Iterable[str]
) -> Iterator[Problem]:
    table = entry.value
    paths: list[FieldPath] = (
        [("owner", "system")] if table.owner else [("writers", i) for i in range(len(table.writers))]
    )
    for path, system in zip(paths, table.systems, strict=True):
        if system not in known_systems:
            yield Problem(
                file=entry.file,
                path=path,
                primary=f'system "{system}" is not registered',
                hint=f"add connectors/systems/{system}.yaml; registered: {_listed(known_systems)}",
            )
        elif table.several_writers and system not in known_replicas:
            yield Problem(
                file=entry.file,
                path=path,
                primary=f'writer "{system}" is no replica: what the other writers do could not get there',
                hint=f"add connectors/replicas/{system}.yaml with a login that may write the table",
            )
    for index, copy in enumerate(entry.value.replicas):
        if copy.replica not in known_replicas:
            yield Problem(
                file=entry.file,
                path=("replicas", index, "replica"),
                primary=f'replica "{copy.replica}" is not registered',
                hint=f"add connectors/replicas/{copy.replica}.yaml; registered: {_listed(known_replicas)}",
            )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _double_names(registrations: Registrations) -> Iterator[Problem]:
    names = [
        *(("system", entry.value.system, entry.file) for entry in registrations.systems),
        *(("replica", entry.value.replica, entry.file) for entry in registrations.replicas),
        *(("table", entry.value.table, entry.file) for entry in registrations.tables),
    ]
    first: dict[tuple[str, str], str] = {}
    for kind, name, file in names:
        earlier = first.setdefault((kind, name), file)
        if earlier != file:
            yield Problem(
                file=file,
                path=(kind,),
                primary=f'{kind} "{name}" is registered twice',
                hint=f"keep one of the files; the other is {earlier}",
            )


def _double_databases(replicas: tuple[Registered[Replica], ...]) -> Iterator[Problem]:
    """Progress, recorded copies and windows are kept once in a database, by table: of two replicas that are one
    database each would fence, replace and delete what is the other's. Two variables that lead to one database:
    `runtime.replica_steps`.
    """
    first: dict[str, Registered[Replica]] = {}
    for entry in replicas:
        name, earlier = entry.value.replica, first.setdefault(entry.value.dsn, entry)
        if earlier.value.replica != name:
            # The text is not repeated: it may hold a password.
            yield Problem(
                file=entry.file,
                path=("dsn",),
                primary=f'replica "{name}" is the same database as replica "{earlier.value.replica}"',
                hint="one replica per database: tables for both can be registered under one replica name; "
                f"the other is in {earlier.file}",
            )


def _double_sources(tables: tuple[Registered[Table], ...]) -> Iterator[Problem]:
    first: dict[tuple[str, str], Registered[Table]] = {}
    for entry in tables:
        table = entry.value
        for system in table.systems:
            earlier = first.setdefault((system, table.source.table), entry)
            if earlier is not entry:
                yield Problem(
                    file=entry.file,
                    path=("source", "table"),
                    primary=f'source table "{table.source.table}" of "{system}" is registered twice',
                    hint=f"keep one registration; the other is {earlier.file}",
                )


def _copies(tables: tuple[Registered[Table], ...]) -> Iterator[tuple[Registered[Table], int, Copy]]:
    for entry in tables:
        for index, copy in enumerate(entry.value.replicas):
            yield entry, index, copy


def _target_path(index: int, copy: Copy) -> FieldPath:
    return ("replicas", index, "replica" if copy.table is None else "table")


def _double_targets(tables: tuple[Registered[Table], ...]) -> Iterator[Problem]:
    first: dict[tuple[str, str], tuple[Registered[Table], int]] = {}
    for entry, index, copy in _copies(tables):
        target = entry.value.target_of(copy)
        earlier, earlier_index = first.setdefault((copy.replica, target), (entry, index))
        if (earlier, earlier_index) != (entry, index):
            yield Problem(
                file=entry.file,
                path=_target_path(index, copy),
                primary=f'two copies would write table "{target}" of replica "{copy.replica}"',
                hint=f'give one of them another "table"; the other is in {earlier.file}',
            )


def _loops(
    tables: tuple[Registered[Table], ...], systems: dict[str, System], replicas: dict[str, Replica]
) -> Iterator[Problem]:
    """A copy written into a captured table would be captured again, as if that system owned it."""
    captured: dict[tuple[str, str], Table] = {
        (system, entry.value.source.table): entry.value for entry in tables for system in entry.value.systems
    }
    for entry, index, copy in _copies(tables):
        target = entry.value.target_of(copy)
        for name in _systems_in_database_of(copy.replica, systems, replicas):
            owned = captured.get((name, target))
            if owned is not None:
                yield Problem(
                    file=entry.file,
                    path=_target_path(index, copy),
                    primary=f'copy would be written into "{target}" of "{name}", which is captured as table '
                    f'"{owned.table}": changes would go round in a loop',
                    hint=f"write another target, such as copies.{target.partition('.')[2]}, or remove it",
                )


def _systems_in_database_of(replica_name: str, systems: dict[str, System], replicas: dict[str, Replica]) -> list[str]:
    """Systems that are the same database as a replica: the same name, or a shared DSN reference."""
    replica = replicas.get(replica_name)
    logins = set() if replica is None else {replica.dsn, replica.ddl_dsn} - {None}
    found = {replica_name} | {system.system for system in systems.values() if logins & {system.dsn, system.capture_dsn}}
    return sorted(found)
