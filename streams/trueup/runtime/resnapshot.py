"""`trueup resnapshot TABLE [--key K]`: an incremental snapshot by signal, under the present epoch.

Debezium fits the rows in between the changes that go on, by watermarks. The cure for a dead letter whose value was not
in the log (TOAST): the row is read whole. It brings nothing that is gone at the source; that takes `trueup resync`.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

from trueup.adapters import postgres_source_sql as sql
from trueup.adapters.kafka_connect import KafkaConnect
from trueup.adapters.postgres_literals import written_by_postgres
from trueup.adapters.postgres_source import PostgresSource
from trueup.adapters.secret_references import Secrets
from trueup.core.connector_config import connector_name
from trueup.core.exact_text import Inexact
from trueup.core.incremental_snapshot import why_not_read_again
from trueup.core.key_argument import key_of_argument, sought
from trueup.core.truth_schema import captured_table
from trueup.model.errors import Refused
from trueup.model.registration import Project, Table
from trueup.model.settings import Settings
from trueup.runtime.truth_schema_file import read_truth_schema


class Resnapshot:
    """Asks connectors for rows."""

    def __init__(self, settings: Settings, project: Project, secrets: Secrets) -> None:
        self._settings, self._project, self._secrets = settings, project, secrets

    def ask(self, table: str, key: str | None) -> str:
        """Write the signal; the answer is its id. Raises Refused, Unreachable."""
        registered = self._project.tables.get(table)
        if registered is None:
            hint = f"registered are: {', '.join(self._project.tables) or 'none'}"
            raise Refused(f'table "{table}" is not registered', hint=hint)
        try:
            columns = None if key is None else key_of_argument(key, tuple(registered.key))
        except ValueError as exc:
            hint = f'write it as JSON: {{"{registered.key[0]}": ...}}; trueup deadletters list shows keys so'
            raise Refused(f'"{key}" is no key of table "{table}"', detail=str(exc), hint=hint) from exc
        values = self._values(registered, columns)
        for system in registered.systems:
            self._refuse_unless_captured(system)
        signal_id = f"resnapshot-{table}-{uuid4()}"
        for system in registered.systems:  # each says what it has; the policy decides where they differ
            source = PostgresSource(system, self._secrets.owner_dsn(self._project.systems[system]))
            try:
                _refuse_before_filled(source, table, whole=values is None)
                place = registered.source.name
                source.execute(sql.snapshot_again(signal_id, place, values))
            finally:
                source.close()
        return signal_id

    def _values(self, table: Table, key: Mapping[str, str] | None) -> dict[str, str | bytes] | None:
        """What the signals ask for. Raises Refused for what Debezium would pass over, which nobody would hear of."""
        captured = captured_table(read_truth_schema(self._settings, table.table))
        if (reason := why_not_read_again(captured)) is not None:
            raise Refused(
                f'table "{table.table}" cannot be read again while everything goes on',
                detail=reason,
                hint=f"update the row at its owner; or read everything again: trueup resync {table.reference}",
            )
        if key is None:
            return None
        try:
            values = sought(key, captured)
        except Inexact as exc:
            raise Refused(
                f'the row would be a dead letter again: column "{exc.field}"', detail=exc.reason, hint=exc.hint
            ) from exc
        except ValueError as exc:
            hint = "write the key as trueup deadletters list shows keys"
            raise Refused(f'the key of table "{table.table}" cannot be read', detail=str(exc), hint=hint) from exc
        system = self._project.systems[table.reference]
        texts = {captured.column(name): value for name, value in values.items() if isinstance(value, str)}
        written_by_postgres(self._secrets.owner_dsn(system), system.system, texts)
        return values

    def _refuse_unless_captured(self, system: str) -> None:
        """A signal is read from the log; without a running connector it would be obeyed at some later time."""
        connect = KafkaConnect(self._settings.connect.url)
        try:
            status = connect.status(connector_name(system))
        finally:
            connect.close()
        if status is None or not status.running:
            raise Refused(f'system "{system}" is not captured now', hint="see what it needs: trueup status")


def _refuse_before_filled(source: PostgresSource, table: str, *, whole: bool) -> None:
    """The first reading of a table is known as complete by a notification, which names the table and nothing else
    (`core.filling`): before that, only what reads the whole table may be asked for, and when its log is captured.
    """
    if table not in source.asked():
        raise Refused(f'table "{table}" is registered and was never applied', hint="trueup apply")
    if not whole and any(filling.table == table for filling in source.fillings()):
        raise Refused(
            f'table "{table}" is being filled: every row of it is being read',
            hint="run it again when trueup status says what its copies are as of",
        )
