"""Step 5: checks and cause."""

from typing import Any, Literal

import msgspec
import pytest

from tests.envelopes import ORDERS, SECRET, order
from trueup.core.rules import CompiledCheck, cause_of, check_row
from trueup.model.decision import Reject
from trueup.model.registration import Check


def verdict(row: dict[str, Any], *checks: Check) -> Reject | tuple[str, ...]:
    return check_row(row, tuple(CompiledCheck(check) for check in checks))


def violates(value: Any, on_violation: Literal["reject", "flag"] = "reject", **bounds: Any) -> bool:
    """Whether `amount = value` violates the check; the two kinds of check must agree."""
    row = {"amount": value}
    rejected = isinstance(verdict(row, Check(column="amount", on_violation="reject", **bounds)), Reject)
    flagged = verdict(row, Check(column="amount", on_violation="flag", **bounds)) != ()
    assert rejected is flagged
    return rejected


@pytest.mark.parametrize(
    ("value", "bounds", "expected"),
    [
        ("0.00", {"min": 0}, False),
        ("-0.01", {"min": 0}, True),
        ("0.01", {"min": 0}, False),
        ("9", {"min": 10}, True),
        ("100", {"min": 20}, False),
        (7, {"min": 7}, False),
        (6, {"min": 7}, True),
        (0.3, {"min": 0.3}, True),  # the float is 0.299999999999999988..., and says so
        ("0.3", {"min": 0.3}, False),  # the decimal is what the registration says
        ("0.00", {"max": 0}, False),
        ("0.01", {"max": 0}, True),
        ("99999999999999999999.01", {"max": 99999999999999999999}, True),
        ("99999999999999999999.00", {"max": 99999999999999999999}, False),
        ("5", {"min": 1, "max": 9}, False),
        ("0", {"min": 1, "max": 9}, True),
        ("10", {"min": 1, "max": 9}, True),
        ("1E+2", {"max": 99}, True),
    ],
)
def test_numbers_are_compared_as_numbers(value: Any, bounds: dict[str, Any], expected: bool) -> None:
    assert violates(value, **bounds) is expected


@pytest.mark.parametrize(
    ("value", "bounds", "expected"),
    [
        ("POSITIVE_INFINITY", {"min": 0}, False),
        ("POSITIVE_INFINITY", {"max": 0}, True),
        ("NEGATIVE_INFINITY", {"min": 0}, True),
        ("NEGATIVE_INFINITY", {"max": 0}, False),
        ("Infinity", {"max": 0}, True),
        (float("inf"), {"max": 0}, True),
        (float("-inf"), {"max": 0}, False),
        ("NAN", {"min": 0}, True),
        ("NAN", {"max": 0}, True),
        ("NaN", {"min": 0}, True),
        (float("nan"), {"min": 0}, True),
    ],
)
def test_special_numbers_as_debezium_writes_them(value: Any, bounds: dict[str, Any], expected: bool) -> None:
    """PostgreSQL holds NaN for larger than everything; a bound is not kept by what is no number, so it is refused."""
    assert violates(value, **bounds) is expected


@pytest.mark.parametrize("value", ["", "x", "1,5", "NULL", "sNaN", b"1", [1], ["1"], {"a": 1}])
def test_what_cannot_be_computed_is_a_violation(value: Any) -> None:
    assert violates(value, min=0)


@pytest.mark.parametrize(
    ("value", "allowed", "expected"),
    [
        ("open", ["open", "paid"], False),
        ("Open", ["open", "paid"], True),
        ("", ["open"], True),
        (3, [1, 2, 3], False),
        (4, [1, 2, 3], True),
        (["open"], ["open"], True),  # a list is none of the values, and not hashable
    ],
)
def test_one_of(value: Any, allowed: list[str | int | bool], expected: bool) -> None:
    assert violates(value, one_of=allowed) is expected


@pytest.mark.parametrize("bounds", [{"min": 0}, {"max": 0}, {"one_of": ["open"]}])
def test_null_violates_only_not_null(bounds: dict[str, Any]) -> None:
    assert not violates(None, **bounds)
    assert violates(None, not_null=True, **bounds)
    assert violates(None, not_null=True)
    assert not violates(None, not_null=False)
    assert not violates("", not_null=True)


def test_a_missing_column_counts_as_null() -> None:
    assert isinstance(verdict({}, Check(column="amount", not_null=True)), Reject)


def test_a_rejection_names_column_and_bound_and_never_the_value() -> None:
    violations: list[dict[str, Any]] = [{"min": 5}, {"max": 5}, {"one_of": ["open"]}]
    for bounds in violations:
        answer = verdict({"amount": SECRET}, Check(column="amount", **bounds))
        assert isinstance(answer, Reject)
        assert (answer.stage, answer.error_class) == ("rules", "CheckViolated")
        assert "amount" in answer.reason
        assert SECRET not in f"{answer.reason} {answer.hint}"
    low = verdict({"amount": "-4711"}, Check(column="amount", min=0))
    assert isinstance(low, Reject)
    assert low.reason == "amount must be at least 0"


def test_flags_name_every_violated_check_in_their_order_and_never_the_value() -> None:
    flags = verdict(
        {"amount": "-4711", "state": SECRET, "customer": None},
        Check(column="amount", min=0, on_violation="flag"),
        Check(column="amount", max=9, on_violation="flag"),
        Check(column="state", one_of=["open"], on_violation="flag"),
        Check(column="customer", not_null=True, on_violation="flag"),
        Check(column="customer", min=3, on_violation="flag"),
    )
    assert flags == (
        "amount must be at least 0",
        "state must be one of the registered values",
        "customer must not be null",
    )


def test_a_rejection_wins_over_flags_whatever_their_order() -> None:
    flag = Check(column="state", one_of=["open"], on_violation="flag")
    reject = Check(column="amount", min=0)
    row = {"amount": "-1", "state": "gone"}
    assert isinstance(verdict(row, flag, reject), Reject)
    assert isinstance(verdict(row, reject, flag), Reject)


def test_a_check_finds_its_column_by_the_name_avro_gave_it() -> None:
    assert isinstance(verdict({"net_amount": "-1"}, Check(column="net-amount", min=0)), Reject)
    assert isinstance(verdict({"_2nd": None}, Check(column="2nd", not_null=True)), Reject)


def test_no_checks_no_flags() -> None:
    assert verdict(order()) == ()


# --- cause ------------------------------------------------------------------------------------------------------------


def test_the_cause_is_what_the_owner_says() -> None:
    assert cause_of(order(change_reason="recount"), ORDERS) == "recount"
    assert cause_of({"change_reason": 7}, ORDERS) == "7"


def test_no_cause_is_none() -> None:
    assert cause_of(order(change_reason=None), ORDERS) is None
    assert cause_of({}, ORDERS) is None
    assert cause_of(None, ORDERS) is None
    assert cause_of(order(), msgspec.structs.replace(ORDERS, cause=None)) is None
