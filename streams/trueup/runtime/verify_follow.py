"""`trueup verify --follow`: compares copy after copy, slowly and for ever, as a worker with metrics and readiness.

One thread compares; the event loop serves health and signals. Whatever a replica or a part refuses is named, waited
out, and the other copies are compared meanwhile. Ended in the middle, the next one goes on there.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import closing
from typing import Final

import msgspec
import structlog

from trueup.adapters.postgres_proofs import ProofStore
from trueup.adapters.secret_references import Secrets
from trueup.core.verify import cure_of
from trueup.model.errors import Retryable, TrueUpError
from trueup.model.registration import Copy, Project, Table
from trueup.model.settings import Settings
from trueup.runtime.process_exit import exit_process
from trueup.runtime.verify_metrics import VerifyMetrics
from trueup.runtime.verify_run import HowToVerify, Verification, compared_copies
from trueup.runtime.worker import Worker

_RETRY_S: Final = 10.0

log = structlog.get_logger("trueup.verify")


class Following(msgspec.Struct, frozen=True, kw_only=True):
    """What is followed.

    :param every_s: a copy is not compared more often than this.
    """

    tables: list[Table]
    how: HowToVerify
    every_s: float


async def run_follow(
    settings: Settings, project: Project, secrets: Secrets, following: Following, metrics_port: int
) -> None:
    """Until SIGTERM."""
    worker = Worker("verify", "verify", settings, metrics_port)
    await worker.start_health()
    copies = [(table, copy) for table in following.tables for copy in compared_copies(table)]
    metrics = VerifyMetrics(worker.registry, [(table.table, copy.replica) for table, copy in copies])
    follower = Follower(settings, project, secrets, following, metrics)
    worker.reasons = follower.reasons
    log.info("worker started", kind=worker.kind, copies=len(copies), metrics_port=worker.metrics_port)
    comparing = asyncio.create_task(asyncio.to_thread(follower.run))
    stopped = asyncio.create_task(worker.stopping.wait())
    await asyncio.wait({comparing, stopped}, return_when=asyncio.FIRST_COMPLETED)
    follower.stop.set()
    try:
        await comparing
    except Exception as error:
        exit_process(error)
    stopped.cancel()
    await worker.close()


class Follower:
    """Goes round the copies, in a thread of its own.

    :ivar stop: ends it within one statement, or one look at a part that does not answer.
    """

    def __init__(
        self, settings: Settings, project: Project, secrets: Secrets, following: Following, metrics: VerifyMetrics
    ) -> None:
        self._project, self._secrets, self._following, self._metrics = project, secrets, following, metrics
        self.stop = threading.Event()
        self._compared = 0
        self._present = ("", "")
        self._refusals: dict[tuple[str, str], str] = {}
        how = msgspec.structs.replace(
            following.how, resume=True, stopping=self.stop.is_set, sleep=self.stop.wait, on_rows=self._on_rows
        )
        self._verification = Verification(settings, project, secrets, how)

    def reasons(self) -> list[str]:
        """Copies that cannot be compared, and why."""
        return [f"{table} at {replica}: {why}" for (table, replica), why in list(self._refusals.items())]

    def run(self) -> None:
        """Round after round until `stop` is set."""
        for replica in self._project.replicas:
            self._show(replica)
        while not self.stop.is_set():
            began = time.monotonic()
            for table in self._following.tables:
                for copy in compared_copies(table):
                    if not self.stop.is_set():
                        self._one(table, copy)
            rest = _RETRY_S if self._refusals else self._following.every_s - (time.monotonic() - began)
            self.stop.wait(max(0.0, rest))

    def _one(self, table: Table, copy: Copy) -> None:
        place = self._present = (table.table, copy.replica)
        self._compared = 0
        try:
            self._verification.refuse_without_capture([table])
            verified = self._verification.compare(table, copy)
        except TrueUpError as exc:
            if place not in self._refusals:
                say = log.warning if isinstance(exc, Retryable) else log.error
                say("copy cannot be compared", table=place[0], replica=place[1], error=exc.primary, detail=exc.detail)
            self._refusals[place] = exc.primary
            return
        if self.stop.is_set():
            return
        found = verified.comparison
        self._on_rows(found.rows_source)
        if not found.caught_up:
            if place not in self._refusals:
                log.warning("copy does not catch up", table=place[0], replica=place[1])
            self._refusals[place] = "it does not catch up"
            return
        if self._refusals.pop(place, None) is not None:
            log.info("copy is compared again", table=place[0], replica=place[1])
        if found.differing:
            hint = cure_of(table, copy.replica)
            log.error("copy differs", table=place[0], replica=place[1], keys=found.differing, hint=hint)
        self._show(copy.replica)

    def _on_rows(self, rows: int) -> None:
        more, self._compared = max(0, rows - self._compared), max(rows, self._compared)
        self._metrics.compared(*self._present, more)

    def _show(self, replica: str) -> None:
        try:
            with closing(ProofStore(replica, self._secrets.writer_dsn(self._project.replicas[replica]))) as store:
                lines = store.lines()
        except TrueUpError as exc:
            log.debug("proofs cannot be read", replica=replica, error=exc.primary)
            return
        copied = {table.table for table, _ in self._project.tables_copied_to(replica)}
        for line in lines:
            if line.table in copied:
                self._metrics.recorded(replica, line)
