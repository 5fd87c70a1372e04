"""`trueup status`: captured, applied, lag and convergence per copy; what is wrong first, with the next command."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import msgspec
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table as Grid
from rich.text import Text

from trueup.core.status_view import StatusView
from trueup.runtime.cli_errors import EXIT_REFUSED, errors_as_text
from trueup.runtime.cli_project import PROJECT_DEFAULT, ProjectOption, open_project, open_secrets
from trueup.runtime.status_read import read_status

_REFRESH_S = 2.0
_WIDTH_WITHOUT_TERMINAL = 200  # a pipe or a log has no width of its own: 80 would leave nothing of the columns


@errors_as_text()
def status(
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until interrupted.")] = False,
) -> None:
    """Show how true each copy is. Exit 1 when something is wrong, 2 when a part does not answer.

    Example: trueup status --watch
    """
    settings, registered = open_project(project)
    secrets = open_secrets(settings)
    view = read_status(settings, registered, secrets)
    if json:
        typer.echo(msgspec.json.encode(view).decode())
    elif watch:
        with Live(_screen(view), console=Console(), auto_refresh=False) as live:
            while True:
                time.sleep(_REFRESH_S)
                live.update(_screen(read_status(settings, registered, secrets)), refresh=True)
    else:
        Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL).print(_screen(view))
    if view.unreachable:
        # What could be asked is shown all the same; that it is not the whole answer is what the exit code says.
        typer.echo("\n".join(f'cannot reach "{part}"' for part in view.unreachable), err=True)
        raise typer.Exit(EXIT_REFUSED)
    if view.problems:
        raise typer.Exit(1)


def _screen(view: StatusView) -> Group:
    problems = [Text(f"! {p.what}  ->  {p.next}", style="bold red") for p in view.problems]
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    headings = ("table", "replica", "captured", "applied", "other", "lag", "p50", "p99", "filled", "as of", "fresh")
    for heading in (*headings, "proven"):
        names = heading in {"table", "replica"}
        grid.add_column(heading, justify="left" if names or heading == "other" else "right", no_wrap=heading != "other")
    for line in view.tables:
        other = ", ".join(f"{count} {name}" for name, count in line.other.items())
        cells = (line.table, line.replica, str(line.captured), str(line.applied), other, str(line.lag))
        times = (_seconds(line.convergence_p50_s), _seconds(line.convergence_p99_s))
        age = "" if line.as_of_age_s is None else f"{line.as_of_age_s:.1f} s ago"
        words = ("yes" if line.filling.done else "no", age, {True: "yes", False: "no", None: ""}[line.fresh])
        grid.add_row(*map(Text, (*cells, *times, *words, _age(line.proven_age_s))))
    return Group(*(problems or [Text("nothing is wrong", style="green")]), grid)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"


def _age(seconds: float | None) -> str:
    """How long ago, in the largest unit that says enough."""
    if seconds is None:
        return "never"
    size, unit = next(((n, u) for n, u in ((86_400, "d"), (3_600, "h"), (60, "min")) if seconds >= 2 * n), (1, "s"))
    return f"{max(0.0, seconds) / size:.0f} {unit} ago"
