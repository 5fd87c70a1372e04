"""A stopped partition goes on when a command cured what stopped it, and its worker does not begin anew before."""

from collections.abc import Iterator

import pytest

from tests.decide_worker import EVEN, Cluster, DecideWorker


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.world.close()


def test_what_the_worker_committed_itself_is_no_cure(cluster: Cluster) -> None:
    """A new table has no epoch before its first batch, so its first stop ended the worker for nothing."""
    worker = DecideWorker(cluster, "decide")
    worker.takes(EVEN)
    cluster.capture((0, 5))
    worker.decides(EVEN)
    cluster.commits_are_complete()
    assert not worker.was_cured(EVEN)


def test_an_epoch_that_another_began_is_one(cluster: Cluster) -> None:
    worker, other = DecideWorker(cluster, "decide"), DecideWorker(cluster, "other")
    worker.takes(EVEN)
    cluster.capture((0, 5))
    worker.decides(EVEN)
    other.takes(EVEN)
    cluster.capture((0, 6), epoch=2)
    other.decides(EVEN)
    cluster.commits_are_complete()
    assert worker.was_cured(EVEN)
    assert not other.was_cured(EVEN)
