"""Rules for one table's registration by itself: names, windows, checks and the columns of its copies.

A check by itself: `core.check_rules`. Between registrations: `core.registration_rules`. Against the columns of the
source: `core.column_rules`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from trueup.core.check_rules import Mistake, check_mistakes, identifier_mistakes
from trueup.core.type_names import catalog_name
from trueup.model.problem import FieldPath, Problem
from trueup.model.registration import Cases, ColumnRule, ColumnVersion, Copy, Table, Window, duration_ms

OWN_PREFIX: Final = "_trueup_"  # columns TrueUp adds to a replica table
_RESERVED_SCHEMAS: Final = frozenset({"trueup", "pg_catalog", "information_schema", "pg_toast"})
# Debezium replaces other characters in topic names; then the topic would not be the registered one.
_TOPIC_PART: Final = re.compile(r"[A-Za-z0-9_-]+")
# Types that can keep different keys different; core.column_rules looks at the source's type too.
_KEY_CASTS: Final = frozenset({"text", "integer", "bigint", "numeric"})


def problems_of_table(table: Table, file: str) -> list[Problem]:
    """All mistakes one registration holds by itself."""
    found: list[Mistake] = [
        *_authority_mistakes(table),
        *_source_mistakes(table),
        *_key_mistakes(table),
        *_version_mistakes(table),
        *_window_mistakes(table.window, ("window",)),
        *_cases_mistakes(table.cases),
    ]
    if table.cause is not None:
        found += identifier_mistakes(table.cause.column, ("cause", "column"))
    for index, check in enumerate(table.checks):
        found += check_mistakes(check, ("checks", index))
    found += _copies_of_one_replica(table)
    for index, copy in enumerate(table.replicas):
        found += _copy_mistakes(table, copy, ("replicas", index))
    return [Problem(file=file, path=path, primary=primary, hint=hint) for path, primary, hint in found]


def plain_rule(rule: str | ColumnRule) -> ColumnRule:
    """`id: order_id` in its long form."""
    return ColumnRule(from_=rule) if isinstance(rule, str) else rule


def _qualified_mistakes(qualified: str, path: FieldPath) -> Iterator[Mistake]:
    schema, _, name = qualified.partition(".")
    yield from identifier_mistakes(schema, path)
    yield from identifier_mistakes(name, path)
    if schema in _RESERVED_SCHEMAS or schema.startswith("pg_"):
        yield path, f'schema "{schema}" is not for tables of users', "name a table in another schema"


def _source_mistakes(table: Table) -> Iterator[Mistake]:
    path = ("source", "table")
    yield from _qualified_mistakes(table.source.table, path)
    if not all(_TOPIC_PART.fullmatch(part) for part in table.source.table.split(".")):
        yield (
            path,
            "source table cannot name its capture topic: "
            "Kafka takes letters without accents, digits, underscore and hyphen",
            "rename the table in the source (ALTER TABLE ... RENAME TO ...), then register the new name",
        )


def _key_mistakes(table: Table) -> Iterator[Mistake]:
    for index, column in enumerate(table.key):
        yield from identifier_mistakes(column, ("key", index))
        if column in table.key[:index]:
            yield ("key", index), f'column "{column}" stands in the key twice', "name each key column once"


def _authority_mistakes(table: Table) -> Iterator[Mistake]:
    writers = table.writers
    if table.owner is not None and writers:
        yield ("writers",), "table has an owner and writers", "an owner is the only system that may change the table"
        return
    if len(writers) == 1:
        yield ("writers",), "one writer is an owner", f"write owner: {{system: {writers[0]}}}"
    for index, writer in enumerate(writers):
        if writer in writers[:index]:
            yield ("writers", index), f'writer "{writer}" is named twice', "name each writer once"
        for place, copy in enumerate(table.replicas):
            if copy.replica == writer:
                primary = f'replica "{writer}" is a writer of the table: it is kept equal without a copy'
                yield ("replicas", place, "replica"), primary, "remove it from replicas"
    yield from _conflict_mistakes(table)


def _conflict_mistakes(table: Table) -> Iterator[Mistake]:
    conflicts, path = table.conflicts, ("conflicts", "policy")
    if conflicts is None:
        if table.writers:
            primary = "several writers need a policy for changes they make without knowing of each other"
            yield ("writers",), primary, "write conflicts: {policy: last_write_wins}, or another policy"
        return
    if not table.writers:
        yield ("conflicts",), "one owner has no conflicts", "remove conflicts, or name writers"
        return
    ordered, policy = isinstance(table.version, ColumnVersion), conflicts.policy
    if policy in {"last_write_wins", "version_comparison"} and not ordered:
        hint = "{column: updated_at, uncertainty: 2s}" if policy == "last_write_wins" else "{column: row_version}"
        yield path, f"policy {policy} needs a version column", f"write version: {hint}"
    elif policy in {"prefer", "escalate"} and ordered:
        yield path, f"policy {policy} does not look at a version column", "remove version, or choose another policy"
    if policy == "prefer" and conflicts.system not in table.writers:
        yield path, "policy prefer needs the writer that is preferred", f"write system: {' or '.join(table.writers)}"
    elif policy != "prefer" and conflicts.system is not None:
        yield ("conflicts", "system"), f"policy {policy} prefers nobody", "remove system, or write policy: prefer"


def _version_mistakes(table: Table) -> Iterator[Mistake]:
    if not isinstance(table.version, ColumnVersion):
        return
    yield from identifier_mistakes(table.version.column, ("version", "column"))
    if table.version.uncertainty is not None and duration_ms(table.version.uncertainty) == 0:
        hint = "leave it out, or write how far the clocks of the writers may differ, such as 2s"
        yield ("version", "uncertainty"), "uncertainty of zero says nothing", hint


def _window_mistakes(window: Window | None, path: FieldPath) -> Iterator[Mistake]:
    if window is not None and duration_ms(window.within) == 0:
        yield (*path, "within"), "window of zero cannot be kept", "write a duration such as 5s, or no window"


def _cases_mistakes(cases: Cases) -> Iterator[Mistake]:
    if duration_ms(cases.decide_within) == 0:
        hint = "write how long a person may take, such as 4h"
        yield ("cases", "decide_within"), "every case would be overdue at once", hint


def _copies_of_one_replica(table: Table) -> Iterator[Mistake]:
    names = [copy.replica for copy in table.replicas]
    for index, name in enumerate(names):
        if name in names[:index]:
            primary = f'table "{table.table}" has two copies at replica "{name}"'
            yield (
                ("replicas", index, "replica"),
                primary,
                "keep one copy per replica; a view gives another shape",
            )


def _copy_mistakes(table: Table, copy: Copy, path: FieldPath) -> Iterator[Mistake]:
    if copy.table is not None:
        yield from _qualified_mistakes(copy.table, (*path, "table"))
    yield from _window_mistakes(copy.window, (*path, "window"))
    for index, check in enumerate(copy.checks):
        yield from check_mistakes(check, (*path, "checks", index))
    if copy.columns is None:
        return
    for name, written in copy.columns.items():
        here = (*path, "columns", name)
        rule = plain_rule(written)
        yield from identifier_mistakes(name, here)
        if rule.from_ != name:
            yield from identifier_mistakes(rule.from_, here if isinstance(written, str) else (*here, "from"))
        if name.startswith(OWN_PREFIX):
            yield here, f'names beginning with "{OWN_PREFIX}" belong to TrueUp', "choose another column name"
        yield from _rule_mistakes(rule, here)
    yield from _key_columns_mistakes(table, copy.columns, (*path, "columns"))


def _rule_mistakes(rule: ColumnRule, path: FieldPath) -> Iterator[Mistake]:
    if rule.cast is not None and _cast_type(rule.cast) is None:
        primary = "cast does not name a type TrueUp can write"
        yield (*path, "cast"), primary, 'write a type such as "numeric(12,2)", "text" or "double precision"'
    if rule.cast is not None and rule.mask is not None:
        primary = "column has a cast and a mask: what is masked has no type left to cast"
        yield (*path, "cast"), primary, "keep one of the two; a masked column is text"


def _key_columns_mistakes(table: Table, columns: dict[str, str | ColumnRule], path: FieldPath) -> Iterator[Mistake]:
    """A replica table is written and compared by the key: it needs each key column, values told apart."""
    for key_column in table.key:
        rules = {name: plain_rule(rule) for name, rule in columns.items() if plain_rule(rule).from_ == key_column}
        if not rules:
            primary = f'key column "{key_column}" is not copied: the rows of the replica could not be found again'
            yield path, primary, f"add {key_column}: {key_column} to columns, under any name"
        elif not any(_keeps_apart(rule) for rule in rules.values()):
            name, rule = next(iter(rules.items()))
            if rule.mask is not None:
                primary = f'key column "{key_column}" is masked: deletes and verify find rows by its clear value'
                yield (*path, name, "mask"), primary, "copy the key unmasked, or mask another column"
            else:
                primary = f'key column "{key_column}" is cast to {rule.cast}, which may make two keys one'
                yield (*path, name, "cast"), primary, "copy the key without a cast, or cast it to text"


def _keeps_apart(rule: ColumnRule) -> bool:
    return rule.mask is None and (rule.cast is None or _cast_type(rule.cast) in _KEY_CASTS)


def _cast_type(cast: str) -> str | None:
    """The catalog's name of a cast; None: it names no type, and so does not get into any SQL."""
    try:
        return catalog_name(cast)
    except ValueError:
        return None
