"""Ending a worker at once: the supervisor's restart is the cure for everything a process cannot mend in itself."""

from __future__ import annotations

import logging
import os
import sys
from typing import Final, NoReturn

import structlog

EXIT_CODE: Final = 70  # EX_SOFTWARE of sysexits.h

log = structlog.get_logger("trueup.worker")


def exit_process(exc: BaseException) -> NoReturn:
    """Logs why and ends the process without any cleaning up: what is not durable must not become so by a goodbye."""
    log.error(
        "worker ends",
        error=str(exc),
        error_class=type(exc).__name__,
        exc_info=exc,
    )
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_CODE)
