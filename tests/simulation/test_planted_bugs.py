"""The simulation's own proof: a guarantee that is taken away is missed, soon, and by its seed alone once more."""

from __future__ import annotations

import pytest

from tests.simulation import campaign
from tests.simulation.planted_bugs import PLANTED
from tests.simulation.planted_freshness_bugs import PLANTED as PLANTED_IN_FRESHNESS
from tests.simulation.planted_writers_bugs import PLANTED as PLANTED_AMONG_WRITERS
from tests.simulation.runs import EVERY, run_seed
from tests.simulation.worker import Parts

SEEDS_MAX = 2_000


@pytest.mark.timeout(600)  # seconds of work, however busy the machine is
@pytest.mark.parametrize("bug", (*PLANTED, *PLANTED_IN_FRESHNESS), ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: type[Parts]) -> None:
    _is_found(bug, range(bug.first_seed, SEEDS_MAX))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", PLANTED_AMONG_WRITERS, ids=lambda bug: bug.__name__)
def test_a_bug_planted_among_writers_is_found_where_there_are_several(bug: type[Parts]) -> None:
    _is_found(bug, range(0, SEEDS_MAX, EVERY))


def _is_found(bug: type[Parts], seeds: range) -> None:
    found = campaign.first_finding(seeds, bug)
    assert found is not None, f"{bug.__doc__} Nobody noticed."
    assert run_seed(found.seed, bug).findings == found.findings, "its seed alone finds it again"
    assert not run_seed(found.seed).findings, "and finds nothing where nothing was planted"
