"""The registry part: Apicurio Registry, schemas in an H2 file, so that they survive a restart and a kill."""

from __future__ import annotations

import signal

from trueup.stack.artifacts import bundle_path
from trueup.stack.java import SMALL_JVM, java, server_environment
from trueup.stack.part import replies
from trueup.stack.process import Launch, ServerProcess
from trueup.stack.settings import LOOPBACK, StackSettings, registry_health_port, registry_port

# Connect's converter speaks the first, TrueUp's workers the second.
_APIS = ("apis/registry/v2/system/info", "apis/ccompat/v7/subjects")


class RegistryPart:
    """The schema registry."""

    stop_signal = signal.SIGTERM

    def __init__(self, settings: StackSettings) -> None:
        self.settings = settings
        self.name = "registry"
        self.ports = (registry_port(settings), registry_health_port(settings))
        self.process = ServerProcess(self.name, settings.state_dir)
        self._dir = settings.state_dir.resolve() / self.name

    def prepare(self) -> Launch:
        """Return how to start; the registry makes its tables itself."""
        self._dir.mkdir(parents=True, exist_ok=True)
        program = bundle_path("apicurio-registry", self.settings.cache_dir) / "quarkus-run.jar"
        properties = {
            "quarkus.http.host": LOOPBACK,
            "quarkus.http.port": str(self.ports[0]),
            "quarkus.management.host": LOOPBACK,
            "quarkus.management.port": str(self.ports[1]),
            "quarkus.http.access-log.enabled": "false",
            "quarkus.log.console.json": "false",
            "apicurio.storage.kind": "sql",
            "apicurio.storage.sql.kind": "h2",
            "apicurio.datasource.url": f"jdbc:h2:file:{self._dir / 'schemas'}",
            "apicurio.datasource.username": "sa",
            "apicurio.datasource.password": "sa",
        }
        return Launch(
            argv=java(
                "-Xmx256m",
                *SMALL_JVM,
                *(f"-D{key}={value}" for key, value in properties.items()),
                *("-jar", str(program)),
            ),
            environment=server_environment(),
            directory=self._dir,
        )

    def is_ready(self) -> bool:
        """Tell whether both APIs answer."""
        return all(replies(self.ports[0], f"/{api}") for api in _APIS)

    def finish(self) -> None:
        """Nothing: subjects belong to those who use them."""
