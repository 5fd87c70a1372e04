"""Which copies can be compared by ranges of keys, and how slowly."""

import pytest

from tests.replica_batches import column, plan_of
from trueup.core.key_ranges import ranges_fit, rest_s
from trueup.model.registration import ColumnRule


@pytest.mark.parametrize(
    ("source", "cast", "fits"),
    [
        ("bigint", None, True),
        ("integer", "bigint", True),
        ("integer", "numeric", True),
        ("integer", "text", False),
        ("uuid", None, True),
        ("uuid", "text", False),
        ("date", "text", False),
        ("character varying(40)", "text", True),
        ("timestamp(3) with time zone", None, True),
    ],
)
def test_a_key_that_sorts_as_at_its_source_is_compared_by_ranges(source: str, cast: str | None, *, fits: bool) -> None:
    shown = {"id": ColumnRule(from_="id", cast=cast), "note": ColumnRule(from_="note")}
    plan = plan_of(column("id", source), column("note", "text"), shown=dict(shown))
    assert ranges_fit(plan) is fits


def test_one_key_column_that_does_not_sort_alike_is_enough() -> None:
    shown = {"id": ColumnRule(from_="id"), "line": ColumnRule(from_="line", cast="text")}
    plan = plan_of(column("id", "integer"), column("line", "integer"), key=("id", "line"), shown=dict(shown))
    assert not ranges_fit(plan)


@pytest.mark.parametrize(
    ("rows", "took_s", "limit", "expected_s"),
    [(1_000, 0.1, 1_000.0, 0.9), (1_000, 2.0, 1_000.0, 0.0), (1_000, 0.1, None, 0.0), (0, 0.0, 5.0, 0.0)],
)
def test_rows_are_read_no_faster_than_allowed(rows: int, took_s: float, limit: float | None, expected_s: float) -> None:
    assert rest_s(rows, took_s, limit) == pytest.approx(expected_s)
