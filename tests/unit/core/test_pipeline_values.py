"""`decide` and values: truth is in PostgreSQL's own words, and what may be another value is a dead letter."""

from decimal import Decimal
from typing import Any

import msgspec

from tests.envelopes import HOLE, ORDERS, change, order, orders_plan
from trueup.core.ordering import Guard
from trueup.core.pipeline import DecidePlan, decide
from trueup.core.truth_codec import TruthCodec, hash_row
from trueup.core.truth_schema import truth_schema
from trueup.model.columns import CapturedTable, Column
from trueup.model.decision import Apply, Reject
from trueup.model.registration import Check
from trueup.model.rule_function import RuleFunction
from trueup.rules import Row

PLAN = orders_plan()


def truth_row(op: str = "c", **values: Any) -> dict[str, Any]:
    decision, _ = decide(change(1, op, order(**values)), None, Guard(), PLAN)
    assert isinstance(decision, Apply)
    row = decision.truth.row
    assert row is not None
    assert decision.truth.content_hash == hash_row(PLAN.codec.encode_row(row))
    return row


def test_f44_the_key_is_known_by_the_names_the_capture_gives_its_columns() -> None:
    captured = CapturedTable(
        table="odd",
        key=("line no", "100%"),
        columns=tuple(Column(name=name, pg_type="integer", nullable=False) for name in ("line no", "100%", 'x"; --')),
    )
    table = msgspec.structs.replace(ORDERS, table="odd", key=["line no", "100%"], checks=[], cause=None)
    plan = DecidePlan(table, TruthCodec(truth_schema(table, captured), 7), HOLE)
    assert plan.key_columns == {"line_no", "_100_"}


def test_f38_special_numbers_are_truth_in_the_words_of_postgresql() -> None:
    assert truth_row(amount="POSITIVE_INFINITY")["amount"] == "Infinity"


def test_f39_times_out_of_the_ordinary_are_truth_in_the_words_of_postgresql() -> None:
    moment = "-0043-03-15T12:00:00.500000Z"
    assert truth_row(updated_at=moment)["updated_at"] == "0044-03-15 12:00:00.500000+00 BC"
    assert truth_row("r", updated_at=moment) == truth_row("u", updated_at=moment)


def test_a_value_that_may_be_another_one_is_a_dead_letter_that_names_its_column() -> None:
    decision, _ = decide(change(1, row=order(tags=["[Ljava.lang.String;@c545f10"])), None, Guard(), PLAN)
    assert isinstance(decision, Reject)
    assert (decision.stage, decision.error_class) == ("validate", "ValueInexact")
    assert '"tags"' in decision.reason
    assert "Ljava" not in decision.reason


def test_f38_a_rule_sees_the_row_before_in_the_same_words() -> None:
    seen: list[object] = []

    def remember(row: Row, before: Row | None) -> None:
        seen.append((row["amount"], None if before is None else before["amount"]))

    function = RuleFunction(
        name="remember",
        call=remember,
        takes=("row", "before"),
        about="",
        file="rules.py",
        line=1,
        fingerprint="",
        module_fingerprint="",
    )
    table = msgspec.structs.replace(ORDERS, checks=[Check(function="remember")])
    plan = DecidePlan(table, PLAN.codec, HOLE, {"remember": function})
    plan.decoders.update(PLAN.decoders)
    record = change(1, "u", order(amount="NEGATIVE_INFINITY"), before=order(amount="POSITIVE_INFINITY"))
    decide(record, None, Guard(), plan)
    assert seen == [(Decimal("-Infinity"), Decimal("Infinity"))]
