"""adapters.postgres_errors: every error psycopg can raise has a meaning."""

from collections.abc import Iterator

import psycopg
import psycopg.errors
import psycopg_pool
import pytest

from trueup.adapters.postgres_arrays import Unencodable
from trueup.adapters.postgres_errors import Meaning, describe, find_meaning, meaning_of, translate
from trueup.model.errors import NextStep, RowRefused, Stop, TransientReplica


def subclasses(kind: type[psycopg.Error]) -> Iterator[type[psycopg.Error]]:
    for found in kind.__subclasses__():
        yield found
        yield from subclasses(found)


def test_every_error_class_of_psycopg_has_a_meaning() -> None:
    assert psycopg_pool.PoolTimeout in set(subclasses(psycopg.Error))  # the pool's errors count
    abstract = {psycopg.DatabaseError}
    missing = [kind.__name__ for kind in set(subclasses(psycopg.Error)) - abstract if find_meaning(kind) is None]
    assert not missing


@pytest.mark.parametrize(
    ("sqlstate", "meaning"),
    [
        ("08006", Meaning.TRANSIENT),
        ("40001", Meaning.TRANSIENT),
        ("40P01", Meaning.TRANSIENT),
        ("53100", Meaning.TRANSIENT),
        ("55P03", Meaning.TRANSIENT),
        ("57P01", Meaning.TRANSIENT),
        ("57014", Meaning.TRANSIENT),
        ("25006", Meaning.TRANSIENT),
        ("22P02", Meaning.ROW),
        ("22021", Meaning.ROW),
        ("23502", Meaning.ROW),
        ("54000", Meaning.ROW),
        ("42P01", Meaning.STOP),
        ("42501", Meaning.STOP),
        ("42804", Meaning.STOP),
        ("21000", Meaning.STOP),
    ],
)
def test_the_conditions_that_matter(sqlstate: str, meaning: Meaning) -> None:
    assert find_meaning(psycopg.errors.lookup(sqlstate)) is meaning


def test_a_class_of_conditions_without_a_class_of_psycopg_is_known_too() -> None:
    class Vendor(psycopg.OperationalError):
        sqlstate = "53999"

    assert find_meaning(Vendor) is Meaning.TRANSIENT


@pytest.mark.parametrize(
    "error",
    [
        psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"),
        Unencodable("a value is no text: UnicodeEncodeError"),
    ],
)
def test_a_value_that_cannot_be_sent_is_the_fault_of_its_row(error: Exception) -> None:
    assert meaning_of(error) is Meaning.ROW


def test_an_error_nobody_thought_of_stops() -> None:
    assert meaning_of(RuntimeError()) is Meaning.STOP


def test_errors_become_ours_and_say_what_to_do() -> None:
    deadlock = translate(psycopg.errors.DeadlockDetected(), "reporting", "sales.orders")
    assert isinstance(deadlock, TransientReplica)
    assert deadlock.sqlstate == "40P01"
    refused = translate(psycopg.errors.NotNullViolation(), "reporting", "sales.orders")
    assert isinstance(refused, RowRefused)
    missing = translate(psycopg.errors.UndefinedTable(), "reporting", "sales.orders")
    assert isinstance(missing, Stop)
    assert missing.next_step is NextStep.STOP
    assert "trueup apply" in str(missing)


def test_a_description_holds_no_message_of_the_server() -> None:
    error = psycopg.errors.InvalidTextRepresentation('invalid input syntax for type integer: "SECRET"')
    assert describe(error) == "InvalidTextRepresentation"
