"""The heartbeat row of a system (`trueup.heartbeat`), written out of turn: a place in its log to wait for."""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import errors as pg

from trueup.adapters.postgres_connect import connect
from trueup.adapters.postgres_errors import said
from trueup.model.errors import Refused, Unreachable

_BEAT: Final = """
UPDATE trueup.heartbeat SET beat = beat + 1, beaten_at = clock_timestamp() WHERE system = %s RETURNING beat"""


def beat(system: str, dsn: str) -> int:
    """Writes a heartbeat, and says its number, which rises by one with each; 0 where the system has no row.

    Raises Refused for a DSN that cannot be read and where `trueup apply` did not make the table or the login may not
    write it; Unreachable.
    """
    part = f"source {system}"
    with connect(part, dsn) as session:
        try:
            row = session.execute(_BEAT, (system,)).fetchone()
        except psycopg.OperationalError as exc:
            raise Unreachable(part, detail=str(exc)) from exc
        except psycopg.Error as exc:
            raise _refused(exc, system) from exc
    return 0 if row is None else int(row[0])


def _refused(exc: psycopg.Error, system: str) -> Refused:
    hint = "make what is missing: trueup apply"
    if isinstance(exc, pg.InsufficientPrivilege):
        hint = "use the login that ran trueup apply as dsn of the system"
    return Refused(f'source "{system}" takes no heartbeat', detail=said(exc), hint=hint)
