"""What the demo is doing, on stderr, with the seconds since its beginning."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Steps:
    """Says each step when it begins."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return the time since the beginning."""
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        """Write a line."""
        self.console.print(f"[dim]{self.seconds:6.1f} s[/dim]  {text}", highlight=False)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Say what begins; a terminal shows that it goes on."""
        self.say(text)
        with self.console.status(text):
            yield
