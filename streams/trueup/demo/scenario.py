"""The story: a shop sells what the warehouse no longer has, with a copy job and with TrueUp.

Every number comes out of a database. Only the clock is simulated: the times of the story are written into the
rows. Both guards are the same statement, on two copies of the same table; an order is accepted if the copy
says there is stock.
"""

from __future__ import annotations

import datetime
import time

import msgspec

from trueup.demo.checks import Checks
from trueup.demo.copies import Databases
from trueup.demo.ledger import Ledger
from trueup.demo.waiting import until
from trueup.model.registration import duration_ms

SKU = "lamp-42"
JOB_COPY, TRUEUP_COPY = "public.stock_by_copy_job", "public.stock"
_DAY = datetime.datetime(2026, 6, 15, tzinfo=datetime.UTC)
_FIRST_ORDER_ID = 990_100
_BUYERS_AFTER_NOON = 5
_ARRIVES_WITHIN_S = 60.0  # far above the window: the demo reports slowness, it does not stop for it
_LOOK_INTERVAL_S = 0.002  # the resolution of what is measured


class Story(msgspec.Struct, frozen=True):
    """What was read back.

    :param job_says, trueup_says: `on_hand` in the two copies, by the clock of the story.
    :param undeliverable: orders after noon, in the warehouse's own copy, for a thing it does not have.
    """

    job_says: dict[str, int]
    trueup_says: dict[str, int]
    found: int
    found_by: str
    visible_after_ms: float
    window_ms: int
    accepted_by_job_copy: int
    accepted_by_trueup_copy: int
    undeliverable: int


class Scenario:
    """Plays the story once."""

    def __init__(self, databases: Databases, ledger: Ledger) -> None:
        self._databases = databases
        self._ledger = ledger
        self._next_order_id = _FIRST_ORDER_ID

    def play(self, checks: Checks) -> Story:
        """Morning, noon, afternoon.

        1. 10:00: the warehouse has three; both copies say so; a customer orders one;
        2. 12:00: the warehouse counts and finds none; how long until TrueUp's copy says so?
        3. 12:10 to 13:30: five customers, guarded by the copy job's table; then one, guarded by TrueUp's;
        4. 14:00: the copy job runs again, too late.
        """
        window = self._databases.copy("stock", "shop")
        registered = window.table.window_of(window.copy)
        assert registered is not None, "the registration of stock has no window"
        self._set_stock(3, _at(10), "delivery")  # 1
        until(lambda: self._says(TRUEUP_COPY) == 3, what="3 in the shop's copy", within_s=_ARRIVES_WITHIN_S)  # noqa: PLR2004
        self._run_copy_job()
        morning = self._says(JOB_COPY), self._says(TRUEUP_COPY)
        self._order(TRUEUP_COPY, _at(10), "ordered in the morning")
        committed_s = self._set_stock(0, _at(12), "counted: the shelf is empty")  # 2
        until(
            lambda: self._says(TRUEUP_COPY) == 0,
            what="0 in the shop's copy",
            within_s=_ARRIVES_WITHIN_S,
            pause_s=_LOOK_INTERVAL_S,
        )
        visible_after_ms = (time.monotonic() - committed_s) * 1000
        noon = self._says(JOB_COPY), self._says(TRUEUP_COPY)
        for buyer in range(_BUYERS_AFTER_NOON):  # 3
            self._order(JOB_COPY, _at(12, 10 + 20 * buyer), "promised by the copy job's table")
        self._order(TRUEUP_COPY, _at(13, 40), "promised by TrueUp's copy")
        undeliverable = self._undeliverable()
        self._run_copy_job()  # 4
        found, found_by = self._databases.query(
            "warehouse", "SELECT on_hand, counted_by FROM public.stock WHERE sku = %s", SKU
        )[0]
        story = Story(
            job_says={"10:00": morning[0], "12:00": noon[0], "14:00": self._says(JOB_COPY)},
            trueup_says={"10:00": morning[1], "12:00": noon[1], "14:00": self._says(TRUEUP_COPY)},
            found=found,
            found_by=found_by,
            visible_after_ms=visible_after_ms,
            window_ms=duration_ms(registered.within),
            accepted_by_job_copy=self._accepted("promised by the copy job's table"),
            accepted_by_trueup_copy=self._accepted("promised by TrueUp's copy"),
            undeliverable=undeliverable,
        )
        _check(story, checks)
        return story

    def _set_stock(self, on_hand: int, when: datetime.datetime, reason: str) -> float:
        """Write a count at the warehouse. Return when its commit had returned (monotonic clock)."""
        self._databases.query(
            "warehouse",
            "INSERT INTO public.stock VALUES (%(sku)s, %(on_hand)s, 0, %(when)s, 'Fatima', %(reason)s)"
            " ON CONFLICT (sku) DO UPDATE SET (on_hand, counted_at, counted_by, reason)"
            " = (excluded.on_hand, excluded.counted_at, excluded.counted_by, excluded.reason)",
            {"sku": SKU, "on_hand": on_hand, "when": when, "reason": reason},
        )
        committed_s = time.monotonic()
        self._ledger.add({"stock": 1})
        return committed_s

    def _run_copy_job(self) -> None:
        """What many shops have: every few hours, a job copies the whole table."""
        rows = self._databases.query("warehouse", "SELECT sku, on_hand FROM public.stock")
        self._databases.query("shop", f"CREATE TABLE IF NOT EXISTS {JOB_COPY} (sku text PRIMARY KEY, on_hand int)")
        self._databases.query("shop", f"TRUNCATE {JOB_COPY}")
        skus, numbers = [row[0] for row in rows], [row[1] for row in rows]
        statement = f"INSERT INTO {JOB_COPY} SELECT * FROM unnest(%s::text[], %s::int[])"  # noqa: S608 - a constant
        self._databases.query("shop", statement, skus, numbers)

    def _says(self, copy: str) -> int:
        """Read the stock in a copy; -1 for no row."""
        on_hand = self._databases.value("shop", f"SELECT on_hand FROM {copy} WHERE sku = %s", SKU)  # noqa: S608 - a constant
        return -1 if on_hand is None else int(on_hand)

    def _order(self, guard: str, when: datetime.datetime, reason: str) -> None:
        """A customer orders one; the shop accepts if its copy says that there is one."""
        statement = f"""
            INSERT INTO public.orders
            SELECT %(order)s, 1, sku, 1, 49.90, 'EUR', 'new', gen_random_uuid(), %(reason)s, %(when)s, now()
            FROM {guard} WHERE sku = %(sku)s AND on_hand > 0
            RETURNING order_id"""  # noqa: S608 - the guard is a constant
        values = {"order": self._next_order_id, "reason": reason, "when": when, "sku": SKU}
        accepted = self._databases.query("shop", statement, values)
        self._next_order_id += 1
        self._ledger.add({"orders": len(accepted)})

    def _accepted(self, reason: str) -> int:
        """Count the orders the shop has accepted."""
        statement = "SELECT count(*) FROM public.orders WHERE sku = %s AND change_reason = %s"
        return int(self._databases.value("shop", statement, SKU, reason))

    def _undeliverable(self) -> int:
        """Count, at the warehouse, the orders after noon for what it does not have, once they are there."""
        statement = (
            "SELECT count(*) FROM public.orders JOIN public.stock USING (sku)"
            " WHERE sku = %s AND on_hand = 0 AND placed_at > %s"
        )
        in_shop = self._databases.value(
            "shop", "SELECT count(*) FROM public.orders WHERE sku = %s AND placed_at > %s", SKU, _at(12)
        )
        until(
            lambda: self._databases.value("warehouse", statement, SKU, _at(12)) == in_shop,
            what="the shop's orders at the warehouse",
            within_s=_ARRIVES_WITHIN_S,
        )
        return int(self._databases.value("warehouse", statement, SKU, _at(12)))


def _check(story: Story, checks: Checks) -> None:
    """Write down what the story promises."""
    checks.add(
        "without TrueUp the stale copy sells",
        story.job_says["12:00"] > 0 == story.found and story.accepted_by_job_copy == _BUYERS_AFTER_NOON,
        f"copy {story.job_says['12:00']}, shelf {story.found}, sold after the count {story.accepted_by_job_copy}",
    )
    checks.add(
        "with TrueUp the copy is true in its window",
        story.trueup_says["12:00"] == 0 and story.visible_after_ms <= story.window_ms,
        f"{story.visible_after_ms:.0f} ms of {story.window_ms} ms",
    )
    checks.add(
        "with TrueUp the next order is refused",
        story.accepted_by_trueup_copy == 0,
        f"accepted {story.accepted_by_trueup_copy}",
    )


def _at(hour: int, minutes: int = 0) -> datetime.datetime:
    """Return a time of the story's day."""
    return _DAY + datetime.timedelta(hours=hour, minutes=minutes)
