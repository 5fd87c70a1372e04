"""Whatever happened while capture was blind: after snapshot and sweep the truth holds the source's keys and no others.

A model of the source and of its log; the real `decide_batch` and the real sweep decision.
"""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.envelopes import BY_COUNTER, ORDERS, change, key_of, order, orders_plan
from trueup.core.control import Sweep
from trueup.core.ordering import Guard
from trueup.core.pipeline import DecidePlan, decide_batch
from trueup.core.sweep import deletion, swept_keys, version_of_sweep
from trueup.model.decision import DELETED_HASH, Held
from trueup.model.event import LogRecord
from trueup.model.registration import Check, Table
from trueup.model.version import Version

CHECKS = [Check(column="amount", min=0)]
PLANS = {
    table.version.__class__.__name__: orders_plan(msgspec.structs.replace(table, checks=CHECKS))
    for table in (ORDERS, BY_COUNTER)
}

KEYS = st.integers(1, 5)
CHANGES = st.lists(st.tuples(KEYS, st.sampled_from(["write", "refused write", "delete"])), max_size=8)


class World:
    """A source, its log as far as it was captured, and what is held of it."""

    def __init__(self, plan: DecidePlan) -> None:
        self.plan = plan
        self.rows: dict[int, dict[str, Any]] = {}
        self.log: list[LogRecord] = []
        self.held: dict[bytes, Held] = {}
        self.versions: dict[bytes, list[Version]] = {}
        self.letters: set[tuple[bytes, int]] = set()
        self.guard = Guard()
        self.counter = 0

    def change(self, key: int, what: str, epoch: int | None) -> None:
        """A change at the source, captured under an epoch or by nobody."""
        before = self.rows.pop(key, None)
        if what == "delete":
            if before is not None and epoch is not None:
                self.log.append(change(len(self.log), "d", before, epoch=epoch))
            return
        self.counter += 1
        amount = "-1.00" if what == "refused write" else f"{self.counter}.00"
        row = self.rows[key] = order(key, amount=amount, row_version=self.counter)
        if epoch is not None:
            self.log.append(change(len(self.log), "c" if before is None else "u", row, epoch=epoch))

    def snapshot(self, epoch: int) -> None:
        for row in self.rows.values():
            self.log.append(change(len(self.log), "r", row, epoch=epoch))

    def decide(self, records: list[LogRecord]) -> None:
        batch = decide_batch(records, self.held, self.guard, self.plan)
        self.held |= batch.held
        self.guard = batch.guard
        for truth in batch.truths:
            self.versions.setdefault(truth.key, []).append(truth.version)
        self.letters |= {(record.key or b"", int(dict(record.headers)["trueup.epoch"])) for record, _ in batch.dead}

    def sweep(self, epoch: int, offset: int) -> int:
        order = Sweep(epoch, offset, 0)
        version = version_of_sweep(order, ranked=self.plan.version_column is not None)
        brought = {key for key, of in self.letters if of == epoch}
        keys = swept_keys(sorted(self.held.items()), brought, epoch)
        for key in keys:
            truth = deletion(key, version, order)
            self.held[key] = Held(truth.version, truth.content_hash)
            self.versions.setdefault(key, []).append(truth.version)
        return len(keys)

    def check(self) -> None:
        held = {key for key, known in self.held.items() if known.content_hash != DELETED_HASH}
        usable = {key_of(key) for key, row in self.rows.items() if row["amount"] != "-1.00"}
        there = {key_of(key) for key in self.rows}
        assert usable <= held, "a row of the source is not in the truth"
        assert held <= there, "a row that is gone is in the truth"
        for versions in self.versions.values():
            assert versions == sorted(versions), "a version fell"


@settings(max_examples=200)
@given(st.sampled_from(sorted(PLANS)), CHANGES, CHANGES, CHANGES, CHANGES, st.booleans())
def test_after_a_sweep_the_truth_has_the_keys_of_the_source(
    plan: str,
    captured: list[tuple[int, str]],
    blind: list[tuple[int, str]],
    during: list[tuple[int, str]],
    after: list[tuple[int, str]],
    undecided: bool,
) -> None:
    world = World(PLANS[plan])
    for key, what in captured:
        world.change(key, what, 1)
    decided = len(world.log) // 2 if undecided else len(world.log)
    world.decide(world.log[:decided])
    for key, what in blind:
        world.change(key, what, None)
    world.guard = Guard(2)  # the command begins the epoch at the partition
    world.snapshot(2)
    for key, what in during:
        world.change(key, what, 2)
    world.decide(world.log[decided:])
    control = len(world.log)
    world.log.append(change(control))  # its place in the log; not decided
    world.sweep(2, control)
    assert world.sweep(2, control) == 0, "met again after a kill it finds nothing"
    world.check()
    start = len(world.log)
    for key, what in after:
        world.change(key, what, 2)
    world.decide(world.log[start:])
    world.check()


def test_the_plans_are_of_two_orders() -> None:
    tables: list[Table] = [plan.table for plan in PLANS.values()]
    assert len({str(table.version) for table in tables}) == 2
