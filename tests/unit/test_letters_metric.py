"""The gauge of open dead letters: the count of the decide worker, once it is durable, while it owns the partition. And
the cap, which counts them too.

"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from tests.decide_worker import EVEN, ODD, Cluster, DecideWorker
from tests.simulation.schedule import Fault, Faults
from trueup.model.errors import DeadLetterCapReached, Unreachable
from trueup.runtime.metrics import DecideMetrics


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.world.close()


def test_every_table_has_the_gauge_before_anything_happened() -> None:
    registry = CollectorRegistry()
    DecideMetrics(registry, ["orders", "stock"])
    for table in ("orders", "stock"):
        labels = {"stage": "decide", "table": table}
        assert registry.get_sample_value("trueup_dead_letters_open", labels) == 0


def test_it_rises_with_a_letter_and_falls_when_a_newer_change_supersedes_it(cluster: Cluster) -> None:
    worker = DecideWorker(cluster, "decide")
    for tp in (EVEN, ODD):
        worker.takes(tp)
    cluster.capture((0, -1), (2, -1), (1, -1), (4, 7))
    worker.decides(EVEN)
    assert worker.open == 2
    worker.decides(ODD)
    assert worker.open == 3, "the partitions of a table together"
    cluster.capture((0, -2), (2, 5))
    worker.decides(EVEN)
    assert worker.open == 2, "a key counts once, and the corrected one no more"
    cluster.capture((0, 5))
    worker.decides(EVEN)
    assert worker.open == 1


def test_it_goes_with_the_partition(cluster: Cluster) -> None:
    former, new = DecideWorker(cluster, "former"), DecideWorker(cluster, "new")
    for tp in (EVEN, ODD):
        former.takes(tp)
    cluster.capture((0, -1), (1, -1))
    for tp in (EVEN, ODD):
        former.decides(tp)
    former.gives_up(EVEN)
    assert (former.open, new.open) == (1, 0)
    new.takes(EVEN)
    assert (former.open, new.open) == (1, 1), "read back from the topic of the letters"
    cluster.capture((0, 5))
    new.decides(EVEN)
    assert (former.open, new.open) == (1, 0)


def test_a_letter_is_counted_when_it_is_durable(cluster: Cluster) -> None:
    worker = DecideWorker(cluster, "decide")
    worker.takes(EVEN)
    cluster.capture((0, -1))
    cluster.world.faults = Faults([Fault("before commit transaction", 1, "error", 0)])
    with pytest.raises(Unreachable):
        worker.decides(EVEN)
    assert worker.open == 0
    worker.takes(EVEN)
    worker.decides(EVEN)
    assert worker.open == 1


def test_who_takes_the_partition_over_knows_what_was_refused(cluster: Cluster) -> None:
    """The owner takes a refused change back: the row is published once more, so that a replay of the letter loses. What
    was refused stood in the former worker's own store alone."""
    former, new = DecideWorker(cluster, "former"), DecideWorker(cluster, "new")
    former.takes(EVEN)
    cluster.capture((0, 5), (2, 5))
    former.decides(EVEN)
    cluster.capture((0, -1))
    former.decides(EVEN)
    former.gives_up(EVEN)
    new.takes(EVEN)
    assert (new.open, new.counts["applied"]) == (1, 2)
    cluster.capture((0, 5), (2, 5))
    new.decides(EVEN)
    assert new.open == 0, "the letter is superseded"
    assert (new.counts["applied"], new.counts["unchanged"]) == (3, 1), "of the other row there is nothing to say"


def test_the_cap_counts_open_letters_not_those_of_a_lifetime(cluster: Cluster) -> None:
    worker = DecideWorker(cluster, "decide", letters_max=1)
    worker.takes(EVEN)
    for _ in range(3):
        cluster.capture((0, -1))
        worker.decides(EVEN)
        cluster.capture((0, 5))
        worker.decides(EVEN)
    cluster.capture((2, -1), (4, -1), (4, 5))
    worker.decides(EVEN)
    assert (worker.open, worker.counts["rejected"]) == (1, 5), "what the same batch corrects counts no more"


def test_behind_the_cap_lie_the_corrections_so_it_is_raised_first(cluster: Cluster) -> None:
    worker, raised = DecideWorker(cluster, "decide", letters_max=1), DecideWorker(cluster, "raised", letters_max=2)
    worker.takes(EVEN)
    cluster.capture((0, -1))
    worker.decides(EVEN)
    cluster.capture((2, -1))
    with pytest.raises(DeadLetterCapReached) as stop:
        worker.decides(EVEN)
    assert "raise worker.dead_letters_per_table_max" in (stop.value.hint or "")
    worker.gives_up(EVEN)
    raised.takes(EVEN)
    raised.decides(EVEN)
    assert raised.open == 2
    raised.gives_up(EVEN)
    worker.takes(EVEN)
    cluster.capture((0, 5), (6, 7))
    worker.decides(EVEN)
    assert worker.open == 1, "with more than the cap corrections go on, and changes of other rows"


def test_who_takes_over_counts_on(cluster: Cluster) -> None:
    former, new = (DecideWorker(cluster, name, letters_max=1) for name in ("former", "new"))
    former.takes(EVEN)
    cluster.capture((0, -1))
    former.decides(EVEN)
    former.gives_up(EVEN)
    new.takes(EVEN)
    cluster.capture((2, -1))
    with pytest.raises(DeadLetterCapReached):
        new.decides(EVEN)
