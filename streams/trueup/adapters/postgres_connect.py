"""Sessions in PostgreSQL from a DSN, which is read before anybody is asked: what cannot be read is never repeated.

libpq's words on a malformed DSN hold parts of it, password included (`missing "=" after "..."`), so they go nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from trueup.adapters.postgres_errors import translate
from trueup.model.errors import Refused, Unreachable

_CONNECT_TIMEOUT_S: Final = 8

Session = psycopg.Connection[tuple[Any, ...]]


def dsn_parts(whose: str, dsn: str) -> dict[str, str]:
    """A DSN taken apart, by libpq's keywords. Raises Refused, without showing any of it.

    :param whose: the system, the replica or the part, for people.
    """
    found: dict[str, str] | None = None
    with suppress(psycopg.Error, UnicodeError):
        found = {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value is not None}
    # Raised out here, so that the error that quotes the DSN is not even the context of ours.
    if found is None or _is_torn(found):
        raise _unreadable(whose)
    return found


def connect(part: str, dsn: str, *, options: str | None = None) -> Session:
    """A session in autocommit: each statement stands for itself.

    Raises Refused for a DSN that cannot be read, before anybody is asked; Unreachable when the server does not answer
    or refuses the login.

    :param part: what is connected to, as Unreachable names it: "source shop", "replica reporting".
    :param options: settings of the session (`-c NAME=VALUE ...`), in place of those of the DSN.
    """
    dsn_parts(part, dsn)
    try:
        return psycopg.connect(dsn, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S, options=options)
    except psycopg.OperationalError as exc:
        raise Unreachable(part, detail=str(exc)) from exc
    except psycopg.Error:  # made by psycopg of the DSN: nobody was asked
        pass
    raise _unreadable(part)


@contextmanager
def replica_session(replica: str, dsn: str, target: str) -> Iterator[Session]:
    """A session for reading at a replica; what psycopg raises meanwhile ends here.

    Raises Refused for a DSN that cannot be read, Unreachable, TransientReplica, and Stop, such as for a table or right
    that `trueup apply` has not made.

    :param target: what is read, for people.
    """
    try:
        with connect(f"replica {replica}", dsn) as session:
            yield session
    except psycopg.OperationalError as exc:
        raise Unreachable(f"replica {replica}", detail=str(exc)) from exc
    except psycopg.Error as exc:
        raise translate(exc, replica, target) from exc


def _is_torn(parts: Mapping[str, str]) -> bool:
    """Whether a password with a bare @ or / was taken for other parts, which errors name: a port, a host, a database.

    `USER:one@two@HOST` has the host `two@HOST`, `USER:one/two@HOST/x` the port `one`, or without a user at all the
    database `two@HOST/x`. A host may begin with @: a socket in the abstract namespace.
    """
    ports = parts.get("port", "").split(",")
    hosts = parts.get("host", "").split(",")
    return (
        any(port.strip() and not port.strip().isdecimal() for port in ports)
        or any("@" in host[1:] for host in hosts)
        or ("user" not in parts and "@" in parts.get("dbname", ""))
    )


def _unreadable(whose: str) -> Refused:
    return Refused(
        f'the dsn of "{whose}" cannot be read',
        hint="write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, and percent-encode special characters"
        " of the password: % is %25, @ is %40, / is %2F",
    )
