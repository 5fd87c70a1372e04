"""`trueup demo`: the whole story on a local stack of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from trueup.demo.options import RATE_MIN, ROWS_MIN, SECONDS_MIN, DemoOptions
from trueup.runtime.cli_errors import errors_as_text

_DEFAULTS: Final = DemoOptions()
_EXIT_NOT_HELD: Final = 1


@errors_as_text()
def demo(
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running and print the addresses.")
    ] = _DEFAULTS.keep,
    seconds: Annotated[int, typer.Option(min=SECONDS_MIN, help="Seconds of live load.")] = _DEFAULTS.seconds,
    rows: Annotated[int, typer.Option(min=ROWS_MIN, help="Existing rows before capture starts.")] = _DEFAULTS.rows,
    rate: Annotated[
        int, typer.Option(min=RATE_MIN, help="Changes per second, about, of all writers together.")
    ] = _DEFAULTS.rate,
    seed: Annotated[
        int | None, typer.Option(help="Makes the writers choose as in a former run.", show_default="a random one")
    ] = _DEFAULTS.seed,
    observe: Annotated[
        bool, typer.Option("--observe", help="With Prometheus: workers scraped, panels filled, alert rules proven.")
    ] = _DEFAULTS.observe,
    json: Annotated[bool, typer.Option("--json", help="The summary as JSON on stdout.")] = _DEFAULTS.json,
    state_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the demo keeps its state; a former demo's is removed.")
    ] = _DEFAULTS.state_dir,
    port_base: Annotated[int, typer.Option(help="First port of the demo's own stack.")] = _DEFAULTS.port_base,
) -> None:
    """Run the whole story on a local stack: two systems, live load, kills, a conflict, proof of equality.

    Exit 0 only if everything held. Example: trueup demo --seconds 30
    """
    from trueup.demo.run import demo as run_demo  # noqa: PLC0415 - the demo is not loaded by workers

    options = DemoOptions(
        keep=keep,
        seconds=seconds,
        rows=rows,
        rate=rate,
        seed=seed,
        json=json,
        state_dir=state_dir,
        port_base=port_base,
        observe=observe,
    )
    if not run_demo(options):
        raise typer.Exit(_EXIT_NOT_HELD)
