"""How a system's connector logs in: from `capture_dsn`, with the password left in a file for Connect."""

from __future__ import annotations

from pathlib import Path

from trueup.adapters.postgres_connect import dsn_parts
from trueup.adapters.project_files import SYSTEMS_FOLDER
from trueup.adapters.secret_references import Secrets
from trueup.core.connector_config import CaptureLogin
from trueup.model.errors import ConfigurationError
from trueup.model.registration import System
from trueup.model.secret_reference import SecretReference, parse_reference
from trueup.model.settings import Settings

_DSN_SUFFIX = "_DSN"
_PASSWORD_FILE_SUFFIX = "_PASSWORD_FILE"  # noqa: S105 - the name of a variable


def capture_login(system: System, settings: Settings, secrets: Secrets, *, failover: bool) -> CaptureLogin:
    """The login, with a reference in place of the password. Raises ConfigurationError without a file.

    :param failover: the server keeps slots across a failover.
    """
    parts = dsn_parts(system.system, secrets.capture_dsn(system))
    return CaptureLogin(
        host=parts.get("host") or parts.get("hostaddr") or "localhost",
        port=int(parts.get("port") or 5432),
        dbname=parts.get("dbname") or parts.get("user") or "",
        user=parts.get("user") or "",
        password=_password(system, settings, secrets) if parts.get("password") else None,
        sslmode=parts.get("sslmode"),
        sslrootcert=parts.get("sslrootcert"),
        failover=failover,
    )


def _password(system: System, settings: Settings, secrets: Secrets) -> str:
    """Connect resolves it: `${directory:FOLDER:FILE}`, the file's whole content."""
    file = settings.project_dir / SYSTEMS_FOLDER / f"{system.system}.yaml"
    field = "dsn" if system.capture_dsn is None else "capture_dsn"
    reference = parse_reference(system.capture_dsn or system.dsn)
    variable = f"{system.system.upper()}_CAPTURE{_PASSWORD_FILE_SUFFIX}"
    match reference:
        case SecretReference(kind="env", name=name):
            variable = name.removesuffix(_DSN_SUFFIX) + _PASSWORD_FILE_SUFFIX
    try:
        path = Path(secrets.resolve(f"${{env:{variable}}}", file, field))
    except ConfigurationError as error:
        raise ConfigurationError(
            f'no password file is known for the connector of system "{system.system}"',
            file=error.file,
            line=error.line,
            field=field,
            hint=f"write the password into a file that Connect may read, and export {variable}=/PATH/OF/FILE",
        ) from error
    return f"${{directory:{path.parent}:{path.name}}}"
