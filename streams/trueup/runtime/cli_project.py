"""The project a command works on: the option `--project`, its settings, registrations and secrets.

The one place of the commands that reads the environment.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from trueup.adapters.project_files import read_project
from trueup.adapters.rules_module import read_rule_functions
from trueup.adapters.secret_references import Secrets
from trueup.adapters.settings_file import read_settings
from trueup.core.registration_rules import problems_of
from trueup.model.registration import Project
from trueup.model.settings import Settings

ProjectOption = Annotated[
    Path,
    typer.Option(
        "--project",
        metavar="DIR",
        help="Folder with trueup.toml, schemas/tables and connectors.",
        show_default="the current folder",
    ),
]
PROJECT_DEFAULT = Path()


def open_settings(path: Path) -> Settings:
    """Settings alone, for commands that need no registration. Raises ConfigurationError."""
    return read_settings(path, os.environ)


def open_project(path: Path) -> tuple[Settings, Project]:
    """Settings and registrations, cross-checked. Raises ConfigurationError with all mistakes."""
    settings = open_settings(path)
    functions = read_rule_functions(settings)
    return settings, read_project(path, partial(problems_of, functions=functions), functions)


def open_secrets(settings: Settings) -> Secrets:
    """What resolves the references of registrations: this process's environment, then the stack's."""
    return Secrets(settings, os.environ)
