"""What came of it, for a person with ten seconds, or as JSON."""

from __future__ import annotations

import msgspec
from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from trueup.demo.checks import Check
from trueup.demo.commands import Comparison, CopyStatus, Status, Verification
from trueup.demo.negative_order import NegativeOrder
from trueup.demo.scenario import Story

_WIDTH_MIN = 100  # of the tables; where output is no terminal rich would assume 80


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a run.

    :param captured, committed: changes of rows under load, as the decide stage and as the writers count them.
    :param convergence_p50_s: of probe rows that no kill delayed; `convergence_max_s` of all of them.
    """

    seed: int
    first_captured_row_s: float | None
    filled_s: float | None
    captured: int
    committed: int
    applied: int
    other: dict[str, int]
    per_second: float
    convergence_p50_s: float | None
    convergence_p99_s: float | None
    convergence_max_s: float | None
    differing: int | None
    kills_survived: int
    outages_s: dict[str, float]
    dead_letters: int
    checks: list[Check]
    seconds: float

    @property
    def held(self) -> bool:
        """Tell whether all was looked at and held."""
        return bool(self.checks) and all(check.held for check in self.checks)


def stdout_console() -> Console:
    """Return where story and summary go."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH_MIN)


def story_view(story: Story) -> RenderableType:
    """Show the story: two columns, what each copy said and what came of it."""
    table = Table(title="One lamp, two ways to copy (the clock is simulated, every number was read from a database)")
    table.add_column("clock")
    table.add_column("a copy job every four hours")
    table.add_column("TrueUp")

    def says(clock: str) -> tuple[str, str]:
        return f"copy says {story.job_says[clock]}", f"copy says {story.trueup_says[clock]}"

    table.add_row("10:00", *says("10:00"))
    found = f"{story.found_by} counts at the warehouse and finds {story.found}"
    table.add_row("12:00", found, found)
    visible = f"copy says {story.trueup_says['12:00']} after {story.visible_after_ms:.0f} ms"
    table.add_row("", says("12:00")[0], f"{visible} (window {story.window_ms / 1000:g} s)")
    table.add_row(
        "12:10",
        f"[red]{story.accepted_by_job_copy} of 5 orders accepted[/red]",
        f"[green]{story.accepted_by_trueup_copy} of 1 order accepted: refused[/green]",
    )
    table.add_row("14:00", f"{says('14:00')[0]}: the job ran, too late", says("14:00")[1])
    table.caption = f"Orders the warehouse cannot deliver, counted there: {story.undeliverable}"
    return table


def negative_order_view(order: NegativeOrder) -> RenderableType:
    """Show the mistake and its end."""
    table = Table(title="An order with a negative amount", show_header=False)
    table.add_row("the shop writes", f"{order.written}")
    table.add_row("rejected", order.reason)
    table.add_row("copies keep", ", ".join(f"{name} {amount}" for name, amount in order.kept.items()))
    table.add_row("after the correction", ", ".join(f"{name} {amount}" for name, amount in order.mended.items()))
    table.add_row("dead letter", "superseded" if order.superseded else "open")
    return table


def copies_view(status: Status, verification: Verification) -> RenderableType:
    """Show each copy: the pipeline's own numbers, and the comparison with the source."""
    table = Table(
        title="Every copy",
        caption="p50 and p99 as the workers measured them, with the snapshot and the outages",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for heading in ("table", "replica"):
        table.add_column(heading, no_wrap=True)
    for heading in ("rows", "captured", "applied", "other", "p50", "p99", "differing"):
        table.add_column(heading, justify="right", no_wrap=True)
    compared = {(entry.table, entry.replica): entry for entry in verification.results}
    for entry in status.tables:
        table.add_row(*_copy_row(entry, compared.get((entry.table, entry.replica))))
    return table


def _copy_row(entry: CopyStatus, compared: Comparison | None) -> list[str]:
    other = " ".join(f"{count} {outcome}" for outcome, count in sorted(entry.other.items()) if count)
    return [
        entry.table,
        entry.replica,
        "?" if compared is None else f"{compared.rows_replica:,}",
        f"{entry.captured:,}",
        "?" if entry.applied is None else f"{entry.applied:,}",
        other or "-",
        _seconds(entry.convergence_p50_s),
        _seconds(entry.convergence_p99_s),
        "not compared" if compared is None else str(compared.differing),
    ]


def summary_view(summary: Summary) -> RenderableType:
    """Show the result: numbers first, then each promise."""
    numbers = Table.grid(padding=(0, 2))
    other = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(summary.other.items()) if count) or "none"
    outages = ", ".join(f"{name} {length:.1f} s" for name, length in summary.outages_s.items())
    rows = {
        "committed, captured": f"{summary.committed:,} and {summary.captured:,} changes under load, "
        f"{summary.per_second:.0f} per second",
        "applied": f"{summary.applied:,} to all copies since the start",
        "other outcomes": other,
        "convergence": f"p50 {_seconds(summary.convergence_p50_s)},"
        f" p99 {_seconds(summary.convergence_p99_s)};"
        f" through the kills {_seconds(summary.convergence_max_s)} at most",
        "kills survived": f"{summary.kills_survived} ({outages})" if outages else str(summary.kills_survived),
        "dead letters": str(summary.dead_letters),
        "differing rows": "not compared" if summary.differing is None else str(summary.differing),
        "took": f"{summary.seconds:.0f} s; first captured row after {_seconds(summary.first_captured_row_s)},"
        f" all rows after {_seconds(summary.filled_s)}; seed {summary.seed}",
    }
    for name, text in rows.items():
        numbers.add_row(Text(name, style="bold"), Text(text))
    promises = Table.grid(padding=(0, 2))
    for check in summary.checks:
        mark = Text("held", style="green") if check.held else Text("FAILED", style="bold red")
        promises.add_row(mark, Text(check.claim, no_wrap=True), Text(check.seen, style="dim"))
    title = "everything held" if summary.held else "NOT everything held"
    return Panel(Group(numbers, Text(), promises), title=title, border_style="green" if summary.held else "red")


def _seconds(value: float | None) -> str:
    """Return a time as people read it."""
    if value is None:
        return "?"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
