"""The rows that were in a table before it joined a running connector: how `trueup apply` asks for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import uuid4

from trueup.adapters import postgres_source_sql as sql
from trueup.core.connector_config import config_digest, connector_name
from trueup.core.incremental_snapshot import why_not_read_again
from trueup.model.columns import CapturedTable
from trueup.model.errors import Refused
from trueup.model.registration import System, Table
from trueup.model.source_table import SourceState
from trueup.runtime.provision_steps import Fill


def has_late_tables(tables: Iterable[Table], state: SourceState) -> bool:
    """Whether any of a system's tables joins, or joined, its running connector. A resync ends that: its first snapshot
    brings all tables."""
    return any(table.table in state.late or table.table not in state.fills for table in tables)


def fill(system: System, table: Table, columns: CapturedTable, config: Mapping[str, str]) -> Fill:
    """Have a table read for the first time; until it was seen complete, its copies are as of nothing.

    Raises Refused for a table that cannot be read so.
    """
    _refuse_unreadable(table, columns, f"a new snapshot brings it: trueup resync {system.system}, then trueup apply")
    digest = config_digest(config)
    statements = sql.fill_by_signal(system.system, table.table, table.source.name, system.epoch, digest)
    return _step(system, table, digest, statements, is_first=True)


def fill_again(system: System, table: Table, columns: CapturedTable, config: Mapping[str, str]) -> Fill:
    """Have a table read once more, because its columns changed; its copies stay as of what they are. Raises Refused."""
    resync = f"trueup resync {system.system} --take-columns, then trueup apply --rebuild"
    _refuse_unreadable(table, columns, f"a new snapshot brings its rows: {resync}")
    statements = [sql.snapshot_again(f"evolve-{table.table}-{uuid4()}", table.source.name, None)]
    return _step(system, table, config_digest(config), statements, is_first=False)


def _refuse_unreadable(table: Table, columns: CapturedTable, hint: str) -> None:
    """Before anything is changed: Debezium would pass over the request, and the rows be missing for ever."""
    if (reason := why_not_read_again(columns)) is not None:
        raise Refused(f'table "{table.table}" cannot be read while its connector runs', detail=reason, hint=hint)


def _step(system: System, table: Table, digest: str, statements: list[str], *, is_first: bool) -> Fill:
    return Fill(
        system=system.system,
        connector=connector_name(system.system),
        table=table.table,
        digest=digest,
        statements=tuple(statements),
        is_first=is_first,
    )
