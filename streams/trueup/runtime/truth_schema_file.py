"""Truth schemas in the project folder: written by `trueup apply`, read by workers and by whoever reads the topics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from trueup.model.errors import ConfigurationError
from trueup.model.settings import Settings


def truth_schema_path(settings: Settings, table: str) -> Path:
    """Where `trueup apply` leaves the truth schema of a table."""
    return settings.project_dir / "schemas" / "avro" / f"{table}.avsc"


def read_truth_schema(settings: Settings, table: str) -> dict[str, Any]:
    """The truth schema of an applied table. Raises ConfigurationError when it was never applied."""
    path = truth_schema_path(settings, table)
    try:
        schema: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError as exc:
        raise ConfigurationError(
            f'table "{table}" is registered and was never applied', file=str(path), hint="run: trueup apply"
        ) from exc
    return schema


def applied_anew(settings: Settings, table: str, running: dict[str, Any]) -> bool:
    """Whether `trueup apply` wrote another truth schema than the one a worker runs with."""
    try:
        return read_truth_schema(settings, table) != running
    except (ConfigurationError, msgspec.DecodeError):
        return False
