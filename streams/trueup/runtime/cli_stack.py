"""`trueup stack`: the local stack of real servers, for demo, tests and laptops."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table as Grid

from trueup.adapters.promtool import find_alertmanager
from trueup.adapters.scrape_targets import targets_dir
from trueup.adapters.whole_file import write_whole
from trueup.model.settings import Settings
from trueup.runtime.alert_files import rules_text
from trueup.runtime.cli_errors import errors_as_text
from trueup.runtime.cli_project import PROJECT_DEFAULT, ProjectOption, open_project, open_settings
from trueup.stack.local_stack import LocalStack
from trueup.stack.progress import StackProgress
from trueup.stack.prometheus import SCRAPE_S
from trueup.stack.settings import LOOPBACK, Observability, StackSettings, alertmanager_port, prometheus_port

stack = typer.Typer(
    help="The local stack: Postgres, Kafka, Connect and the registry, without Docker or root.", no_args_is_help=True
)


def state_dir_of(settings: Settings) -> Path:
    """Where the local stack of a project keeps its state."""
    return (settings.state_dir / "stack").absolute()


@stack.command()
@errors_as_text()
def up(
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    brokers: Annotated[int, typer.Option(min=1, max=3, help="Kafka brokers.")] = 1,
    observability: Annotated[
        bool, typer.Option("--observability", help="Prometheus and Alertmanager too, with rules for this project.")
    ] = False,
) -> None:
    """Start what does not run yet; safe to repeat. Example: trueup stack up"""
    settings = open_settings(project)
    wanted = StackSettings(
        state_dir=state_dir_of(settings),
        port_base=settings.stack_port_base,
        databases=settings.stack_databases,
        brokers=brokers,
        observability=_observability(project) if observability else None,
    )
    with StackProgress(Console(stderr=True)) as progress:
        addresses = LocalStack(wanted).up(progress)
    typer.echo(f"Kafka      {addresses.bootstrap_servers}")
    typer.echo(f"Connect    {addresses.connect_url}")
    typer.echo(f"registry   {addresses.registry_url}")
    typer.echo(f"databases  {wanted.state_dir / 'stack.env'} (their addresses, with passwords)")
    if wanted.observability is not None:
        typer.echo(f"Prometheus http://{LOOPBACK}:{prometheus_port(wanted)}")
        if wanted.observability.alertmanager is not None:
            typer.echo(f"alerts     http://{LOOPBACK}:{alertmanager_port(wanted)}")
        else:
            typer.echo(
                "alerts     at Prometheus: there is no Alertmanager (install the package prometheus-alertmanager)"
            )


def _observability(project: Path) -> Observability:
    """Write the rules of a project, for Prometheus to read."""
    settings, registered = open_project(project)
    rules_file = state_dir_of(settings) / "prometheus" / "rules.yml"
    write_whole(rules_file, rules_text(registered, scrape_s=SCRAPE_S))
    targets = targets_dir(settings.state_dir).absolute()
    return Observability(targets_dir=targets, rules_file=rules_file, alertmanager=find_alertmanager())


@stack.command()
@errors_as_text()
def down(
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    purge: Annotated[bool, typer.Option("--purge", help="Remove all data of the stack, too.")] = False,
) -> None:
    """Stop what this stack started, and nothing else. Example: trueup stack down --purge"""
    state_dir = state_dir_of(open_settings(project))
    if not LocalStack.exists_at(state_dir):
        # Wanted is that none runs, and none does: no failure, so that clean-up scripts may repeat it.
        typer.echo(f'nothing to stop: there is no local stack in "{state_dir}"', err=True)
        return
    with StackProgress(Console(stderr=True)) as progress:
        LocalStack.at(state_dir).down(progress, purge=purge)


@stack.command()
@errors_as_text()
def status(
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Show each part: running or not, pid, address, log. Exit 1 when one does not run. Example: trueup stack status"""
    parts = LocalStack.at(state_dir_of(open_settings(project))).status()
    if json:
        typer.echo(msgspec.json.encode(parts).decode())
    else:
        grid = Grid(box=None, pad_edge=False, header_style="bold")
        rows = [msgspec.to_builtins(part) for part in parts]
        for heading in rows[0] if rows else ():
            grid.add_column(heading)
        for row in rows:
            grid.add_row(*("" if value is None else str(value) for value in row.values()))
        Console().print(grid)
    if not parts or not all(part.ready for part in parts):
        raise typer.Exit(1)


@stack.command()
@errors_as_text()
def logs(
    part: Annotated[str, typer.Argument(help="A part, such as connect or postgres-shop.")],
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    lines: Annotated[int, typer.Option(min=1, help="How many of the last lines.")] = 50,
) -> None:
    """Print the last lines of a part's log. Example: trueup stack logs connect"""
    path = LocalStack.at(state_dir_of(open_settings(project))).logs(part)
    text = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:] if path.exists() else []
    typer.echo("\n".join([f"# {path}", *text]))
