"""A writer books what it can know: a commit that was not answered is neither done nor undone."""

from typing import Any

import psycopg
import pytest

from tests.chaos.ledger import Ending, Ledger, Write
from tests.chaos.registers import REGISTERS
from tests.chaos.writers import RegisterWriter


class Session:
    """A connection that fails at one statement."""

    def __init__(self, failing: str = "", error: type[psycopg.Error] = psycopg.OperationalError) -> None:
        self.sent: list[str] = []
        self._failing, self._error = failing, error

    def execute(self, statement: str) -> None:
        self.sent.append(statement)
        if statement == self._failing:
            raise self._error

    def cursor(self) -> None: ...


class Writer(RegisterWriter):
    """Changes one key, whatever the dice say."""

    changing: type[psycopg.Error] | None = None

    def _change(self, _: Any, writes: list[Write]) -> None:
        writes.append(Write(1, 1, "a"))
        if self.changing is not None:
            raise self.changing


def booked(session: Session, *, roll: float = 0.9, changing: type[psycopg.Error] | None = None) -> Ending:
    ledger = Ledger()
    writer = Writer("w", "", REGISTERS, ledger, seed="1", per_s=1)
    writer.changing = changing
    writer._dice.random = lambda: roll  # type: ignore[method-assign]
    lost = session._failing != "" or changing is psycopg.OperationalError
    try:
        writer._transact(session)  # type: ignore[arg-type]
        assert not lost
    except psycopg.OperationalError:
        assert lost, "a lost connection is the caller's to replace"
    entry = ledger.write(1)
    return entry[1] if entry is not None else next(iter(ledger.endings))


@pytest.mark.parametrize(
    ("session", "options", "expected"),
    [
        (Session(), {}, Ending.OK),
        (Session(), {"roll": 0.0}, Ending.FAIL),
        (Session(failing="COMMIT"), {}, Ending.INFO),
        (Session(failing="BEGIN"), {}, Ending.FAIL),
        (Session(), {"changing": psycopg.OperationalError}, Ending.FAIL),
        (Session(), {"changing": psycopg.errors.UniqueViolation}, Ending.FAIL),
    ],
    ids=["committed", "rolled back", "lost at commit", "lost before it began", "lost while it worked", "refused"],
)
def test_how_a_transaction_ended(session: Session, options: dict[str, Any], expected: Ending) -> None:
    assert booked(session, **options) is expected


def test_a_refused_transaction_is_rolled_back() -> None:
    session = Session()
    booked(session, changing=psycopg.errors.UniqueViolation)
    assert session.sent == ["BEGIN", "ROLLBACK"]
