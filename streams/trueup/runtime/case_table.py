"""The cases of one partition, in memory: a cache of `trueup.cases.<table>`, which is compacted and short.

Read whole when the partition is taken over, so lost local state loses no case. What changes a case is `core.cases`; the
record goes out in the transaction of the decision that changed it, and only then is it changed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import structlog

from trueup.adapters.kafka_transactions import Outgoing
from trueup.adapters.truth_log import TruthLog
from trueup.core.cases import decode_case, encode_case, remember
from trueup.model.case import Case, CaseStatus
from trueup.model.errors import DeadLetterCapReached
from trueup.model.registration import Table

Deadlines = Iterable[int]
OnOpen = Callable[[str, int, Deadlines], None]

log = structlog.get_logger("trueup.cases")


class CaseTable:
    """What waits for a person in one partition of a table.

    :param on_open: told table, partition and deadlines (microseconds since 1970) whenever they changed.
    :param cases_max: the table stops beyond; a table of which so much is undecided is broken, not its rows.
    """

    def __init__(self, log_reader: TruthLog, table: Table, partition: int, cases_max: int, on_open: OnOpen) -> None:
        self._log, self._table, self._partition = log_reader, table, partition
        self._cases_max, self._on_open = cases_max, on_open
        self.known: dict[bytes, Case] = {}

    @property
    def open(self) -> dict[bytes, Case]:
        """Those that wait."""
        return {key: case for key, case in self.known.items() if case.is_open}

    async def catch_up(self) -> None:
        """Reads the partition of the topic whole. The producer of the capture partition must have been started: the
        transaction of its former owner has ended then."""
        topic = self._table.cases_topic
        begin, end = await self._log.bounds(topic, self._partition)
        self.known = {}
        if begin < end:
            async for pairs, _ in self._log.read(topic, self._partition, begin, end):
                for key, value in pairs:  # at once: the topic has every case there ever was, with its rows
                    remember(self.known, key, decode_case(value or b""))
        self._tell()

    def close(self) -> None:
        """The partition is somebody else's now, and so are its cases."""
        self.known = {}
        self._tell()

    def outgoing(self, changed: Mapping[bytes, Case]) -> list[Outgoing]:
        """The records of changed cases. Raises DeadLetterCapReached."""
        if not changed:
            return []
        before = self.open.keys()
        count = len(before | {key for key, case in changed.items() if case.is_open})
        if count > self._cases_max and changed.keys() - before:
            raise DeadLetterCapReached(
                f'table "{self._table.table}" has too many open cases',
                detail=f"{count} in one partition, the cap is {self._cases_max} (worker.dead_letters_per_table_max)",
                # Decisions, and changes that decide a case, lie behind the stop in the same log.
                hint=f"see what they have in common: trueup cases list --table {self._table.table}; "
                "raise worker.dead_letters_per_table_max, restart the decide workers, then decide them",
            )
        return [Outgoing(self._table.cases_topic, key, encode_case(case)) for key, case in changed.items()]

    def count_open_after(self, changed: Mapping[bytes, Case]) -> int:
        """How many keys wait once these changes are committed: what a watermark says beside its time."""
        return sum(case.is_open for case in {**self.known, **changed}.values())

    def put_many(self, changed: Mapping[bytes, Case]) -> None:
        """After the commit."""
        for key, case in changed.items():
            before = self.known.get(key)
            remember(self.known, key, case)
            _say(before, case)
        if changed:
            self._tell()

    def _tell(self) -> None:
        self._on_open(self._table.table, self._partition, [case.deadline_us for case in self.open.values()])


def _say(before: Case | None, case: Case) -> None:
    """A line for each change of a case: the topic keeps the newest only, and lines hold no values of rows."""
    known: dict[str, object] = {"case": case.id, "rule": case.rule}
    if case.status is CaseStatus.DECIDED and case.decision is not None:
        decision = case.decision
        log.info(
            "case decided", **known, take=decision.take, columns_set=sorted(decision.set), by=decision.by,
            because=decision.because, version=case.closed_by,
        )  # fmt: skip
    elif case.status is CaseStatus.SUPERSEDED:
        log.info("case superseded", **known, version=case.closed_by)
    elif before is None or before.id != case.id or not before.is_open:
        log.warning("case opened", **known, deadline_us=case.deadline_us)
    elif case.refused is not None and case.refused != before.refused:
        log.warning("decision refused", **known, decision=case.refused.id, why=case.refused.why)
    else:
        log.info("case changed", **known)
