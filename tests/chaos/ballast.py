"""A large table no writer of the ledger touches: long snapshots, COPY, huge transactions and rows take place in it.

`trueup verify` compares it like all tables; what a fault writes into it the fault counts itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import psycopg

ROWS = 20_000
_REGISTRATION = """\
table: ballast
owner: {system: shop, team: chaos}
source: {table: public.ballast}
key: [id]
replicas:
  - {replica: reporting}
"""


class Ballast(msgspec.Struct, frozen=True):
    """Rows (id, note)."""

    system: str = "shop"
    replica: str = "reporting"
    capture_topic: str = "shop.public.ballast"
    truth_topic: str = "trueup.truth.ballast"

    def create(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute("CREATE TABLE public.ballast (id bigint PRIMARY KEY, note text NOT NULL)")
        connection.execute("ALTER TABLE public.ballast ALTER COLUMN note SET STORAGE EXTERNAL")
        connection.execute(
            f"INSERT INTO public.ballast SELECT n, 'first ' || n FROM generate_series(1, {ROWS}) n".encode()
        )

    def register(self, project_dir: Path) -> None:
        """Write the registration into a project."""
        (project_dir / "schemas" / "tables" / "ballast.yaml").write_text(_REGISTRATION, encoding="utf-8")
