"""`trueup authority`: who owns which table, who has copies, in which window."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from trueup.core.authority_view import (
    AuthorityRow,
    authority_data,
    authority_mermaid,
    authority_rows,
)
from trueup.model.errors import Refused
from trueup.runtime.cli_errors import errors_as_text
from trueup.runtime.cli_project import PROJECT_DEFAULT, ProjectOption, open_project


@errors_as_text()
def authority(
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="A Mermaid flowchart on stdout.")] = False,
) -> None:
    """Show which system owns which table, who has copies of it, and in which window.

    Example: trueup authority --json
    """
    if json and mermaid:
        raise Refused("--json and --mermaid exclude each other", hint="choose one of them")
    _, registered = open_project(Path(project))
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(authority_data(registered)), indent=2).decode())
    elif mermaid:
        typer.echo(authority_mermaid(registered), nl=False)
    else:
        rows = authority_rows(registered)
        if rows:
            Console().print(_grid(rows))
        else:
            typer.echo("no table is registered: add files to schemas/tables", err=True)


def _grid(rows: list[AuthorityRow]) -> Grid:
    """A copy per line; table and owner are written once. Text objects: a name in brackets is no markup."""
    grid = Grid(title="Authority", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading in ("table", "owner", "team", "source", "order", "copy at", "as", "window", "masked"):
        grid.add_column(heading, overflow="fold")
    for row in rows:
        who = row.owner or f"{', '.join(row.writers)} ({row.conflicts})"
        first = [row.table, who, row.team or "", row.source_table, row.order]
        if not row.copies:
            grid.add_row(*map(Text, [*first, "none", "", "", ""]))
        for copy in row.copies:
            cells = [*first, copy.replica, copy.table, copy.window or "none", ", ".join(copy.masked)]
            grid.add_row(*map(Text, cells))
            first = [""] * len(first)
    return grid
