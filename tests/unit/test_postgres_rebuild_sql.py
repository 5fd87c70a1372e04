"""adapters.postgres_rebuild_sql: the plan of a rebuild as text, before any server sees it."""

from tests.replica_batches import ORDERS, REPLICA, column, plan_of
from trueup.adapters.postgres_rebuild_sql import Grant, Index, OldTable, grants, kept_indexes, make_shadow, swap
from trueup.model.rebuild import Rebuild
from trueup.model.registration import ColumnRule
from trueup.runtime.provision_steps import RebuildCopy, as_data, lines, title

COLUMNS = (column("id", "bigint"), column("amount", "numeric(12,2)"), column("note", "text"))
MASKED = Rebuild(
    old=ORDERS,
    new=plan_of(*COLUMNS, shown={"id": "id", "total": "amount", "note": ColumnRule(from_="note", mask="sha256")}),
)


def position(statements: list[str], begins: str) -> int:
    (found,) = [number for number, text in enumerate(statements) if text.startswith(begins)]
    return found


def test_the_shadow_is_recorded_last_so_that_what_is_recorded_is_complete() -> None:
    index = Index("by_note", " USING btree (note)", ("note",))
    statements = make_shadow(MASKED, OldTable(indexes=(index,)), "writer")
    assert [text.split("(")[0].strip() for text in statements] == [
        'CREATE TABLE "trueup"."rebuild_orders"',
        'CREATE INDEX "by_note" ON "trueup"."rebuild_orders" USING btree',
        'GRANT SELECT, INSERT, UPDATE, DELETE ON "trueup"."rebuild_orders" TO "writer"',
        "INSERT INTO trueup.copies",
    ]


def test_readers_wait_for_the_last_part_of_the_swap_only() -> None:
    statements = swap(MASKED, OldTable(primary_key="orders_pkey"))
    dropped = position(statements, "DROP TABLE")
    assert all("ALTER TABLE" not in text and "GRANT" not in text for text in statements[:dropped])
    assert statements[dropped:] == [
        'DROP TABLE IF EXISTS "public"."orders"',
        'ALTER TABLE "trueup"."rebuild_orders" SET SCHEMA "public"',
        'ALTER TABLE "public"."rebuild_orders" RENAME TO "orders"',
        'ALTER TABLE "public"."orders" RENAME CONSTRAINT "rebuild_orders_pkey" TO "orders_pkey"',
    ]
    assert not any("CASCADE" in text for text in statements)


def test_the_swap_fences_the_writer_and_takes_over_the_totals() -> None:
    statements = swap(MASKED, OldTable())
    taken = statements[position(statements, "INSERT INTO trueup.progress")]
    assert "token = p.token + 1" in taken
    for column_name in ("next_offset", "topic_identity", "applied", "rejected", "coalesced"):
        assert f"{column_name} = excluded.{column_name}" in taken


def test_letters_of_a_copy_that_hides_something_lose_their_values() -> None:
    emptied = "UPDATE trueup.dead_letters SET value = NULL WHERE target = 'public.orders' AND value IS NOT NULL"
    assert emptied in swap(MASKED, OldTable())
    whole = plan_of(*COLUMNS, shown={"id": "id", "amount": "amount", "remark": "note"})
    assert emptied not in swap(Rebuild(old=ORDERS, new=whole), OldTable())


def test_rights_follow_a_renamed_column_and_end_with_a_removed_one() -> None:
    found = [
        Grant("SELECT", "reader", grantable=False, column=None),
        Grant("SELECT", None, grantable=True, column="amount"),
        Grant("SELECT", 'o"brien', grantable=False, column="gone"),
        Grant("UPDATE", 'o"brien', grantable=False, column="id"),
    ]
    assert grants(MASKED, found) == [
        'GRANT SELECT ON "public"."orders" TO "reader"',
        'GRANT SELECT ("total") ON "public"."orders" TO PUBLIC WITH GRANT OPTION',
        'GRANT UPDATE ("id") ON "public"."orders" TO "o""brien"',
    ]


def test_the_owner_is_changed_last() -> None:
    statements = swap(MASKED, OldTable(owner="dba", grants=(Grant("SELECT", "reader", grantable=False, column=None),)))
    assert statements[-1] == 'ALTER TABLE "public"."orders" OWNER TO "dba"'


def test_an_index_on_a_column_that_is_gone_goes_with_it() -> None:
    indexes = (Index("a", " USING btree (amount)", ("amount",)), Index("n", " USING btree (note)", ("note",)))
    assert [index.name for index in kept_indexes(MASKED, OldTable(indexes=indexes))] == ["n"]


def test_a_dry_run_says_what_changes_and_shows_every_statement() -> None:
    shadow, swapped = make_shadow(MASKED, OldTable(), "writer"), swap(MASKED, OldTable())
    step = RebuildCopy(rebuild=MASKED, shadow=tuple(shadow), swap=tuple(swapped))
    assert title(step) == (
        f'replica {REPLICA}: fill copy "public.orders" anew from its truth:'
        ' column "amount" is renamed "total"; column "note": mask none becomes sha256'
    )
    filling = '-- fill "trueup.rebuild_orders" from topic trueup.truth.orders, then at once:'
    assert lines(step) == [*(f"{text};" for text in shadow), filling, *(f"{text};" for text in swapped)]
    assert as_data(step)["step"] == "RebuildCopy"
