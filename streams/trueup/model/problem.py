"""Mistakes in a project's files as values, so that all of them are found before one error is raised.

Rules (pure, in core) answer with Problems; `adapters.project_files` knows the lines and raises.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from trueup.model.registration import Replica, System, Table

FieldPath = tuple[str | int, ...]
RegistrationT = TypeVar("RegistrationT", System, Replica, Table)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One mistake.

    :param file: the label of the file, as in Registered.
    :param path: where in the file; the last step may be a field that is missing.
    :param primary: what is wrong, in one line.
    :param hint: the cure.
    """

    file: str
    path: FieldPath
    primary: str
    hint: str


class Registered(msgspec.Struct, Generic[RegistrationT], frozen=True, kw_only=True):
    """A registration and the file it was read from; `stem` is the file's name without its suffix."""

    file: str
    stem: str
    value: RegistrationT


class Registrations(msgspec.Struct, frozen=True, kw_only=True):
    """All readable registrations of a project, not yet cross-checked.

    :param unread_systems: names of systems whose files hold mistakes of their own: they exist, so a table
        that names one is not to blame.
    """

    systems: tuple[Registered[System], ...] = ()
    replicas: tuple[Registered[Replica], ...] = ()
    tables: tuple[Registered[Table], ...] = ()
    unread_systems: frozenset[str] = frozenset()
    unread_replicas: frozenset[str] = frozenset()


def dotted(path: FieldPath) -> str:
    """`checks[0].min` for people."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
