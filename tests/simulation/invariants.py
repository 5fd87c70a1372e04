"""What must hold, looked at whenever something is decided, and again when all is quiet.

Jepsen's names where it has them: a lost update (a record without an outcome, a copy that lacks what it acknowledged), a
nonmonotonic read (a version that falls), an aborted read (a copy that holds what the model never accepted).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulation import tables
from tests.simulation.database import Database, Tables
from tests.simulation.freshness_checks import MarkerChecks
from tests.simulation.log import SimulatedLog, Stored, Transaction
from tests.simulation.worker import Worker, truth_partitions
from trueup.core.cases import decode_case
from trueup.core.control import is_control
from trueup.core.truth_codec import peek_version
from trueup.core.watermark import is_marker_key
from trueup.model.decision import Outcome
from trueup.model.errors import Fenced
from trueup.model.registration import Table
from trueup.model.version import describe_version
from trueup.model.write import REPLICA_OUTCOMES
from trueup.runtime.partition_memory import DECIDE_GROUP, PartitionMemory

_APPLIED = REPLICA_OUTCOMES.index(Outcome.APPLIED)


class DecideChecks:
    """Over the log: what the decide stage committed."""

    def __init__(self, log: SimulatedLog, table: Table) -> None:
        self.log, self.world, self._table = log, log.world, table
        self._newest: dict[bytes, bytes] = {}
        self._committed: dict[int, int] = {}
        self._written_before: dict[tuple[str, int], int] = {}  # before the group's offsets were deleted
        self.markers = MarkerChecks(log)
        # By the totals of the latest transaction: truths, and records that may have published another one once more.
        self._counted: dict[int, tuple[int, int]] = {}
        # Truths that a truncate published, or that a writer has to hear of again: no applied record is behind them.
        self._uncounted: dict[int, int] = {}
        self.obeyed: set[str] = set()  # ids of decisions about cases
        log.on_decided = self._decided
        log.on_complete = self._complete

    def _decided(self, transaction: Transaction) -> None:
        """Versions of a key rise in its truth topic, in the order of offsets; committed offsets rise."""
        for _, (topic, number), offset, _ in transaction.offsets:
            before = self._committed.get(number, 0)
            self._committed[number] = offset
            if offset < before:
                self.world.finding(f"the committed offset of {topic}/{number} fell from {before} to {offset}")
        for partition, first in transaction.first_offsets.items():
            for offset, (record, writer) in zip(partition.offsets, partition.entries, strict=True):
                if offset < first or writer is not transaction or record is None:
                    continue
                if partition.topic == self._table.truth_topic and record.value is not None:
                    self._rises(record)
                elif partition.topic == self._table.cases_topic:
                    self._notes(record)
        self.markers.decided(transaction)

        for _, (topic, number), offset, metadata in transaction.offsets:
            self._count_truths(transaction, topic, number, offset, metadata)

    def _count_truths(self, transaction: Transaction, topic: str, number: int, offset: int, metadata: str) -> None:
        """Only at a control record may a transaction hold more truths than it counts, or where a writer lost: which
        those may be, an undisturbed worker says in the end (`writers_run`)."""
        truth = self.log.partitions[self._table.truth_topic, number]
        written = sum(w is transaction and r is not None and r.value is not None for r, w in truth.entries)
        totals = PartitionMemory.read(metadata).totals
        applied, lost = totals[Outcome.APPLIED], totals[Outcome.STALE] if self._table.several_writers else 0
        applied_before, lost_before = self._counted.get(number, (0, 0))
        more = written - (applied - applied_before)
        self._counted[number] = applied, lost
        self._uncounted[number] = self._uncounted.get(number, 0) + more
        if 0 <= more <= lost - lost_before:
            return
        at = next((r for r in self.log.partitions[topic, number].committed() if r.offset == offset), None)
        if more and (at is None or not is_control(at)):  # type: ignore[arg-type]
            self.world.finding(f"{more} truths of {topic}/{number} at {offset} were published and not counted")

    def _notes(self, record: Stored) -> None:
        """A decision that is obeyed, once."""
        case = decode_case(record.value or b"")
        if case.decision is not None:
            if case.decision.id in self.obeyed:
                self.world.finding(f"decision {case.decision.id} about {case.id} was obeyed twice")
            self.obeyed.add(case.decision.id)

    def _rises(self, record: Stored) -> None:
        assert record.key is not None
        assert record.value is not None
        version = peek_version(record.value)
        held = self._newest.get(record.key)
        if held is not None and version <= held:
            self.world.finding(
                f"truth of {record.key.decode()} does not rise: {describe_version(version)} at offset {record.offset}"
            )
        self._newest[record.key] = version

    def _complete(self, transaction: Transaction) -> None:
        """Every record below the offset has one outcome, and each outcome that leaves a record has left it."""
        for group, (topic, number), offset, metadata in transaction.offsets:
            assert group == DECIDE_GROUP
            totals = PartitionMemory.read(metadata).totals
            where = f"{topic}/{number} at {offset}"
            self._same(
                "records", len(self.log.partitions[topic, number].committed(below=offset)), sum(totals.values()), where
            )
            truths = self.written(self._table.truth_topic, number) - self._uncounted.get(number, 0)
            self._same("truths", truths, totals[Outcome.APPLIED], where)
            letters = self.written(self._table.dead_letter_topic, number)
            self._same("dead letters", letters, totals[Outcome.REJECTED], where)

    def written(self, topic: str, number: int) -> int:
        partition = self.log.partitions[topic, number]
        there = [record for record in partition.committed() if not is_marker_key(record.key)]
        return partition.compacted + len(there) - self._written_before.get((topic, number), 0)

    def offsets_deleted(self) -> None:
        """Everything is read again and counted from zero; what was written stays."""
        self._committed.clear()
        self.markers.offsets_deleted()
        self._counted.clear()
        self._uncounted.clear()
        for topic in (self._table.truth_topic, self._table.dead_letter_topic):
            for number in range(tables.PARTITIONS):
                self._written_before[topic, number] = self.written(topic, number) + self._written_before.get(
                    (topic, number), 0
                )

    def _same(self, what: str, there: int, counted: int, where: str) -> None:
        if there != counted:
            self.world.finding(f"{what} of {where}: {there} there, {counted} counted")

    def is_durable(self, worker: Worker) -> None:
        """The lane believes no position that is not committed."""
        for (topic, number), state in worker.lane.partitions.items():
            committed = self._committed.get(number, 0)
            if state.ready and state.position > committed:
                self.world.finding(
                    f"{worker.process.name} is at {state.position} of {topic}/{number}, committed is {committed}"
                )


def truths(log: SimulatedLog, place: tuple[str, int], below: int | None = None) -> list[Stored]:
    """The committed records of a truth partition, markers of watermarks apart."""
    return [record for record in log.partitions[place].committed(below) if not is_marker_key(record.key)]


class ApplyChecks:
    """Over one replica: what its readers see.

    :param look: what else is looked at with every commit.
    """

    def __init__(self, log: SimulatedLog, database: Database, look: Callable[[], None]) -> None:
        self.log, self.world, self.database, self._look = log, log.world, database, look
        self._seen: dict[bytes, bytes] = {}
        self._gone: set[bytes] = set()
        self._reached: dict[tuple[str, int], int] = {}
        self._due: dict[tuple[str, int], dict[bytes, bytes]] = {}
        self._counted: dict[tuple[str, int], int] = {}
        database.on_commit = self._committed
        database.on_crash = self._crashed

    def _crashed(self, _: Database) -> None:
        """Readers lost their connections, too; what they see next is a new beginning."""
        self._seen = {key: row.version for key, row in self.database.tables.rows.items() if row is not None}
        self._gone.clear()

    def _committed(self, database: Database, changed: Tables) -> None:
        name = database.plan.replica
        for key, row in changed.rows.items():
            if row is None:
                self._gone.add(key)
                continue
            seen = self._seen.get(key, b"")
            if row.version < seen or (row.version == seen and key in self._gone):
                self.world.finding(f"a reader of {name} saw the version of {key.decode()} fall")
            self._gone.discard(key)
            self._seen[key] = max(row.version, seen)
        for key, version in changed.deleted.items():
            if version is not None:
                self._seen[key] = max(version, self._seen.get(key, b""))
        for place, progress in changed.progress.items():
            if progress.next_offset is not None:
                self._reached[place] = max(progress.next_offset, self._reached.get(place, 0))
                self._acknowledged(place, progress.next_offset)
                self._counted_once(place, progress.next_offset, sum(progress.totals))
        self._look()
        applied = sum(progress.totals[_APPLIED] for progress in database.tables.progress.values())
        if applied != database.tables.changes:
            self.world.finding(f"{name} counted {applied} applied, {database.tables.changes} changes were made")

    def _acknowledged(self, place: tuple[str, int], next_offset: int) -> None:
        """What lies below the progress is in the copy, or in its dead letters."""
        newest: dict[bytes, tuple[bytes, int]] = {}
        for record in truths(self.log, place, next_offset):
            newest[record.key or b""] = (peek_version(record.value or b""), record.offset)
        held = self.database.tables
        for key, (version, offset) in newest.items():
            row, deleted = held.rows.get(key), held.deleted.get(key)
            if (
                max(b"" if row is None else row.version, deleted or b"") < version
                and (*place, offset) not in held.letters
            ):
                self.world.finding(
                    f"{self.database.plan.replica} is at {next_offset} and lacks {key.decode()} of offset {offset}"
                )

    def _counted_once(self, place: tuple[str, int], next_offset: int, counted: int) -> None:
        partition = self.log.partitions[place]
        there = len(truths(self.log, place, next_offset))
        if partition.compacted == 0 and there != counted:
            self.world.finding(
                f"{self.database.plan.replica} counted {counted} of {there} records of {place} below {next_offset}"
            )

    def is_durable(self, worker: Worker) -> None:
        for tp, state in worker.lane.partitions.items():
            committed = self._reached.get(tp, 0)
            if state.ready and state.position > committed:
                self.world.finding(f"{worker.process.name} is at {state.position} of {tp}, committed is {committed}")


def check_copy(log: SimulatedLog, database: Database, accepted: dict[int, tables.Row | None]) -> None:
    """After the drain: the copy is the model; a row that the replica refused is a dead letter at its version."""
    plan, held = database.plan, database.tables
    truth: dict[bytes, Any] = {}
    for tp in truth_partitions():
        for record in truths(log, tp):
            truth[record.key or b""] = peek_version(record.value or b"")
    open_letters = {(letter.key, letter.version) for letter in held.letters.values() if not letter.superseded}
    for order_id, row in accepted.items():
        key = tables.key_of(order_id)
        copied = held.rows.get(key)
        wanted = None if row is None else tables.shown_by(plan.replica, row)
        if wanted is not None and tables.refused_by(plan.replica, wanted):
            if (key, truth.get(key)) not in open_letters:
                log.world.finding(f"{plan.replica} refused {key.decode()} and has no open dead letter of it")
        elif (None if copied is None else copied.values) != wanted:
            log.world.finding(f"{plan.replica} has {copied and copied.values} for {key.decode()}, the model {wanted}")
        elif copied is not None and (held.flags.get(key) == copied.version) is not tables.is_for_people(copied.values):
            log.world.finding(f"{plan.replica} has {key.decode()} and its flag is {held.flags.get(key)!r}")
    for key, copied in held.rows.items():
        if copied is not None and key not in {tables.key_of(order_id) for order_id in accepted}:
            log.world.finding(f"{plan.replica} invented {key.decode()}: {copied.values}")


def check_same(log: SimulatedLog, databases: list[Database]) -> None:
    """A copy filled from the truth topic alone is the copy that followed it all the way, refused rows apart."""
    first, *others = databases
    for other in others:
        for key in first.tables.rows.keys() | other.tables.rows.keys():
            rows = [database.tables.rows.get(key) for database in (first, other)]
            letters = {letter.key for database in (first, other) for letter in database.tables.letters.values()}
            if rows[0] != rows[1] and key not in letters:
                log.world.finding(
                    f"{first.plan.replica} filled anew differs at {key.decode()}: {rows[0]} and {rows[1]}"
                )


def check_end(worker: Worker) -> None:
    """A process ends by a signal or because it was fenced; everything else is a bug that a restart would hide."""
    cause = worker.process.ended_by
    if cause is not None and not isinstance(cause, Fenced):
        worker.process.world.finding(f"{worker.process.name} ended by {type(cause).__name__}: {cause}")


def check_stopped(worker: Worker) -> None:
    for tp, state in worker.lane.partitions.items():
        if state.stopped is not None:
            worker.process.world.finding(f"{worker.process.name} stopped {tp}: {state.stopped}")
