"""`trueup deadletters`: what could not be used, why, and what to do about it."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from trueup.runtime.cli_errors import errors_as_text
from trueup.runtime.cli_project import PROJECT_DEFAULT, ProjectOption, open_project, open_secrets
from trueup.runtime.deadletters import DeadLetters

deadletters = typer.Typer(help="Dead letters: changes that could not be used.", no_args_is_help=True)
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As list shows it.")]


def _letters(project: ProjectOption) -> DeadLetters:
    settings, registered = open_project(project)
    return DeadLetters(settings, registered, open_secrets(settings))


@deadletters.command(name="list")
@errors_as_text()
def list_letters(
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    table: Annotated[str | None, typer.Option("--table", help="Only of this table.")] = None,
    json: JsonOption = False,
) -> None:
    """List dead letters; the superseded ones need nothing any more. Example: trueup deadletters list --table orders"""
    found = _letters(project).entries(table)
    if json:
        typer.echo(msgspec.json.encode({"dead_letters": found}).decode())
        return
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    for heading in ("id", "where", "key", "reason", "state", "hint"):
        grid.add_column(heading, overflow="fold")
    for entry in found:
        state = "superseded" if entry.superseded else "open"
        grid.add_row(*map(Text, (entry.id, entry.where, entry.key, entry.reason, state, entry.hint)))
    Console().print(grid)


@deadletters.command()
@errors_as_text()
def show(letter_id: IdArgument, project: ProjectOption = PROJECT_DEFAULT, *, json: JsonOption = False) -> None:
    """Show one letter with its raw bytes, which hold data. Example: trueup deadletters show orders/0/3"""
    entry, record = _letters(project).find(letter_id)
    shown = msgspec.to_builtins(entry)
    if record is not None:
        shown["value_hex"] = None if record.value is None else record.value.hex()
        shown["headers"] = {name: value.decode("utf-8", "replace") for name, value in record.headers}
    typer.echo(msgspec.json.encode(shown).decode() if json else "\n".join(f"{k}: {v}" for k, v in shown.items()))


@deadletters.command()
@errors_as_text()
def replay(letter_id: IdArgument, project: ProjectOption = PROJECT_DEFAULT, *, json: JsonOption = False) -> None:
    """Send a letter through the pipeline again; it keeps its age. Example: trueup deadletters replay orders/0/3"""
    entry = _letters(project).replay(letter_id)
    typer.echo(msgspec.json.encode({"replayed": entry.id}).decode() if json else f"replayed {entry.id}")
