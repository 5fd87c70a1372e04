"""The simulation in `make test`: some hundred seeds, and that a seed is enough to repeat a run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.rules.checkout import ROOT
from tests.simulation import campaign, tables
from tests.simulation.runs import run_seed
from tests.simulation.writers_run import WritersRun
from trueup.runtime.partition_memory import PartitionMemory

SEEDS = 300
WRITERS_SEEDS = 60


@pytest.mark.timeout(600)  # ten seconds of work, however busy the machine is
def test_the_invariants_hold_for_every_seed() -> None:
    summary, _ = campaign.timed(range(SEEDS))
    assert summary.seeds == SEEDS
    assert not summary.failed, "replay one: make simulate SEED=..."
    assert summary.hit.total() > SEEDS, "a run without faults proves little"
    assert all(summary.events[what] for what in ("state lost", "state stale", "SIGTERM", "compaction"))


def test_two_writers_do_all_that_there_is_to_compare() -> None:
    """A log that nobody disputes is decided alike by everybody: each policy has its seeds, and disputes in them."""
    disputed: dict[str, Counter[str]] = {
        table.conflicts.policy: Counter() for table in tables.SHARED if table.conflicts
    }
    for seed in range(WRITERS_SEEDS):
        run = WritersRun(seed)
        assert not run.report().findings
        assert run.table.conflicts is not None
        counted = disputed[run.table.conflicts.policy]
        for _, metadata in run.log.committed.values():
            counted.update({outcome.value: n for outcome, n in PartitionMemory.read(metadata).totals.items()})
    assert all(counted["applied"] > 50 for counted in disputed.values()), disputed
    assert all(disputed[policy]["stale"] for policy in ("last_write_wins", "version_comparison", "prefer")), disputed
    assert disputed["escalate"]["escalated"] > 50, disputed
    assert disputed["version_comparison"]["escalated"] > 50, disputed
    assert not disputed["prefer"]["escalated"], "there is nothing that it cannot decide"


@pytest.mark.parametrize("seed", [711, 1217, 1451, 2549, 2552])
def test_a_truncate_is_a_witness_of_its_topic_where_offsets_were_deleted(seed: int) -> None:
    """What it deleted stands at its own offset, or where it would stand itself, and neither record has the key: the
    topic was taken for one made anew."""
    assert not run_seed(seed).findings


def test_a_row_of_a_snapshot_from_before_a_truncate_does_not_come_back_where_offsets_were_deleted() -> None:
    """It lies between the truncate and its control record, so deciding all once more met it first."""
    assert not run_seed(1228).findings


def test_what_a_person_declined_before_a_truncate_may_be_asked_about_again_or_not() -> None:
    """The model said that it must, once the row had been read again; nobody promised that."""
    assert not run_seed(1606).findings


def test_a_seed_repeats_its_run() -> None:
    first, again = (run_seed(7, keeps_trace=True) for _ in range(2))
    assert len(first.trace) > 10
    assert again.trace == first.trace
    assert again.ended_at_s == first.ended_at_s


def test_a_seed_repeats_its_run_in_another_process() -> None:
    """Whatever order its sets have."""

    def trace(hash_seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "11"],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    assert trace("1") == trace("2")


def test_different_seeds_are_different_runs() -> None:
    assert run_seed(1).ended_at_s != run_seed(2).ended_at_s
