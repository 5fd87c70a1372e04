"""Registrations: what DBAs write in schemas/tables, connectors/systems and connectors/replicas (design 4).

One tree of msgspec Structs is the loader and the JSON Schema at once. Unknown fields are refused. A field enters this
file together with the code that obeys it. Reading files is `adapters.project_files`; the format for people is
schemas/README.md.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from trueup.model.rule_function import RuleFunction
from trueup.model.topic import capture_topic, truth_topic

NAME_PATTERN: Final = r"^[a-z][a-z0-9_]{0,39}$"  # part of topic names, group ids and metric labels: short and plain
DURATION_PATTERN: Final = r"^[0-9]+(ms|s|m|h)$"
OBJECTIVE_PATTERN: Final = r"^[0-9]{2}(\.[0-9]{1,3})?%$"
NUMBER_PATTERN: Final = r"^[+-]?[0-9]{1,131072}(\.[0-9]{1,16383})?$"  # what PostgreSQL's numeric can hold
FUNCTION_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"

Name = Annotated[str, Meta(pattern=NAME_PATTERN, description="lower case letters, digits, underscore; at most 40")]
Duration = Annotated[str, Meta(pattern=DURATION_PATTERN, description="such as 500ms, 5s, 15m, 4h")]
Number = int | float | Annotated[str, Meta(pattern=NUMBER_PATTERN, description='a number, in quotes: "0.10"')]
Violation = Literal["reject", "flag", "escalate"]
Evolve = Literal["additive", "stop", "ignore"]
OnTruncate = Literal["delete", "reject", "stop"]
Reference = Annotated[str, Meta(description="a secret by reference: ${env:NAME} or ${file:PATH}")]

_DURATION_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def duration_ms(text: str) -> int:
    """Milliseconds of a Duration. Raises ValueError on text outside DURATION_PATTERN."""
    match = re.fullmatch(r"([0-9]+)(ms|s|m|h)", text)
    if match is None:
        msg = f"{text!r} is no duration"
        raise ValueError(msg)
    return int(match[1]) * _DURATION_UNITS_MS[match[2]]


class _Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Strict in, short out."""


class System(_Node, frozen=True):
    """A database that owns tables. `dsn` is the owner's login used by `trueup apply` and `verify`; `capture_dsn` is the
    least privileged one Debezium logs in with (default: the same)."""

    system: Name
    kind: Literal["postgresql"]
    dsn: Reference
    capture_dsn: Reference | None = None
    epoch: Annotated[int, Meta(ge=1, le=4_000_000_000)] = 1


class Replica(_Node, frozen=True):
    """A database that holds copies. `dsn` is what apply workers log in with (data only); `ddl_dsn` is used by `trueup
    apply` to create tables (default: the same)."""

    replica: Name
    kind: Literal["postgresql"]
    dsn: Reference
    ddl_dsn: Reference | None = None


class Owner(_Node, frozen=True):
    """The one authoritative system of a table, and the people to ask."""

    system: Name
    team: str | None = None


class Source(_Node, frozen=True):
    """The table in the owner's database: `schema.table`."""

    table: Annotated[str, Meta(pattern=r"^[^.]+\.[^.]+$", description="schema.table")]

    @property
    def schema_name(self) -> str:
        return self.table.split(".", 1)[0]

    @property
    def table_name(self) -> str:
        return self.table.split(".", 1)[1]

    @property
    def name(self) -> tuple[str, str]:
        """Schema and table."""
        schema, table = self.table.split(".", 1)
        return schema, table


class Conflicts(_Node, frozen=True):
    """What becomes of two changes of a key that were made at two writers without knowing of each other.

    `system`, with `prefer` only: the writer whose change wins. What each policy does is `core.conflicts`.
    """

    policy: Literal["last_write_wins", "version_comparison", "prefer", "escalate"]
    system: Name | None = None


class ColumnVersion(_Node, frozen=True):
    """Order by a column of the application: a time (microseconds) or a counter. `uncertainty` only for a time."""

    column: str
    uncertainty: Duration | None = None


class Cause(_Node, frozen=True):
    """The column that says why a row changed."""

    column: str


class Window(_Node, frozen=True):
    """How long a copy may differ from its owner, from commit to commit, and for which share of changes that holds."""

    within: Duration
    objective: Annotated[str, Meta(pattern=OBJECTIVE_PATTERN)] = "99.9%"


class Cases(_Node, frozen=True):
    """What rules cannot decide about this table's rows: how long a person may take."""

    decide_within: Duration = "24h"


class Length(_Node, frozen=True):
    """How long a value may be: characters of text, bytes of bytea, elements of an array."""

    min: Annotated[int, Meta(ge=0, le=1 << 30)] | None = None
    max: Annotated[int, Meta(ge=0, le=1 << 30)] | None = None


class Comparison(_Node, frozen=True):
    """The check's column compared with other columns of the row; each field names one."""

    equal: str | None = None
    not_equal: str | None = None
    less_than: str | None = None
    at_most: str | None = None
    at_least: str | None = None
    more_than: str | None = None

    @property
    def columns(self) -> dict[str, str]:
        """Column by operator, of the operators that are used."""
        return {name: column for name in self.__struct_fields__ if (column := getattr(self, name)) is not None}


class Age(_Node, frozen=True):
    """A time column against the commit of the change at the source: `max` is how long before it, `ahead` how long after
    it the time may lie. Rows of a snapshot have no commit of their own and are not judged by it."""

    max: Duration | None = None
    ahead: Duration | None = None


class Check(_Node, frozen=True):
    """One check of the row after the change: declarative, on a `column`; or a `function` of the project's rules module.
    Null violates only `not_null`."""

    column: str | None = None
    min: Number | None = None
    max: Number | None = None
    one_of: list[str | int | bool] | None = None
    not_null: bool | None = None
    matches: Annotated[str, Meta(description="an RE2 pattern of the whole text")] | None = None
    length: Length | None = None
    compare: Comparison | None = None
    age: Age | None = None
    function: Annotated[str, Meta(pattern=FUNCTION_PATTERN, description="name of a function")] | None = None
    on_violation: Violation = "reject"


class ColumnRule(_Node, frozen=True, rename={"from_": "from"}):
    """Where a replica column comes from and how it is changed on the way."""

    from_: str
    cast: str | None = None
    mask: Literal["sha256"] | None = None


class Copy(_Node, frozen=True):
    """One copy of a table at a replica. Without `table` the same schema.table; without `columns` every column. `checks`
    are what the replica demands of a row beside what the table does; they name columns of the copy."""

    replica: Name
    table: Annotated[str, Meta(pattern=r"^[^.]+\.[^.]+$")] | None = None
    window: Window | None = None
    columns: dict[str, str | ColumnRule] | None = None
    checks: list[Check] = []


class Table(_Node, frozen=True, kw_only=True):
    """A registered table. It has an `owner`, or several `writers` with `conflicts`: `core.table_rules` sees to it.
    `evolve`: what becomes of a column that is added at the source (`core.evolution`). `truncate`: whether the copies
    follow when the source empties the table (`core.truncation`)."""

    table: Name
    owner: Owner | None = None
    writers: Annotated[list[Name], Meta(max_length=8)] = []
    conflicts: Conflicts | None = None
    source: Source
    key: Annotated[list[str], Meta(min_length=1)]
    version: Literal["log"] | ColumnVersion = "log"
    cause: Cause | None = None
    window: Window | None = None
    checks: list[Check] = []
    evolve: Evolve = "additive"
    truncate: OnTruncate = "delete"
    cases: Cases = Cases()
    replicas: list[Copy] = []

    def __post_init__(self) -> None:
        """Raises ValueError without anybody who may change the table."""
        if self.owner is None and not self.writers:
            raise ValueError("a table needs an owner or writers")

    @property
    def systems(self) -> tuple[str, ...]:
        """The systems that may change the table: its owner, or its writers."""
        return tuple(self.writers) if self.owner is None else (self.owner.system,)

    @property
    def reference(self) -> str:
        """The system that copies are compared with: the owner, or the first writer."""
        return self.systems[0]

    @property
    def several_writers(self) -> bool:
        return bool(self.writers)

    @property
    def keeps_rows(self) -> bool:
        """Whether the local store keeps whole truth records: what a writer lost is published again from there, and a
        case shows what is held beside what came."""
        escalates = any(check.on_violation == "escalate" for check in self.checks)
        return self.several_writers or escalates or self.version != "log"

    @property
    def capture_topic(self) -> str:
        """Of several writers one topic, too: Kafka's log is then the one order of what they did."""
        if self.several_writers:
            return capture_topic(self.table)
        return f"{self.reference}.{self.source.table}"

    @property
    def truth_topic(self) -> str:
        return truth_topic(self.table)

    @property
    def dead_letter_topic(self) -> str:
        return f"trueup.dead_letters.{self.table}"

    @property
    def copies(self) -> list[Copy]:
        """All copies. Each of several writers is one, of whole rows, at the replica of its own name."""
        return [*(Copy(replica=writer) for writer in self.writers), *self.replicas]

    @property
    def cases_topic(self) -> str:
        return f"trueup.cases.{self.table}"

    def copy_at(self, replica: str) -> Copy | None:
        """The copy this table has at a replica, or None."""
        return next((copy for copy in self.copies if copy.replica == replica), None)

    def target_of(self, copy: Copy) -> str:
        """schema.table of a copy."""
        return copy.table or self.source.table

    def window_of(self, copy: Copy) -> Window | None:
        """The window of a copy: its own, else the table's."""
        return copy.window or self.window


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """Everything registered in a project folder, cross-checked; keyed by name, in the order of names.

    :param functions: the functions of the project's rules module.
    """

    systems: dict[str, System]
    replicas: dict[str, Replica]
    tables: dict[str, Table]
    functions: dict[str, RuleFunction] = {}

    def tables_owned_by(self, system: str) -> list[Table]:
        """Tables that are captured from a system: it is their owner, or one of their writers."""
        return [table for table in self.tables.values() if system in table.systems]

    def tables_copied_to(self, replica: str) -> list[tuple[Table, Copy]]:
        copies = ((table, table.copy_at(replica)) for table in self.tables.values())
        return [(table, copy) for table, copy in copies if copy is not None]
