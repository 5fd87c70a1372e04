"""`trueup rules`: what is asked of the rows of each table and copy, and the functions of the rules module."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from trueup.core.rules_view import FunctionRow, RuleRow, rules_data, rules_view
from trueup.runtime.cli_errors import errors_as_text
from trueup.runtime.cli_project import PROJECT_DEFAULT, ProjectOption, open_project


@errors_as_text()
def rules(
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Show which checks and functions judge the rows of each table and copy, and what a violation leads to.

    Example: trueup rules --json
    """
    _, registered = open_project(Path(project))
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(rules_data(registered)), indent=2).decode())
        return
    view = rules_view(registered)
    if view.rules:
        Console().print(_rules_grid(view.rules))
    else:
        typer.echo("no rule is registered: add checks to a file in schemas/tables", err=True)
    if view.functions:
        Console().print(_functions_grid(view.functions))


def _rules_grid(rows: tuple[RuleRow, ...]) -> Grid:
    """Text objects: a pattern in brackets is no markup."""
    grid = _grid("Rules", ("table", "at", "column", "asks", "on violation"))
    for row in rows:
        cells = [row.table, row.replica or "the table", row.column or "", row.asks, row.on_violation]
        grid.add_row(*map(Text, cells))
    return grid


def _functions_grid(rows: tuple[FunctionRow, ...]) -> Grid:
    grid = _grid("Functions", ("function", "takes", "fingerprint", "where", "used by", "about"))
    for row in rows:
        where = f"{Path(row.file).name}:{row.line}"
        used = ", ".join(row.used_by) or "nobody"
        grid.add_row(*map(Text, [row.function, ", ".join(row.takes), row.fingerprint, where, used, row.about]))
    return grid


def _grid(title: str, headings: tuple[str, ...]) -> Grid:
    grid = Grid(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        grid.add_column(heading, overflow="fold")
    return grid
