"""What status makes of parts that do not answer: nobody listens at the addresses used here."""

import json
from pathlib import Path

import pytest

from trueup.adapters.secret_references import Secrets
from trueup.core.copy_state import CopyLook, CopyState
from trueup.core.status_problems import Problem, Scope
from trueup.model.registration import Copy, Owner, Project, Replica, Source, System, Table
from trueup.model.settings import ConnectSettings, RegistrySettings, Settings
from trueup.runtime.captures import look_at_captures
from trueup.runtime.copy_looks import SeenCopy
from trueup.runtime.status_read import _line, _Workers, _workers

NOBODY = "127.0.0.1:1"
DSN = "${env:NOBODYS_DSN}"


def table(name: str, system: str) -> Table:
    replicas = [Copy(replica="reporting")]
    return Table(
        table=name, owner=Owner(system=system), source=Source(table=f"public.{name}"), key=["id"], replicas=replicas
    )


PROJECT = Project(
    systems={name: System(system=name, kind="postgresql", dsn=DSN) for name in ("shop", "crm")},
    replicas={"reporting": Replica(replica="reporting", kind="postgresql", dsn=DSN)},
    tables={"orders": table("orders", "shop"), "people": table("people", "crm")},
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        state_dir=tmp_path,
        connect=ConnectSettings(url=f"http://{NOBODY}"),
        registry=RegistrySettings(url=f"http://{NOBODY}"),
    )


def test_a_source_that_is_away_holds_up_its_tables_and_connect_everything(settings: Settings) -> None:
    secrets = Secrets(settings, {"NOBODYS_DSN": f"postgresql://owner@{NOBODY}/nothing"})
    seen = look_at_captures(settings, PROJECT, secrets)
    assert seen.unreachable == ["connect", "registry", "source shop", "source crm"]
    assert [problem.about for problem in seen.problems] == [
        Scope(),
        Scope(),
        Scope(tables=("orders",)),
        Scope(tables=("people",)),
    ]
    assert not any(problem.stops for problem in seen.problems), "it goes on by itself when they are back"
    assert seen.problems[2].next == "start source shop; capture goes on by itself when it is back"


def test_a_host_without_workers_holds_up_everything(settings: Settings) -> None:
    (problem,) = _workers(settings, PROJECT).problems
    assert (problem.next, problem.about) == ("trueup worker all", Scope())


def test_workers_that_do_not_answer_are_to_be_started(settings: Settings) -> None:
    (settings.state_dir / "workers").mkdir()
    for name, kind, replica in (
        ("a", "apply", "reporting"),
        ("b", "capture", ""),
        ("c", "decide", ""),
        ("d", "verify", ""),
    ):
        entry = {"name": name, "kind": kind, "replica": replica, "url": f"http://{NOBODY}"}
        (settings.state_dir / "workers" / f"{name}.json").write_text(json.dumps(entry))
    found = _workers(settings, PROJECT)
    assert [(problem.next, problem.about) for problem in found.problems] == [
        ("trueup worker apply reporting", Scope(replica="reporting")),
        ("trueup worker capture", None),
        ("trueup worker decide", Scope()),
        ("trueup verify --follow", None),
    ]
    assert found.names["apply", "reporting"] == "a"


def test_a_copy_whose_replica_is_away_has_a_line_with_what_is_known() -> None:
    look = CopyLook(table="orders", replica="reporting", seen=7, to_decide=2, window_s=300, answered=False)
    away = Problem(what='cannot reach "replica reporting"', next="see its server", about=Scope(replica="reporting"))
    line = _line(SeenCopy(look=look), _Workers(), [away])
    assert (line.state, line.next, line.captured, line.decide_lag) == (CopyState.UNKNOWN, "see its server", 7, 2)
    assert (line.applied, line.lag, line.filling, line.as_of_age_s, line.other) == (None, None, None, None, {})
