"""What makes a table of a source impossible to capture, and what must change there."""

import msgspec
import pytest

from trueup.core.source_rules import (
    needs_full_identity,
    parts_to_identify,
    problems_between_writers,
    problems_with_defaults,
    problems_with_server,
    problems_with_source,
    why_full_identity,
)
from trueup.model.columns import CapturedTable, Column
from trueup.model.registration import ColumnVersion, Conflicts, Owner, Source, Table
from trueup.model.source_table import (
    CaptureRole,
    SourceColumn,
    SourceIndex,
    SourcePartition,
    SourceServer,
    SourceTable,
)

TABLE = Table(table="orders", owner=Owner(system="shop"), source=Source(table="public.orders"), key=["id"])
SERVER = SourceServer(version=180000, wal_level="logical", database="shop", user="owner")
ROLE = CaptureRole(name="capture", may_replicate=True, sees_all_rows=False)
PART = SourcePartition(schema="public", table="orders", replica_identity="d", toast=False)
FOUND = SourceTable(
    schema="public",
    table="orders",
    kind="r",
    persistence="p",
    row_security=False,
    owned=True,
    columns=(
        SourceColumn(column=Column(name="id", pg_type="bigint", nullable=False)),
        SourceColumn(column=Column(name="note", pg_type="text", nullable=True)),
    ),
    unique=(SourceIndex(columns=("id",), primary=True),),
    partitions=(PART,),
)
NUMBER = SourceIndex(columns=("number",))


def changed(**fields: object) -> SourceTable:
    return msgspec.structs.replace(FOUND, **fields)


def primaries(found: SourceTable | None, table: Table = TABLE) -> list[str]:
    return [problem.primary for problem in problems_with_source(table, found, SERVER, ROLE)]


def test_a_plain_table_has_no_problem_and_needs_no_change() -> None:
    assert primaries(FOUND) == []
    assert parts_to_identify(TABLE, FOUND) == []


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (None, "does not exist"),
        (changed(unique=()), "has no key"),
        (changed(unique=(NUMBER,)), "is no key of table"),
        (changed(kind="v"), "is no table"),
        (changed(persistence="u"), "unlogged"),
        (changed(row_security=True), "row level security"),
        (changed(owned=False), "does not own"),
        (
            changed(columns=(SourceColumn(column=Column(name="m", pg_type="integer[]", nullable=True), dimensions=2),)),
            "2 dimensions",
        ),
        (
            changed(
                partitions=(msgspec.structs.replace(PART, toast=True),),
                columns=(SourceColumn(column=Column(name="v", pg_type="text", nullable=True), virtual=True),),
            ),
            "generated when it is read",
        ),
    ],
)
def test_what_cannot_be_captured_is_refused_with_the_reason(found: SourceTable | None, says: str) -> None:
    (primary,) = primaries(found)
    assert says in primary


def with_column(pg_type: str, *lost: str) -> SourceTable:
    column = Column(name='at "x"', pg_type=pg_type, nullable=True)
    return changed(columns=(*FOUND.columns, SourceColumn(column=column, lost=lost)))


@pytest.mark.parametrize(
    ("pg_type", "lost", "says", "cure"),
    [
        (
            "time(0) without time zone",
            ("24:00:00",),
            "24:00:00 from 00:00:00",
            """ADD CHECK ("at ""x\"\"\" < '24:00:00')""",
        ),
        ("interval", ("infinity", "-infinity"), "infinity and -infinity from zero", 'CHECK (isfinite("at ""x"""))'),
        ("interval", ("-infinity",), "-infinity from zero", 'CHECK (isfinite("at ""x"""))'),
        ("numeric[]", ("{NaN}",), "{NaN} from null", """CHECK (NOT "at ""x\"\"\" && '{NaN,Infinity,-Infinity}')"""),
    ],
)
def test_f39_a_type_with_values_that_are_lost_is_refused_with_the_check_that_admits_it(
    pg_type: str, lost: tuple[str, ...], says: str, cure: str
) -> None:
    (problem,) = problems_with_source(TABLE, with_column(pg_type, *lost), SERVER, ROLE)
    assert says in problem.primary
    assert pg_type in problem.primary
    assert cure in (problem.hint or "")
    assert primaries(with_column(pg_type)) == [], "a check keeps them out"


def with_default(**fields: object) -> SourceTable:
    column = Column(name='at "x"', pg_type="text", nullable=True)
    column = msgspec.structs.replace(column, **{k: v for k, v in fields.items() if k != "default"})
    return changed(columns=(*FOUND.columns, SourceColumn(column=column, default=str(fields["default"]))))


def of_defaults(found: SourceTable, *ignored: str) -> list[tuple[str, str]]:
    captured = found.captured("orders", ("id",), generated=True)
    kept = tuple(column for column in captured.columns if column.name not in ignored)
    problems = problems_with_defaults(TABLE, found, msgspec.structs.replace(captured, columns=kept))
    return [(problem.primary, problem.hint or "") for problem in problems]


def test_a_nullable_column_whose_nulls_would_arrive_as_its_default_is_refused() -> None:
    found = with_default(default="'x'::text")
    ((primary, hint),) = of_defaults(found)
    assert "capture cannot tell null from 'x'::text" in primary
    assert hint.startswith('ALTER TABLE public.orders ALTER COLUMN "at ""x""" SET NOT NULL, or DROP DEFAULT')
    ((primary, hint),) = of_defaults(with_default(default="upper(note)", generated=True))
    assert "is generated" in primary
    assert "SET NOT NULL, or DROP EXPRESSION" in hint
    assert of_defaults(with_default(default="'x'::text", nullable=False)) == []
    assert of_defaults(found, 'at "x"') == [], "a column that is not registered has no nulls to lose"
    assert of_defaults(FOUND) == []


@pytest.mark.parametrize(("lc_monetary", "refused"), [("C", 0), ("en_US.UTF-8", 0), ("de_DE.UTF-8", 1), ("tr_TR", 1)])
def test_f38_money_is_captured_where_it_is_written_with_a_point(lc_monetary: str, refused: int) -> None:
    server = msgspec.structs.replace(SERVER, lc_monetary=lc_monetary)
    problems = problems_with_source(TABLE, with_column("money"), server, ROLE)
    assert len(problems) == refused
    assert all("money" in problem.primary and lc_monetary in problem.primary for problem in problems)


def test_every_problem_has_a_cure() -> None:
    found = changed(unique=(), kind="v", row_security=True, owned=False)
    problems = problems_with_source(TABLE, found, SERVER, ROLE)
    assert len(problems) == 4
    assert all(problem.hint and problem.file == "schemas/tables/orders.yaml" for problem in problems)


@pytest.mark.parametrize(
    ("server", "role", "says"),
    [
        (msgspec.structs.replace(SERVER, wal_level="replica"), ROLE, "wal_level"),
        (SERVER, None, "does not exist"),
        (SERVER, msgspec.structs.replace(ROLE, may_replicate=False), "may not replicate"),
    ],
)
def test_a_server_that_cannot_be_captured(server: SourceServer, role: CaptureRole | None, says: str) -> None:
    (problem,) = problems_with_server(TABLE, "shop", server, role, "capture")
    assert says in problem.primary


def test_whole_rows_are_logged_where_values_can_lie_out_of_line() -> None:
    toast = msgspec.structs.replace(PART, toast=True)
    assert parts_to_identify(TABLE, changed(partitions=(toast,))) == [toast]
    done = msgspec.structs.replace(toast, replica_identity="f")
    assert parts_to_identify(TABLE, changed(partitions=(done,))) == []


def test_whole_rows_are_logged_for_a_version_column() -> None:
    table = msgspec.structs.replace(TABLE, version=ColumnVersion(column="changed_at"))
    assert needs_full_identity(table, FOUND)


def test_a_unique_key_needs_identity() -> None:
    table = msgspec.structs.replace(TABLE, key=["number"])
    found = changed(unique=(*FOUND.unique, NUMBER))
    assert primaries(found, table) == []
    assert needs_full_identity(table, found)
    identified = changed(unique=(*FOUND.unique, SourceIndex(columns=("number",), replica_identity=True)))
    assert not needs_full_identity(table, identified)


@pytest.mark.parametrize(("name", "refused"), [("100%", 0), ('x"--', 0), ("a,b", 1), ("a:b", 1), ("a;b", 1), (" a", 1)])
def test_f44_a_unique_key_needs_a_name_that_the_connector_can_be_told(name: str, refused: int) -> None:
    table = msgspec.structs.replace(TABLE, key=[name])
    found = changed(unique=(*FOUND.unique, SourceIndex(columns=(name,))))
    assert len(primaries(found, table)) == refused
    alone = changed(unique=(SourceIndex(columns=(name,), primary=True),))
    assert primaries(alone, table) == []


def test_an_identity_that_lacks_the_key_is_replaced() -> None:
    nothing = msgspec.structs.replace(PART, replica_identity="n")
    assert parts_to_identify(TABLE, changed(partitions=(nothing,))) == [nothing]
    other = msgspec.structs.replace(PART, replica_identity="i")
    index = SourceIndex(columns=("number",), replica_identity=True)
    assert parts_to_identify(TABLE, changed(partitions=(other,), unique=(*FOUND.unique, index))) == [other]


def test_each_leaf_partition_has_its_own_identity() -> None:
    leaves = tuple(SourcePartition(schema="p", table=f"o{n}", replica_identity="d", toast=n == 1) for n in range(3))
    assert parts_to_identify(TABLE, changed(kind="p", partitions=leaves)) == list(leaves)


# --- several writers --------------------------------------------------------------------------------------------------

SHARED = Table(
    table="orders",
    writers=["shop", "crm"],
    conflicts=Conflicts(policy="escalate"),
    source=Source(table="public.orders"),
    key=["id"],
)


def test_of_several_writers_each_must_say_what_a_change_was_made_upon() -> None:
    assert needs_full_identity(SHARED, FOUND)
    assert parts_to_identify(SHARED, FOUND) == [PART]
    assert "others write the table" in why_full_identity(SHARED, FOUND)


@pytest.mark.parametrize(("version", "fine"), [(150_009, False), (160_000, True)])
def test_a_writer_must_be_able_to_leave_out_what_was_copied_there(version: int, fine: bool) -> None:
    server = msgspec.structs.replace(SERVER, version=version)
    found = [problem.primary for problem in problems_with_server(SHARED, "crm", server, ROLE, "capture")]
    assert found == ([] if fine else ['system "crm" runs PostgreSQL 15, whose log cannot leave out copied rows'])
    assert problems_with_server(TABLE, "shop", server, ROLE, "capture") == []


def test_the_tables_of_all_writers_have_the_same_columns() -> None:
    def captured(*columns: tuple[str, str]) -> CapturedTable:
        made = tuple(Column(name=name, pg_type=pg_type, nullable=True) for name, pg_type in columns)
        return CapturedTable(table="orders", key=("id",), columns=made)

    one = captured(("id", "bigint"), ("note", "text"))
    assert problems_between_writers(SHARED, {"shop": one, "crm": captured(("note", "text"), ("id", "bigint"))}) == []
    other = captured(("id", "integer"), ("more", "text"))
    found = [problem.primary for problem in problems_between_writers(SHARED, {"shop": one, "crm": other})]
    assert found == [
        'column "id" of "public.orders" is bigint at shop and integer at crm',
        'column "more" of "public.orders" is missing at shop and text at crm',
        'column "note" of "public.orders" is text at shop and missing at crm',
    ]
