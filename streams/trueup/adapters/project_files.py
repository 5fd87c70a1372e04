"""Reads a project folder's registrations. All mistakes of all files are reported together.

trueup.toml is `adapters.settings_file`; references to secrets stay references (`adapters.secret_references`).
The rules between registrations come from core and are handed in, because adapters do not import core:
`runtime.cli_project.open_project` puts the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Generic

import msgspec

from trueup.adapters.configuration_errors import located, refuse_if_any
from trueup.adapters.struct_mistakes import mistakes_in
from trueup.adapters.yaml_document import read_yaml
from trueup.model.errors import ConfigurationError
from trueup.model.problem import FieldPath, Problem, Registered, Registrations, RegistrationT
from trueup.model.registration import Project, Replica, System, Table
from trueup.model.rule_function import RuleFunction

TABLES_FOLDER: Final = Path("schemas/tables")
SYSTEMS_FOLDER: Final = Path("connectors/systems")
REPLICAS_FOLDER: Final = Path("connectors/replicas")

Rules = Callable[[Registrations], list[Problem]]


class _Folder(Generic[RegistrationT]):
    """What one folder gave: registrations, the names of files with mistakes, errors, and lines by file."""

    def __init__(self, folder: Path, kind: type[RegistrationT]) -> None:
        self.found: list[Registered[RegistrationT]] = []
        self.unread: list[str] = []
        self.errors: list[ConfigurationError] = []
        self.lines: dict[str, Mapping[FieldPath, int]] = {}
        for path in sorted(folder.glob("*.yml")):
            hint = f"rename it to {path.stem}.yaml"
            self.errors.append(ConfigurationError("file is not read: its name ends in .yml", file=str(path), hint=hint))
            self.unread.append(path.stem)
        for path in sorted(folder.glob("*.yaml")):
            self._read(path, kind)

    def _read(self, path: Path, kind: type[RegistrationT]) -> None:
        registration, lines, problems = read_registration(path, kind)
        self.lines[str(path)] = lines
        if problems:
            self.unread.append(path.stem)
            self.errors += [located(problem, lines) for problem in problems]
        if registration is not None:
            self.found.append(Registered(file=str(path), stem=path.stem, value=registration))


def read_registration(
    path: Path, kind: type[RegistrationT]
) -> tuple[RegistrationT | None, Mapping[FieldPath, int], list[Problem]]:
    """One file: the registration, the lines of its fields, and its problems.

    With problems the registration lacks the fields that have them, or is None where it cannot be without: good for
    finding mistakes of meaning in the rest, for nothing else.
    """
    document = read_yaml(path)
    if document.problems:
        return None, document.lines, list(document.problems)
    problems = mistakes_in(kind, document.data, str(path))
    return _rest(kind, document.data, problems), document.lines, problems


def _rest(kind: type[RegistrationT], data: Any, problems: list[Problem]) -> RegistrationT | None:
    """The registration without its mistaken fields. Whole fields of the file: half a list would have other indices."""
    if problems and not isinstance(data, dict):
        return None
    mistaken = {problem.path[0] for problem in problems if problem.path}
    rest = {name: value for name, value in data.items() if name not in mistaken}
    return None if mistakes_in(kind, rest, "") else msgspec.convert(rest, kind)


def read_project(project_dir: Path, rules: Rules, functions: Mapping[str, RuleFunction] | None = None) -> Project:
    """Everything registered in a folder. Raises ConfigurationError (ConfigurationErrors for several).

    :param rules: `core.registration_rules.problems_of`.
    :param functions: of the rules module (`adapters.rules_module`), which become part of the project.
    """
    if not project_dir.is_dir():
        raise ConfigurationError(
            f'project folder "{project_dir}" does not exist',
            file=str(project_dir),
            hint="name the folder that holds trueup.toml: --project DIR",
        )
    systems = _Folder(project_dir / SYSTEMS_FOLDER, System)
    replicas = _Folder(project_dir / REPLICAS_FOLDER, Replica)
    tables = _Folder(project_dir / TABLES_FOLDER, Table)
    registrations = Registrations(
        systems=tuple(systems.found),
        replicas=tuple(replicas.found),
        tables=tuple(tables.found),
        unread_systems=frozenset(systems.unread),
        unread_replicas=frozenset(replicas.unread),
    )
    lines = systems.lines | replicas.lines | tables.lines
    found = [located(problem, lines.get(problem.file, {})) for problem in rules(registrations)]
    refuse_if_any([*systems.errors, *replicas.errors, *tables.errors, *found])
    return Project(
        systems={entry.value.system: entry.value for entry in systems.found},
        replicas={entry.value.replica: entry.value for entry in replicas.found},
        tables={entry.value.table: entry.value for entry in tables.found},
        functions=dict(functions or {}),
    )


def refuse_problems(project_dir: Path, problems: list[Problem]) -> None:
    """Raise for problems found later (`core.column_rules`), with the lines of the files in `project_dir`."""
    lines: dict[str, Mapping[FieldPath, int]] = {}
    errors = []
    for problem in problems:
        path = project_dir / problem.file
        if problem.file not in lines:
            lines[problem.file] = read_yaml(path).lines
        errors.append(located(msgspec.structs.replace(problem, file=str(path)), lines[problem.file]))
    refuse_if_any(errors)
