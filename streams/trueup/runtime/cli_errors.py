"""Errors of commands: text on stderr and exit code 2, never a traceback for what TrueUp foresaw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer

from trueup.model.errors import TrueUpError

EXIT_REFUSED: Final = 2  # what was asked for cannot be done; 1 means: done, and the answer is no (verify)


@contextmanager
def errors_as_text() -> Iterator[None]:
    """Turn a TrueUpError into text on stderr and exit code 2: a context, or a decorator of a command."""
    try:
        yield
    except TrueUpError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_REFUSED) from error
