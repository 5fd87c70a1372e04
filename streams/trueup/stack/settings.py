"""What a local stack is asked to be, and the addresses that follow from it. Pure: nothing is opened here."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from trueup.model.errors import Refused

LOOPBACK = "127.0.0.1"

# Fixed places above port_base, so that the address of a part depends on no other setting.
_PORT_MAX = 65535
_PORT_MIN = 1024  # below it only root may listen
_BROKER_COUNT_MAX = 5  # room for the ten ports below Connect's; tests need three
_CONNECT_OFFSET = 10
_REGISTRY_OFFSET = 11
_REGISTRY_HEALTH_OFFSET = 12
_PROMETHEUS_OFFSET = 13
_ALERTMANAGER_OFFSET = 14
_DATABASE_OFFSET = 20
_DATABASE_COUNT_MAX = 20  # arbitrary; keeps a stack within 40 ports
PORTS_PER_STACK = _DATABASE_OFFSET + _DATABASE_COUNT_MAX


def _default_cache_dir() -> Path:
    """Return where downloads are kept: TRUEUP_CACHE_DIR, else the user's cache folder."""
    configured = os.environ.get("TRUEUP_CACHE_DIR")
    return Path(configured) if configured else Path.home() / ".cache" / "trueup"


class Observability(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What Prometheus is to look at.

    :param targets_dir: where workers say how they are scraped.
    :param rules_file: recording and alert rules; it may be written later.
    :param alertmanager: the program; None: there is none, and alerts are seen at Prometheus only.
    """

    targets_dir: Path
    rules_file: Path
    alertmanager: Path | None = None


class StackSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One local stack. Two stacks live side by side when both `state_dir` and `port_base` differ.

    :param brokers: combined Kafka nodes (broker and controller in one process).
    :param maven_url: a mirror to download from instead of Maven Central.
    :param broker_overrides: broker settings that win over the stack's own.
    :param observability: with Prometheus and Alertmanager; None is without.
    """

    state_dir: Path = Path("var/stack")
    port_base: int = 29000
    brokers: int = 1
    databases: tuple[str, ...] = ("shop", "warehouse", "reporting")
    cache_dir: Path = msgspec.field(default_factory=_default_cache_dir)
    start_timeout_s: float = 120.0
    maven_url: str | None = None
    broker_overrides: dict[str, str] = msgspec.field(default_factory=dict)
    observability: Observability | None = None

    def __post_init__(self) -> None:
        """Check what no part could work with."""
        if not 1 <= self.brokers <= _BROKER_COUNT_MAX:
            msg = f'local stack of "{self.brokers}" brokers is not possible'
            raise Refused(msg, hint=f"choose 1 to {_BROKER_COUNT_MAX} brokers")
        if not _PORT_MIN <= self.port_base <= _PORT_MAX - PORTS_PER_STACK:
            msg = f'port base "{self.port_base}" leaves no room for {PORTS_PER_STACK} ports above {_PORT_MIN}'
            raise Refused(msg, hint="choose a port base such as 29000")
        if len(self.databases) > _DATABASE_COUNT_MAX or len(set(self.databases)) != len(self.databases):
            msg = "the names of the databases must differ, and be at most 20"
            raise Refused(msg, hint="name each database once")
        for name in self.databases:
            if not (name.isidentifier() and name.isascii() and name == name.lower()) or name == "postgres":
                msg = f'"{name}" is not usable as the name of a database of the local stack'
                raise Refused(msg, hint="use lower case letters, digits and underscores")


def broker_port(settings: StackSettings, node: int) -> int:
    """Port clients use. Nodes count from 1."""
    return settings.port_base + 2 * (node - 1)


def controller_port(settings: StackSettings, node: int) -> int:
    """Port the nodes use among themselves for the metadata quorum."""
    return broker_port(settings, node) + 1


def connect_port(settings: StackSettings) -> int:
    """Port of Connect's REST API."""
    return settings.port_base + _CONNECT_OFFSET


def registry_port(settings: StackSettings) -> int:
    """Port of the registry's APIs."""
    return settings.port_base + _REGISTRY_OFFSET


def registry_health_port(settings: StackSettings) -> int:
    """Port of the registry's health checks."""
    return settings.port_base + _REGISTRY_HEALTH_OFFSET


def prometheus_port(settings: StackSettings) -> int:
    """Port of Prometheus, where the stack has it."""
    return settings.port_base + _PROMETHEUS_OFFSET


def alertmanager_port(settings: StackSettings) -> int:
    """Port of Alertmanager, where the stack has it."""
    return settings.port_base + _ALERTMANAGER_OFFSET


def database_port(settings: StackSettings, database: str) -> int:
    """Port of the server that has this database."""
    return settings.port_base + _DATABASE_OFFSET + settings.databases.index(database)


def bootstrap_servers(settings: StackSettings) -> str:
    """All brokers, as Kafka clients want them."""
    return ",".join(f"{LOOPBACK}:{broker_port(settings, node)}" for node in range(1, settings.brokers + 1))


def replication_factor(settings: StackSettings) -> int:
    """Copies of each topic: three where there are three brokers."""
    return min(3, settings.brokers)


class StackAddresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where the parts of a running stack are reached.

    :param databases: name of a database to the DSN of its owner.
    """

    bootstrap_servers: str
    connect_url: str
    registry_url: str
    databases: dict[str, str]


def encode_settings(settings: StackSettings) -> str:
    """Write settings as JSON, for `decode_settings`."""
    return msgspec.json.encode(settings, enc_hook=str).decode()


def decode_settings(text: bytes) -> StackSettings:
    """Read what `encode_settings` wrote."""
    return msgspec.json.decode(text, type=StackSettings, dec_hook=lambda kind, value: kind(value))
