"""What the warehouse does all day: counts, shipments, new names of goods, and counts taken back."""

from __future__ import annotations

from collections.abc import Sequence

from trueup.demo.ledger import Ledger
from trueup.demo.writers import ROLLED_BACK, Action, Changes, Cursor, Ids, Writer

_NEW_IDS_FROM = 1_000_000  # above all existing rows
_SHELF = 10  # goods that are counted in one transaction


class WarehouseWriter(Writer):
    """Writes stock and shipments.

    :param rows: what `create_sources` was given.
    """

    def __init__(self, dsn: str, ledger: Ledger, *, seed: int, changes_per_s: float, rows: int) -> None:
        super().__init__("warehouse", dsn, ledger, seed=f"warehouse-{seed}", changes_per_s=changes_per_s)
        self._skus = Ids(self.random, range(1, rows // 25 + 1))
        self._shipments = Ids(self.random, range(1, rows * 8 // 100 + 1))
        self._next_id = _NEW_IDS_FROM

    def actions(self) -> Sequence[tuple[int, Action]]:
        """Weights: mostly counts."""
        return (
            (40, self._count),
            (4, self._count_shelf),
            (20, self._ship),
            (15, self._track),
            (6, self._forget_shipment),
            (5, self._rename),
            (5, self._take_back),
        )

    def _count(self, cursor: Cursor) -> Changes:
        """Update the stock of one thing."""
        return {"stock": self._set_stock(cursor, [self._skus.any()], "count")}

    def _count_shelf(self, cursor: Cursor) -> Changes:
        """Update several rows at once. Sorted, as everybody who locks several rows does."""
        goods = sorted({self._skus.any() for _ in range(_SHELF)})
        return {"stock": self._set_stock(cursor, goods, "shelf count")}

    def _ship(self, cursor: Cursor) -> Changes:
        """Insert a shipment with the weights of its parcels."""
        shipment = self._new_id()
        weights = [round(self.random.uniform(0.1, 30), 3) for _ in range(self.random.randint(0, 3))]
        cursor.execute(
            "INSERT INTO public.shipments VALUES (%s, %s, 'packed', NULL, %s::numeric(8,3)[], NULL, clock_timestamp())",
            [shipment, self.random.randint(1, 1000), weights],
        )
        self._shipments.add(shipment)
        return {"shipments": 1}

    def _track(self, cursor: Cursor) -> Changes:
        """Update a shipment."""
        cursor.execute(
            "UPDATE public.shipments SET status = 'on the road', carrier = %s, shipped_on = current_date,"
            " updated_at = clock_timestamp() WHERE shipment_id = %s",
            [f"carrier {self.random.randint(1, 4)}", self._shipments.any()],
        )
        return {"shipments": cursor.rowcount}

    def _forget_shipment(self, cursor: Cursor) -> Changes:
        """Delete a shipment."""
        cursor.execute("DELETE FROM public.shipments WHERE shipment_id = %s", [self._shipments.take()])
        return {"shipments": cursor.rowcount}

    def _rename(self, cursor: Cursor) -> Changes:
        """Change a key."""
        old, new = self._skus.take(), self._new_id()
        cursor.execute("UPDATE public.stock SET sku = %s WHERE sku = %s", [f"sku-{new}", f"sku-{old}"])
        self._skus.add(new)
        return {"stock": 2 * cursor.rowcount}

    def _take_back(self, cursor: Cursor) -> Changes:
        """Count, then roll back."""
        self._set_stock(cursor, [self._skus.any()], ROLLED_BACK)
        return {}

    def _set_stock(self, cursor: Cursor, goods: list[int], reason: str) -> int:
        """Write a count of each. Return the number of rows."""
        cursor.execute(
            "UPDATE public.stock"
            " SET on_hand = %s, counted_at = clock_timestamp(), counted_by = 'Gus', reason = %s"
            " WHERE sku = ANY(%s)",
            [self.random.randrange(100), reason, [f"sku-{number}" for number in goods]],
        )
        return cursor.rowcount

    def _new_id(self) -> int:
        """Return a number never used before."""
        self._next_id += 1
        return self._next_id
