"""The screen of `trueup status`: what is wrong, then a line per copy, the next command under those that need one.

It fits a terminal of 100 columns, and is a picture as well (SVG). What a line says in numbers nobody needs at night
(`--wide`) is left out; `core.status_view` has all of it.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from rich.cells import cell_len
from rich.console import Console, Group
from rich.table import Table as Grid
from rich.text import Text

from trueup.core.copy_state import FINE, CopyState
from trueup.core.status_view import CopyLine, StatusView

PROBLEMS_MAX: Final = 10  # with a dozen copies below them they leave room on one screen
_WIDTH_OF_PICTURE: Final = 100
_NAME_WIDTH_MIN: Final = 8  # arbitrary; a terminal that is narrower still breaks lines
_GAP: Final = 2
_STYLES: Final = {
    CopyState.STOPPED: "bold red",
    CopyState.LATE: "bold red",
    CopyState.UNKNOWN: "bold red",
    CopyState.STUCK: "bold red",
    CopyState.SLOW: "yellow",
    CopyState.FILLING: "cyan",
    CopyState.FLOWING: "green",
    CopyState.IDLE: "green",
}
_NAMES: Final = ("state", "table", "replica")
_NUMBERS: Final = ("to decide", "to apply", "age", "window", "p99", "proven")
_MORE_NUMBERS: Final = ("p50", "captured", "applied")
_COLUMNS_MIN: Final = len(_NAMES) + 4  # where there are fewer than 100 columns, those from p99 on may go

# rich's own format links to fonts at another host. textLength keeps the columns straight in any font of one width.
_SVG: Final = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
    font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def screen(view: StatusView, *, width: int, wide: bool = False) -> Group:
    """Everything, for so many columns.

    :param wide: with the other numbers of each line, however many columns they take.
    """
    shown = view.problems[:PROBLEMS_MAX]
    problems = [Text(f"! {problem.what}  ->  {problem.next}", style="bold red") for problem in shown]
    if left := len(view.problems) - len(shown):
        problems.append(Text(f"! and {left} more: trueup status --json", style="bold red"))
    if not problems and not view.has_findings:
        problems = [Text("nothing is wrong", style="green")]
    return Group(*problems, Text(), _summary(view.tables), *_copies(view.tables, width, wide=wide))


def svg(view: StatusView, *, wide: bool = False) -> str:
    """The same as a picture: an SVG that asks nobody for anything."""
    width = max(_WIDTH_OF_PICTURE, _width(_widths(_rows(view.tables, wide=wide)))) if wide else _WIDTH_OF_PICTURE
    console = Console(record=True, file=io.StringIO(), width=width, highlight=False)
    console.print(screen(view, width=width, wide=wide))
    return console.export_svg(title="trueup status", code_format=_SVG, unique_id="status")


def _summary(lines: Sequence[CopyLine]) -> Text:
    """How many copies there are in each state, the worst first."""
    counts = Counter(line.state for line in lines)
    text = Text(f"{len(lines)} {'copy' if len(lines) == 1 else 'copies'}", style="bold")
    for number, state in enumerate(state for state in CopyState if counts[state]):
        text.append(", " if number else ": ").append(f"{counts[state]} {state}", style=_STYLES[state])
    return text


def _copies(lines: Sequence[CopyLine], width: int, *, wide: bool) -> Iterable[Grid | Text]:
    """Grids with the same columns, and between them what is to be done about the lines above."""
    rows = _rows(lines, wide=wide)
    while not wide and len(rows[0]) > _COLUMNS_MIN and _width(_widths(rows)) > width:
        rows = [cells[:-1] for cells in rows]
    widths = _fitted(_widths(rows), width)
    head, *body = rows
    yield _grid([(head, "bold")], widths)
    paired = zip(lines, body, strict=True)
    for (step, _), group in groupby(paired, key=lambda pair: (pair[0].next, pair[0].state in FINE)):
        yield _grid([(cells, _STYLES[line.state]) for line, cells in group], widths)
        if step is not None:
            yield Text(f"  -> {step}", style="bold")


def _grid(rows: Iterable[tuple[Sequence[str], str]], widths: Sequence[int]) -> Grid:
    grid = Grid.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
    for number, width in enumerate(widths):
        right = len(_NAMES) <= number < len(_NAMES) + len(_NUMBERS) + len(_MORE_NUMBERS)
        grid.add_column(width=width, justify="right" if right else "left", overflow="fold")
    for cells, style in rows:
        # The state has the colour: a screen of red lines says less than one red word.
        first, *rest = cells
        grid.add_row(Text(first, style=style), *(Text(cell, style="bold" if style == "bold" else "") for cell in rest))
    return grid


def _rows(lines: Iterable[CopyLine], *, wide: bool) -> list[tuple[str, ...]]:
    """Cells, the heading first."""
    more = (*_MORE_NUMBERS, "filled", "other") if wide else ()
    rows = [(*_NAMES, *_NUMBERS, *more)]
    for line in lines:
        names = (line.state.value, line.table, line.replica)
        proven = "never" if line.proven_age_s is None else _span(line.proven_age_s)
        times = (_span(line.as_of_age_s), _span(line.window_s), _span(line.convergence_p99_s))
        waiting = (_number(line.decide_lag), _number(line.lag))
        cells = (*names, *waiting, *times, "-" if line.applied is None else proven)
        rows.append((*cells, *_more(line)) if wide else cells)
    return rows


def _more(line: CopyLine) -> tuple[str, ...]:
    other = ", ".join(f"{count} {name}" for name, count in line.other.items())
    filled = "-" if line.filling is None else "yes" if line.filling.done else "no"
    return (_span(line.convergence_p50_s), _number(line.captured), _number(line.applied), filled, other)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _fitted(widths: list[int], width: int) -> list[int]:
    """Names get what the rest leaves, and are broken rather than cut: half of a name may be that of another table."""
    tables, replicas = widths[1], widths[2]
    room = width - _width(widths) + tables + replicas
    if tables + replicas > room:
        tables = min(tables, max(_NAME_WIDTH_MIN, room - min(replicas, room // 2)))
        replicas = min(replicas, max(_NAME_WIDTH_MIN, room - tables))
    return [widths[0], tables, replicas, *widths[3:]]


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _span(seconds: float | None) -> str:
    """A length of time, in the largest unit that says enough."""
    if seconds is None:
        return "-"
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:  # noqa: PLR2004 - two digits say enough
        return f"{seconds:.2g} s"
    size, unit = next(((n, u) for n, u in ((86_400, "d"), (3_600, "h"), (60, "min")) if seconds >= 2 * n), (1, "s"))
    return f"{seconds / size:.0f} {unit}"
