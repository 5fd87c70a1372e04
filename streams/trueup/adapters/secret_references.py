"""Values of `${env:NAME}` and `${file:PATH}`, looked up when they are needed and kept nowhere.

The syntax is `model.secret_reference`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trueup.adapters.project_files import REPLICAS_FOLDER, SYSTEMS_FOLDER
from trueup.adapters.stack_environment import stack_environment
from trueup.adapters.yaml_document import read_yaml
from trueup.model.errors import ConfigurationError
from trueup.model.registration import Replica, System
from trueup.model.secret_reference import parse_reference
from trueup.model.settings import Settings


class Secrets:
    """Resolves the references of one project. The process environment wins over the local stack's file."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self._project_dir = settings.project_dir
        self._state_dir = settings.state_dir
        self._environment = environment

    def owner_dsn(self, system: System) -> str:
        """The login of `trueup apply` and `verify` at a system."""
        return self.resolve(system.dsn, self._system_file(system), "dsn")

    def capture_dsn(self, system: System) -> str:
        """The login of Debezium."""
        if system.capture_dsn is None:
            return self.owner_dsn(system)
        return self.resolve(system.capture_dsn, self._system_file(system), "capture_dsn")

    def writer_dsn(self, replica: Replica) -> str:
        """The login of apply workers."""
        return self.resolve(replica.dsn, self._replica_file(replica), "dsn")

    def ddl_dsn(self, replica: Replica) -> str:
        """The login that creates replica tables."""
        if replica.ddl_dsn is None:
            return self.writer_dsn(replica)
        return self.resolve(replica.ddl_dsn, self._replica_file(replica), "ddl_dsn")

    def resolve(self, reference: str, file: Path, field: str) -> str:
        """The secret `field` of `file` refers to. Raises ConfigurationError, which never shows a secret."""
        parsed = parse_reference(reference)
        if parsed is None:
            raise _refused(
                f'"{field}" is not a reference to a secret', file, field, "write ${env:NAME} or ${file:PATH}"
            )
        if parsed.kind == "env":
            return self._from_environment(parsed.name, file, field)
        return self._from_file(parsed.name, file, field)

    def _from_environment(self, name: str, file: Path, field: str) -> str:
        value = self._environment.get(name)
        if value is None:
            # Read anew each time: `trueup stack up` may have run since.
            value = stack_environment(self._state_dir).get(name)
        if not value:
            state = "is not set" if value is None else "is empty"
            hint = f"export {name}=..., or start the local stack, which sets it: trueup stack up"
            raise _refused(f'environment variable "{name}" {state}', file, field, hint)
        return value

    def _from_file(self, name: str, file: Path, field: str) -> str:
        path = self._project_dir / name
        try:
            value = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            hint = "create the file, readable by this user; a relative path begins at the project folder"
            raise _refused(f'cannot read secret file "{path}"', file, field, hint) from error
        if not value:
            raise _refused(f'secret file "{path}" is empty', file, field, "write the DSN into it")
        return value

    def _system_file(self, system: System) -> Path:
        return self._project_dir / SYSTEMS_FOLDER / f"{system.system}.yaml"

    def _replica_file(self, replica: Replica) -> Path:
        return self._project_dir / REPLICAS_FOLDER / f"{replica.replica}.yaml"


def _refused(primary: str, file: Path, field: str, hint: str) -> ConfigurationError:
    # The line is looked up only now: registrations carry no lines, and this is the rare way.
    line = read_yaml(file).lines.get((field,))
    return ConfigurationError(primary, file=str(file), line=line, field=field, hint=hint)
