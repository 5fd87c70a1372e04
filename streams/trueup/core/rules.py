"""Step 5: what the registration demands of a row (checks, rule functions), and why it changed (cause).

The same at the boundary of a replica (`core.boundary`): an application judges its data. What a replica makes of a row
(rename, cast, mask) is `core.rules_copy`: it belongs to the copy, not to the truth.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from trueup.core.check_tests import row_tests, value_tests
from trueup.core.exact_values import exact_reader
from trueup.core.truth_schema import avro_name
from trueup.model.columns import CapturedTable, Column
from trueup.model.decision import Escalate, Reject
from trueup.model.registration import Check, Table, Violation
from trueup.model.rule_function import RuleFunction
from trueup.model.rule_row import Reader, Row

STAGE: Final = "rules"
_TEXT_CHARACTERS_MAX: Final = 200  # of what a function says; it travels as a header and in every flagged record
_HINT: Final = "correct the row at the owner; the correction replaces this"


class RuleRaised(Exception):
    """A rule function raised, or answered neither None nor text."""


class CompiledRule(Protocol):
    """A check or a function, ready to be asked."""

    name: str
    on_violation: Violation

    def violation(self, row: dict[str, Any], before: dict[str, Any] | None, commit_time_us: int | None) -> str | None:
        """What the row violates, without its value; None when all is well. Raises RuleRaised."""
        ...


class CompiledCheck:
    """One declarative check with its column looked up and its text for people. A check that cannot be computed (text
    where a number belongs) is violated."""

    def __init__(
        self, check: Check, columns: Mapping[str, Column] | None = None, field_of: Callable[[str], str] = avro_name
    ) -> None:
        assert check.column is not None
        self.name = f"check on {check.column}"
        self.on_violation = check.on_violation
        self._column = check.column
        self._field = field_of(check.column)
        self._value_tests = value_tests(check)
        self._row_tests = row_tests(check, field_of, columns or {})

    def violation(
        self,
        row: dict[str, Any],
        before: dict[str, Any] | None,
        commit_time_us: int | None,
    ) -> str | None:
        value = row.get(self._field)
        try:
            for text, holds in self._value_tests:
                if not holds(value):
                    return f"{self._column} {text}"
            if value is not None:
                for text, holds_in_row in self._row_tests:
                    if not holds_in_row(value, row, commit_time_us):
                        return f"{self._column} {text}"
        except (decimal.InvalidOperation, AttributeError, TypeError, ValueError):
            return f"{self._column} cannot be checked"
        return None


class CompiledFunction:
    """One rule function with what it sees of a row."""

    def __init__(self, function: RuleFunction, on_violation: Violation, readers: Mapping[str, Reader]) -> None:
        self.name = f"rule {function.name}"
        self.on_violation = on_violation
        self._function = function
        self._readers = readers
        self._extra = function.takes[1:]

    def violation(self, row: dict[str, Any], before: dict[str, Any] | None, commit_time_us: int | None) -> str | None:
        given: dict[str, Any] = {}
        if "before" in self._extra:
            given["before"] = None if before is None else Row(before, self._readers)
        if "commit_time_us" in self._extra:
            given["commit_time_us"] = commit_time_us
        try:
            answer = self._function.call(Row(row, self._readers), **given)
        except (Exception, SystemExit) as exc:
            # Its message may hold values of the row; the class does not.
            raise RuleRaised(f'rule "{self._function.name}" raised {type(exc).__name__}') from None
        if answer is None:
            return None
        if type(answer) is not str:
            raise RuleRaised(f'rule "{self._function.name}" answered {type(answer).__name__}, not None or text')
        said = "".join(char if char.isprintable() else " " for char in answer[:_TEXT_CHARACTERS_MAX]).strip()
        return f"{self._function.name}: {said or 'violated'}"


def compile_checks(
    checks: Sequence[Check],
    columns: Mapping[str, Column],
    readers: Mapping[str, Reader],
    functions: Mapping[str, RuleFunction],
) -> tuple[CompiledRule, ...]:
    """Checks in their order.

    :param columns: by the names the checks use.
    :param readers: where the value of each stands in a row, and what makes it exact.
    :raises ValueError: a check names a column or a function that there is not.
    """
    try:
        return tuple(
            CompiledCheck(check, columns, lambda name: readers[name][0])
            if check.function is None
            else CompiledFunction(functions[check.function], check.on_violation, readers)
            for check in checks
        )
    except KeyError as error:
        raise ValueError(f'a check names "{error.args[0]}", which there is not') from None


def compile_table_checks(
    table: Table, captured: CapturedTable, functions: Mapping[str, RuleFunction]
) -> tuple[CompiledRule, ...]:
    """The checks of the table itself. Raises ValueError, see `compile_checks`."""
    columns = {column.name: column for column in captured.columns}
    return compile_checks(table.checks, columns, row_readers(captured), functions)


def row_readers(captured: CapturedTable) -> dict[str, Reader]:
    """A row of the source by its columns' names."""
    return {column.name: (avro_name(column.name), exact_reader(column)) for column in captured.columns}


def check_row(
    row: dict[str, Any],
    checks: tuple[CompiledRule, ...],
    before: dict[str, Any] | None = None,
    commit_time_us: int | None = None,
) -> Reject | Escalate | tuple[str, ...]:
    """The flags of a row, or what keeps it out. A rejection wins over an escalation, and that over flags, whatever
    their order; a rule that raises rejects: nobody knows what it would have said.

    :param commit_time_us: None for a row of a snapshot.
    """
    flags = []
    escalated: Escalate | None = None
    for check in checks:
        try:
            violation = check.violation(row, before, commit_time_us)
        except RuleRaised as raised:
            return Reject(STAGE, "RuleRaised", str(raised), "mend the rule, then replay: trueup deadletters replay")
        if violation is None:
            continue
        match check.on_violation:
            case "reject":
                return Reject(STAGE, "CheckViolated", violation, _HINT)
            case "escalate":
                escalated = escalated or Escalate(check.name, violation, _HINT, STAGE)
            case "flag":
                flags.append(violation)
    return tuple(flags) if escalated is None else escalated


def cause_of(row: dict[str, Any] | None, table: Table) -> str | None:
    """Why the row changed, as the owner says; None without a registered cause or for a delete without before."""
    if table.cause is None or row is None:
        return None
    value = row.get(avro_name(table.cause.column))
    return None if value is None else str(value)
