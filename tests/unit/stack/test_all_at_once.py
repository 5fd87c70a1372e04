"""Of several parts that fail together, the one that failed first is the cause."""

import threading
from pathlib import Path

import pytest

from trueup.stack.kafka import KafkaPart
from trueup.stack.local_stack import _all_at_once
from trueup.stack.part import Part
from trueup.stack.settings import StackSettings


def test_the_failure_that_came_first_is_raised(tmp_path: Path) -> None:
    """A broker gives up its quorum long after another broker could not start."""
    settings = StackSettings(state_dir=tmp_path, brokers=2)
    second_failed, started = threading.Event(), []

    def start(part: Part) -> None:
        started.append(part.name)
        if part.name == "kafka-1":
            assert second_failed.wait(10)
            raise RuntimeError("no quorum")
        second_failed.set()
        raise RuntimeError("its port is taken")

    with pytest.raises(RuntimeError, match="port is taken"):
        _all_at_once(start, [KafkaPart(settings, 1), KafkaPart(settings, 2)])
    assert sorted(started) == ["kafka-1", "kafka-2"]
