"""The copies the registrations promise, counted in the databases themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from trueup.adapters.project_files import read_project
from trueup.core.registration_rules import problems_of
from trueup.demo.folder import DemoFolder
from trueup.model.registration import Copy, Project, Table

Connection = psycopg.Connection[tuple[Any, ...]]
Value = Any  # of a column; its type is known to whoever asks


class CopyPlace(msgspec.Struct, frozen=True):
    """One table at one replica."""

    table: Table
    copy: Copy

    @property
    def name(self) -> str:
        """As people say it."""
        return f"{self.table.table} at {self.copy.replica}"

    @property
    def target(self) -> sql.Identifier:
        """The table in the replica's database."""
        return sql.Identifier(*self.table.target_of(self.copy).split(".", 1))

    @property
    def source(self) -> sql.Identifier:
        """The table in the owner's database."""
        return sql.Identifier(*self.table.source.table.split(".", 1))

    def has(self, source_column: str) -> bool:
        """Tell whether a column is copied."""
        try:
            return bool(self.column(source_column))
        except KeyError:
            return False

    def column(self, source_column: str) -> str:
        """Return the replica's name of a column. Raises KeyError if it is not copied."""
        if self.copy.columns is None:
            return source_column
        for name, rule in self.copy.columns.items():
            if (rule if isinstance(rule, str) else rule.from_) == source_column:
                return name
        raise KeyError(source_column)


class Databases:
    """An open connection to each database, as its owner, and the registered copies."""

    def __init__(self, folder: DemoFolder) -> None:
        self.project: Project = read_project(folder.project_dir, problems_of)
        self._stack = ExitStack()
        self._connections: dict[str, Connection] = {
            name: self._stack.enter_context(psycopg.connect(folder.dsn(name), autocommit=True))
            for name in folder.stack.databases
        }

    def close(self) -> None:
        """Close all."""
        self._stack.close()

    def copies(self) -> Iterator[CopyPlace]:
        """All copies of all tables."""
        for table in self.project.tables.values():
            for copy in table.replicas:
                yield CopyPlace(table, copy)

    def copy(self, table: str, replica: str) -> CopyPlace:
        """Return one copy."""
        registered = self.project.tables[table]
        copy = registered.copy_at(replica)
        assert copy is not None, f"{table} has no copy at {replica}"
        return CopyPlace(registered, copy)

    def query(self, database: str, statement: str | sql.Composed, *values: Value) -> list[tuple[Any, ...]]:
        """Run a statement in a transaction of its own. Return the rows, none if it returns no rows.

        :param values: one for each %s, or a single dict for the %(name)s.
        """
        text = statement.encode() if isinstance(statement, str) else statement
        named = bool(values) and isinstance(values[0], dict)
        cursor = self._connections[database].execute(text, values[0] if named else values or None)
        return cursor.fetchall() if cursor.description else []

    def value(self, database: str, statement: str | sql.Composed, *values: Value) -> Value:
        """Return the first column of the first row; None if there is no row."""
        rows = self.query(database, statement, *values)
        return rows[0][0] if rows else None

    def rows_at_source(self, place: CopyPlace) -> int:
        """Count a table where it is owned."""
        return int(self.value(place.table.reference, _count(place.source)))

    def rows_at_replica(self, place: CopyPlace) -> int:
        """Count a table where it is copied to."""
        return int(self.value(place.copy.replica, _count(place.target)))

    def rows_with(self, place: CopyPlace, column: str, value: str) -> int:
        """Count the rows of a copy that have a value in a column of the source."""
        statement = sql.SQL("SELECT count(*) FROM {} WHERE {} = %s")
        composed = statement.format(place.target, sql.Identifier(place.column(column)))
        return int(self.value(place.copy.replica, composed, value))

    def read(self, place: CopyPlace, column: str, key: Value) -> Value:
        """Return a column of one row of a copy, named as at the source; None if the row is not there."""
        (key_column,) = place.table.key
        statement = sql.SQL("SELECT {} FROM {} WHERE {} = %s").format(
            sql.Identifier(place.column(column)), place.target, sql.Identifier(place.column(key_column))
        )
        return self.value(place.copy.replica, statement, key)


def _count(table: sql.Identifier) -> sql.Composed:
    return sql.SQL("SELECT count(*) FROM {}").format(table)
