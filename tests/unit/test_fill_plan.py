"""How `trueup apply` asks for rows that were in a table before, and where it says that nobody could bring them."""

import msgspec
import pytest

from tests.envelopes import CAPTURED, ORDERS
from trueup.model.columns import Column
from trueup.model.errors import Refused
from trueup.model.registration import System
from trueup.runtime.fill_plan import fill, fill_again

SHOP = System(system="shop", kind="postgresql", dsn="${env:SHOP_DSN}")
MOMENTS = msgspec.structs.replace(
    CAPTURED,
    key=("at",),
    columns=(Column(name="at", pg_type="timestamp(3) with time zone", nullable=False), *CAPTURED.columns),
)


def test_a_table_is_asked_for_once_and_again() -> None:
    assert fill(SHOP, ORDERS, CAPTURED, {}).is_first
    assert not fill_again(SHOP, ORDERS, CAPTURED, {}).is_first


def test_a_table_whose_key_debezium_cannot_compare_is_refused_before_it_waits_for_ever() -> None:
    with pytest.raises(Refused) as late:
        fill(SHOP, ORDERS, MOMENTS, {})
    assert '"at" has type timestamp(3) with time zone' in str(late.value.detail)
    assert late.value.hint == "a new snapshot brings it: trueup resync shop, then trueup apply"
    with pytest.raises(Refused) as changed:
        fill_again(SHOP, ORDERS, MOMENTS, {})
    assert "trueup resync shop --take-columns, then trueup apply --rebuild" in str(changed.value.hint)
