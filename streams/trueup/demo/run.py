"""`trueup demo`: brings the stack up, lets the performance happen, tells what came of it, takes all down.

The acts are in performance.py.
"""

from __future__ import annotations

import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import msgspec
import psycopg
import typer
from rich.console import Console

from trueup.demo.folder import DemoFolder
from trueup.demo.performance import Performance
from trueup.demo.progress import Steps
from trueup.demo.sources import ROWS_MIN
from trueup.demo.summary import (
    Summary,
    copies_view,
    negative_order_view,
    stdout_console,
    story_view,
    summary_view,
)
from trueup.demo.summing_up import sum_up
from trueup.demo.waiting import CannotGoOn
from trueup.demo.workers import stop_left_behind
from trueup.model.errors import Refused
from trueup.stack.local_stack import LocalStack
from trueup.stack.progress import StackProgress

_PORT_BASE = 29_400  # a developer's own stack has 29,000 to 29,039
_SECONDS_MIN = 15  # two kills fit in
_SEED_BITS = 32
_MARK = "made-by-trueup-demo"  # a folder without it is not the demo's, and is not removed
_EXIT_NOT_HELD = 1
_EXIT_SIGTERM = 128 + signal.SIGTERM

Keep = Annotated[bool, typer.Option("--keep", help="Leave everything running, and say how to reach it.")]
Seconds = Annotated[int, typer.Option(min=_SECONDS_MIN, help="How long the live load lasts.")]
Rows = Annotated[int, typer.Option(min=ROWS_MIN, help="Rows that exist before TrueUp does.")]
Rate = Annotated[int, typer.Option(min=10, help="Changes per second, about, of all writers together.")]
Seed = Annotated[int | None, typer.Option(help="Makes the writers choose as in a former run.")]
AsJson = Annotated[bool, typer.Option("--json", help="The summary as JSON instead of tables.")]
StateDir = Annotated[Path, typer.Option(help="Where the demo keeps its state; a former demo's is removed.")]
PortBase = Annotated[int, typer.Option(help="First port of the demo's own stack.")]


def demo(
    *,
    keep: Keep = False,
    seconds: Seconds = 60,
    rows: Rows = 50_000,
    rate: Rate = 200,
    seed: Seed = None,
    json: AsJson = False,
    state_dir: StateDir = Path("var/demo"),
    port_base: PortBase = _PORT_BASE,
) -> None:
    """The whole pipeline on live databases, with kills and a proof. Exit code 0 only if everything held.

    1. remove what a former demo left; bring up a stack of its own;
    2. perform; a failure is a promise not held, not the end of the report;
    3. tell;
    4. stop everything, unless asked to keep it; remove the state if everything held.
    """
    seed = secrets.randbits(_SEED_BITS) if seed is None else seed
    folder = DemoFolder(state_dir, port_base)
    steps = Steps(Console(stderr=True))
    summary: Summary | None = None
    performance: Performance | None = None
    with _sigterm_as_exit():
        try:
            _bring_up(folder, steps)  # 1
            steps.say(f"seed of the writers: {seed}")
            performance = Performance(folder, steps, seconds=seconds, rows=rows, rate=rate, seed=seed)
            try:
                performance.perform()  # 2
            except (CannotGoOn, psycopg.Error) as error:
                performance.checks.add("the demo came to its end", False, f"{type(error).__name__}: {error}")
            summary = sum_up(performance, seed=seed, seconds=steps.seconds)
            _tell(performance, summary, as_json=json)  # 3
        finally:
            _leave(folder, performance, steps, keep=keep, remove=summary is not None and summary.held)  # 4
    if not summary.held:
        for check in performance.checks.failed:
            steps.say(f"not held: {check.claim}")
        steps.say(f"logs are in {folder.log_dir} and {folder.stack.state_dir / 'logs'}")
        raise typer.Exit(_EXIT_NOT_HELD)


def _bring_up(folder: DemoFolder, steps: Steps) -> None:
    """Clear the folder and start the stack."""
    state_dir = folder.state_dir
    if state_dir.exists() and any(state_dir.iterdir()):
        if not (state_dir / _MARK).exists():
            msg = f'folder "{state_dir}" is not empty and was not made by trueup demo'
            raise Refused(msg, hint="name another one: --state-dir DIR")
        steps.say("removing what a former demo left")
        _remove(folder)
    state_dir.mkdir(parents=True, exist_ok=True)
    (state_dir / _MARK).touch()
    steps.say("the stack: Kafka, Kafka Connect, registry, three Postgres servers")
    with StackProgress(steps.console) as progress:
        LocalStack(folder.stack).up(progress)


def _remove(folder: DemoFolder) -> None:
    """Stop what still runs and remove all state."""
    stop_left_behind(folder.state_dir)
    if (folder.stack.state_dir / "stack.json").exists():
        LocalStack.at(folder.stack.state_dir).down(purge=True)
    shutil.rmtree(folder.state_dir)


def _tell(performance: Performance, summary: Summary, *, as_json: bool) -> None:
    """Write to stdout."""
    if as_json:
        parts = {
            "held": summary.held,
            "summary": summary,
            "story": performance.story,
            "negative_order": performance.negative_order,
            "copies": performance.status.tables if performance.status else [],
            "verify": performance.verification.results if performance.verification else [],
        }
        typer.echo(msgspec.json.format(msgspec.json.encode(parts)).decode())
        return
    console = stdout_console()
    if performance.refusal is not None:
        console.rule("a table without a key")
        console.print(performance.refusal, markup=False)
    if performance.negative_order is not None:
        console.print(negative_order_view(performance.negative_order))
    if performance.story is not None:
        console.print(story_view(performance.story))
    if performance.status is not None and performance.verification is not None:
        console.print(copies_view(performance.status, performance.verification))
    console.print(summary_view(summary))


def _leave(folder: DemoFolder, performance: Performance | None, steps: Steps, *, keep: bool, remove: bool) -> None:
    """Stop everything, or say what goes on running."""
    if performance is not None:
        performance.close()
    if keep and performance is not None:
        performance.workers.release()
        _say_how_to_go_on(folder, performance)
        return
    steps.say("stopping")
    if performance is not None:
        performance.workers.stop()
    if remove:
        _remove(folder)
    elif (folder.stack.state_dir / "stack.json").exists():
        LocalStack.at(folder.stack.state_dir).down()


def _say_how_to_go_on(folder: DemoFolder, performance: Performance) -> None:
    """Name addresses, and commands to try."""
    addresses = LocalStack(folder.stack).addresses()
    lines = [
        f"Kafka     {addresses.bootstrap_servers}",
        f"Connect   {addresses.connect_url}",
        f"registry  {addresses.registry_url}",
        *(f'{name:<9} psql "${name.upper()}_DSN"' for name in addresses.databases),
        *(f"worker    {command}" for command in performance.workers.commands().values()),
        "",
        f"cd {folder.project_dir}; set -a; . {folder.stack.state_dir / 'stack.env'}; set +a",
        "trueup status --watch",
        "trueup authority",
        "trueup deadletters list",
        "trueup verify orders",
        f"kill {' '.join(map(str, performance.workers.pids()))}   # the workers, when you have seen enough",
        "trueup stack down --purge",
    ]
    typer.echo("\n".join(lines))


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that what was started is stopped."""

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(_EXIT_SIGTERM)

    former = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
