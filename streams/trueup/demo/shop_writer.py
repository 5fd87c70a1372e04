"""What the shop does all day: orders of several rows, corrections, deletions, new keys, changes of mind."""

from __future__ import annotations

from collections.abc import Sequence

from trueup.demo.ledger import Ledger
from trueup.demo.writers import ROLLED_BACK, Action, Changes, Cursor, Ids, Writer

_NEW_IDS_FROM = 1_000_000  # above all existing rows
_LINES_MAX = 4
_NOTE_BYTES = 6_400  # 12,800 hexadecimal digits: far above the 2 kB from which a value is TOASTed


class ShopWriter(Writer):
    """Writes customers, orders, order_lines and payments.

    :param rows: what `create_sources` was given.
    """

    def __init__(self, dsn: str, ledger: Ledger, *, seed: int, changes_per_s: float, rows: int) -> None:
        super().__init__("shop", dsn, ledger, seed=f"shop-{seed}", changes_per_s=changes_per_s)
        self._customers = Ids(self.random, range(1, rows // 10 + 1))
        self._orders = Ids(self.random, range(1, rows * 24 // 100 + 1))
        self._payments = rows * 18 // 100
        self._skus = rows // 25
        self._next_id = _NEW_IDS_FROM

    def actions(self) -> Sequence[tuple[int, Action]]:
        """Weights: mostly updates, as in most databases."""
        return (
            (25, self._place_order),
            (35, self._change_order),
            (15, self._change_customer),
            (2, self._rewrite_note),
            (8, self._cancel_order),
            (6, self._move_line),
            (3, self._renumber_customer),
            (4, self._refund),
            (2, self._forget_payment),
            (4, self._change_of_mind),
        )

    def _place_order(self, cursor: Cursor) -> Changes:
        """Insert an order with its lines and its payment, all or nothing."""
        order = self._new_id()
        lines = self.random.randint(1, _LINES_MAX)
        amount = self.random.randrange(100, 50_000) / 100
        self._insert_order(cursor, order, amount, "web")
        cursor.execute(
            "INSERT INTO public.order_lines"
            " SELECT %s, n, 'sku-' || n, 1, 9.9900 + n, jsonb_build_object('line', n)"
            " FROM generate_series(1, %s::int) AS n",
            [order, lines],
        )
        cursor.execute(
            "INSERT INTO public.payments VALUES (md5('payment/' || %s::bigint)::uuid, %s, %s, 'card', now(), %s, '{}')",
            [order, order, amount, self.random.randbytes(16)],
        )
        self._orders.add(order)
        return {"orders": 1, "order_lines": lines, "payments": 1}

    def _change_order(self, cursor: Cursor) -> Changes:
        """Update one order."""
        status = self.random.choice(["paid", "packed", "shipped"])
        cursor.execute(
            "UPDATE public.orders SET status = %s::order_status, change_reason = %s,"
            " updated_at = clock_timestamp() WHERE order_id = %s",
            [status, f"now {status}", self._orders.any()],
        )
        return {"orders": cursor.rowcount}

    def _change_customer(self, cursor: Cursor) -> Changes:
        """Update a row and leave its TOASTed note alone: the log does not carry the note by itself."""
        cursor.execute(
            "UPDATE public.customers SET preferences = preferences || jsonb_build_object('visits', %s::int),"
            " tags = tags || %s::text, updated_at = clock_timestamp() WHERE customer_id = %s",
            [
                self.random.randrange(1000),
                self.random.choice(["vip", "late", "{odd}"]),
                self._customers.any(),
            ],
        )
        return {"customers": cursor.rowcount}

    def _rewrite_note(self, cursor: Cursor) -> Changes:
        """Replace a note by a long one."""
        note = self.random.randbytes(_NOTE_BYTES).hex()
        cursor.execute("UPDATE public.customers SET notes = %s WHERE customer_id = %s", [note, self._customers.any()])
        return {"customers": cursor.rowcount}

    def _cancel_order(self, cursor: Cursor) -> Changes:
        """Delete an order with its lines."""
        order = self._orders.take()
        cursor.execute("DELETE FROM public.order_lines WHERE order_id = %s", [order])
        lines = cursor.rowcount
        cursor.execute("DELETE FROM public.orders WHERE order_id = %s", [order])
        return {"order_lines": lines, "orders": cursor.rowcount}

    def _move_line(self, cursor: Cursor) -> Changes:
        """Change a part of a key."""
        cursor.execute(
            "UPDATE public.order_lines SET line_no = line_no + 100 WHERE order_id = %s AND line_no = 1",
            [self._orders.any()],
        )
        return {"order_lines": 2 * cursor.rowcount}

    def _renumber_customer(self, cursor: Cursor) -> Changes:
        """Change the key of a row that may have a TOASTed note."""
        old, new = self._customers.take(), self._new_id()
        cursor.execute("UPDATE public.customers SET customer_id = %s WHERE customer_id = %s", [new, old])
        self._customers.add(new)
        return {"customers": 2 * cursor.rowcount}

    def _refund(self, cursor: Cursor) -> Changes:
        """Update a payment; one that was deleted is left alone."""
        cursor.execute(
            "UPDATE public.payments SET amount = 0, details = '{\"refunded\": true}'"
            " WHERE payment_id = md5('payment/' || %s::bigint)::uuid",
            [self.random.randint(1, self._payments)],
        )
        return {"payments": cursor.rowcount}

    def _forget_payment(self, cursor: Cursor) -> Changes:
        """Delete a payment, unless it was deleted before."""
        cursor.execute(
            "DELETE FROM public.payments WHERE payment_id = md5('payment/' || %s::bigint)::uuid",
            [self.random.randint(1, self._payments)],
        )
        return {"payments": cursor.rowcount}

    def _change_of_mind(self, cursor: Cursor) -> Changes:
        """Write two orders, then roll back."""
        self._insert_order(cursor, self._new_id(), 1, ROLLED_BACK)
        cursor.execute(
            "UPDATE public.orders SET change_reason = %s WHERE order_id = %s",
            [ROLLED_BACK, self._orders.any()],
        )
        return {}

    def _insert_order(self, cursor: Cursor, order: int, amount: float, reason: str) -> None:
        """Insert one row into orders."""
        cursor.execute(
            "INSERT INTO public.orders VALUES (%s, %s, %s, 1, %s, 'EUR', 'new',"
            " md5('order/' || %s::bigint)::uuid, %s, clock_timestamp(), clock_timestamp())",
            [
                order,
                self._customers.any(),
                f"sku-{self.random.randint(1, self._skus)}",
                amount,
                order,
                reason,
            ],
        )

    def _new_id(self) -> int:
        """Return a number never used before."""
        self._next_id += 1
        return self._next_id
