"""Every local stack is a Kafka cluster of its own: what is derived from the id differs from stack to stack."""

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trueup.core.connector_config import unavailable_value
from trueup.stack.cluster_id import cluster_id
from trueup.stack.settings import StackSettings


def test_an_id_is_what_kafka_takes_and_stays(tmp_path: Path) -> None:
    settings = StackSettings(state_dir=tmp_path)
    drawn = cluster_id(settings)
    assert len(base64.urlsafe_b64decode(drawn + "==")) == 16
    assert not drawn.startswith("-"), "Kafka's format tool would read an option"
    assert cluster_id(settings) == drawn


def test_two_stacks_have_different_placeholders(tmp_path: Path) -> None:
    ids = {cluster_id(StackSettings(state_dir=tmp_path / name)) for name in ("one", "two")}
    assert len({unavailable_value(found, "shop") for found in ids}) == 2


def test_brokers_that_are_formatted_at_once_agree(tmp_path: Path) -> None:
    settings = StackSettings(state_dir=tmp_path)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: cluster_id(settings), range(64)))) == 1
