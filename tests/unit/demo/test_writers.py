"""The writers' choices: repeatable by seed, and never a row that is gone."""

import random

from trueup.demo.ledger import Ledger
from trueup.demo.shop_writer import ShopWriter
from trueup.demo.warehouse_writer import WarehouseWriter
from trueup.demo.writers import Ids


def test_what_was_taken_is_not_offered_again() -> None:
    ids = Ids(random.Random(1), range(1, 11))
    taken = [ids.take() for _ in range(10)]
    assert sorted(taken) == list(range(1, 11))
    ids.add(99)
    assert ids.any() == 99


def test_the_same_seed_makes_the_same_choices() -> None:
    def choices(seed: int) -> list[int]:
        writer = ShopWriter("", Ledger(), seed=seed, changes_per_s=10, rows=1_000)
        weights, actions = zip(*writer.actions(), strict=True)
        return [actions.index(action) for action in writer.random.choices(actions, weights, k=50)]

    assert choices(3) == choices(3) != choices(4)


def test_the_two_writers_do_not_share_their_chance() -> None:
    shop = ShopWriter("", Ledger(), seed=3, changes_per_s=10, rows=1_000)
    warehouse = WarehouseWriter("", Ledger(), seed=3, changes_per_s=10, rows=1_000)
    assert shop.random.random() != warehouse.random.random()
