"""The Connect part: one distributed worker with Debezium and the Avro converter, exactly-once."""

from __future__ import annotations

import shutil
import signal
import zipfile
from pathlib import Path

from trueup.stack.artifacts import bundle_path
from trueup.stack.credentials import secrets_dir
from trueup.stack.data_files import data_path
from trueup.stack.java import class_path, java, properties_text, server_environment
from trueup.stack.part import replies
from trueup.stack.process import Launch, ServerProcess
from trueup.stack.settings import LOOPBACK, StackSettings, bootstrap_servers, connect_port, replication_factor

GROUP = "trueup-connect"
AVRO_CONVERTER = "io.apicurio.registry.utils.converter.AvroConverter"
_PLUGINS = ("debezium-postgres", "avro-converter")
_REQUEST_BYTES_MAX = 10 * 1024 * 1024
_TRANSACTION_TIMEOUT_MS = 30_000  # an open transaction holds everybody's last stable offset (design 6)

# What a connector may choose of its clients. Never where they log in: that is code execution (reliability 6).
_CLIENT_SETTINGS_ALLOWED = (
    "batch.size",
    "buffer.memory",
    "compression.type",
    "linger.ms",
    "max.request.size",
    "transaction.timeout.ms",
)


class ConnectPart:
    """The Connect worker."""

    stop_signal = signal.SIGTERM

    def __init__(self, settings: StackSettings) -> None:
        self.settings = settings
        self.name = "connect"
        self.ports = (connect_port(settings),)
        self.process = ServerProcess(self.name, settings.state_dir)
        self._dir = settings.state_dir.resolve() / self.name

    def prepare(self) -> Launch:
        """Lay out the plugins and write the settings."""
        plugins = self._dir / "plugins"
        shutil.rmtree(plugins, ignore_errors=True)
        _lay_out_plugins(plugins, self.settings.cache_dir)
        configuration = self._dir / "connect.properties"
        configuration.write_text(properties_text(worker_settings(self.settings, plugins)))
        jars = bundle_path("kafka", self.settings.cache_dir)
        return Launch(
            argv=java(
                "-Xmx1g",
                "-XX:+UseG1GC",
                f"-Dlog4j2.configurationFile={data_path('infra/local/log4j2.properties')}",
                *(
                    "-cp",
                    class_path(jars),
                    "org.apache.kafka.connect.cli.ConnectDistributed",
                    str(configuration),
                ),
            ),
            environment=server_environment(),
            directory=self._dir,
        )

    def is_ready(self) -> bool:
        """Tell whether the worker has joined its group and read its topics."""
        return replies(self.ports[0], "/health")

    def finish(self) -> None:
        """Nothing: connectors belong to those who use them."""


def _lay_out_plugins(folder: Path, cache_dir: Path) -> None:
    """Link the plugins' jars into a folder each.

    The converter declares itself nowhere, so Connect would have to load every class of every jar to find it:
    8 s of a start (measured). A jar with the declaration, as `connect-plugin-path` makes it, spares that.
    """
    for name in _PLUGINS:
        plugin = folder / name
        plugin.mkdir(parents=True)
        for jar in bundle_path(name, cache_dir).resolve().rglob("*.jar"):
            (plugin / jar.name).symlink_to(jar)
    with zipfile.ZipFile(folder / "avro-converter" / "declaration.jar", "w") as jar_file:
        jar_file.writestr("META-INF/services/org.apache.kafka.connect.storage.Converter", f"{AVRO_CONVERTER}\n")


def worker_settings(settings: StackSettings, plugins: Path) -> dict[str, str]:
    """Return the settings of the worker. Pure."""
    copies = str(replication_factor(settings))
    secrets = str(secrets_dir(settings))
    providers = "org.apache.kafka.common.config.provider"
    return {
        "bootstrap.servers": bootstrap_servers(settings),
        "group.id": GROUP,
        "listeners": f"http://{LOOPBACK}:{connect_port(settings)}",
        "rest.advertised.host.name": LOOPBACK,
        "admin.listeners": "",
        "plugin.path": str(plugins),
        "plugin.discovery": "service_load",
        "config.storage.topic": f"{GROUP}-configs",
        "offset.storage.topic": f"{GROUP}-offsets",
        "status.storage.topic": f"{GROUP}-status",
        "config.storage.replication.factor": copies,
        "offset.storage.replication.factor": copies,
        "status.storage.replication.factor": copies,
        "offset.storage.partitions": "5",
        "status.storage.partitions": "2",
        "exactly.once.source.support": "enabled",
        "offset.flush.interval.ms": "1000",
        "scheduled.rebalance.max.delay.ms": "0",
        "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "connector.client.config.override.policy": "Allowlist",
        "connector.client.config.override.allowlist": ",".join(_CLIENT_SETTINGS_ALLOWED),
        "config.providers": "directory,file",
        "config.providers.directory.class": f"{providers}.DirectoryConfigProvider",
        "config.providers.directory.param.allowed.paths": secrets,
        "config.providers.file.class": f"{providers}.FileConfigProvider",
        "config.providers.file.param.allowed.paths": secrets,
        "producer.transaction.timeout.ms": str(_TRANSACTION_TIMEOUT_MS),
        "producer.max.request.size": str(_REQUEST_BYTES_MAX),
        "producer.compression.type": "lz4",
    }
