"""One database is one replica: `core.registration_rules` sees it in files, `runtime.replica_steps` at servers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.project_folder import ORDERS_CAPTURED, table_of
from trueup.adapters import postgres_sql as sql
from trueup.adapters.secret_references import Secrets
from trueup.core.registration_rules import problems_of
from trueup.model.errors import Refused
from trueup.model.problem import Registered, Registrations
from trueup.model.registration import Project, Replica, System, Table
from trueup.model.settings import Settings
from trueup.runtime import replica_steps
from trueup.runtime.replica_steps import Replicas

NAMES = ("crm", "reporting", "warehouse")


def replica(name: str) -> Replica:
    """Each has logins of its own, so that the registrations look like different databases."""
    owner = f"${{env:{name.upper()}_OWNER}}"
    return Replica(replica=name, kind="postgresql", dsn=f"${{env:{name.upper()}}}", ddl_dsn=owner)


def project(table: Table) -> Project:
    systems = {name: System(system=name, kind="postgresql", dsn="${env:SHOP}") for name in ("shop", *table.writers)}
    return Project(systems=systems, replicas={name: replica(name) for name in NAMES}, tables={table.table: table})


def copied_to(*names: str) -> Table:
    """Targets differ, as the registration rules once advised."""
    return table_of(replicas=[{"replica": name, "table": f"{name}.orders"} for name in names])


def registered(*replicas: Replica, tables: list[Table] | None = None) -> Registrations:
    shop = System(system="shop", kind="postgresql", dsn="${env:SHOP}")
    return Registrations(
        systems=(Registered(file="s/shop.yaml", stem="shop", value=shop),),
        replicas=tuple(Registered(file=f"r/{r.replica}.yaml", stem=r.replica, value=r) for r in replicas),
        tables=tuple(Registered(file=f"t/{t.table}.yaml", stem=t.table, value=t) for t in tables or ()),
    )


# --- in the files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [[], ["reporting", "again"]], ids=["no table", "targets that differ"])
def test_two_replicas_with_one_dsn_are_one_database(copied: list[str]) -> None:
    """Progress is kept by truth topic, and a copy is found by its table: another target does not part them."""
    again = Replica(replica="again", kind="postgresql", dsn="${env:REPORTING}", ddl_dsn="${env:OTHER}")
    tables = [copied_to(*copied)] if copied else []
    (problem,) = problems_of(registered(replica("reporting"), again, tables=tables))
    assert (problem.file, problem.path) == ("r/again.yaml", ("dsn",))
    assert problem.primary == 'replica "again" is the same database as replica "reporting"'
    assert "one replica per database" in (problem.hint or "")
    assert "r/reporting.yaml" in (problem.hint or "")


def test_replicas_of_their_own_databases_are_no_problem() -> None:
    assert problems_of(registered(*map(replica, NAMES), tables=[copied_to(*NAMES)])) == []


def test_one_replica_in_two_files_is_told_once() -> None:
    given = registered(replica("reporting"))
    twice = Registered(file="r/reporting2.yaml", stem="reporting", value=replica("reporting"))
    problems = problems_of(msgspec.structs.replace(given, replicas=(*given.replicas, twice)))
    assert [problem.primary for problem in problems] == ['replica "reporting" is registered twice']


def test_two_copies_of_one_replica_have_two_targets() -> None:
    copies = [{"replica": "reporting", "table": "public.both"}]
    stock = table_of(table="stock", source={"table": "public.stock"}, replicas=copies)
    (problem,) = problems_of(registered(replica("reporting"), tables=[table_of(replicas=copies), stock]))
    assert (problem.file, problem.path) == ("t/stock.yaml", ("replicas", 0, "table"))
    assert "two copies would write" in problem.primary


# --- at the servers --------------------------------------------------------------------------------------------------


class Connection:
    """Knows which database it is in, and nothing else."""

    def __init__(self, instance: str) -> None:
        self.instance = instance

    async def execute(self, statement: bytes, _: tuple[Any, ...]) -> "Connection":
        assert statement.decode() == f"SELECT {sql.INSTANCE}"
        return self

    async def fetchone(self) -> tuple[str]:
        return (self.instance,)


class Servers:
    """By replica, the database its owner's login leads to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **instances: str) -> None:
        self.instances = instances
        self.opened: list[str] = []
        monkeypatch.setattr(replica_steps, "connect", self.connect)
        for name in ("find_rebuilds", "plan_replica", "plan_freshness"):
            monkeypatch.setattr(replica_steps, name, self.nothing)

    async def connect(self, name: str, dsn: str, *, application_name: str) -> Any:
        assert (dsn, application_name) == (f"postgresql://owner@{name}/d", "trueup apply")
        return self.session(name)

    @asynccontextmanager
    async def session(self, name: str) -> AsyncIterator[Connection]:
        self.opened.append(name)
        yield Connection(self.instances[name])

    async def nothing(self, *_: Any, **__: Any) -> list[Any]:
        return []


def replicas(table: Table) -> Replicas:
    logins = {name.upper(): f"postgresql://writer@{name}/d" for name in NAMES}
    owners = {f"{name.upper()}_OWNER": f"postgresql://owner@{name}/d" for name in NAMES}
    settings = Settings(project_dir=Path("/nowhere"))
    return Replicas(settings, project(table), Secrets(settings, logins | owners), adopt=False, rebuild=False)


def test_two_references_that_lead_to_one_database_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    servers = Servers(monkeypatch, crm="1 0.5", reporting="2 0.5", warehouse="1 0.5")
    with pytest.raises(Refused, match='replica "warehouse" is the same database as replica "crm"') as refused:
        replicas(copied_to(*NAMES)).steps({"orders": ORDERS_CAPTURED}, {}, {})
    assert "one replica per database" in (refused.value.hint or "")
    assert servers.opened == list(NAMES)


def test_databases_that_differ_are_taken_as_often_as_they_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    Servers(monkeypatch, crm="1 0.5", reporting="2 0.5", warehouse="1 0.7")
    looked = replicas(copied_to(*NAMES))
    for _ in range(2):
        assert looked.steps({"orders": ORDERS_CAPTURED}, {}, {}) == ([], [])


def test_a_replica_without_copies_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is kept in a database yet."""
    servers = Servers(monkeypatch, crm="1 0.5", reporting="1 0.5", warehouse="1 0.5")
    assert replicas(copied_to("crm")).steps({"orders": ORDERS_CAPTURED}, {}, {}) == ([], [])
    assert servers.opened == ["crm"]


def test_two_writers_are_two_databases_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = table_of(owner=None, writers=["crm", "warehouse"], conflicts={"policy": "escalate"})
    Servers(monkeypatch, crm="1 0.5", warehouse="1 0.5")
    with pytest.raises(Refused, match='"warehouse" is the same database as replica "crm"'):
        replicas(shared).steps({"orders": ORDERS_CAPTURED}, {}, {"crm": "1 0.5", "warehouse": "1 0.5"})
    Servers(monkeypatch, crm="1 0.5", warehouse="2 0.5")
    steps = replicas(shared).steps({"orders": ORDERS_CAPTURED}, {}, {"crm": "1 0.5", "warehouse": "2 0.5"})
    assert steps == ([], [])
