"""A pass finds what was damaged and nothing else, whatever goes on meanwhile and wherever it is ended and gone on with.

A source and a copy in memory. Whenever a side is asked something, time has passed: keys of the source changed, and the
copy caught up by some of it. The copy sorts its keys in another order than the source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.model.proof import Difference, Key, KeyRange, PassState, Seen, key_text
from trueup.runtime.verify_pass import ComparePass, Pace, PassResult

BUCKETS = 8
BEGIN = PassState(began_at="2026-11-25 10:00:00+00", position="0/1", fingerprint="f")
RESTING = range(40)
MOVING = range(40, 60)


@cache
def digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")


class FakeSide:
    """Rows by key, asked as `adapters.postgres_compare.Side` is."""

    def __init__(self, sort_key: Callable[[Key], str], passes: Callable[[], None]) -> None:
        self.sort_key, self.passes = sort_key, passes
        self.held: dict[Key, Seen] = {}
        self.rows_answered_max = 0

    def border(self, after: Key | None, rows: int) -> Key | None:
        self.passes()
        keys = self._within(KeyRange(after, None))
        return keys[rows - 1] if len(keys) >= rows else None

    def buckets(self, within: KeyRange) -> dict[int, tuple[int, int]]:
        self.passes()
        found: dict[int, tuple[int, int]] = {}
        for key in self._within(within):
            bucket = digest(key_text(key)) % BUCKETS
            count, total = found.get(bucket, (0, 0))
            found[bucket] = (count + 1, total + digest(self.held[key].hash))
        return found

    def rows(self, within: KeyRange, buckets: set[int]) -> dict[str, Seen]:
        self.passes()
        keys = [key for key in self._within(within) if digest(key_text(key)) % BUCKETS in buckets]
        self.rows_answered_max = max(self.rows_answered_max, len(keys))
        return {key_text(key): self.held[key] for key in keys}

    def look(self, keys: Sequence[Key]) -> dict[str, Seen]:
        self.passes()
        return {key_text(key): self.held[key] for key in keys if key in self.held}

    def _within(self, within: KeyRange) -> list[Key]:
        place = self.sort_key
        low = "" if within.after is None else place(within.after)
        high = "~" if within.through is None else place(within.through)
        return sorted((key for key in self.held if low < place(key) <= high), key=place)


class World:
    """A source, its log, and a copy that lags."""

    def __init__(self, seed: int, changes_per_look: int) -> None:
        self.dice, self.changes_per_look = Random(seed), changes_per_look
        self.source = FakeSide(lambda key: f"{int(key[0]):05}", self.time_passes)
        self.replica = FakeSide(lambda key: key[0], self.time_passes)  # as text: 10 before 9
        self.log: list[tuple[Key, str | None]] = []
        self.applied = self.stamp = 0
        for number in (*RESTING, *MOVING):
            self.write(number, f"{number} at first")
        self.apply_all()

    def write(self, number: int, value: str | None) -> None:
        self.stamp += 1
        key = (str(number),)
        if value is None:
            self.source.held.pop(key, None)
        else:
            self.source.held[key] = Seen(f"{key_text(key)} {value}", f"s{self.stamp}")
        self.log.append((key, value))

    def time_passes(self) -> None:
        for _ in range(self.dice.randint(0, self.changes_per_look)):
            value = self.dice.choice([None, "a", "b", "c"])
            self.write(self.dice.choice(MOVING), value)
        for _ in range(self.dice.randint(0, len(self.log) - self.applied)):
            self.apply_one()

    def apply_one(self) -> None:
        (key, value), self.applied = self.log[self.applied], self.applied + 1
        if value is None:
            self.replica.held.pop(key, None)
        else:
            self.replica.held[key] = Seen(f"{key_text(key)} {value}", f"r{self.applied}")

    def apply_all(self) -> None:
        while self.applied < len(self.log):
            self.apply_one()

    def catch_up(self) -> bool:
        reached = len(self.log)
        self.time_passes()
        while self.applied < reached:
            self.apply_one()
        return True

    def damage(self, number: int, how: Difference) -> str:
        """What nobody sent: at a key that rests, or one that neither side has."""
        key = (str(number),)
        if how is Difference.MISSING:
            del self.replica.held[key]
        elif how is Difference.CHANGED:
            self.replica.held[key] = Seen("damaged", "d")
        else:
            key = (str(number + 1_000),)
            self.replica.held[key] = Seen("added", "d")
        return key_text(key)

    def compare(
        self,
        begin: PassState,
        on_state: Callable[[PassState], None],
        stopping: Callable[[], bool],
        range_rows: int | None,
    ) -> PassResult:
        pace = Pace(range_rows=range_rows)
        return ComparePass(
            self.source, self.replica, self.catch_up, begin, pace, on_state, stopping, lambda _: None
        ).run()


DAMAGE = st.dictionaries(st.sampled_from(RESTING), st.sampled_from(Difference), max_size=6)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 1 << 32),
    changes_per_look=st.integers(0, 6),
    damage=DAMAGE,
    range_rows=st.sampled_from([1, 7, 25, 1_000, None]),
    ended_after=st.integers(0, 6),
)
def test_a_pass_finds_what_was_damaged_and_nothing_else(
    seed: int, changes_per_look: int, damage: dict[int, Difference], range_rows: int | None, ended_after: int
) -> None:
    world = World(seed, changes_per_look)
    expected = {world.damage(number, how): how for number, how in damage.items()}
    states = [BEGIN]

    def ended_early() -> bool:
        return len(states) > ended_after

    result = world.compare(BEGIN, states.append, ended_early, range_rows)
    while not result.complete:  # another process goes on where the last one said it was
        result = world.compare(states[-1], states.append, lambda: False, range_rows)
    assert result.caught_up
    assert {finding.key: finding.kind for finding in result.findings} == expected
    moving = {key_text((str(number),)) for number in MOVING}
    assert set(result.unproven) <= moving
    if not changes_per_look:
        assert not result.unproven


@settings(max_examples=40)
@given(seed=st.integers(0, 1 << 32), how=st.sampled_from(Difference), number=st.sampled_from(RESTING))
def test_each_kind_of_damage_is_found_and_gone_when_mended(seed: int, how: Difference, number: int) -> None:
    world = World(seed, 2)
    key = (str(number + (1_000 if how is Difference.EXTRA else 0)),)
    before = world.replica.held.get(key)
    world.damage(number, how)
    never = lambda: False  # noqa: E731
    (found,) = world.compare(BEGIN, lambda _: None, never, 7).findings
    assert (found.key, found.kind) == (key_text(key), how)
    assert found.source_hash == (None if how is Difference.EXTRA else world.source.held[key].hash)
    if before is None:
        del world.replica.held[key]
    else:
        world.replica.held[key] = before
    assert world.compare(BEGIN, lambda _: None, never, 7).findings == []


def test_a_copy_that_does_not_catch_up_is_not_called_different() -> None:
    world = World(1, 0)
    world.damage(3, Difference.CHANGED)
    never: Callable[[], bool] = lambda: False  # noqa: E731
    passing = ComparePass(world.source, world.replica, never, BEGIN, Pace(range_rows=None), sleep=lambda _: None)
    result = passing.run()
    assert (result.complete, result.caught_up) == (False, False)
    assert result.findings == []
    assert result.unproven == ['["3"]']


def test_it_rests_between_ranges_as_the_rate_says() -> None:
    world, rests = World(1, 0), list[float]()
    pace = Pace(range_rows=10, rows_per_s_max=10.0)
    ComparePass(world.source, world.replica, world.catch_up, BEGIN, pace, sleep=rests.append).run()
    assert len(rests) == 6
    assert all(0.5 < rest <= 1.0 for rest in rests)
