"""What people see of a case: both images with what differs marked; and which values they may put into one."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.case_makers import Partition, decision_on
from tests.envelopes import CAPTURED, change, order
from trueup.core.case_values import captured_value, reason_not_typed, settable
from trueup.core.case_view import CaseCounts, counts, differing_columns, entry_of, view_of
from trueup.core.status_problems import case_problems
from trueup.model.case import Case, CaseStatus
from trueup.model.columns import Column

COLUMNS = [column.name for column in CAPTURED.columns]


def a_case(**values: Any) -> Case:
    partition = Partition()
    partition.decide(change(0, row=order()), change(1, "u", order(amount="-1.00", **values)))
    return partition.case()


def test_columns_that_differ_are_marked_in_the_order_of_the_table() -> None:
    view = view_of(a_case(state="paid"), CAPTURED, 0)
    assert [column.column for column in view.columns] == COLUMNS
    assert {column.column: column.values for column in view.columns if column.differs} == {
        "amount": ["10.00", "-1.00"],
        "state": ["open", "paid"],
    }
    assert [(side.letter, side.origin, side.version, side.exists) for side in view.sides] == [
        ("A", "shop", "1/0", True),
        ("B", "shop", "1/1", True),
    ]
    assert view.entry.deadline == "2026-01-06T10:00:00+00:00"


def test_where_one_side_has_no_row_every_column_differs() -> None:
    partition = Partition()
    partition.decide(change(0, row=order(amount="-1.00")))
    view = view_of(partition.case(), CAPTURED, 0)
    assert all(column.differs for column in view.columns)
    assert [side.exists for side in view.sides] == [False, True]
    assert differing_columns(partition.case(), COLUMNS) == COLUMNS


def test_only_an_open_case_is_overdue() -> None:
    case = a_case()
    late = case.deadline_us + 1
    assert entry_of(case, late).overdue
    assert not entry_of(case, case.deadline_us).overdue
    assert not entry_of(replace(case, status=CaseStatus.SUPERSEDED), late).overdue
    assert counts([case, replace(case, status=CaseStatus.DECIDED)], late) == CaseCounts(open=1, overdue=1)


def test_who_decided_and_why_stays_to_be_seen() -> None:
    case = a_case()
    ended = replace(case, status=CaseStatus.DECIDED, decision=decision_on(case))
    assert entry_of(ended, 0).decision == decision_on(case)


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (CaseCounts(open=1), ["1 open case of orders"]),
        (CaseCounts(open=3, overdue=2), ["3 open cases of orders, 2 of them overdue"]),
        (CaseCounts(), []),
    ],
)
def test_status_names_cases_that_wait(found: CaseCounts, what: list[str]) -> None:
    problems = case_problems("orders", found)
    assert [problem.what for problem in problems] == what
    assert all(problem.next == "trueup cases list" for problem in problems)


@pytest.mark.parametrize("name", ["order_id", "colour"])
def test_the_key_and_what_is_not_there_cannot_be_set(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        settable(CAPTURED, name)


def test_a_generated_column_cannot_be_set() -> None:
    columns = tuple(replace(column, generated=column.name == "weight") for column in CAPTURED.columns)
    with pytest.raises(ValueError, match="generated"):
        settable(replace(CAPTURED, columns=columns), "weight")


@pytest.mark.parametrize(
    ("column", "is_typed"),
    [
        ("customer", True),
        ("amount", True),
        ("state", True),
        ("row_version", True),
        ("weight", True),
        ("tags", False),
        ("photo", False),
        ("updated_at", False),
    ],
)
def test_values_are_typed_where_the_capture_writes_what_postgres_writes(column: str, is_typed: bool) -> None:
    assert (reason_not_typed(CAPTURED.column(column)) is None) is is_typed


def test_a_numeric_whose_captured_text_has_more_zeros_is_not_typed() -> None:
    """Debezium takes the scale of numeric(5,-2) for 2046."""
    assert reason_not_typed(Column(name="c", pg_type="numeric(5,-2)", nullable=True)) is not None
    assert reason_not_typed(Column(name="c", pg_type="numeric(5,2)", nullable=True)) is None


@pytest.mark.parametrize(
    ("pg_type", "text", "value"),
    [
        ("bigint", "-9223372036854775808", -(2**63)),
        ("boolean", "t", True),
        ("boolean", "f", False),
        ("double precision", "1.5", 1.5),
        ("double precision", "NaN", "NaN"),
        ("numeric(12,2)", "7.00", "7.00"),
        ("text", "true", "true"),
    ],
)
def test_a_value_is_what_the_capture_would_have(pg_type: str, text: str, value: object) -> None:
    found = captured_value(Column(name="c", pg_type=pg_type, nullable=True), text)
    assert (found, type(found)) == (value, type(value))
