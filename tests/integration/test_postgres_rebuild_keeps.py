"""adapters.postgres_rebuild on a real PostgreSQL 18: what people did to a table survives its rebuild, or forbids it."""

import pytest

from tests.rebuilding import MASKED, filled, live_copy, make, play, rebuild_of, swapped
from tests.replica_database import rows
from trueup.model.errors import UnsafeChange

pytest_plugins = ["tests.fix_postgres"]
pytestmark = pytest.mark.integration


def test_rights_and_indexes_of_readers_are_kept(database: str) -> None:
    roles = ("test_reader", "test_auditor", "test_owner")
    for role in roles:
        rows(database, f"DROP ROLE IF EXISTS {role}")
        rows(database, f"CREATE ROLE {role}")

    async def scenario() -> None:
        live = await live_copy(database)
        rows(database, "GRANT SELECT ON public.orders TO test_reader WITH GRANT OPTION")
        rows(database, "GRANT SELECT (id, amount) ON public.orders TO test_auditor")
        rows(database, "GRANT SELECT ON public.orders TO PUBLIC")
        rows(database, 'CREATE INDEX "By Note, USING hash" ON public.orders USING hash (note)')
        rows(database, "CREATE INDEX by_expression ON public.orders (lower(note)) WHERE id > 0")
        rows(database, "CREATE INDEX by_amount ON public.orders (amount)")
        rows(database, "ALTER TABLE public.orders OWNER TO test_owner")
        rebuild = await rebuild_of(database, MASKED)
        await make(database, rebuild)
        await filled(database, rebuild)
        await swapped(database, rebuild)
        await live.replica.close()

    try:
        play(scenario())
        acl = "SELECT grantee::regrole::text, privilege_type, is_grantable FROM pg_class, aclexplode(relacl)"
        held = set(rows(database, f"{acl} WHERE oid = 'public.orders'::regclass AND grantee <> relowner"))
        assert {("test_reader", "SELECT", True), ("-", "SELECT", False)} <= held
        total = "SELECT has_column_privilege('test_auditor', 'public.orders', 'total', 'SELECT')"
        rows(database, "REVOKE SELECT ON public.orders FROM PUBLIC")
        assert rows(database, total) == [(True,)], "the right on a renamed column goes with it"
        note = "SELECT has_column_privilege('test_auditor', 'public.orders', 'note', 'SELECT')"
        assert rows(database, note) == [(False,)]
        owner = "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'public.orders'::regclass"
        assert rows(database, owner) == [("test_owner",)]
        indexes = rows(database, "SELECT indexname FROM pg_indexes WHERE tablename = 'orders' ORDER BY 1")
        assert indexes == [("By Note, USING hash",), ("by_expression",), ("orders_pkey",)]
    finally:
        for role in roles:
            rows(database, f"DROP OWNED BY {role}")
            rows(database, f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("CREATE VIEW public.shown AS SELECT note FROM public.orders", "view public.shown"),
        ("CREATE MATERIALIZED VIEW public.kept AS SELECT note FROM public.orders", "view public.kept"),
        ("CREATE TABLE public.lines (o bigint REFERENCES public.orders)", "foreign key lines_o_fkey of public.lines"),
        ("ALTER TABLE public.orders ADD CHECK (id > 0)", "constraint orders_id_check"),
        (
            "CREATE TRIGGER same BEFORE UPDATE ON public.orders FOR EACH ROW"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "trigger same",
        ),
        ("ALTER TABLE public.orders ENABLE ROW LEVEL SECURITY", "row security"),
        ("CREATE PUBLICATION onward FOR TABLE public.orders", "publication onward"),
        ("CREATE TABLE public.child () INHERITS (public.orders)", "inheritance with public.child"),
        ("CREATE UNIQUE INDEX one_note ON public.orders (id, note)", "unique index public.one_note"),
        ("ALTER TABLE public.orders ADD COLUMN remark text", "column remark, which is not copied"),
    ],
)
def test_what_would_be_lost_with_the_old_table_is_refused_by_name(database: str, made: str, named: str) -> None:
    async def scenario() -> None:
        live = await live_copy(database)
        await live.replica.close()
        rows(database, made)
        with pytest.raises(UnsafeChange) as refused:
            await make(database, await rebuild_of(database, MASKED))
        assert named in (refused.value.detail or "")

    play(scenario())
    assert rows(database, "SELECT to_regclass('trueup.rebuild_orders') IS NULL") == [(True,)]
