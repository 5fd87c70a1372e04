"""A mistake at the source: an order with a negative amount. It stops at the boundary; its owner mends it."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from trueup.demo.checks import Checks
from trueup.demo.commands import Commands, DeadLetterEntry
from trueup.demo.copies import Databases
from trueup.demo.ledger import Ledger
from trueup.demo.waiting import until

ORDER_ID = 990_001
REPLICAS = ("warehouse", "reporting")
_RIGHT, _WRONG, _MENDED = Decimal("120.00"), Decimal("-120.00"), Decimal("125.00")
_LIST_PAUSE_S = 0.5  # between two runs of a command that itself takes a second
_ARRIVES_WITHIN_S = 60.0  # far above the window: the demo reports slowness, it does not stop for it


class NegativeOrder(msgspec.Struct, frozen=True):
    """What was read back."""

    written: Decimal
    kept: dict[str, Decimal]
    reason: str
    mended: dict[str, Decimal]
    superseded: bool


def show_negative_order(databases: Databases, commands: Commands, ledger: Ledger, checks: Checks) -> NegativeOrder:
    """Write, look, mend, look.

    1. an order of 120.00 arrives in the copies;
    2. the shop writes -120.00: a dead letter appears, the copies keep 120.00;
    3. the shop writes 125.00: the copies follow, the dead letter is superseded.
    """
    databases.query(
        "shop",
        "INSERT INTO public.orders VALUES (%s, 1, 'sku-1', 1, %s, 'EUR', 'new', gen_random_uuid(), 'web',"
        " clock_timestamp(), clock_timestamp())",
        ORDER_ID,
        _RIGHT,
    )
    ledger.add({"orders": 1})
    _amounts_when(databases, _RIGHT)  # 1
    written = _set_amount(databases, ledger, _WRONG, "typing mistake")
    letter = until(
        lambda: _letter(commands),
        what="the dead letter of the order",
        within_s=_ARRIVES_WITHIN_S,
        pause_s=_LIST_PAUSE_S,
    )
    kept = _amounts(databases)  # 2
    _set_amount(databases, ledger, _MENDED, "typing mistake corrected")
    mended = _amounts_when(databases, _MENDED)
    after = until(
        lambda: _letter(commands, superseded=True),
        what="the dead letter superseded",
        within_s=_ARRIVES_WITHIN_S,
        pause_s=_LIST_PAUSE_S,
    )  # 3
    checks.add(
        "a negative amount is rejected",
        written == _WRONG and "amount" in letter.reason,
        f"{letter.stage}: {letter.reason}",
    )
    checks.add("the copies keep the old value", set(kept.values()) == {_RIGHT}, _text(kept))
    checks.add("corrected, the copies follow", set(mended.values()) == {_MENDED}, _text(mended))
    checks.add(
        "the dead letter is superseded",
        after.superseded,
        f"deadletters list: superseded {str(after.superseded).lower()}",
    )
    return NegativeOrder(written, kept, letter.reason, mended, after.superseded)


def _set_amount(databases: Databases, ledger: Ledger, amount: Decimal, reason: str) -> Decimal:
    """Update the order at its owner, and read it back there."""
    statement = "UPDATE public.orders SET amount = %s, change_reason = %s WHERE order_id = %s RETURNING amount"
    (row,) = databases.query("shop", statement, amount, reason, ORDER_ID)
    ledger.add({"orders": 1})
    return Decimal(row[0])


def _amounts(databases: Databases) -> dict[str, Decimal]:
    """Read the amount in each copy that has the order."""
    found = {name: databases.read(databases.copy("orders", name), "amount", ORDER_ID) for name in REPLICAS}
    return {name: Decimal(amount) for name, amount in found.items() if amount is not None}


def _amounts_when(databases: Databases, expected: Decimal) -> dict[str, Decimal]:
    """Read the amounts as soon as every copy has the expected one."""

    def look() -> dict[str, Decimal] | None:
        amounts = _amounts(databases)
        return amounts if list(amounts.values()) == [expected] * len(REPLICAS) else None

    return until(look, what=f"amount {expected} in {' and '.join(REPLICAS)}", within_s=_ARRIVES_WITHIN_S)


def _letter(commands: Commands, *, superseded: bool = False) -> DeadLetterEntry | None:
    """Find the dead letter of the order."""
    for letter in commands.dead_letters():
        if letter.table == "orders" and str(ORDER_ID) in str(letter.key) and letter.superseded >= superseded:
            return letter
    return None


def _text(amounts: dict[str, Decimal]) -> str:
    return ", ".join(f"{name} {amount}" for name, amount in amounts.items())
