"""Where a column of the source is found in a copy, by the registration."""

import msgspec
import pytest

from trueup.demo.copies import CopyPlace
from trueup.model.registration import Table

ORDERS = msgspec.convert(
    {
        "table": "orders",
        "owner": {"system": "shop"},
        "source": {"table": "public.orders"},
        "key": ["order_id"],
        "replicas": [
            {"replica": "warehouse"},
            {
                "replica": "reporting",
                "table": "sales.orders",
                "columns": {"id": "order_id", "total": {"from": "amount", "cast": "numeric(14,2)"}},
            },
        ],
    },
    Table,
)


def place(replica: str) -> CopyPlace:
    copy = ORDERS.copy_at(replica)
    assert copy is not None
    return CopyPlace(ORDERS, copy)


def test_a_copy_without_columns_has_those_of_the_source() -> None:
    assert place("warehouse").column("amount") == "amount"
    assert place("warehouse").target.as_string() == '"public"."orders"'


def test_a_reshaped_copy_has_columns_of_its_own() -> None:
    assert place("reporting").column("order_id") == "id"
    assert place("reporting").column("amount") == "total"
    assert place("reporting").target.as_string() == '"sales"."orders"'
    assert place("reporting").source.as_string() == '"public"."orders"'


def test_a_column_that_is_not_copied_is_missed() -> None:
    assert not place("reporting").has("change_reason")
    with pytest.raises(KeyError):
        place("reporting").column("change_reason")
