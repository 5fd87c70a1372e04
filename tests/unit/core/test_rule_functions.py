"""Step 5: functions of the rules module on a row, and what becomes of their answers."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.envelopes import (
    BY_TIME,
    CAPTURED,
    COMMIT_TIME_US,
    ORDERS,
    SCHEMA_ID,
    SECRET,
    change,
    envelope_schema,
    order,
    orders_codec,
)
from trueup.core.decode import EnvelopeDecoder
from trueup.core.ordering import Guard
from trueup.core.pipeline import DecidePlan, decide_batch
from trueup.core.rules import check_row, compile_table_checks
from trueup.model.case import CaseStatus
from trueup.model.decision import Escalate, Outcome, Reject
from trueup.model.registration import Check, Table, Violation
from trueup.model.rule_function import RuleFunction
from trueup.rules import Row


def function(call: Callable[..., Any], *takes: str) -> RuleFunction:
    return RuleFunction(
        name="looks_right",
        call=call,
        takes=("row", *takes),
        about="",
        file="rules.py",
        line=1,
        fingerprint="",
        module_fingerprint="",
    )


def table_with(on_violation: Violation = "reject", table: Table = ORDERS) -> Table:
    return msgspec.structs.replace(table, checks=[Check(function="looks_right", on_violation=on_violation)])


def verdict(
    call: Callable[..., Any],
    *takes: str,
    on_violation: Violation = "reject",
    before: dict[str, Any] | None = None,
    commit_time_us: int | None = None,
) -> Reject | Escalate | tuple[str, ...]:
    functions = {"looks_right": function(call, *takes)}
    checks = compile_table_checks(table_with(on_violation), CAPTURED, functions)
    return check_row(order(), checks, before, commit_time_us)


def test_none_is_fine_and_text_is_a_violation() -> None:
    assert verdict(lambda row: None) == ()
    rejected = verdict(lambda row: "too odd")
    assert isinstance(rejected, Reject)
    assert (rejected.stage, rejected.error_class) == ("rules", "CheckViolated")
    assert rejected.reason == "looks_right: too odd"
    assert verdict(lambda row: "too odd", on_violation="flag") == ("looks_right: too odd",)
    escalated = verdict(lambda row: "too odd", on_violation="escalate")
    assert isinstance(escalated, Escalate)
    assert (escalated.stage, escalated.error_class) == ("rules", "Undecided: rule looks_right")


def test_what_a_function_says_is_bounded_and_printable() -> None:
    (flag,) = verdict(lambda row: "a\nb\x00" + "c" * 10_000, on_violation="flag")  # type: ignore[misc]
    assert flag.startswith("looks_right: a b c")
    assert len(flag) < 250
    assert verdict(lambda row: "", on_violation="flag") == ("looks_right: violated",)


@pytest.mark.parametrize("on_violation", ["reject", "flag", "escalate"])
@pytest.mark.parametrize("error", [KeyError(SECRET), RecursionError(), SystemExit(1), AssertionError(SECRET)])
def test_a_rule_that_raises_is_a_dead_letter_with_its_name_and_the_class(
    error: BaseException, on_violation: Violation
) -> None:
    def call(row: Row) -> str | None:
        raise error

    answer = verdict(call, on_violation=on_violation)
    assert isinstance(answer, Reject)
    assert answer.error_class == "RuleRaised"
    assert answer.reason == f'rule "looks_right" raised {type(error).__name__}'
    assert SECRET not in f"{answer.reason}{answer.hint}"


def test_an_answer_that_is_no_text_is_a_dead_letter() -> None:
    answer = verdict(lambda row: False)
    assert isinstance(answer, Reject)
    assert (answer.error_class, answer.reason) == ("RuleRaised", 'rule "looks_right" answered bool, not None or text')


def test_a_function_sees_exact_values_by_column() -> None:
    seen: dict[str, Any] = {}
    verdict(seen.update)
    assert list(seen) == [column.name for column in CAPTURED.columns]
    assert (seen["amount"], type(seen["amount"])) == (Decimal("10.00"), Decimal)
    assert seen["updated_at"] == COMMIT_TIME_US
    assert seen["tags"] == ("new", None)
    assert seen["weight"] == Decimal("1.5")


def test_a_function_cannot_change_a_row_nor_find_another_column() -> None:
    def call(row: Any) -> None:
        with pytest.raises(TypeError):
            row["amount"] = 5
        with pytest.raises(KeyError):
            row["amonut"]
        assert SECRET not in repr(row)

    assert verdict(call) == ()


def test_before_and_commit_time_are_given_to_whoever_asks() -> None:
    seen: list[Any] = []
    verdict(
        lambda row, commit_time_us, before: seen.extend([commit_time_us, before["amount"]]),
        "commit_time_us",
        "before",
        before=order(amount="2.00"),
        commit_time_us=7,
    )
    assert seen == [7, Decimal("2.00")]
    verdict(lambda row, before: seen.append(before), "before")
    assert seen[-1] is None


def test_a_check_that_names_nothing_there_is_not_compiled() -> None:
    with pytest.raises(ValueError, match="looks_right"):
        compile_table_checks(table_with(), CAPTURED, {})
    with pytest.raises(ValueError, match="amonut"):
        compile_table_checks(msgspec.structs.replace(ORDERS, checks=[Check(column="amonut", min=0)]), CAPTURED, {})


# --- through the pipeline ---------------------------------------------------------------------------------------------


def plan(
    call: Callable[..., Any], *takes: str, on_violation: Violation = "reject", table: Table = ORDERS
) -> DecidePlan:
    registered = table_with(on_violation, table)
    made = DecidePlan(registered, orders_codec(registered), "hole", {"looks_right": function(call, *takes)})
    made.decoders[SCHEMA_ID] = EnvelopeDecoder(envelope_schema())
    return made


def test_a_rule_that_always_raises_ends_every_record_and_stops_nothing() -> None:
    def call(row: Row) -> str | None:
        raise ZeroDivisionError

    records = [change(offset, "c", order(offset + 1)) for offset in range(5)]
    batch = decide_batch(records, {}, Guard(), plan(call))
    assert batch.counts[Outcome.REJECTED] == 5
    assert [why.error_class for _, why in batch.dead] == ["RuleRaised"] * 5


def test_an_escalated_row_is_a_case_and_its_correction_supersedes_it() -> None:
    judged = plan(lambda row: "odd" if row["amount"] < 0 else None, on_violation="escalate")
    records = [change(0, "c", order(1, amount="-1.00")), change(1, "u", order(1, amount="1.00"))]
    batch = decide_batch(records, {}, Guard(), judged)
    assert (batch.counts[Outcome.ESCALATED], batch.counts[Outcome.APPLIED]) == (1, 1)
    assert not batch.dead
    assert [(case.rule, case.status) for case in batch.cases.values()] == [("rule looks_right", CaseStatus.SUPERSEDED)]


def test_a_flag_travels_in_the_truth() -> None:
    batch = decide_batch([change(0)], {}, Guard(), plan(lambda row: "odd", on_violation="flag"))
    assert [truth.flags for truth in batch.truths] == [("looks_right: odd",)]


def test_deletes_are_not_judged_and_snapshot_rows_have_no_commit_time() -> None:
    seen: list[Any] = []
    judged = plan(lambda row, commit_time_us: seen.append(commit_time_us), "commit_time_us", table=BY_TIME)
    records = [
        change(0, "r", order(1)),
        change(1, "c", order(2), commit_time_us=COMMIT_TIME_US),
        change(2, "d", order(2)),
    ]
    batch = decide_batch(records, {}, Guard(), judged)
    assert batch.counts[Outcome.APPLIED] == 3
    assert seen == [None, COMMIT_TIME_US]
