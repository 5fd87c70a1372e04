"""Topics and cluster of Kafka, by confluent-kafka's AdminClient. Records go by aiokafka."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from trueup.adapters.kafka_errors import PART, from_librdkafka
from trueup.model.errors import Refused, Unreachable
from trueup.model.topic import ClusterFacts, TopicFacts, TopicSpec

_TIMEOUT_S: Final = 10.0
_PAUSE_S: Final = 0.2
T = TypeVar("T")

_SILENT = logging.getLogger("trueup.adapters.kafka_topics.client")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False  # librdkafka reports each refused connection; we report the part once


class KafkaTopics:
    """The topics of one cluster."""

    def __init__(self, bootstrap_servers: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        self.bootstrap_servers = bootstrap_servers
        self._timeout_s = timeout_s
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers}, logger=_SILENT)

    def cluster(self) -> ClusterFacts:
        """Identity and size of the cluster."""
        asked = self._call(lambda: self._admin.describe_cluster(request_timeout=self._timeout_s))
        facts = self._answer(asked, "the cluster")
        return ClusterFacts(cluster_id=str(facts.cluster_id), brokers=len(facts.nodes))

    def describe(self, names: Iterable[str]) -> dict[str, TopicFacts]:
        """The topics among `names` that exist."""
        wanted = list(names)
        if not wanted:
            return {}
        sizes: dict[str, tuple[int, int, str]] = {}
        asked = self._call(
            lambda: self._admin.describe_topics(TopicCollection(wanted), request_timeout=self._timeout_s)
        )
        for name, future in asked.items():
            found = self._answer(future, f'topic "{name}"', none_at=KafkaError.UNKNOWN_TOPIC_OR_PART)
            if found is None:
                continue
            copies = len(found.partitions[0].replicas) if found.partitions else 0
            sizes[name] = (len(found.partitions), copies, str(found.topic_id))
        configs = self._configs(sizes)
        return {
            name: TopicFacts(partitions=count, replication_factor=copies, config=configs[name], topic_id=topic_id)
            for name, (count, copies, topic_id) in sizes.items()
            if name in configs  # else it was deleted between the two requests
        }

    def create(self, spec: TopicSpec) -> None:
        """Create a topic. Nothing when it exists: whoever plans has compared it."""
        topic = NewTopic(spec.name, spec.partitions, spec.replication_factor, config=spec.config)
        future = self._call(lambda: self._admin.create_topics([topic], request_timeout=self._timeout_s))[spec.name]
        self._answer(future, f'topic "{spec.name}"', none_at=KafkaError.TOPIC_ALREADY_EXISTS)

    def alter(self, name: str, config: Mapping[str, str]) -> None:
        """Change these settings of a topic, and no others."""
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        asked = self._call(lambda: self._admin.incremental_alter_configs([resource], request_timeout=self._timeout_s))
        self._answer(asked[resource], f'topic "{name}"')

    def delete(self, names: Iterable[str]) -> None:
        """Delete topics, those that do not exist included."""
        wanted = list(names)
        if wanted:
            for future in self._admin.delete_topics(wanted, request_timeout=self._timeout_s).values():
                future.exception(self._timeout_s)

    def delete_and_wait(self, name: str) -> None:
        """Delete a topic and wait until the name is free. Raises Refused."""
        self.delete([name])
        end = time.monotonic() + self._timeout_s
        while name in self.describe([name]):
            if time.monotonic() > end:
                raise Refused(f'topic "{name}" is not deleted', hint="see delete.topic.enable of the brokers")
            time.sleep(_PAUSE_S)

    def _configs(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        if not resources:
            return {}
        asked = self._call(lambda: self._admin.describe_configs(resources, request_timeout=self._timeout_s))
        found = {}
        for resource, future in asked.items():
            what = f'topic "{resource.name}"'
            entries = self._answer(future, what, none_at=KafkaError.UNKNOWN_TOPIC_OR_PART)
            if entries is not None:
                found[resource.name] = {key: str(entry.value) for key, entry in entries.items()}
        return found

    def _answer(self, future: Future[Any], what: str, *, none_at: int | None = None) -> Any:
        """What the broker answers; None where it answers with this error."""
        try:
            return future.result(self._timeout_s)
        except KafkaException as exc:
            if _code(exc) == none_at:
                return None
            raise from_librdkafka(exc.args[0], self.bootstrap_servers, what) from exc
        except FutureTimeoutError as exc:
            raise Unreachable(PART, detail=self.bootstrap_servers) from exc

    def _call(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except KafkaException as exc:
            raise from_librdkafka(exc.args[0], self.bootstrap_servers, "the request") from exc


def _code(exc: KafkaException) -> int:
    return int(exc.args[0].code())
