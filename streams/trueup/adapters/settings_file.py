"""trueup.toml and the TRUEUP_* variables into Settings.

What wins: variables, then the file, then the local stack's stack.env (for the three addresses), then the
defaults of `model.settings`. Registrations are `adapters.project_files`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_type_hints

import msgspec

from trueup.adapters.configuration_errors import located, refuse_if_any
from trueup.adapters.stack_environment import stack_environment
from trueup.adapters.struct_mistakes import mistakes_in, nearest
from trueup.model.errors import ConfigurationError
from trueup.model.problem import FieldPath, Problem, dotted
from trueup.model.settings import Settings

SETTINGS_FILE: Final = "trueup.toml"
PREFIX: Final = "TRUEUP_"

# Variables with a name of their own; any other field is TRUEUP_<SECTION>__<FIELD>.
_ADDRESSES: Final[dict[str, FieldPath]] = {
    "TRUEUP_BOOTSTRAP_SERVERS": ("kafka", "bootstrap_servers"),
    "TRUEUP_CONNECT_URL": ("connect", "url"),
    "TRUEUP_REGISTRY_URL": ("registry", "url"),
}
_NAMED: Final[dict[str, FieldPath]] = _ADDRESSES | {
    "TRUEUP_STATE_DIR": ("state_dir",),
    "TRUEUP_ENVIRONMENT": ("environment",),
    "TRUEUP_STACK_PORT_BASE": ("stack_port_base",),
    "TRUEUP_STACK_DATABASES": ("stack_databases",),
}


def read_settings(project_dir: Path, environment: Mapping[str, str]) -> Settings:
    """Settings of a project folder; a missing trueup.toml means defaults.

    `state_dir` comes back below `project_dir` unless it is absolute. Raises ConfigurationError
    (ConfigurationErrors for several).
    """
    path = project_dir / SETTINGS_FILE
    data, lines = _read_toml(path)
    problems = mistakes_in(Settings, data, str(path))
    if "project_dir" in data:
        primary = 'field "project_dir" cannot be set in trueup.toml'
        hint = "remove it: the folder of trueup.toml is the project; another one is --project DIR"
        problems.append(Problem(file=str(path), path=("project_dir",), primary=primary, hint=hint))
    overrides, errors = _overrides(environment)
    refuse_if_any([*(located(problem, lines) for problem in problems), *errors])
    for field, value in overrides.items():
        _put(data, field, value)
    state_dir = project_dir / str(data.get("state_dir", Settings().state_dir))
    known = stack_environment(state_dir)
    for variable, field in _ADDRESSES.items():
        if variable in known and not _has(data, field):
            _put(data, field, known[variable])
    data |= {"project_dir": str(project_dir), "state_dir": str(state_dir)}
    settings = msgspec.convert(data, Settings, dec_hook=_to_path)
    refuse_if_any(_not_positive(settings, str(path), lines))
    return settings


def _read_toml(path: Path) -> tuple[dict[str, Any], dict[FieldPath, int]]:
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text), _lines(text)
    except (FileNotFoundError, NotADirectoryError):
        return {}, {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            "cannot read the file as UTF-8 text",
            file=str(path),
            hint="check its permissions and its encoding",
        ) from error
    except tomllib.TOMLDecodeError as error:
        # Python 3.11 gives the line in the text only; it is shown, nothing is decided by it.
        line = re.search(r"at line (\d+)", str(error))
        raise ConfigurationError(
            f"file is not TOML: {error}",
            file=str(path),
            line=int(line[1]) if line else None,
            hint='write `name = value` under a [section]; text in quotes, such as "var"',
        ) from error


def _lines(text: str) -> dict[FieldPath, int]:
    """Line of each section and plain field; good for messages, no TOML reader."""
    lines: dict[FieldPath, int] = {(): 1}
    section: FieldPath = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            section = tuple(header[1].split("."))
            lines.setdefault(section, number)
        elif field := re.match(r"\s*([\w.-]+)\s*=", line):
            lines.setdefault((*section, *field[1].split(".")), number)
    return lines


def _overrides(environment: Mapping[str, str]) -> tuple[dict[FieldPath, Any], list[ConfigurationError]]:
    values: dict[FieldPath, Any] = {}
    errors: list[ConfigurationError] = []
    # The general form first, so that a variable with a name of its own wins over it.
    for variable in sorted(environment, key=lambda name: (name in _NAMED, name)):
        path = _NAMED.get(variable)
        if path is None and variable.startswith(PREFIX) and "__" in variable:
            path = tuple(variable.removeprefix(PREFIX).lower().split("__", 1))
        if path is None:
            continue  # other parts have variables of their own, such as TRUEUP_CACHE_DIR
        try:
            values[path] = _converted(environment[variable], path, variable)
        except ConfigurationError as error:
            errors.append(error)
    return values, errors


def _converted(text: str, path: FieldPath, variable: str) -> object:
    """The value of a variable in the type of its field."""
    kind: Any = Settings
    for step in path:
        fields = get_type_hints(kind) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else {}
        if step not in fields or (step == "project_dir"):
            close = nearest(str(step), list(fields))
            guess = f'did you mean "{close}"? ' if close else ""
            raise ConfigurationError(
                f'variable "{variable}" names a setting that does not exist',
                file=f"environment variable {variable}",
                field=dotted(path),
                hint=f"unset it; {guess}settings there: {', '.join(fields) or 'none'}",
            )
        kind = fields[step]
    if kind is Path:
        return text
    try:
        source: Any = [part.strip() for part in text.split(",")] if kind == tuple[str, ...] else text
        return msgspec.to_builtins(msgspec.convert(source, kind, strict=False))
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f'variable "{variable}" has a value its setting cannot take',
            file=f"environment variable {variable}",
            field=dotted(path),
            hint=f"{error}",
        ) from error


def _not_positive(settings: Settings, file: str, lines: Mapping[FieldPath, int]) -> list[ConfigurationError]:
    """Counts, ports, bytes and times: every number among the settings is at least 1."""
    data = msgspec.to_builtins(settings, enc_hook=str)
    found: list[FieldPath] = []
    for name, value in data.items():
        pairs = value.items() if isinstance(value, dict) else ()
        found += [(name, field) for field, number in pairs if isinstance(number, int) and number < 1]
        if isinstance(value, int) and value < 1:
            found.append((name,))
    return [
        located(
            Problem(
                file=file,
                path=path,
                primary=f'setting "{dotted(path)}" is less than 1',
                hint="write a number of at least 1, here or in its TRUEUP_ variable",
            ),
            lines,
        )
        for path in found
    ]


def _has(data: Mapping[str, Any], path: FieldPath) -> bool:
    inner: Any = data
    for step in path:
        if not isinstance(inner, Mapping) or step not in inner:
            return False
        inner = inner[step]
    return True


def _put(data: dict[str, Any], path: FieldPath, value: object) -> None:
    *sections, field = path
    for section in sections:
        data = data.setdefault(str(section), {})
    data[str(field)] = value


def _to_path(kind: type, value: object) -> object:
    return kind(value)
