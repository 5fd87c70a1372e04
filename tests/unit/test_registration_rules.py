"""Rules without and with the source's columns: each is broken once, and a valid registration breaks none."""

from typing import Any

import msgspec
import pytest

from tests.unit.project_folder import ORDERS_CAPTURED, table_of
from trueup.core.column_rules import problems_with_columns
from trueup.core.registration_rules import problems_of
from trueup.core.table_rules import problems_of_table
from trueup.model.columns import CapturedTable, Column
from trueup.model.problem import Problem, Registered, Registrations, dotted
from trueup.model.registration import Replica, System, Table


def registrations(*tables: Table, **unread: frozenset[str]) -> Registrations:
    systems = [System(system=name, kind="postgresql", dsn=f"${{env:{name}_DSN}}") for name in ("shop", "warehouse")]
    replicas = [
        Replica(replica="shop", kind="postgresql", dsn="${env:shop_WRITER}"),
        Replica(replica="reporting", kind="postgresql", dsn="${env:reporting_DSN}"),
        # The same database as system warehouse, under another name.
        Replica(replica="depot", kind="postgresql", dsn="${env:W}", ddl_dsn="${env:warehouse_DSN}"),
    ]
    return Registrations(
        systems=tuple(Registered(file=f"s/{s.system}.yaml", stem=s.system, value=s) for s in systems),
        replicas=tuple(Registered(file=f"r/{r.replica}.yaml", stem=r.replica, value=r) for r in replicas),
        tables=tuple(Registered(file=f"t/{t.table}.yaml", stem=t.table, value=t) for t in tables),
        **unread,
    )


def fields(problems: list[Problem]) -> list[str]:
    assert all(problem.primary and problem.hint for problem in problems)
    return [dotted(problem.path) for problem in problems]


def test_a_valid_project_has_no_problem() -> None:
    tables = [
        table_of(replicas=[{"replica": "reporting"}, {"replica": "depot"}]),
        table_of(
            table="stock",
            owner={"system": "warehouse"},
            source={"table": "public.stock"},
            replicas=[{"replica": "shop"}],
        ),
    ]
    assert problems_of(registrations(*tables)) == []


def test_two_systems_may_have_tables_of_one_name() -> None:
    there = table_of(table="orders_there", owner={"system": "warehouse"})
    assert problems_of(registrations(table_of(), there)) == []


@pytest.mark.parametrize(
    "copy",
    [{"replica": "shop"}, {"replica": "depot", "table": "public.stock"}],
    ids=["same name", "same DSN under another name"],
)
def test_a_copy_must_not_be_written_into_a_captured_table(copy: dict[str, Any]) -> None:
    stock = table_of(table="stock", owner={"system": "warehouse"}, source={"table": "public.stock"})
    problems = problems_of(registrations(table_of(replicas=[copy]), stock))
    assert [problem.file for problem in problems] == ["t/orders.yaml"]
    assert "loop" in problems[0].primary


def test_two_tables_of_one_name() -> None:
    given = registrations(table_of())
    twice = Registered(file="t/orders2.yaml", stem="orders2", value=table_of(source={"table": "a.b"}))
    problems = problems_of(Registrations(systems=given.systems, tables=(*given.tables, twice)))
    assert [problem.file for problem in problems] == ["t/orders2.yaml", "t/orders2.yaml"]
    assert "two names differ" in problems[0].primary
    assert "registered twice" in problems[1].primary


def test_an_unread_replica_is_known() -> None:
    table = table_of(replicas=[{"replica": "broken"}])
    assert problems_of(registrations(table, unread_replicas=frozenset({"broken"}))) == []
    assert fields(problems_of(registrations(table))) == ["replicas[0].replica"]


COPY = {"replica": "reporting"}
MASKED = COPY | {
    "columns": {"id": "order_id", "mail": {"from": "email", "mask": "sha256"}, "why": "change_reason", "eur": "amount"}
}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"source": {"table": "public.größe"}}, "source.table"),
        ({"source": {"table": "trueup.progress"}}, "source.table"),
        ({"source": {"table": "pg_catalog.pg_class"}}, "source.table"),
        ({"key": ["a", "a"]}, "key[1]"),
        ({"key": [""]}, "key[0]"),
        ({"key": ["a\0b"]}, "key[0]"),
        ({"key": ["é" * 32]}, "key[0]"),
        ({"version": {"column": ""}}, "version.column"),
        ({"version": {"column": "updated_at", "uncertainty": "0s"}}, "version.uncertainty"),
        ({"cause": {"column": ""}}, "cause.column"),
        ({"window": {"within": "0ms"}}, "window.within"),
        ({"checks": [{"column": "a"}]}, "checks[0]"),
        ({"checks": [{"column": "a", "not_null": False}]}, "checks[0]"),
        ({"checks": [{"column": "a", "one_of": []}]}, "checks[0].one_of"),
        ({"checks": [{"column": "a", "min": float("nan")}]}, "checks[0].min"),
        ({"checks": [{"column": "a", "min": 2, "max": 1.5}]}, "checks[0].min"),
        ({"checks": [{"column": "a", "min": "1.5000000000000000001", "max": 1.5}]}, "checks[0].min"),
        ({"checks": [{"min": 2}]}, "checks[0].column"),
        ({"checks": [{"function": "f", "min": 2}]}, "checks[0].min"),
        ({"checks": [{"column": "a", "matches": "(?<=x)"}]}, "checks[0].matches"),
        ({"checks": [{"column": "a", "matches": "x" * 1_001}]}, "checks[0].matches"),
        ({"checks": [{"column": "a", "matches": "((a{100}){100}){100}"}]}, "checks[0].matches"),
        ({"checks": [{"column": "a", "length": {}}]}, "checks[0].length"),
        ({"checks": [{"column": "a", "length": {"min": 2, "max": 1}}]}, "checks[0].length.min"),
        ({"checks": [{"column": "a", "compare": {}}]}, "checks[0].compare"),
        ({"checks": [{"column": "a", "compare": {"equal": "a"}}]}, "checks[0].compare.equal"),
        ({"checks": [{"column": "a", "compare": {"equal": "b" * 64}}]}, "checks[0].compare.equal"),
        ({"checks": [{"column": "a", "age": {}}]}, "checks[0].age"),
        ({"replicas": [COPY | {"checks": [{"column": "a"}]}]}, "replicas[0].checks[0]"),
        ({"replicas": [COPY, COPY | {"table": "a.b"}]}, "replicas[1].replica"),
        ({"replicas": [COPY | {"table": "trueup.orders"}]}, "replicas[0].table"),
        ({"replicas": [COPY | {"table": f"a.{'b' * 64}"}]}, "replicas[0].table"),
        ({"replicas": [COPY | {"window": {"within": "0s"}}]}, "replicas[0].window.within"),
        ({"replicas": [COPY | {"columns": {}}]}, "replicas[0].columns"),
        (
            {"replicas": [COPY | {"columns": {"order_id": "order_id", "": "a"}}]},
            "replicas[0].columns.",
        ),
        (
            {"replicas": [COPY | {"columns": {"order_id": "order_id", "a": {"from": ""}}}]},
            "replicas[0].columns.a.from",
        ),
        (
            {"replicas": [COPY | {"columns": {"order_id": "order_id", "_trueup_version": "a"}}]},
            "replicas[0].columns._trueup_version",
        ),
        (
            {
                "replicas": [
                    COPY | {"columns": {"id": "order_id", "a": {"from": "a", "cast": "text", "mask": "sha256"}}}
                ]
            },
            "replicas[0].columns.a.cast",
        ),
        (
            {"replicas": [COPY | {"columns": {"id": "order_id", "a": {"from": "a", "cast": "int8;"}}}]},
            "replicas[0].columns.a.cast",
        ),
        (
            {"replicas": [COPY | {"columns": {"id": {"from": "order_id", "cast": "numeric(3,0)"}}}]},
            "replicas[0].columns.id.cast",
        ),
    ],
)
def test_a_table_breaks_a_rule_by_itself(changes: dict[str, Any], field: str) -> None:
    assert fields(problems_of_table(table_of(**changes), "orders.yaml")) == [field]


@pytest.mark.parametrize("cast", ["text", "numeric(12, 2)", "timestamp(3) with time zone", "DOUBLE  precision"])
def test_casts_to_plain_types_pass(cast: str) -> None:
    copy = COPY | {"columns": {"id": "order_id", "a": {"from": "a", "cast": cast}}}
    assert problems_of_table(table_of(replicas=[copy]), "orders.yaml") == []


def test_a_masked_key_passes_beside_a_clear_one() -> None:
    copy = COPY | {"columns": {"id": "order_id", "shown": {"from": "order_id", "mask": "sha256"}}}
    assert problems_of_table(table_of(replicas=[copy]), "orders.yaml") == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"key": ["id"]}, "key[0]"),
        ({"version": {"column": "changed"}}, "version.column"),
        ({"version": {"column": "email"}}, "version.column"),
        ({"version": {"column": "revision", "uncertainty": "2s"}}, "version.uncertainty"),
        ({"cause": {"column": "why"}}, "cause.column"),
        ({"checks": [{"column": "total", "min": 0}]}, "checks[0].column"),
        ({"checks": [{"column": "email", "min": 0}]}, "checks[0].min"),
        ({"checks": [{"column": "status", "max": 0}]}, "checks[0].max"),
        ({"checks": [{"column": "amount", "matches": "x"}]}, "checks[0].matches"),
        ({"checks": [{"column": "tags", "matches": "x"}]}, "checks[0].matches"),
        ({"checks": [{"column": "amount", "length": {"max": 3}}]}, "checks[0].length"),
        ({"checks": [{"column": "amount", "age": {"max": "1h"}}]}, "checks[0].age"),
        ({"checks": [{"column": "amount", "compare": {"equal": "total"}}]}, "checks[0].compare.equal"),
        ({"checks": [{"column": "amount", "compare": {"equal": "email"}}]}, "checks[0].compare.equal"),
        ({"checks": [{"column": "updated_at", "compare": {"at_most": "revision"}}]}, "checks[0].compare.at_most"),
        ({"checks": [{"column": "email", "compare": {"at_most": "change_reason"}}]}, "checks[0].compare.at_most"),
        ({"checks": [{"column": "tags", "compare": {"equal": "tags2"}}]}, "checks[0].compare.equal"),
        ({"replicas": [MASKED | {"checks": [{"column": "email", "not_null": True}]}]}, "replicas[0].checks[0].column"),
        ({"replicas": [MASKED | {"checks": [{"column": "mail", "matches": "x"}]}]}, "replicas[0].checks[0].matches"),
        (
            {"replicas": [MASKED | {"checks": [{"column": "why", "compare": {"equal": "mail"}}]}]},
            "replicas[0].checks[0].compare.equal",
        ),
        ({"checks": [{"column": "tags", "one_of": ["a"]}]}, "checks[0].one_of"),
        ({"checks": [{"column": "amount", "one_of": ["a"]}]}, "checks[0].one_of"),
        ({"checks": [{"column": "revision", "one_of": [1, True]}]}, "checks[0].one_of[1]"),
        ({"checks": [{"column": "status", "one_of": ["new", 1]}]}, "checks[0].one_of[1]"),
        (
            {"replicas": [COPY | {"columns": {"id": "order_id", "mail": "e_mail"}}]},
            "replicas[0].columns.mail",
        ),
        (
            {"replicas": [COPY | {"columns": {"id": "order_id", "mail": {"from": "e_mail"}}}]},
            "replicas[0].columns.mail.from",
        ),
        (
            {"replicas": [COPY | {"columns": {"id": "order_id", "t": {"from": "tags", "mask": "sha256"}}}]},
            "replicas[0].columns.t.mask",
        ),
        (
            {"replicas": [COPY | {"columns": {"id": {"from": "order_id", "cast": "integer"}}}]},
            "replicas[0].columns.id",
        ),
    ],
)
def test_a_registration_that_does_not_fit_the_source(changes: dict[str, Any], field: str) -> None:
    assert fields(problems_with_columns(table_of(**changes), ORDERS_CAPTURED)) == [field]


@pytest.mark.parametrize(
    "changes",
    [
        {"version": {"column": "updated_at", "uncertainty": "2s"}},
        {"version": {"column": "revision"}},
        {"checks": [{"column": "status", "one_of": ["new"]}, {"column": "amount", "min": 0, "max": 9.5}]},
        {"checks": [{"column": "tags", "not_null": True, "length": {"max": 9}}]},
        {"checks": [{"column": "email", "matches": ".+@.+", "compare": {"not_equal": "change_reason"}}]},
        {"checks": [{"column": "amount", "compare": {"at_least": "revision"}}]},
        {"checks": [{"column": "updated_at", "age": {"max": "1h", "ahead": "2s"}}]},
        {"checks": [{"function": "looks_right"}]},
        {"replicas": [MASKED | {"checks": [{"column": "mail", "not_null": True}, {"column": "eur", "min": "0.10"}]}]},
        {"replicas": [COPY | {"checks": [{"column": "amount", "min": 0, "on_violation": "flag"}]}]},
        {"replicas": [COPY]},
        {"replicas": [COPY | {"columns": {"id": {"from": "order_id", "cast": "text"}, "s": "status"}}]},
    ],
)
def test_a_registration_that_fits_the_source(changes: dict[str, Any]) -> None:
    assert problems_with_columns(table_of(**changes), ORDERS_CAPTURED) == []


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            [Column(name="place", pg_type="point", nullable=True)],
            "point, which is not supported: capture takes it apart",
        ),
        ([Column(name="_trueup_version", pg_type="bytea", nullable=True)], "itself a copy"),
        (
            [
                Column(name="a-b", pg_type="text", nullable=True),
                Column(name="a_b", pg_type="text", nullable=True),
            ],
            "same name in Avro",
        ),
    ],
)
def test_columns_that_cannot_be_captured(columns: list[Column], said: str) -> None:
    captured = CapturedTable(
        table="orders",
        key=("order_id",),
        columns=(Column(name="order_id", pg_type="bigint", nullable=False), *columns),
    )
    problems = problems_with_columns(table_of(), captured, file="t.yaml")
    assert fields(problems) == ["source.table"]
    assert said in problems[0].primary


@pytest.mark.parametrize(
    ("pg_type", "kind", "refused"),
    [
        ("bigint", "b", False),
        ("numeric(12,2)", "b", False),
        ("text", "b", False),
        ("uuid", "b", False),
        ("timestamp with time zone", "b", False),
        ("mood", "e", False),
        ("numeric", "b", True),  # 1.0 and 1.00 are one key
        ("double precision", "b", True),  # 0 and -0
        ("citext", "b", True),
        ("interval", "b", True),  # 1 day and 24 hours
        ("jsonb", "b", True),
        ("integer[]", "b", True),
    ],
)
def test_a_key_must_have_one_text_for_each_value(pg_type: str, kind: str, refused: bool) -> None:
    column = Column(name="order_id", pg_type=pg_type, nullable=False, kind=kind)
    problems = problems_with_columns(table_of(), CapturedTable(table="orders", key=("order_id",), columns=(column,)))
    assert fields(problems) == ["key[0]"] * refused
    assert all(pg_type in problem.primary for problem in problems)


def test_a_version_that_may_be_null() -> None:
    captured = CapturedTable(
        table="orders",
        key=("order_id",),
        columns=(
            Column(name="order_id", pg_type="bigint", nullable=False),
            Column(name="changed", pg_type="timestamp(3) with time zone", nullable=True),
        ),
    )
    problems = problems_with_columns(table_of(version={"column": "changed"}), captured)
    assert fields(problems) == ["version.column"]
    assert "SET NOT NULL" in problems[0].hint


# --- several writers --------------------------------------------------------------------------------------------------

BY_TIME = {"column": "updated_at", "uncertainty": "2s"}


def shared(**fields: Any) -> Table:
    """A table that shop and warehouse may write."""
    known = {"owner": None, "writers": ["shop", "depot"], "conflicts": {"policy": "escalate"}}
    return table_of(**(known | fields))


def writers_registered(*tables: Table) -> Registrations:
    """System depot is the replica of that name; both writers are systems and replicas."""
    given = registrations(*tables)
    depot = System(system="depot", kind="postgresql", dsn="${env:DEPOT_DSN}")
    return msgspec.structs.replace(
        given, systems=(*given.systems, Registered(file="s/depot.yaml", stem="depot", value=depot))
    )


@pytest.mark.parametrize(
    "table",
    [
        shared(),
        shared(conflicts={"policy": "prefer", "system": "depot"}),
        shared(conflicts={"policy": "last_write_wins"}, version=BY_TIME),
        shared(conflicts={"policy": "version_comparison"}, version={"column": "row_version"}),
        shared(replicas=[{"replica": "reporting"}]),
    ],
)
def test_several_writers_with_a_policy_are_no_problem(table: Table) -> None:
    assert problems_of(writers_registered(table)) == []


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"owner": {"system": "shop"}}, "writers"),
        ({"writers": ["shop"]}, "writers"),
        ({"writers": ["shop", "depot", "shop"]}, "writers[2]"),
        ({"conflicts": None}, "writers"),
        ({"conflicts": {"policy": "last_write_wins"}}, "conflicts.policy"),
        ({"conflicts": {"policy": "version_comparison"}}, "conflicts.policy"),
        ({"version": {"column": "row_version"}}, "conflicts.policy"),
        ({"conflicts": {"policy": "prefer"}}, "conflicts.policy"),
        ({"conflicts": {"policy": "prefer", "system": "reporting"}}, "conflicts.policy"),
        ({"conflicts": {"policy": "escalate", "system": "shop"}}, "conflicts.system"),
        ({"replicas": [{"replica": "depot"}]}, "replicas[0].replica"),
        ({"writers": ["shop", "warehouse"]}, "writers[1]"),  # a system without a replica of its name
        ({"writers": ["shop", "nobody"]}, "writers[1]"),
    ],
)
def test_each_mistake_about_writers_is_named_at_its_field(changed: dict[str, Any], field: str) -> None:
    assert field in fields(problems_of(writers_registered(shared(**changed))))


def test_conflicts_without_writers_say_nothing() -> None:
    assert fields(problems_of(registrations(table_of(conflicts={"policy": "escalate"})))) == ["conflicts"]


def test_a_copy_into_a_shared_table_of_any_writer_goes_round() -> None:
    copy = {"replica": "depot", "table": "public.orders"}
    other = table_of(table="other", source={"table": "public.other"}, replicas=[copy])
    assert fields(problems_of(writers_registered(shared(), other))) == ["replicas[0].table"]


@pytest.mark.parametrize(
    ("policy", "column", "wrong"),
    [
        ("last_write_wins", "order_id", True),
        ("last_write_wins", "updated_at", False),
        ("version_comparison", "updated_at", True),
        ("version_comparison", "order_id", False),
    ],
)
def test_a_policy_compares_what_it_can(policy: str, column: str, wrong: bool) -> None:
    table = shared(conflicts={"policy": policy}, version={"column": column})
    found = fields(problems_with_columns(table, ORDERS_CAPTURED))
    assert ("version.column" in found) == wrong
