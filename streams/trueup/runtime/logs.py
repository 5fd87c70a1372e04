"""Structured logs: JSON lines on stderr for machines, one readable line for a terminal. Never a column value."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Final

import structlog

_REPEATED_AFTER_S: Final = 300.0
_MESSAGES_KEPT_MAX: Final = 1_000


class Seldom(logging.Filter):
    """Lets the same message of a library pass once in five minutes.

    aiokafka says of each of its connections, ten times a second, that a broker is gone; workers say it once, in
    words of their own (`runtime.outages`).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._passed_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """The text before its arguments are put in is what makes two messages the same."""
        now, key = self._clock(), (record.name, str(record.msg))
        if now - self._passed_at.get(key, -_REPEATED_AFTER_S) < _REPEATED_AFTER_S:
            return False
        if len(self._passed_at) >= _MESSAGES_KEPT_MAX:  # a library that puts the arguments in itself
            self._passed_at.clear()
        self._passed_at[key] = now
        return True


def configure_logs(worker: str, level: int = logging.INFO) -> None:
    """Call once per process. Foreign libraries log from WARNING on: their INFO is about themselves."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(worker=worker)
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=renderer)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(Seldom())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
