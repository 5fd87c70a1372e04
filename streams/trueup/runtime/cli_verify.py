"""`trueup verify`: is each copy equal to its owner? Exit 1 for differences nothing explains."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Grid
from rich.text import Text

from trueup.core.verify import Comparison
from trueup.model.errors import Refused
from trueup.runtime.cli_errors import errors_as_text
from trueup.runtime.cli_project import PROJECT_DEFAULT, ProjectOption, open_project, open_secrets
from trueup.runtime.verify_run import Verification, compared_copies


@errors_as_text()
def verify(
    table: Annotated[str | None, typer.Argument(help="Only this table.")] = None,
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for copies that are behind.")] = 60.0,
    json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Compare every copy with its owner at a heartbeat, down to the differing keys. Example: trueup verify orders"""
    settings, registered = open_project(project)
    if table is not None and table not in registered.tables:
        hint = f"registered are: {', '.join(registered.tables)}"
        raise Refused(f'table "{table}" is not registered', hint=hint)
    tables = [t for t in registered.tables.values() if table in {None, t.table}]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("waiting for a heartbeat", total=sum(len(compared_copies(t)) for t in tables))

        def on_copy(what: str) -> None:
            progress.update(task, description=what, advance=1)

        results = Verification(settings, registered, open_secrets(settings), timeout).run(tables, on_copy)
    differing, caught_up = sum(r.differing for r in results), all(r.caught_up for r in results)
    if json:
        answer = {"results": results, "differing": differing, "caught_up": caught_up}
        typer.echo(msgspec.json.encode(answer).decode())
    else:
        Console().print(_grid(results))
        typer.echo(f"differing rows {differing}" + ("" if caught_up else ", and copies that did not catch up in time"))
    if differing or not caught_up:
        raise typer.Exit(1)


def _grid(results: list[Comparison]) -> Grid:
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    for heading in ("table", "replica", "rows", "at replica", "differing", "explained", "unproven", "keys"):
        grid.add_column(heading, overflow="fold")
    for r in results:
        numbers = (r.rows_source, r.rows_replica, r.differing, r.explained, r.unproven)
        grid.add_row(*map(Text, (r.table, r.replica, *map(str, numbers), " ".join(r.keys))))
    return grid
