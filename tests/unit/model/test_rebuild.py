"""model.rebuild: what is said about a copy whose content changed, and when nothing is."""

import msgspec
import pytest

from tests.replica_batches import column, plan_of
from trueup.model.rebuild import Rebuild, renamed_columns, shadow_of
from trueup.model.registration import ColumnRule
from trueup.model.write import CopyPlan

ID = column("id", "bigint")
AMOUNT = column("amount", "numeric(12,2)")
NOTE = column("note", "text")
PLAIN = plan_of(ID, AMOUNT, NOTE)


def shown(**columns: str | ColumnRule) -> CopyPlan:
    return plan_of(ID, AMOUNT, NOTE, shown={"id": "id", **columns})


@pytest.mark.parametrize(
    ("new", "changes"),
    [
        (
            shown(amount="amount", note=ColumnRule(from_="note", mask="sha256")),
            ('column "note": mask none becomes sha256',),
        ),
        (
            shown(amount=ColumnRule(from_="amount", cast="integer"), note="note"),
            ('column "amount": numeric(12,2) becomes numeric(12,2) cast to integer',),
        ),
        (shown(amount="amount", remark="note"), ('column "note" is renamed "remark"',)),
        (
            shown(amount="amount", remark=ColumnRule(from_="note", mask="sha256")),
            ('column "note" is renamed "remark"', 'column "remark": mask none becomes sha256'),
        ),
        (shown(amount="amount"), ('column "note" is removed',)),
        (shown(amount="amount", note="note", more="note"), ('column "more" is added',)),
        (
            plan_of(ID, AMOUNT, NOTE, shown={"id": "id", "amount": "amount", "note": "id"}),
            ('column "note": from note becomes from id, text becomes bigint',),
        ),
        (plan_of(ID, AMOUNT, NOTE, target="sales.orders"), ("table public.orders becomes sales.orders",)),
        (plan_of(ID, AMOUNT, NOTE, key=("id", "note")), ("key (id) becomes (id, note)",)),
    ],
)
def test_every_change_of_content_is_named(new: CopyPlan, changes: tuple[str, ...]) -> None:
    assert Rebuild(old=PLAIN, new=new).changes == changes


def test_a_table_that_is_gone_is_a_change() -> None:
    assert Rebuild(old=PLAIN, new=PLAIN, gone=True).changes == ("its table public.orders is gone",)


def test_what_no_row_shows_is_no_change() -> None:
    """The source has a column more, which this copy did not take: its rows are what they would be."""
    later = msgspec.structs.replace(PLAIN, whole=False)
    assert later != PLAIN
    assert Rebuild(old=PLAIN, new=later).changes == ()
    assert Rebuild(old=PLAIN, new=PLAIN).changes == ()


def test_a_shadow_has_the_content_and_a_name_of_its_own() -> None:
    shadow = shadow_of(PLAIN)
    assert shadow.target == "trueup.rebuild_orders"
    assert (shadow.columns, shadow.key, shadow.table) == (PLAIN.columns, PLAIN.key, PLAIN.table)


def test_two_columns_of_one_source_are_renamed_one_to_one() -> None:
    old = shown(first="note", second="note")
    new = shown(third="note", fourth="note")
    assert renamed_columns(old, new) == {"first": "fourth"}
    assert Rebuild(old=old, new=new).changes == (
        'column "first" is renamed "fourth"',
        'column "second" is removed',
        'column "third" is added',
    )
