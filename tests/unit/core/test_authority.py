"""Step 3: only the owner speaks (F-45)."""

from typing import Any

import pytest

from tests.envelopes import ORDERS, SCHEMA_ID, SECRET, change, envelope_schema, order
from trueup.core.authority import check_authority
from trueup.core.decode import EnvelopeDecoder, decode
from trueup.model.decision import Reject
from trueup.model.event import ChangeEvent

DECODERS = {SCHEMA_ID: EnvelopeDecoder(envelope_schema())}


def checked(source: dict[str, Any]) -> Reject | None:
    event = decode(change(0, row=order(customer=SECRET), source=source), DECODERS)
    assert isinstance(event, ChangeEvent)
    return check_authority(event, ORDERS)


def test_the_owner_may_speak() -> None:
    assert checked({}) is None


@pytest.mark.parametrize(
    "source",
    [
        {"name": "warehouse"},
        {"name": "Shop"},
        {"name": ""},
        {"schema": "sales"},
        {"schema": ""},
        {"table": "orders_2026"},
        {"table": "Orders"},
        {"name": "public", "schema": "shop"},
        {"table": 'orders"; DROP TABLE y;--'},
    ],
)
def test_nobody_else_may(source: dict[str, Any]) -> None:
    answer = checked(source)
    assert answer is not None
    assert (answer.stage, answer.error_class) == ("authority", "WrongAuthority")
    assert "shop.public.orders" in answer.reason
    assert SECRET not in answer.reason
