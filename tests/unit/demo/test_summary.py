"""What a person reads: complete when all held, and honest when the demo came to an early end."""

from decimal import Decimal

import msgspec
from rich.console import Console, RenderableType

from trueup.demo.checks import Check
from trueup.demo.commands import Comparison, CopyStatus, Status, Verification
from trueup.demo.negative_order import NegativeOrder
from trueup.demo.scenario import Story
from trueup.demo.summary import Summary, copies_view, negative_order_view, story_view, summary_view

SUMMARY = Summary(
    seed=7,
    first_captured_row_s=31.0,
    filled_s=44.0,
    captured=12_345,
    committed=12_345,
    applied=300_000,
    other={"rejected": 1, "coalesced": 0},
    per_second=199.6,
    convergence_p50_s=0.31,
    convergence_p99_s=0.9,
    convergence_max_s=11.25,
    differing=0,
    kills_survived=2,
    outages_s={"decide": 11.0, "apply-warehouse": 10.4},
    dead_letters=1,
    checks=[Check("verify: no row differs", True, "0 of 300,000")],
    seconds=150.0,
)


def shown(view: RenderableType) -> str:
    console = Console(width=120, no_color=True)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def test_the_summary_has_every_number() -> None:
    text = shown(summary_view(SUMMARY))
    for part in ("everything held", "12,345", "200 per second", "310 ms", "900 ms", "11.2 s", "1 rejected"):
        assert part in text, part
    assert "coalesced" not in text


def test_one_failed_promise_fails_the_whole() -> None:
    failed = msgspec.structs.replace(SUMMARY, checks=[*SUMMARY.checks, Check("no worker ended", False, "decide")])
    assert SUMMARY.held
    assert not failed.held
    assert "NOT everything held" in shown(summary_view(failed))
    assert "FAILED" in shown(summary_view(failed))


def test_nothing_looked_at_is_not_everything_held() -> None:
    assert not msgspec.structs.replace(SUMMARY, checks=[]).held


def test_an_early_end_leaves_questions_open() -> None:
    early = msgspec.structs.replace(
        SUMMARY,
        differing=None,
        convergence_p50_s=None,
        convergence_p99_s=None,
        convergence_max_s=None,
        outages_s={},
    )
    text = shown(summary_view(early))
    assert "not compared" in text
    assert "p50 ?" in text


def test_a_copy_that_was_not_compared_is_not_shown_as_equal() -> None:
    status = Status(
        tables=[
            CopyStatus(table="orders", replica="warehouse", captured=5, applied=4, other={"rejected": 1}),
            CopyStatus(table="stock", replica="shop", captured=5, applied=5),
        ],
        decide=[],
    )
    compared = Comparison(table="orders", replica="warehouse", rows_source=3, rows_replica=3, differing=0)
    text = shown(copies_view(status, Verification(results=[compared], differing=0)))
    assert "1 rejected" in text
    assert text.count("not compared") == 1


def test_the_story_shows_both_ways() -> None:
    story = Story(
        job_says={"10:00": 3, "12:00": 3, "14:00": 0},
        trueup_says={"10:00": 3, "12:00": 0, "14:00": 0},
        found=0,
        found_by="Fatima",
        visible_after_ms=412.0,
        window_ms=5000,
        accepted_by_job_copy=5,
        accepted_by_trueup_copy=0,
        undeliverable=5,
    )
    text = shown(story_view(story))
    for part in ("copy says 3", "412 ms", "window 5 s", "5 of 5 orders accepted", "0 of 1 order accepted"):
        assert part in text, part


def test_the_mistake_is_shown_with_its_reason() -> None:
    order = NegativeOrder(
        written=Decimal("-120.00"),
        kept={"warehouse": Decimal("120.00")},
        reason="amount is below 0",
        mended={"warehouse": Decimal("125.00")},
        superseded=True,
    )
    text = shown(negative_order_view(order))
    for part in ("-120.00", "amount is below 0", "warehouse 125.00", "superseded"):
        assert part in text, part
