"""What an error of psycopg means for a replica: one table, by SQLSTATE, else by class. Never by message text.

`tests/unit/test_postgres_errors.py` walks over every error class of psycopg and fails if one is not in here.
"""

from __future__ import annotations

import enum
from typing import Final

import psycopg

from trueup.adapters.postgres_arrays import Unencodable
from trueup.model.errors import RowRefused, Stop, TransientReplica, TrueUpError


class Meaning(enum.Enum):
    """What to do about an error."""

    TRANSIENT = "try again"
    ROW = "this row cannot be stored"
    STOP = "the table or the statement is wrong"


# The longest prefix wins. Two characters are a class of the SQL standard, five a single condition.
_BY_SQLSTATE: Final[dict[str, Meaning]] = {
    "01": Meaning.STOP,  # warnings; never raised as errors by the server
    "02": Meaning.STOP,
    "03": Meaning.STOP,
    "08": Meaning.TRANSIENT,  # connection
    "08P01": Meaning.STOP,  # protocol violation
    "09": Meaning.ROW,  # a trigger of the replica failed on the row
    "0A": Meaning.STOP,  # feature not supported
    "0B": Meaning.STOP,
    "0F": Meaning.STOP,
    "0L": Meaning.STOP,
    "0P": Meaning.STOP,
    "0Z": Meaning.STOP,
    "10": Meaning.STOP,
    "20": Meaning.STOP,
    "21": Meaning.STOP,  # a key twice in one merge: reduction is broken
    "22": Meaning.ROW,  # data
    "23": Meaning.ROW,  # constraints
    "24": Meaning.STOP,
    "25": Meaning.STOP,
    "25006": Meaning.TRANSIENT,  # read-only: a standby, until it is promoted or the address moves
    "25P03": Meaning.TRANSIENT,  # idle in transaction for too long: this process was stopped
    "25P04": Meaning.TRANSIENT,  # transaction timeout
    "26": Meaning.STOP,
    "27": Meaning.ROW,
    "28": Meaning.STOP,  # authorization
    "2B": Meaning.STOP,
    "2D": Meaning.STOP,
    "2F": Meaning.STOP,
    "34": Meaning.STOP,
    "38": Meaning.STOP,
    "39": Meaning.STOP,
    "3B": Meaning.STOP,
    "3D": Meaning.STOP,
    "3F": Meaning.STOP,
    "40": Meaning.TRANSIENT,  # serialization, deadlock
    "40002": Meaning.ROW,
    "42": Meaning.STOP,  # missing table or column, permission, and 42804: about the statement, so about every row
    "44": Meaning.ROW,  # check option of a view
    "53": Meaning.TRANSIENT,  # disk full, out of memory, too many connections
    "54": Meaning.ROW,  # a value too large for an index, or nested too deeply
    "55": Meaning.STOP,
    "55006": Meaning.TRANSIENT,  # object in use
    "55P03": Meaning.TRANSIENT,  # lock timeout
    "57": Meaning.TRANSIENT,  # shutdown, crash, statement timeout
    "57P04": Meaning.STOP,  # database dropped
    "58": Meaning.TRANSIENT,  # the operating system: input and output
    "72": Meaning.TRANSIENT,
    "F0": Meaning.STOP,
    "HV": Meaning.STOP,  # foreign data wrappers
    "P0": Meaning.ROW,  # RAISE in a trigger of the replica
    "P0004": Meaning.STOP,
    "XX": Meaning.STOP,  # internal error, corruption
}

# Errors without an SQLSTATE are made by psycopg. The first match wins.
_BY_CLASS: Final[tuple[tuple[type[psycopg.Error], Meaning], ...]] = (
    (psycopg.OperationalError, Meaning.TRANSIENT),  # the connection
    (psycopg.InterfaceError, Meaning.TRANSIENT),  # a closed connection was used
    (psycopg.DataError, Meaning.ROW),  # a value that cannot be sent, such as text with a NUL
    (psycopg.IntegrityError, Meaning.ROW),
    (psycopg.ProgrammingError, Meaning.STOP),
    (psycopg.NotSupportedError, Meaning.STOP),
    (psycopg.InternalError, Meaning.STOP),
)


def find_meaning(error: psycopg.Error | type[psycopg.Error]) -> Meaning | None:
    """The entry of the table, or None where there is none."""
    sqlstate = error.sqlstate
    if sqlstate:
        return _BY_SQLSTATE.get(sqlstate) or _BY_SQLSTATE.get(sqlstate[:2])
    kind = error if isinstance(error, type) else type(error)
    return next((meaning for base, meaning in _BY_CLASS if issubclass(kind, base)), None)


def meaning_of(error: Exception) -> Meaning:
    """What to do. An error nobody thought of stops the table rather than lose a row."""
    if isinstance(error, Unencodable):
        return Meaning.ROW
    if isinstance(error, psycopg.Error):
        return find_meaning(error) or Meaning.STOP
    return Meaning.STOP


def describe(error: Exception) -> str:
    """An error in words without column values: its class, and the objects the server names."""
    if isinstance(error, Unencodable):
        return str(error)
    words = [type(error).__name__]
    if isinstance(error, psycopg.Error):
        diagnostic = error.diag
        named = {
            "table": diagnostic.table_name,
            "column": diagnostic.column_name,
            "constraint": diagnostic.constraint_name,
            "type": diagnostic.datatype_name,
        }
        words += [f'{what} "{name}"' for what, name in named.items() if name]
    return ", ".join(words)


def said(error: psycopg.Error) -> str:
    """What the server or the connection said, for the detail of an error of ours.

    Of what psycopg says by itself only the class: its text may repeat what it was given, an address with its password.
    """
    if error.diag.message_primary:
        return error.diag.message_primary
    return str(error) if error.sqlstate or isinstance(error, psycopg.OperationalError) else type(error).__name__


def translate(error: psycopg.Error, replica: str, target: str) -> TrueUpError:
    """The error in our words; the caller raises it `from` the foreign one."""
    match meaning_of(error):
        case Meaning.TRANSIENT:
            return TransientReplica(replica, error.sqlstate or "08000", detail=describe(error))
        case Meaning.ROW:
            return RowRefused(
                f'replica "{replica}" refused a row of "{target}"',
                sqlstate=error.sqlstate or "22000",
                detail=describe(error),
            )
        case Meaning.STOP:
            message = error.diag.message_primary or describe(error)
            return Stop(
                f'replica "{replica}" cannot be written: table "{target}"',
                detail=f"{error.sqlstate or type(error).__name__}: {message}",
                hint="if a table, column or right is missing: trueup apply",
            )
