"""Step 5: checks and cause."""

import decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.envelopes import CAPTURED, COMMIT_TIME_US, ORDERS, SECRET, order
from trueup.core.rules import CompiledCheck, cause_of, check_row
from trueup.model.decision import Escalate, Reject
from trueup.model.registration import Age, Check, Comparison, Length


def verdict(
    row: dict[str, Any], *checks: Check, commit_time_us: int | None = None
) -> Reject | Escalate | tuple[str, ...]:
    columns = {column.name: column for column in CAPTURED.columns}
    compiled = tuple(CompiledCheck(check, columns) for check in checks)
    return check_row(row, compiled, commit_time_us=commit_time_us)


def violates(value: Any, **bounds: Any) -> bool:
    """Whether `amount = value` violates the check; the three kinds of check must agree."""
    row = {"amount": value}
    rejected = isinstance(verdict(row, Check(column="amount", on_violation="reject", **bounds)), Reject)
    flagged = verdict(row, Check(column="amount", on_violation="flag", **bounds)) != ()
    escalated = isinstance(verdict(row, Check(column="amount", on_violation="escalate", **bounds)), Escalate)
    assert rejected is flagged is escalated
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


def test_a_bound_in_quotes_is_kept_to_its_last_digit() -> None:
    assert violates("12345678901234567890.12", min="12345678901234567890.13")
    assert not violates("12345678901234567890.13", min="12345678901234567890.13")


@pytest.mark.parametrize(
    ("value", "pattern", "expected"),
    [
        ("DE", "[A-Z]{2}", False),
        ("DEU", "[A-Z]{2}", True),  # the whole text, not a part of it
        ("DE\n", "[A-Z]{2}", True),
        ("", "[A-Z]{2}", True),
        ("", ".*", False),
        ("größe 😀", "größe .", False),
        ("\ud800", ".*", True),  # no text PostgreSQL can hold
        (b"DE", "[A-Z]{2}", True),
        (7, "7", True),
        (None, "x", False),
    ],
)
def test_matches_asks_the_whole_text(value: Any, pattern: str, expected: bool) -> None:
    assert violates(value, matches=pattern) is expected


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(a|aa)+b", "(.*a){20}b"])
def test_a_pattern_takes_time_linear_in_the_text(pattern: str) -> None:
    assert violates("a" * 100_000, matches=pattern)


@pytest.mark.parametrize(
    ("value", "bounds", "expected"),
    [
        ("", {"min": 1}, True),
        ("😀", {"min": 1, "max": 1}, False),  # characters, not bytes
        ("ab", {"max": 1}, True),
        ("x", {"max": 0}, True),
        (b"ab", {"min": 2, "max": 2}, False),
        (["a", None], {"max": 1}, True),
        ([], {"min": 0, "max": 0}, False),
        (5, {"max": 9}, True),  # a number has no length
        (None, {"min": 1}, False),
    ],
)
def test_length(value: Any, bounds: dict[str, int], expected: bool) -> None:
    assert violates(value, length=Length(**bounds)) is expected


@pytest.mark.parametrize(
    ("amount", "weight", "holding"),
    [
        ("1.5", 1.5, {"equal", "at_most", "at_least"}),
        ("0.1", 0.1, {"not_equal", "less_than", "at_most"}),  # the float is a little more than 0.1
        ("-3", 2.0, {"not_equal", "less_than", "at_most"}),
        ("POSITIVE_INFINITY", 2.0, {"not_equal", "more_than", "at_least"}),
        ("NAN", 2.0, set()),  # keeps no promise, equal or not
        (None, 2.0, {"equal", "not_equal", "less_than", "at_most", "at_least", "more_than"}),
        ("1", None, {"equal", "not_equal", "less_than", "at_most", "at_least", "more_than"}),
    ],
)
def test_two_columns_are_compared_exactly(amount: Any, weight: Any, holding: set[str]) -> None:
    row = order(amount=amount, weight=weight)
    kept = {
        name
        for name in Comparison.__struct_fields__
        if verdict(row, Check(column="amount", compare=Comparison(**{name: "weight"}))) == ()
    }
    assert kept == holding


@given(st.decimals(allow_nan=False), st.floats(allow_nan=False))
def test_comparison_agrees_with_decimals(amount: decimal.Decimal, weight: float) -> None:
    row = order(amount=str(amount), weight=weight)
    keeps = verdict(row, Check(column="amount", compare=Comparison(at_most="weight"))) == ()
    assert keeps is (amount <= decimal.Decimal(weight))


def test_text_is_compared_for_equality() -> None:
    check = Check(column="customer", compare=Comparison(not_equal="change_reason"))
    assert verdict(order(customer="a", change_reason="b"), check) == ()
    answer = verdict(order(customer="a", change_reason="a"), check)
    assert isinstance(answer, Reject)
    assert answer.reason == "customer must be different from change_reason"


@pytest.mark.parametrize(
    ("updated_at", "age", "expected"),
    [
        ("2026-01-05T10:00:00.000000Z", {"max": "1h", "ahead": "0s"}, False),
        ("2026-01-05T09:00:00.000000Z", {"max": "1h"}, False),
        ("2026-01-05T08:59:59.999999Z", {"max": "1h"}, True),
        ("2026-01-05T10:00:00.000001Z", {"ahead": "0s"}, True),
        ("2026-01-05T10:00:02.000000Z", {"ahead": "2s"}, False),
        ("2026-01-05T10:00:02.000001Z", {"ahead": "2s"}, True),
        ("infinity", {"max": "1h"}, False),
        ("infinity", {"ahead": "1h"}, True),
        ("-infinity", {"max": "1h"}, True),
        ("soon", {"max": "1h"}, True),
        (None, {"max": "1h"}, False),
    ],
)
def test_age_is_against_the_commit_to_the_microsecond(updated_at: Any, age: dict[str, str], expected: bool) -> None:
    check = Check(column="updated_at", age=Age(**age))
    answer = verdict(order(updated_at=updated_at), check, commit_time_us=COMMIT_TIME_US)
    assert isinstance(answer, Reject) is expected


def test_a_row_of_a_snapshot_has_no_age() -> None:
    check = Check(column="updated_at", age=Age(max="1ms", ahead="1ms"))
    assert verdict(order(updated_at="1999-01-01T00:00:00Z"), check) == ()


def test_a_rejection_wins_over_an_escalation_and_that_over_flags() -> None:
    flag = Check(column="state", one_of=["open"], on_violation="flag")
    escalate = Check(column="customer", not_null=True, on_violation="escalate")
    reject = Check(column="amount", min=0)
    row = order(state="gone", customer=None, amount="-1")
    assert isinstance(verdict(row, flag, escalate, reject), Reject)
    answer = verdict(row, flag, escalate)
    assert answer == verdict(row, escalate, flag)
    assert isinstance(answer, Escalate)
    assert (answer.stage, answer.error_class) == ("rules", "Undecided: check on customer")
    assert answer.reason == "customer must not be null"


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
