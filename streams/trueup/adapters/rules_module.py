"""Loads the project's rules module and checks the signatures of its functions. What they are given is `trueup.rules`.

The module is code of the project, run as it is by every command and worker that reads registrations: whoever may edit
registrations may edit it. All mistakes in it are reported together, each with its line.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, get_type_hints

from trueup.adapters.configuration_errors import refuse_if_any
from trueup.adapters.settings_file import SETTINGS_FILE
from trueup.model.errors import ConfigurationError
from trueup.model.rule_function import RuleFunction
from trueup.model.settings import Settings
from trueup.rules import MARK, Row

_MODULE: Final = "trueup_project_rules"
_FINGERPRINT_DIGITS: Final = 12  # 48 bits, for people to compare; nothing is decided by it
_WANTED: Final[dict[str, Any]] = {"row": Row, "before": Row | None, "commit_time_us": int | None}
_SIGNATURE: Final = "row: Row, then at will before: Row | None and commit_time_us: int | None; -> str | None"


def read_rule_functions(settings: Settings) -> dict[str, RuleFunction]:
    """The functions marked with @rule, by name. Raises ConfigurationError (ConfigurationErrors for several)."""
    if not settings.rules.module:
        return {}
    path = settings.project_dir / settings.rules.module
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f'rules module "{settings.rules.module}" cannot be read: {type(error).__name__}',
            file=str(settings.project_dir / SETTINGS_FILE),
            field="rules.module",
            hint="name a Python file, relative to the folder of trueup.toml",
        ) from error
    module = _executed(path, text)
    marked = [value for value in vars(module).values() if getattr(value, MARK, False) is True]
    refuse_if_any([error for function in marked for error in _mistakes(function, path)])
    sources = _sources(text)
    whole = _fingerprint(text)
    return {function.__name__: _loaded(function, path, sources, whole) for function in marked}


def _executed(path: Path, text: str) -> types.ModuleType:
    """The module, run from its text: Python's cache of compiled files may be as old as a second ago."""
    module = types.ModuleType(_MODULE)
    module.__file__ = str(path)
    sys.modules[_MODULE] = module  # dataclasses look their module up
    try:
        exec(compile(text, str(path), "exec"), module.__dict__)  # noqa: S102 - code of the project, as its settings say
    except SyntaxError as error:
        primary = f"rules module is not Python: {error.msg}"
        raise ConfigurationError(primary, file=str(path), line=error.lineno, hint="correct the line named") from error
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        raise ConfigurationError(
            f"rules module cannot be loaded: {type(error).__name__}: {error}",
            file=str(path),
            line=lines[-1] if lines else None,
            hint="a rules module imports and defines; install what it imports where commands and workers run",
        ) from error
    return module


def _mistakes(function: Any, path: Path) -> Iterator[ConfigurationError]:
    if not inspect.isfunction(function) or function.__module__ != _MODULE:
        yield ConfigurationError(
            "@rule marks something that is no function of the rules module",
            file=str(path),
            hint="mark a plain function that is defined in this file",
        )
        return
    line = function.__code__.co_firstlineno
    for what in _signature_mistakes(function):
        yield ConfigurationError(
            f'rule "{function.__name__}" {what}', file=str(path), line=line, hint=f"a rule takes {_SIGNATURE}"
        )


def _signature_mistakes(function: Callable[..., Any]) -> Iterator[str]:
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        yield "is a coroutine or a generator: a rule answers at once"
        return
    try:
        hints = get_type_hints(function)
    except Exception as error:
        yield f"has an annotation that cannot be read: {type(error).__name__}"
        return
    parameters = inspect.signature(function).parameters
    if next(iter(parameters), None) != "row":
        yield 'does not take "row" first'
    for name, parameter in parameters.items():
        if name not in _WANTED:
            yield f'takes "{name}", which a rule is not given'
        elif parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            yield f'takes "{name}" as {parameter.kind.description}: write it as a plain parameter'
        elif name not in hints:
            yield f'takes "{name}" without a type'
        elif hints[name] != _WANTED[name]:
            yield f'takes "{name}" with another type than it is given'
    if "return" not in hints:
        yield "does not say what it returns"
    elif hints["return"] not in (str | None, str, type(None)):
        yield "returns something else than None or text"


def _loaded(function: Any, path: Path, sources: dict[str, str], whole: str) -> RuleFunction:
    return RuleFunction(
        name=function.__name__,
        call=function,
        takes=tuple(inspect.signature(function).parameters),
        about=(inspect.getdoc(function) or "").partition("\n")[0],
        file=str(path),
        line=function.__code__.co_firstlineno,
        fingerprint=_fingerprint(sources.get(function.__name__, whole)),
        module_fingerprint=whole,
    )


def _sources(text: str) -> dict[str, str]:
    """The text of each function at the top of the module; of two with one name the later one counts, as in Python."""
    found = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    return {node.name: ast.get_source_segment(text, node) or "" for node in found}


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_FINGERPRINT_DIGITS]
