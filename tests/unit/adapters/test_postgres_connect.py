"""What psycopg raises at a source's heartbeat and while a replica is read, in our words."""

from types import TracebackType
from typing import Self

import psycopg
import pytest
from psycopg import errors as pg

from trueup.adapters.postgres_compare import Relation, Side
from trueup.adapters.postgres_connect import connect, replica_session
from trueup.adapters.postgres_heartbeat import beat
from trueup.adapters.postgres_source import PostgresSource
from trueup.model.errors import Refused, Stop, TransientReplica, TrueUpError, Unreachable

DSN = "postgresql://trueup:s3cret@db/shop"


class Session:
    """Answers each statement with the same error, or the same row."""

    def __init__(self, answer: psycopg.Error | tuple[int] | None) -> None:
        self.answer = answer
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed = True

    def execute(self, _query: object, _parameters: object = None, **_how: object) -> Self:
        if isinstance(self.answer, psycopg.Error):
            raise self.answer
        return self

    def fetchone(self) -> object:
        return self.answer


def answering(monkeypatch: pytest.MonkeyPatch, answer: psycopg.Error | tuple[int] | None) -> Session:
    session = Session(answer)
    monkeypatch.setattr(psycopg, "connect", lambda *_, **__: session)
    return session


@pytest.mark.parametrize(
    "error",
    [
        pg.UndefinedTable("no trueup.heartbeat"),
        pg.InvalidSchemaName("no trueup"),
        pg.UndefinedColumn("of an older version"),
        pg.InsufficientPrivilege("permission denied for table heartbeat"),
        pg.ReadOnlySqlTransaction("a standby"),
    ],
)
def test_a_source_without_a_heartbeat_to_write_is_refused(
    monkeypatch: pytest.MonkeyPatch, error: psycopg.Error
) -> None:
    session = answering(monkeypatch, error)
    with pytest.raises(Refused, match="shop") as raised:
        beat("shop", DSN)
    assert raised.value.detail == str(error)
    assert "trueup apply" in (raised.value.hint or "")
    assert session.closed


def test_a_missing_right_is_that_of_another_login(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, pg.InsufficientPrivilege("permission denied"))
    with pytest.raises(Refused) as raised:
        beat("shop", DSN)
    assert "login" in (raised.value.hint or "")


@pytest.mark.parametrize("error", [psycopg.OperationalError("gone"), pg.AdminShutdown("bye"), pg.LockNotAvailable("l")])
def test_a_source_that_went_away_is_unreachable(monkeypatch: pytest.MonkeyPatch, error: psycopg.Error) -> None:
    answering(monkeypatch, error)
    with pytest.raises(Unreachable) as raised:
        beat("shop", DSN)
    assert raised.value.part == "source shop"


@pytest.mark.parametrize(("row", "number"), [((7,), 7), (None, 0)])
def test_the_number_of_a_beat(monkeypatch: pytest.MonkeyPatch, row: tuple[int] | None, number: int) -> None:
    session = answering(monkeypatch, row)
    assert beat("shop", DSN) == number
    assert session.closed


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (pg.UndefinedTable("no trueup.progress"), Stop),
        (pg.InsufficientPrivilege("permission denied"), Stop),
        (psycopg.InterfaceError("the connection is closed"), TransientReplica),
        (psycopg.OperationalError("gone"), Unreachable),
    ],
)
def test_what_a_replica_says_while_it_is_read(
    monkeypatch: pytest.MonkeyPatch, error: psycopg.Error, kind: type[TrueUpError]
) -> None:
    session = answering(monkeypatch, error)
    with pytest.raises(kind, match="reporting"), replica_session("reporting", DSN, "trueup.progress") as connection:
        connection.execute("SELECT 1")
    assert session.closed


def test_an_error_that_psycopg_makes_of_an_address_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_address(*_: object, **__: object) -> None:
        raise psycopg.ProgrammingError(DSN)

    monkeypatch.setattr(psycopg, "connect", no_address)
    with pytest.raises(Refused) as raised:
        connect("source shop", DSN)
    assert raised.value.__context__ is None
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("kind", [psycopg.ProgrammingError, psycopg.InterfaceError, psycopg.NotSupportedError])
def test_the_text_of_an_error_that_is_no_answer_stays_out_of_the_detail(
    monkeypatch: pytest.MonkeyPatch, kind: type[psycopg.Error]
) -> None:
    answering(monkeypatch, kind("of s3cret"))
    with pytest.raises(TrueUpError) as at_source:
        PostgresSource("shop", DSN).log_end()
    with pytest.raises(TrueUpError) as compared:
        Side("source shop", DSN, Relation("parts", ("k",), ("integer",), "k")).position()
    with pytest.raises(TrueUpError) as read, replica_session("reporting", DSN, "trueup.progress") as connection:
        connection.execute("SELECT 1")
    for raised in (at_source, compared, read):
        assert "s3cret" not in str(raised.value)
        assert kind.__name__ in (raised.value.detail or "")
