"""Kafka parts: combined KRaft nodes, each broker and controller in one process."""

from __future__ import annotations

import logging
import signal
import subprocess
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from trueup.model.errors import PartFailed
from trueup.stack.artifacts import bundle_path
from trueup.stack.cluster_id import cluster_id
from trueup.stack.data_files import data_path
from trueup.stack.java import SMALL_JVM, class_path, java, properties_text, server_environment
from trueup.stack.part import answers
from trueup.stack.process import Launch, ServerProcess
from trueup.stack.settings import LOOPBACK, StackSettings, broker_port, controller_port, replication_factor

_METADATA_TIMEOUT_S = 2.0
_MESSAGE_BYTES_MAX = 16 * 1024 * 1024  # rows of TOASTed text, twice (before and after), with room

_SILENT = logging.getLogger("trueup.stack.kafka.client")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False  # the client library reports every refused connection while a broker starts


class KafkaPart:
    """One node of the cluster. Nodes count from 1."""

    stop_signal = signal.SIGTERM

    def __init__(self, settings: StackSettings, node: int) -> None:
        self.settings = settings
        self.node = node
        self.name = f"kafka-{node}"
        self.ports = (broker_port(settings, node), controller_port(settings, node))
        self.process = ServerProcess(self.name, settings.state_dir)
        self._dir = settings.state_dir.resolve() / self.name

    def prepare(self) -> Launch:
        """Write the settings; format the log folder at the first start."""
        self._dir.mkdir(parents=True, exist_ok=True)
        configuration = self._dir / "server.properties"
        configuration.write_text(properties_text(node_settings(self.settings, self.node, self._dir / "log")))
        jars = bundle_path("kafka", self.settings.cache_dir)
        if not (self._dir / "log" / "meta.properties").exists():
            self._format(jars, configuration)
        return Launch(
            argv=java(
                "-Xmx512m",
                "-XX:+UseG1GC",
                "-XX:MaxGCPauseMillis=50",
                f"-Dlog4j2.configurationFile={data_path('infra/local/log4j2.properties')}",
                *("-cp", class_path(jars), "kafka.Kafka", str(configuration)),
            ),
            environment=server_environment(),
            directory=self._dir,
        )

    def is_ready(self) -> bool:
        """Tell whether this node is in the metadata it gives, that is: registered and serving."""
        if not answers(self.ports[0]):
            return False
        client = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{self.ports[0]}"}, logger=_SILENT)
        try:
            return self.node in client.list_topics(timeout=_METADATA_TIMEOUT_S).brokers
        except KafkaException:
            return False

    def finish(self) -> None:
        """Nothing: topics belong to those who use them."""

    def _format(self, jars: Path, configuration: Path) -> None:
        """Write the identity of cluster and node, and the feature levels of this release."""
        argv = java(
            *SMALL_JVM,
            f"-Dlog4j2.configurationFile={data_path('infra/local/log4j2.properties')}",
            *("-cp", class_path(jars), "kafka.tools.StorageTool", "format"),
            *("--cluster-id", cluster_id(self.settings), "--config", str(configuration), "--ignore-formatted"),
        )
        hint = "trueup stack down --purge, then up"
        try:
            result = subprocess.run(
                argv,
                env=server_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=self.settings.start_timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            late = f"formatting its log folder took longer than {error.timeout:g} s; 3 s are usual"
            raise PartFailed(self.name, detail=late, hint=f"see what else this machine does; {hint}") from error
        if result.returncode != 0:
            tail = "\n".join(result.stdout.splitlines()[-20:])
            raise PartFailed(self.name, detail=f"formatting its log folder failed:\n{tail}", hint=hint)


def node_settings(settings: StackSettings, node: int, log_dir: Path) -> dict[str, str]:
    """Return the settings of one node. Pure."""
    copies = str(replication_factor(settings))
    copies_in_sync_min = str(max(1, replication_factor(settings) - 1))
    voters = [f"{n}@{LOOPBACK}:{controller_port(settings, n)}" for n in range(1, settings.brokers + 1)]
    broker, controller = broker_port(settings, node), controller_port(settings, node)
    return {
        "process.roles": "broker,controller",
        "node.id": str(node),
        "controller.quorum.voters": ",".join(voters),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{broker},CONTROLLER://{LOOPBACK}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{broker}",
        "log.dirs": str(log_dir),
        # A topic nobody declared is a mistake in a name.
        "auto.create.topics.enable": "false",
        "default.replication.factor": copies,
        "min.insync.replicas": copies_in_sync_min,
        "unclean.leader.election.enable": "false",
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": copies_in_sync_min,
        "message.max.bytes": str(_MESSAGE_BYTES_MAX),
        "replica.fetch.max.bytes": str(_MESSAGE_BYTES_MAX),
        # Small: two cores, few clients. 50 partitions each would only be files and start-up time.
        "offsets.topic.num.partitions": "10",
        "transaction.state.log.num.partitions": "10",
        "num.network.threads": "2",
        "num.io.threads": "2",
        "log.cleaner.threads": "1",
        "log.cleaner.dedupe.buffer.size": str(32 * 1024 * 1024),
        "group.initial.rebalance.delay.ms": "0",
        # A killed broker may register again only when its former session has ended: with the default of 9 s
        # a restart lasts 15 s, so 9 (measured). Much less, and a starved machine would lose its only broker.
        "broker.session.timeout.ms": "5000",
        "broker.heartbeat.interval.ms": "1000",
        **settings.broker_overrides,
    }
