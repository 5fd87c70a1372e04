"""Invented looks at twelve copies on a bad night, and on one without Kafka, for the tests of the screen: every state is
there."""

from __future__ import annotations

import msgspec

from trueup.core.copy_state import CopyLook
from trueup.core.status_problems import Problem, Scope, difference_problems, kafka_away, unready
from trueup.core.status_view import CopyLine, StatusView, line_of, worst_first
from trueup.model.registration import Owner, Source, Table

WORKERS = {("decide", ""): "decide", ("apply", "warehouse"): "apply-warehouse", ("apply", "shop"): "apply-shop"}

STOCK = Table(table="stock", owner=Owner(system="warehouse"), source=Source(table="public.stock"), key=["sku"])

PROBLEMS = [
    Problem(
        what='cannot reach "replica archive"',
        next="see its server; apply workers wait for it by themselves",
        about=Scope(replica="archive"),
    ),
    *difference_problems(STOCK, "reporting", 3),
    *unready(
        "decide",
        [
            f'stopped: shop.public.payments/{partition}: the columns of "public.payments" changed at the source'
            " -> run: trueup apply; it takes the new columns over, and the table goes on by itself"
            for partition in range(8)
        ],
        Scope(),
        {"shop.public.payments": "payments"},
    ),
]


def look(table: str, replica: str, window_s: float = 5, age_s: float | None = 0.8, **other: object) -> CopyLook:
    values = {"table": table, "replica": replica, "seen": 90_000, "to_decide": 0, "window_s": window_s, "age_s": age_s}
    return msgspec.convert(values | other, CopyLook)


LOOKS = [
    look("orders", "warehouse", age_s=0.9, to_apply=212),
    look("orders", "reporting", 300, 0.7),
    look("order_lines", "warehouse", age_s=7.6, to_apply=18_730, moved=True),
    look("order_lines", "reporting", 300, 0.7),
    look("customers", "reporting", 300, 1_260, to_apply=4_118),
    look("payments", "reporting", 300, 95, to_decide=1_204),
    look("payments", "warehouse", 300, 95, to_decide=1_204),
    look("shipments", "shop", 300, 3.1),
    look("stock", "shop"),
    look("stock", "reporting", 300, 1.2),
    look("pgbench_accounts", "reporting", 60, None, to_decide=2_410, to_apply=71_350),
    look("orders", "archive", 300, None, answered=False),
]


def shown(look: CopyLook, problems: list[Problem], **other: object) -> CopyLine:
    """A line as status makes it of a look, with what a replica counted."""
    line = line_of(look, problems, WORKERS, (0.145, 0.635 if look.answered else None))
    counted = {
        "applied": (look.seen or 90_000) - (look.to_apply or 0) if look.answered else None,
        "other": {"coalesced": 2_180, "unchanged": 14},
        "fresh": None if look.age_s is None else look.age_s <= look.window_s,
        "proven_age_s": None if look.age_s is None else 190.0,
    }
    return msgspec.structs.replace(line, **(counted | other))


def view_of(looks: list[CopyLook], problems: list[Problem]) -> StatusView:
    lines = worst_first(shown(look, problems) for look in looks)
    return StatusView(problems=problems, unreachable=[], tables=lines, decide=[])


EXAMPLE = view_of(LOOKS, PROBLEMS)


KAFKA_AWAY = msgspec.structs.replace(
    view_of(
        [msgspec.structs.replace(seen, seen=None, to_decide=None, to_apply=None, moved=False) for seen in LOOKS],
        [kafka_away("127.0.0.1:29000"), *PROBLEMS],
    ),
    unreachable=["kafka", "replica archive"],
)
"""The same night, when Kafka does not answer either."""
