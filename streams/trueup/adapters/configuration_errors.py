"""Several mistakes at once: a DBA sees all of them before correcting the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trueup.model.errors import ConfigurationError
from trueup.model.problem import FieldPath, Problem, dotted


class ConfigurationErrors(ConfigurationError):
    """More than one ConfigurationError. It reads as the first; `errors` holds all, `others` the rest."""

    def __init__(self, errors: Sequence[ConfigurationError]) -> None:
        first = errors[0]
        super().__init__(first.primary, file=first.file, line=first.line, field=first.field, hint=first.hint or "")
        self.errors = tuple(errors)
        self.others = self.errors[1:]

    def __str__(self) -> str:
        return "\n".join([f"{len(self.errors)} mistakes in the project's files", *map(str, self.errors)])


def refuse_if_any(errors: Sequence[ConfigurationError]) -> None:
    """Raise one error for all of them: a plain ConfigurationError where there is only one."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ConfigurationErrors(errors)


def located(problem: Problem, lines: Mapping[FieldPath, int]) -> ConfigurationError:
    """The error of a problem, at the line of its field, or of the nearest field around it."""
    path = problem.path
    while path and path not in lines:
        path = path[:-1]
    return ConfigurationError(
        problem.primary,
        file=problem.file,
        line=lines.get(path),
        field=dotted(problem.path) or None,
        hint=problem.hint,
    )
