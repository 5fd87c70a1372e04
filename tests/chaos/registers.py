"""The tables of the writers: one owned by each system, so that every replica holds a copy of one, plain or reshaped."""

from pathlib import Path
from typing import Any

import msgspec
import psycopg

from tests.chaos.register_check import Seen

KEYS = 300
"""Few, so that keys are written, deleted and written again many times in a minute."""

SENTINEL_KEY = 1_000_000_000
"""Above all keys of the writers."""

RESHAPED = """\
    columns:
      register: k
      content: v
      author_sha256: {from: writer, mask: sha256}
      number: {from: n, cast: numeric}
"""


class Copy(msgspec.Struct, frozen=True):
    """A copy of a register table and the names of its columns there."""

    replica: str
    target: str
    columns: tuple[str, str, str] = ("k", "n", "v")

    @property
    def key_column(self) -> str:
        return self.columns[0]

    @property
    def value_column(self) -> str:
        return self.columns[2]


class RegisterTable(msgspec.Struct, frozen=True):
    """A table of the writers: rows (k, v, writer, n)."""

    name: str
    system: str
    copies: tuple[Copy, ...]

    @property
    def source(self) -> str:
        return f"public.{self.name}"

    @property
    def sequence(self) -> str:
        return f"public.{self.name}_n"

    @property
    def capture_topic(self) -> str:
        return f"{self.system}.{self.source}"

    def registration(self) -> str:
        """The file a DBA would write."""
        lines = [
            f"table: {self.name}",
            f"owner: {{system: {self.system}, team: chaos}}",
            f"source: {{table: {self.source}}}",
            "key: [k]",
            "replicas:",
        ]
        text = "\n".join(lines) + "\n"
        for copy in self.copies:
            text += f"  - replica: {copy.replica}\n"
            if copy.target != self.source:
                text += f"    table: {copy.target}\n{RESHAPED}"
        return text

    def create(self, connection: psycopg.Connection[Any]) -> None:
        """Make the table. Large values are kept out of line: a write that leaves one alone could bring a TOAST hole."""
        connection.execute(f"CREATE SEQUENCE {self.sequence}".encode())
        connection.execute(
            f"CREATE TABLE {self.source} (k bigint PRIMARY KEY, v text NOT NULL, writer text NOT NULL,"
            " n bigint NOT NULL)".encode()
        )
        connection.execute(f"ALTER TABLE {self.source} ALTER COLUMN v SET STORAGE EXTERNAL".encode())

    def register(self, project_dir: Path) -> None:
        """Write the registration into a project."""
        (project_dir / "schemas" / "tables" / f"{self.name}.yaml").write_text(self.registration(), encoding="utf-8")


REGISTERS = RegisterTable(
    "registers",
    "shop",
    (Copy("warehouse", "public.registers"), Copy("reporting", "chaos.registers", ("register", "number", "content"))),
)
TALLIES = RegisterTable(
    "tallies",
    "warehouse",
    (Copy("shop", "public.tallies"), Copy("reporting", "chaos.tallies", ("register", "number", "content"))),
)
REGISTER_TABLES = (REGISTERS, TALLIES)


def rows_at(connection: psycopg.Connection[Any], copy: Copy) -> dict[int, Seen]:
    """A copy as it is now, in one statement."""
    key, number, value = copy.columns
    cursor = connection.execute(
        f"SELECT {key}, {number}::bigint, md5({value}), _trueup_version FROM {copy.target}".encode()
    )
    return {k: Seen(n, digest, bytes(version)) for k, n, digest, version in cursor}


def rows_at_source(connection: psycopg.Connection[Any], table: RegisterTable) -> dict[int, Seen]:
    """The owner's table as it is now."""
    cursor = connection.execute(f"SELECT k, n, md5(v) FROM {table.source}".encode())
    return {k: Seen(n, digest) for k, n, digest in cursor}
