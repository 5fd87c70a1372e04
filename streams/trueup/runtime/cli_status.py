"""`trueup status`: the state of each copy and the next command; what is wrong first."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.live import Live

from trueup.adapters.whole_file import write_whole
from trueup.core.status_view import StatusView
from trueup.runtime.cli_errors import EXIT_REFUSED, errors_as_text
from trueup.runtime.cli_project import PROJECT_DEFAULT, ProjectOption, open_project, open_secrets
from trueup.runtime.status_read import read_status
from trueup.runtime.status_screen import screen, svg

_REFRESH_S = 2.0
_WIDTH_WITHOUT_TERMINAL = 10_000  # a pipe or a log has no width of its own: nothing is broken, lines end where they end


@errors_as_text()
def status(
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until interrupted.")] = False,
    wide: Annotated[bool, typer.Option("--wide", help="More numbers; 100 columns are not enough.")] = False,
    picture: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", dir_okay=False, help="Write the screen as a picture, too.")
    ] = None,
) -> None:
    """Show how true each copy is. Exit 1 when something is wrong, 2 when a part does not answer.

    States: stopped, late, unknown, stuck, slow (these are wrong), filling, flowing, idle. Age: of what it is as of.

    Example: trueup status --watch
    """
    settings, registered = open_project(project)
    secrets = open_secrets(settings)
    view = read_status(settings, registered, secrets)
    if picture is not None:
        write_whole(picture, svg(view, wide=wide), "name another file: --svg FILE")
    if json:
        typer.echo(msgspec.json.encode(view).decode())
    elif watch:
        console = _console()
        with Live(screen(view, width=console.width, wide=wide), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(_REFRESH_S)
                view = read_status(settings, registered, secrets)
                live.update(screen(view, width=console.width, wide=wide), refresh=True)
    else:
        show(view, wide=wide)
    if view.unreachable:
        # What could be asked is shown all the same; that it is not the whole answer is what the exit code says.
        typer.echo("\n".join(f'cannot reach "{part}"' for part in view.unreachable), err=True)
        raise typer.Exit(EXIT_REFUSED)
    if view.has_findings:
        raise typer.Exit(1)


def show(view: StatusView, *, wide: bool = False) -> None:
    console = _console()
    console.print(screen(view, width=console.width, wide=wide))


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL, highlight=False)
