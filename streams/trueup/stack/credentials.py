"""Roles and passwords of the local databases, and the files people and programs read them from.

postgres        superuser; for the stack itself
<db>_owner      owns the database; makes tables, publications, and roles that replicate
trueup_capture  what Debezium connects as: replication, nothing else
trueup_writer   what apply workers connect as: no rights on data until somebody grants them
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec

from trueup.stack.settings import (
    LOOPBACK,
    StackAddresses,
    StackSettings,
    bootstrap_servers,
    connect_port,
    database_port,
    registry_port,
)

SUPERUSER = "postgres"
CAPTURE_ROLE = "trueup_capture"
WRITER_ROLE = "trueup_writer"

# To write a table that is captured here, too, without an echo: `trueup apply` names what is missing of these.
WRITER_GRANTS = (
    "GRANT EXECUTE ON FUNCTION pg_replication_origin_session_setup(text), pg_replication_origin_create(text) TO {}",
    "GRANT SET ON PARAMETER session_replication_role TO {}",
)

_PASSWORD_BYTES = 18  # 144 bits, 24 characters that need no quoting in a URL


class DatabaseCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """Passwords of one database's roles."""

    superuser: str
    owner: str
    capture: str
    writer: str


def owner_role(database: str) -> str:
    """Return the role that owns a database."""
    return f"{database}_owner"


def secrets_dir(settings: StackSettings) -> Path:
    """Return the only folder Connect may read secrets from."""
    return settings.state_dir.resolve() / "secrets"


def load_credentials(settings: StackSettings) -> dict[str, DatabaseCredentials]:
    """Return the passwords of every database; drawn at the first call, the same ever after."""
    path = settings.state_dir / "credentials.json"
    known: dict[str, DatabaseCredentials] = {}
    if path.exists():
        known = msgspec.json.decode(path.read_bytes(), type=dict[str, DatabaseCredentials])
    if set(settings.databases) <= set(known):
        return known
    for database in settings.databases:
        if database not in known:
            drawn = [secrets.token_urlsafe(_PASSWORD_BYTES) for _ in range(4)]
            known[database] = DatabaseCredentials(superuser=drawn[0], owner=drawn[1], capture=drawn[2], writer=drawn[3])
    write_private(path, msgspec.json.encode(known).decode())
    return known


def dsn(settings: StackSettings, database: str, role: str, password: str) -> str:
    """Return the address of a database for one role. Role and password need no quoting by construction."""
    return f"postgresql://{role}:{password}@{LOOPBACK}:{database_port(settings, database)}/{database}"


def stack_addresses(settings: StackSettings) -> StackAddresses:
    """Return where everything is; the databases as their owners."""
    known = load_credentials(settings)
    return StackAddresses(
        bootstrap_servers=bootstrap_servers(settings),
        connect_url=f"http://{LOOPBACK}:{connect_port(settings)}",
        registry_url=f"http://{LOOPBACK}:{registry_port(settings)}",
        databases={name: dsn(settings, name, owner_role(name), known[name].owner) for name in settings.databases},
    )


def environment_lines(settings: StackSettings) -> dict[str, str]:
    """Return what `stack.env` says: the environment a project on this stack needs."""
    addresses = stack_addresses(settings)
    known = load_credentials(settings)
    lines = {
        "TRUEUP_BOOTSTRAP_SERVERS": addresses.bootstrap_servers,
        "TRUEUP_CONNECT_URL": addresses.connect_url,
        "TRUEUP_REGISTRY_URL": addresses.registry_url,
    }
    for name in settings.databases:
        prefix = name.upper()
        lines[f"{prefix}_DSN"] = addresses.databases[name]
        lines[f"{prefix}_CAPTURE_DSN"] = dsn(settings, name, CAPTURE_ROLE, known[name].capture)
        lines[f"{prefix}_WRITER_DSN"] = dsn(settings, name, WRITER_ROLE, known[name].writer)
        lines[f"{prefix}_CAPTURE_PASSWORD_FILE"] = str(capture_password_file(settings, name))
    return lines


def capture_password_file(settings: StackSettings, database: str) -> Path:
    """Return the file a connector's configuration refers to instead of holding the password."""
    return secrets_dir(settings) / f"{database}_capture_password"


def write_secret_files(settings: StackSettings) -> None:
    """Write the password files for Connect and `stack.env`."""
    folder = secrets_dir(settings)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for database, passwords in load_credentials(settings).items():
        write_private(capture_password_file(settings, database), passwords.capture)
    text = "".join(f"{key}={value}\n" for key, value in environment_lines(settings).items())
    write_private(settings.state_dir / "stack.env", text)


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".new")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)
