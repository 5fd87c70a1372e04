"""A DSN that cannot be read is refused wherever it is used, and no part of its password is shown or logged.

No server is needed: nothing is asked before the DSN is read.
"""

import asyncio
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from trueup.adapters.postgres_compare import Relation, Side
from trueup.adapters.postgres_connect import connect, dsn_parts
from trueup.adapters.postgres_heartbeat import beat
from trueup.adapters.postgres_literals import written_by_postgres
from trueup.adapters.postgres_proofs import ProofStore
from trueup.adapters.postgres_replica import connect as replica_connect
from trueup.adapters.postgres_source import PostgresSource
from trueup.adapters.secret_references import Secrets
from trueup.adapters.topic_reader import TopicReader
from trueup.model.columns import Column
from trueup.model.errors import Refused, Stop, TrueUpError, Unreachable
from trueup.model.registration import Owner, Project, Replica, Source, System, Table
from trueup.model.settings import Settings
from trueup.runtime.deadletters import DeadLetters
from trueup.runtime.progress_read import ProgressReader
from trueup.runtime.verify_run import HowToVerify, Verification

MALFORMED = [
    "postgresql://trueup:s3cr%t-pw@db/shop",
    "postgresql//trueup:s3cret@db/shop",
    "host=h password=my s3cret dbname=x",
]
# libpq takes these, but for parts that are none: what is left of the password is a port, a host, a database.
TORN = [
    "postgresql://trueup:s3cr/et@db/shop",
    "postgresql://trueup:a@s3cret@db/shop",
    "postgresql://trueup:1/s3cret@db/shop",
]
NOT_TEXT = "postgresql://trueup:s3cret\udcff@db/shop"  # how Python shows a byte of the environment that is no UTF-8

KEY = Column(name="k", pg_type="integer", nullable=False)
TABLE = Table(table="parts", owner=Owner(system="shop"), source=Source(table="public.parts"), key=["k"])
PROJECT = Project(
    systems={"shop": System(system="shop", kind="postgresql", dsn="${env:DSN}")},
    replicas={"reporting": Replica(replica="reporting", kind="postgresql", dsn="${env:DSN}")},
    tables={"parts": TABLE},
)
SETTINGS = Settings(project_dir=Path("/nowhere"))


def secrets(dsn: str) -> Secrets:
    return Secrets(SETTINGS, {"DSN": dsn})


def progress(dsn: str) -> ProgressReader:
    return ProgressReader(SETTINGS.kafka.bootstrap_servers, PROJECT, secrets(dsn))


def verified(dsn: str) -> bool:
    verification = Verification(SETTINGS, PROJECT, secrets(dsn), HowToVerify())
    return verification.decided([TABLE], time.monotonic())


PLACES: dict[str, Callable[[str], object]] = {
    "apply, capture": lambda dsn: PostgresSource("shop", dsn),
    "the connector's login": lambda dsn: dsn_parts("shop", dsn),
    "values people type": lambda dsn: written_by_postgres(dsn, "shop", {KEY: "7"}),
    "a side of a comparison": lambda dsn: Side("source shop", dsn, Relation("parts", ("k",), ("integer",), "k")),
    "proofs": lambda dsn: ProofStore("reporting", dsn),
    "proofs in status": lambda dsn: progress(dsn).proofs("reporting"),
    "progress": lambda dsn: progress(dsn).totals("reporting"),
    "freshness": lambda dsn: progress(dsn).freshness("reporting"),
    "dead letters": lambda dsn: DeadLetters(SETTINGS, PROJECT, secrets(dsn)).find("reporting:1"),
    "verify": verified,
    "a beat": lambda dsn: beat("shop", dsn),
}


@pytest.fixture(autouse=True)
def _no_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_self: TopicReader, _topics: list[str]) -> dict[tuple[str, int], int]:
        return {}

    monkeypatch.setattr(TopicReader, "ends", nothing)


@pytest.mark.parametrize("dsn", [*MALFORMED, *TORN, pytest.param(NOT_TEXT, id="not text")])
@pytest.mark.parametrize("place", PLACES)
def test_a_malformed_dsn_is_refused_and_its_password_is_nowhere(place: str, dsn: str) -> None:
    with pytest.raises(TrueUpError) as raised:
        PLACES[place](dsn)
    error = raised.value
    shown = "".join(traceback.format_exception(error))
    for text in (str(error), error.detail or "", error.hint or "", shown):
        assert "s3cr" not in text
        assert "t-pw" not in text
    assert error.__cause__ is None
    assert error.__context__ is None, "what some formatters show in spite of `from None`"
    assert type(error) is Refused
    assert error.hint is not None
    assert "percent-encode" in error.hint


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://trueup:s3cr%25t@127.0.0.1:1/shop",
        "postgresql://trueup@127.0.0.1,[::1]:1/sh@op",
        "host=127.0.0.1,127.0.0.1 port=1,1 dbname=shop connect_timeout=2",
        "host=/nowhere port=1 dbname=shop",
        "host=@nowhere port=1 dbname=shop",
    ],
)
def test_an_address_nobody_answers_at_is_no_malformed_one(dsn: str) -> None:
    with pytest.raises(Unreachable) as raised:
        connect("source shop", dsn)
    assert raised.value.part == "source shop"
    assert "s3cr" not in "".join(traceback.format_exception(raised.value))


def test_the_parts_of_a_dsn() -> None:
    assert dsn_parts("shop", "postgresql://trueup:s3cr%25t@db:5433/shop") == {
        "user": "trueup",
        "password": "s3cr%t",
        "host": "db",
        "port": "5433",
        "dbname": "shop",
    }
    assert dsn_parts("shop", "") == {}


@pytest.mark.parametrize("dsn", [*MALFORMED, *TORN, pytest.param(NOT_TEXT, id="not text")])
def test_the_tables_of_an_apply_worker_stop_without_showing_it(dsn: str) -> None:
    with pytest.raises(Stop) as raised:
        asyncio.run(replica_connect("reporting", dsn, application_name="trueup-test"))
    shown = "".join(traceback.format_exception(raised.value))
    assert "s3cr" not in shown
    assert "t-pw" not in shown
    assert "percent-encode" in (raised.value.hint or "")
