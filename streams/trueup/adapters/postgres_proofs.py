"""What is proven of the copies at a replica: `trueup.proofs`, for any reader, and passes that are not complete.

SELECT f.as_of, p.proven_through, p.unproven_keys FROM trueup.freshness f JOIN trueup.proofs p USING (table_name)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import psycopg

from trueup.adapters.postgres_connect import connect
from trueup.adapters.postgres_errors import translate
from trueup.model.proof import PassState, Proof

# A pass that found differences does not take back what an earlier one proved: it was true then, and its time says so.
_RECORD: Final = """
INSERT INTO trueup.proofs AS p (target, table_name, proven_through, proven_position, rows, differing_keys,
                                unproven_keys, held_keys)
VALUES (%(target)s, %(table)s, %(through)s::timestamptz, %(position)s::pg_lsn, %(rows)s, %(differing_keys)s,
        %(unproven_keys)s, %(held_keys)s)
ON CONFLICT (target) DO UPDATE
SET table_name = excluded.table_name, rows = excluded.rows, differing_keys = excluded.differing_keys,
    unproven_keys = excluded.unproven_keys, held_keys = excluded.held_keys, compared_at = excluded.compared_at,
    proven_through = coalesce(excluded.proven_through, p.proven_through),
    proven_position = coalesce(excluded.proven_position, p.proven_position)"""

_NOTE: Final = """
INSERT INTO trueup.proof_passes AS p (target, state) VALUES (%s, %s)
ON CONFLICT (target) DO UPDATE SET state = excluded.state, updated_at = now()"""

_LOOK: Final = """
SELECT table_name, target, extract(epoch FROM proven_through)::float8,
       extract(epoch FROM clock_timestamp() - proven_through)::float8,
       extract(epoch FROM compared_at)::float8, rows, differing_keys, unproven_keys, held_keys
FROM trueup.proofs"""


class ProofLine(msgspec.Struct, frozen=True):
    """What is recorded of a copy.

    :param proven_through_s: seconds since 1970, by the source's clock; `age_s` is how long ago that is.
    """

    table: str
    target: str
    proven_through_s: float | None
    age_s: float | None
    compared_at_s: float
    rows: int
    differing_keys: int
    unproven_keys: int
    held_keys: int


class ProofStore:
    """The proofs at one replica. Without its tables (`trueup apply` makes them) nothing is kept, and nothing fails.

    Raises Unreachable, and Refused for a DSN that cannot be read.
    """

    def __init__(self, replica: str, dsn: str) -> None:
        self._replica = replica
        self._connection = connect(f"replica {replica}", dsn, options="-c TimeZone=UTC")
        with self._errors():
            row = self._connection.execute("SELECT to_regclass('trueup.proof_passes') IS NOT NULL").fetchone()
        self.keeps = row == (True,)

    def lines(self) -> list[ProofLine]:
        """Everything that is recorded. Raises Unreachable, TransientReplica, Stop."""
        if not self.keeps:
            return []
        with self._errors():
            return [ProofLine(*row) for row in self._connection.execute(_LOOK).fetchall()]

    def pass_of(self, target: str) -> PassState | None:
        """A pass that was ended before it was complete; None when there is none, or one of another version."""
        if not self.keeps:
            return None
        with self._errors():
            query = "SELECT state::text FROM trueup.proof_passes WHERE target = %s"
            row = self._connection.execute(query, (target,)).fetchone()
        try:
            return None if row is None else msgspec.json.decode(row[0], type=PassState)
        except msgspec.MsgspecError:
            return None

    def note(self, target: str, state: PassState) -> None:
        """Remember how far a pass is."""
        if self.keeps:
            with self._errors():
                self._connection.execute(_NOTE, (target, msgspec.json.encode(state).decode()))

    def record(self, proof: Proof) -> None:
        """A pass is complete: record what it says, and forget that it was under way."""
        if self.keeps:
            with self._errors(), self._connection.transaction():
                self._connection.execute(_RECORD, msgspec.structs.asdict(proof))
                self._connection.execute("DELETE FROM trueup.proof_passes WHERE target = %s", (proof.target,))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as exc:
            raise translate(exc, self._replica, "trueup.proofs") from exc
