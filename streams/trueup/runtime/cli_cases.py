"""`trueup cases`: what rules could not decide, shown to people and decided by them."""

from __future__ import annotations

import getpass
import time
from typing import Annotated

import msgspec
import typer
from rich.console import Console, Group
from rich.table import Table as Grid
from rich.text import Text

from trueup.core.case_view import CaseEntry, CaseView, entry_of, view_of
from trueup.model.errors import Refused
from trueup.runtime.cases import Cases, why_not_obeyed
from trueup.runtime.cli_errors import errors_as_text
from trueup.runtime.cli_project import PROJECT_DEFAULT, ProjectOption, open_project, open_secrets

cases = typer.Typer(help="Cases: changes that rules cannot decide, and people do.", no_args_is_help=True)
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As list shows it.")]


def _cases(project: ProjectOption) -> Cases:
    settings, registered = open_project(project)
    return Cases(settings, registered, open_secrets(settings))


def _now_us() -> int:
    return time.time_ns() // 1000


@cases.command(name="list")
@errors_as_text()
def list_cases(
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    table: Annotated[str | None, typer.Option("--table", help="Only of this table.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Decided and superseded ones too.")] = False,
    json: JsonOption = False,
) -> None:
    """List open cases, the oldest first. Example: trueup cases list --table customers"""
    found = [entry_of(case, _now_us()) for case in _cases(project).all(table) if every or case.is_open]
    if json:
        typer.echo(msgspec.json.encode({"cases": found}).decode())
        return
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    for heading in ("id", "key", "state", "rule", "reason", "decide until"):
        grid.add_column(heading, overflow="fold")
    for entry in found:
        grid.add_row(*map(Text, (entry.id, entry.key, _state(entry), entry.rule, entry.reason, entry.deadline)))
    Console().print(grid)


def _state(entry: CaseEntry) -> str:
    if entry.decision is not None:
        return f"decided by {entry.decision.by}: {entry.decision.take}"
    return "overdue" if entry.overdue else entry.status.value


@cases.command()
@errors_as_text()
def show(case_id: IdArgument, project: ProjectOption = PROJECT_DEFAULT, *, json: JsonOption = False) -> None:
    """Show the images of a case side by side, what differs marked; they hold data.

    Example: trueup cases show customers/1/2/417
    """
    found = _cases(project)
    case = found.find(case_id)
    view = view_of(case, found.captured(case), _now_us())
    if json:
        typer.echo(msgspec.json.encode(view).decode())
    else:
        Console(highlight=False).print(_screen(view))


def _screen(view: CaseView) -> Group:
    entry = view.entry
    lines = [
        Text(f"case     {entry.id}   key {entry.key}"),
        Text(f"state    {_state(entry)}; opened {entry.opened_at}, to be decided until {entry.deadline}"),
        Text(f"rule     {entry.rule}: {entry.reason}"),
    ]
    if entry.decision is not None:
        lines.append(Text(f"because  {entry.decision.because}"))
    if view.refused is not None:
        lines.append(Text(f"refused  the latest decision: {view.refused}"))
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    grid.add_column("")
    grid.add_column("column")
    for side in view.sides:
        grid.add_column(f"{side.letter}  {side.origin or 'people' if side.version else 'nothing'}", overflow="fold")
    heads = (
        ("version", [side.version for side in view.sides]),
        ("committed", [side.committed_at for side in view.sides]),
        ("cause", [side.cause or "" for side in view.sides]),
        ("row", ["yes" if side.exists else "deleted" if side.version else "none" for side in view.sides]),
    )
    for name, values in heads:
        grid.add_row("", Text(name, style="dim"), *(Text(value, style="dim") for value in values))
    for column in view.columns:
        mark, style = ("*", "bold yellow") if column.differs else ("", "")
        texts = [Text("null" if value is None else str(value), style=style) for value in column.values]
        grid.add_row(mark, Text(column.column, style=style), *texts)
    return Group(*lines, grid)


@cases.command()
@errors_as_text()
def decide(
    case_id: IdArgument,
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    because: Annotated[str, typer.Option("--because", metavar="TEXT", help="Why; it travels with the row.")],
    take: Annotated[str | None, typer.Option("--take", metavar="A|B", help="The image that is right.")] = None,
    values: Annotated[
        list[str] | None, typer.Option("--set", metavar="COLUMN=VALUE", help="In the place of the image's value.")
    ] = None,
    nulls: Annotated[
        list[str] | None, typer.Option("--set-null", metavar="COLUMN", help="Null in the place of the image's value.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who decides; default: your login.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for the decide worker.")] = 60.0,
    json: JsonOption = False,
) -> None:
    """Decide a case. Exit 1 when it had changed: look again, decide again.

    Example: trueup cases decide customers/1/2/417 --take B --set phone=112 --because "called the customer"
    """
    found = _cases(project)
    case = found.find(case_id)
    asked = found.decision(
        case, take=take, values=_assignments(values or [], nulls or []), because=because, by=by or getpass.getuser()
    )
    typer.echo("waiting for the decide worker", err=True)
    after = found.send(case, asked, timeout)
    refused = why_not_obeyed(case, after, asked)
    if json:
        answer = {"case": case.id, "obeyed": refused is None, "why": refused, "version": after.closed_by}
        typer.echo(msgspec.json.encode(answer).decode())
    elif refused is None:
        typer.echo(f"case {case.id} is decided: {asked.take}")
    if refused is not None:
        typer.echo(f"not obeyed: {refused}\n  hint: trueup cases show {after.id}", err=True)
        raise typer.Exit(1)


def _assignments(values: list[str], nulls: list[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = dict.fromkeys(nulls)
    for text in values:
        column, equals, value = text.partition("=")
        if not equals or column in found:
            raise Refused(f'"{text}" sets no column, or one that is set already', hint="write COLUMN=VALUE, once each")
        found[column] = value
    return found
