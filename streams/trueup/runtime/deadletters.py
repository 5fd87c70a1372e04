"""Dead letters of both stages, listed, shown and replayed."""

from __future__ import annotations

from trueup.adapters.postgres_connect import replica_session
from trueup.adapters.secret_references import Secrets
from trueup.adapters.topic_reader import TopicReader
from trueup.core.dead_letters import DeadLetterEntry, entry_of, replay_record
from trueup.core.truth_codec import peek_version
from trueup.model.errors import Refused
from trueup.model.event import LogRecord
from trueup.model.registration import Project, Table
from trueup.model.settings import Settings
from trueup.model.version import Version

_REPLICA_LETTERS = """
SELECT id, target, stage, error_class, reason, topic, partition, record_offset, key, superseded_at IS NOT NULL
FROM trueup.dead_letters ORDER BY id"""


class DeadLetters:
    """The dead letters of a project."""

    def __init__(self, settings: Settings, project: Project, secrets: Secrets) -> None:
        self._project, self._secrets = project, secrets
        self._reader = TopicReader(settings.kafka.bootstrap_servers)

    def entries(self, table: str | None = None) -> list[DeadLetterEntry]:
        """Every letter, decide stage first. Raises Unreachable."""
        tables = [t for t in self._project.tables.values() if table in {None, t.table}]
        found = [entry for t in tables for entry, _ in self._of_table(t)]
        return found + [
            e for name in self._project.replicas for e in self._of_replica(name) if table in {None, e.table}
        ]

    def find(self, letter_id: str) -> tuple[DeadLetterEntry, LogRecord | None]:
        """One letter by its id, with its record when it is of the decide stage. Raises Refused."""
        name = letter_id.partition("/")[0]
        if name in self._project.tables:
            for entry, record in self._of_table(self._project.tables[name]):
                if entry.id == letter_id:
                    return entry, record
        for entry in self._of_replica(letter_id.partition(":")[0]) if ":" in letter_id else ():
            if entry.id == letter_id:
                return entry, None
        raise Refused(f'there is no dead letter "{letter_id}"', hint="ids stand in: trueup deadletters list")

    def replay(self, letter_id: str) -> DeadLetterEntry:
        """Sends a letter of the decide stage through the pipeline again, with its age. Raises Refused."""
        entry, record = self.find(letter_id)
        if entry.superseded:
            raise Refused(
                f'dead letter "{letter_id}" is superseded',
                detail="a later change of its key was applied",
                hint="nothing is to be done",
            )
        if record is None:
            raise Refused(
                f'dead letter "{letter_id}" is of a replica',
                detail="the replica refused the row; the truth is right",
                hint="mend the replica table, then touch the row at its owner",
            )
        try:
            self._reader.write(replay_record(record))
        except ValueError as exc:
            raise Refused(
                f'dead letter "{letter_id}" cannot be replayed', detail=str(exc), hint="touch the row at its owner"
            ) from exc
        return entry

    def _of_table(self, table: Table) -> list[tuple[DeadLetterEntry, LogRecord]]:
        if not self._reader.partitions([table.dead_letter_topic]):
            return []
        records = list(self._reader.read(table.dead_letter_topic))
        newest = self._newest(table, {record.key for record in records if record.key is not None})
        return [(entry_of(table.table, record, newest.get(record.key or b"")), record) for record in records]

    def _newest(self, table: Table, keys: set[bytes]) -> dict[bytes, Version]:
        newest: dict[bytes, Version] = {}
        if keys:
            for record in self._reader.read(table.truth_topic):
                if record.key is not None and record.key in keys and record.value is not None:
                    newest[record.key] = peek_version(record.value)
        return newest

    def _of_replica(self, replica: str) -> list[DeadLetterEntry]:
        if replica not in self._project.replicas:
            return []
        dsn = self._secrets.writer_dsn(self._project.replicas[replica])
        tables = {t.target_of(c): t.table for t, c in self._project.tables_copied_to(replica)}
        with replica_session(replica, dsn, "trueup.dead_letters") as session:
            rows = session.execute(_REPLICA_LETTERS).fetchall()
        return [
            DeadLetterEntry(
                id=f"{replica}:{row[0]}",
                table=tables.get(row[1], str(row[1])),
                stage=row[2],
                error_class=row[3],
                reason=row[4],
                hint="mend the replica table, or correct the row at its owner",
                topic=row[5],
                partition=row[6],
                offset=row[7],
                key=bytes(row[8]).decode("utf-8", "replace"),
                superseded=row[9],
                where=f"replica {replica}",
            )
            for row in rows
        ]
