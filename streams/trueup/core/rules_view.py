"""Which rules judge which rows: as rows and as JSON data. Drawing on a terminal is `runtime.cli_rules`."""

from __future__ import annotations

from typing import Any

import msgspec

from trueup.core.check_tests import COMPARISONS
from trueup.model.registration import Check, Project


class RuleRow(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is asked of a row.

    :param replica: at whose boundary; None: at the table, before the truth.
    :param asks: in words, as far as they are short.
    """

    table: str
    replica: str | None
    column: str | None
    function: str | None
    asks: str
    on_violation: str


class FunctionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One function of the rules module, whether it is used or not."""

    function: str
    takes: tuple[str, ...]
    about: str
    file: str
    line: int
    fingerprint: str
    used_by: tuple[str, ...]


class RulesView(msgspec.Struct, frozen=True, kw_only=True):
    """All rules of a project. `module_fingerprint` is None without a rules module, or without a rule in it."""

    rules: tuple[RuleRow, ...]
    functions: tuple[FunctionRow, ...]
    module_fingerprint: str | None


def rules_view(project: Project) -> RulesView:
    """In the order of tables; the table's own checks first, then those of its copies."""
    rows: list[RuleRow] = []
    for table in project.tables.values():
        places: list[tuple[str | None, list[Check]]] = [(None, table.checks)]
        places += [(copy.replica, copy.checks) for copy in table.replicas]
        rows += [_row(table.table, replica, check) for replica, checks in places for check in checks]
    functions = tuple(
        FunctionRow(
            function=function.name,
            takes=function.takes,
            about=function.about,
            file=function.file,
            line=function.line,
            fingerprint=function.fingerprint,
            used_by=tuple(dict.fromkeys(_place(row) for row in rows if row.function == function.name)),
        )
        for function in project.functions.values()
    )
    whole = next((function.module_fingerprint for function in project.functions.values()), None)
    return RulesView(rules=tuple(rows), functions=functions, module_fingerprint=whole)


def rules_data(project: Project) -> dict[str, Any]:
    """The same for programs; the shape is part of the command's interface."""
    data: dict[str, Any] = msgspec.to_builtins(rules_view(project))
    return data


def _row(table: str, replica: str | None, check: Check) -> RuleRow:
    return RuleRow(
        table=table,
        replica=replica,
        column=check.column,
        function=check.function,
        asks=_asks(check),
        on_violation=check.on_violation,
    )


def _place(row: RuleRow) -> str:
    return row.table if row.replica is None else f"{row.table} at {row.replica}"


def _asks(check: Check) -> str:
    if check.function is not None:
        return f"function {check.function}"
    words = ["not null"] if check.not_null else []
    words += [f"{name} {value}" for name, value in (("min", check.min), ("max", check.max)) if value is not None]
    if check.one_of is not None:
        words.append(f"one of {', '.join(map(str, check.one_of))}")
    if check.matches is not None:
        words.append(f"matches {check.matches}")
    if check.length is not None:
        bounds = (("min", check.length.min), ("max", check.length.max))
        words += [f"length {name} {value}" for name, value in bounds if value is not None]
    if check.compare is not None:
        words += [f"{COMPARISONS[name][0]} {other}" for name, other in check.compare.columns.items()]
    if check.age is not None:
        words += [f"at most {check.age.max} before the commit"] if check.age.max is not None else []
        words += [f"at most {check.age.ahead} after the commit"] if check.age.ahead is not None else []
    return ", ".join(words)
