"""Settings of one installation: trueup.toml, overridden by TRUEUP_* (read by `adapters.project_files`).

The environment is read in one place only; everything else receives these frozen values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A section of trueup.toml."""


class KafkaSettings(_Section, frozen=True):
    """Where the log is. Override: TRUEUP_BOOTSTRAP_SERVERS."""

    bootstrap_servers: str = "127.0.0.1:29000"
    partitions: int = 4
    capture_retention_ms: int = 7 * 24 * 3_600_000
    transaction_timeout_ms: int = 20_000  # an open transaction holds the last stable offset for everybody (design 6)
    session_timeout_ms: int = 10_000


class ConnectSettings(_Section, frozen=True):
    """Kafka Connect's REST address. Override: TRUEUP_CONNECT_URL."""

    url: str = "http://127.0.0.1:29010"


class RegistrySettings(_Section, frozen=True):
    """The schema registry's base address. Override: TRUEUP_REGISTRY_URL."""

    url: str = "http://127.0.0.1:29011"


class WorkerSettings(_Section, frozen=True):
    """Bounds of a worker. Bytes and rows bound a batch; the cap bounds the damage of a broken table."""

    metrics_host: str = "127.0.0.1"
    metrics_port_base: int = 29100
    batch_rows_max: int = 4_000
    batch_bytes_max: int = 4 << 20
    dead_letters_per_table_max: int = 10_000  # open ones of a partition or a copy; as many cases of a partition
    stall_timeout_s: int = 120


class RulesSettings(_Section, frozen=True):
    """The module with the project's rule functions, relative to the project folder; empty: there are none."""

    module: str = ""


class Settings(_Section, frozen=True):
    """The whole of trueup.toml, with the folder it was found in."""

    project_dir: Path = Path()
    state_dir: Path = Path("var")
    environment: Literal["development", "production"] = "development"
    kafka: KafkaSettings = KafkaSettings()
    connect: ConnectSettings = ConnectSettings()
    registry: RegistrySettings = RegistrySettings()
    worker: WorkerSettings = WorkerSettings()
    rules: RulesSettings = RulesSettings()
    stack_port_base: int = 29_000
    stack_databases: tuple[str, ...] = ("shop", "warehouse", "reporting")
