"""Where `trueup apply` leaves the truth schema of a table, for workers and for readers of the topics."""

from __future__ import annotations

from pathlib import Path

from trueup.model.settings import Settings


def truth_schema_path(settings: Settings, table: str) -> Path:
    """schemas/avro/<table>.avsc of the project."""
    return settings.project_dir / "schemas" / "avro" / f"{table}.avsc"
