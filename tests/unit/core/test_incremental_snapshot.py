"""Which tables an incremental snapshot of Debezium can read."""

import msgspec
import pytest

from trueup.core.incremental_snapshot import why_not_read_again
from trueup.model.columns import CapturedTable, Column


def table_of(**key: str) -> CapturedTable:
    """Of types by key column, and one column that is no key and of a type that no key may have."""
    columns = tuple(Column(name=name, pg_type=pg_type, nullable=False) for name, pg_type in key.items())
    beside = Column(name="v", pg_type="money", nullable=True)
    return CapturedTable(table="t", columns=(*columns, beside), key=tuple(key))


@pytest.mark.parametrize(
    ("pg_type", "is_read"),
    [
        ("money", False),
        ("time(2) without time zone", False),
        ("timestamp without time zone", False),
        ("timestamp(3) with time zone", False),
        ("date", True),
        ("uuid", True),
        ("tstzrange", True),
    ],
)
def test_tables_whose_key_debezium_cannot_compare_are_not_read_again(pg_type: str, is_read: bool) -> None:
    reason = why_not_read_again(table_of(a="bigint", k=pg_type))
    assert (reason is None) is is_read
    assert is_read or f'"k" has type {pg_type}' in str(reason)


def test_no_table_with_a_generated_column_is_read_again() -> None:
    """dbz#2020: the request would end the task of the connector, at each start."""
    plain = table_of(a="bigint")
    twice = Column(name="twice", pg_type="integer", nullable=True, generated=True)
    assert why_not_read_again(plain) is None
    reason = why_not_read_again(msgspec.structs.replace(plain, columns=(*plain.columns, twice)))
    assert reason == 'column "twice" is generated, with which Debezium cannot read a table again'
