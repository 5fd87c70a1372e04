"""Shows on stderr what the stack is doing: a bar per download, a line per part with its seconds."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from trueup.stack.local_stack import Phase, StackEvent


class StackProgress:
    """An `on_progress` for `LocalStack`. On a terminal it moves; elsewhere it writes a line per change.

    All downloads share one bar: a hundred small files would push everything else off the screen.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<20}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._bytes: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> StackProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: StackEvent) -> None:
        """Show one piece of news. Called from several threads."""
        if event.phase is Phase.FETCHING:
            self._fetched(event)
            return
        if not self._console.is_terminal:
            self._console.print(f"{event.seconds:6.1f} s  {event.subject:<20} {event.phase}", highlight=False)
            return
        task = self._task(event.subject)
        done = event.phase in {Phase.READY, Phase.STOPPED}
        self._progress.update(task, note=str(event.phase), total=1 if done else None, completed=1 if done else 0)

    def _fetched(self, event: StackEvent) -> None:
        """Add up all downloads into one bar."""
        first = not self._bytes
        self._bytes[event.subject] = (event.bytes_done, event.bytes_total)
        if not self._console.is_terminal:
            if first:
                self._console.print(f"{event.seconds:6.1f} s  {'downloads':<20} fetching", highlight=False)
            return
        snapshot = list(self._bytes.values())
        done, total = sum(pair[0] for pair in snapshot), sum(pair[1] for pair in snapshot)
        note = f"{done / 1e6:.0f} of {total / 1e6:.0f} MB"
        self._progress.update(self._task("downloads"), note=note, total=total, completed=done)

    def _task(self, subject: str) -> TaskID:
        """Return the line of a subject."""
        if subject not in self._tasks:
            self._tasks[subject] = self._progress.add_task(subject, total=None, note="")
        return self._tasks[subject]
