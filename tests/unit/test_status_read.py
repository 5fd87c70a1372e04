"""What status makes of parts that do not answer: nobody listens at the addresses used here."""

import datetime
import json
from collections import Counter
from pathlib import Path

import pytest

from trueup.adapters import topic_reader
from trueup.adapters.postgres_proofs import ProofLine
from trueup.adapters.secret_references import Secrets
from trueup.core.copy_state import CopyLook, CopyState
from trueup.core.status_problems import Problem, Scope
from trueup.freshness import Freshness
from trueup.model.registration import Copy, Owner, Project, Replica, Source, System, Table
from trueup.model.settings import ConnectSettings, KafkaSettings, RegistrySettings, Settings
from trueup.model.write import REPLICA_OUTCOMES
from trueup.runtime.captures import look_at_captures
from trueup.runtime.copy_looks import SeenCopy
from trueup.runtime.progress_read import ProgressReader, Totals
from trueup.runtime.status_read import _line, _Workers, _workers, read_status

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
        kafka=KafkaSettings(bootstrap_servers=NOBODY),
    )


@pytest.fixture
def secrets(settings: Settings) -> Secrets:
    return Secrets(settings, {"NOBODYS_DSN": f"postgresql://owner@{NOBODY}/nothing"})


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_reader, "_TIMEOUT_S", 0.2)


@pytest.mark.usefixtures("_impatient")
def test_nobody_answers_and_there_is_a_screen_with_kafka_first(settings: Settings, secrets: Secrets) -> None:
    view = read_status(settings, PROJECT, secrets)
    parts = ["kafka", "connect", "registry", "source shop", "source crm", "replica reporting"]
    assert view.unreachable == parts
    assert view.problems[0].what == f'cannot reach "kafka" at {NOBODY}'
    assert [part for part in parts if any(f'"{part}"' in problem.what for problem in view.problems)] == parts
    assert view.decide == []
    assert [(line.table, line.state) for line in view.tables] == [
        ("orders", CopyState.UNKNOWN),
        ("people", CopyState.UNKNOWN),
    ]


@pytest.mark.usefixtures("_impatient")
def test_without_kafka_the_replicas_are_asked_how_old_their_copies_are(
    settings: Settings, secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_of = datetime.datetime(2026, 1, 5, 10, tzinfo=datetime.UTC)
    ages = {"orders": 400.0, "people": 3.0}
    answers = {
        "totals": {name: Totals(Counter(applied=7, stale=1), 8) for name in ages},
        "freshness": {
            name: Freshness(name, f"public.{name}", as_of, age, 1, 1, 300.0, age <= 300, 0, 0)
            for name, age in ages.items()
        },
        "proofs": {"orders": ProofLine("orders", "public.orders", 0.0, 60.0, 0.0, 9, 2, 0, 0)},
    }
    for name, answer in answers.items():
        monkeypatch.setattr(ProgressReader, name, lambda *_, answer=answer: answer)
    view = read_status(settings, PROJECT, secrets)
    assert "replica reporting" not in view.unreachable
    late, young = view.tables
    assert (late.table, late.state, late.as_of_age_s, late.window_s) == ("orders", CopyState.LATE, 400.0, 300.0)
    assert (young.table, young.state, young.as_of_age_s, young.fresh) == ("people", CopyState.UNKNOWN, 3.0, True)
    for line in view.tables:
        assert line.next == "start kafka; workers go on by themselves then"
        assert (line.captured, line.decide_lag, line.lag, line.filling) == (None, None, None, None)
        assert (line.applied, line.other) == (7, {"stale": 1})
    assert late.proven_age_s == 60.0
    assert any("2 keys of orders" in problem.what for problem in view.problems)


def test_what_a_replica_counted_is_summed_over_the_partitions_without_asking_kafka(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition that was claimed only has no position; a table that is not registered any more has rows."""
    counts = range(1, len(REPLICA_OUTCOMES) + 1)
    rows = [
        ("trueup.truth.orders", 0, 5, *counts),
        ("trueup.truth.orders", 1, None, *counts),
        ("trueup.truth.gone", 0, 9, *counts),
    ]
    monkeypatch.setattr(ProgressReader, "_rows", lambda *_: rows)
    found = ProgressReader(NOBODY, PROJECT, secrets).totals("reporting")
    assert found["orders"] == Totals(Counter({o.value: 2 * n for n, o in enumerate(REPLICA_OUTCOMES, 1)}), 5)
    assert found["people"] == Totals(Counter(), 0)
    assert found.keys() == PROJECT.tables.keys()


def test_a_source_that_is_away_holds_up_its_tables_and_connect_everything(settings: Settings, secrets: Secrets) -> None:
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
        ("apply-reporting", "apply", "reporting"),
        ("b", "capture", ""),
        ("decide", "decide", ""),
        ("verify", "verify", ""),
    ):
        entry = {"name": name, "kind": kind, "replica": replica, "url": f"http://{NOBODY}"}
        (settings.state_dir / "workers" / f"{name}.json").write_text(json.dumps(entry))
    found = _workers(settings, PROJECT)
    assert [(problem.next, problem.about) for problem in found.problems] == [
        ("trueup worker apply reporting", Scope(replica="reporting")),
        ("trueup worker capture --name b --metrics-port 0", None),
        ("trueup worker decide", Scope()),
        ("trueup verify --follow", None),
    ]
    assert found.names["apply", "reporting"] == "apply-reporting"


def test_a_copy_whose_replica_is_away_has_a_line_with_what_is_known() -> None:
    look = CopyLook(table="orders", replica="reporting", seen=7, to_decide=2, window_s=300, answered=False)
    away = Problem(what='cannot reach "replica reporting"', next="see its server", about=Scope(replica="reporting"))
    line = _line(SeenCopy(look=look), _Workers(), [away])
    assert (line.state, line.next, line.captured, line.decide_lag) == (CopyState.UNKNOWN, "see its server", 7, 2)
    assert (line.applied, line.lag, line.filling, line.as_of_age_s, line.other) == (None, None, None, None, {})
