"""What the decide worker learns of captured schemas before it decides, and when it stops instead."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.envelopes import (
    CAPTURED,
    HOLE,
    ORDERS,
    SCHEMA_ID,
    TRUTH_SCHEMA_ID,
    change,
    default_position,
    envelope_schema,
)
from trueup.core.evolution import PassedDecoder
from trueup.core.pipeline import DecidePlan
from trueup.core.truth_codec import TruthCodec
from trueup.core.truth_schema import truth_schema
from trueup.model.columns import Column
from trueup.model.errors import SchemaChanged
from trueup.runtime.captured_schemas import learn_captured

EXTRA = Column(name="extra", pg_type="text", nullable=True)
WITH_EXTRA = msgspec.structs.replace(CAPTURED, columns=(*CAPTURED.columns, EXTRA))
TAKEN_OVER = default_position(5)[1]
"""The column "extra" was taken over when the log of the source ended here."""


class Registry:
    """Has the one schema that was captured."""

    def schema_by_id(self, schema_id: int) -> dict[str, Any]:
        assert schema_id == SCHEMA_ID
        return envelope_schema()


def plan(passed_until: dict[str, int]) -> DecidePlan:
    schema = truth_schema(ORDERS, WITH_EXTRA, {SCHEMA_ID}, passed_until)
    return DecidePlan(ORDERS, TruthCodec(schema, TRUTH_SCHEMA_ID), HOLE)


def learn(to: DecidePlan, *records: Any) -> None:
    asyncio.run(learn_captured(Registry(), records, to))  # type: ignore[arg-type]


def test_what_was_captured_before_the_columns_were_taken_over_is_passed() -> None:
    before = plan({"shop": TAKEN_OVER})
    learn(before, change(1), change(5))
    assert isinstance(before.decoders[SCHEMA_ID], PassedDecoder)


def test_a_column_that_was_taken_over_and_taken_away_again_stops_the_table() -> None:
    """The schema has the id it had before: taken for an old one, it would empty the column at every copy."""
    undone = plan({"shop": TAKEN_OVER})
    learn(undone, change(4), change(5))
    with pytest.raises(SchemaChanged) as stop:
        learn(undone, change(5), change(6))
    assert stop.value.detail == "gone: extra (evolve: additive)"
    assert "trueup apply --rebuild" in str(stop.value.hint)
    assert str(stop.value.hint).endswith("trueup apply --reread orders")


def test_rows_that_are_read_and_letters_that_are_replayed_do_not_say_that_columns_went() -> None:
    passing = plan({"shop": TAKEN_OVER})
    learn(passing, change(6, "r"), change(7, replay_of=3), change(8, source={"name": "elsewhere"}))


def test_a_schema_applied_by_a_former_release_does_not_say_until_when() -> None:
    learn(plan({}), change(1), change(60))


def test_columns_as_they_are_registered_are_no_going_back() -> None:
    schema = truth_schema(ORDERS, CAPTURED, {SCHEMA_ID}, {"shop": TAKEN_OVER})
    learn(DecidePlan(ORDERS, TruthCodec(schema, TRUTH_SCHEMA_ID), HOLE), change(60))
