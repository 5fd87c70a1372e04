"""The command `trueup`. Each group of commands is a file of its own; what a command needs is imported when it runs."""

from __future__ import annotations

import typer

from trueup import __version__
from trueup.runtime.cli_alerts import alerts, dashboards
from trueup.runtime.cli_apply import apply
from trueup.runtime.cli_authority import authority
from trueup.runtime.cli_cases import cases
from trueup.runtime.cli_deadletters import deadletters
from trueup.runtime.cli_demo import demo
from trueup.runtime.cli_repair import repair
from trueup.runtime.cli_resync import resnapshot, resync
from trueup.runtime.cli_rules import rules
from trueup.runtime.cli_schemas import schemas
from trueup.runtime.cli_stack import stack
from trueup.runtime.cli_status import status
from trueup.runtime.cli_verify import verify
from trueup.runtime.cli_worker import worker

app = typer.Typer(
    name="trueup",
    help="Keeps every copy of your data true to the one system that owns it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(stack, name="stack")
app.add_typer(worker, name="worker")
app.add_typer(deadletters, name="deadletters")
app.add_typer(cases, name="cases")
for command in (
    alerts,
    apply,
    authority,
    dashboards,
    demo,
    repair,
    resnapshot,
    resync,
    rules,
    schemas,
    status,
    verify,
):
    app.command()(command)


@app.command()
def version() -> None:
    """Print the version. Example: trueup version"""
    typer.echo(__version__)


def main() -> None:
    """Entry point of the `trueup` command."""
    app()


__all__ = ["app", "main"]

if __name__ == "__main__":
    main()
