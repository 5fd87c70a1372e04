"""What status makes of a worker that is not ready, and whom a problem holds up."""

from trueup.core.status_problems import Problem, Scope, kafka_away, losses_first, scope_of_worker, unready

TABLES = {"shop.public.orders": "orders", "shop.public.stock": "stock", "trueup.truth.orders": "orders"}


def test_stopped_partitions_of_one_cause_are_one_problem_with_its_cure() -> None:
    reasons = [
        'stopped: shop.public.orders/0: the log of system "shop" went back -> trueup resync shop',
        'retrying: shop.public.orders/1: cannot reach "kafka"',
        'stopped: shop.public.stock/2: the log of system "shop" went back -> trueup resync shop',
    ]
    first, second = unready("decide", reasons, Scope(), TABLES)
    assert first == Problem(
        what='stopped at worker decide: the log of system "shop" went back (2 partitions)',
        next="trueup resync shop",
        about=Scope(tables=("orders", "stock")),
        stops=True,
    )
    assert "cannot reach" in second.what
    assert second.about == Scope()
    assert not second.stops, "it goes on by itself"


def test_what_stops_an_apply_worker_stops_its_replica_alone() -> None:
    reasons = ["stopped: trueup.truth.orders/0: the copy is gone -> trueup apply"]
    (stopped,) = unready("apply-reporting", reasons, scope_of_worker("apply", "reporting"), TABLES)
    assert stopped.holds("orders", "reporting")
    assert not stopped.holds("orders", "warehouse")
    assert not stopped.holds("stock", "reporting")


def test_a_table_that_is_not_registered_any_more_stops_nobody() -> None:
    (stopped,) = unready("decide", ["stopped: shop.public.gone/0: it -> mend it"], Scope(), TABLES)
    assert stopped.what.startswith("stopped at worker decide: it")
    assert not stopped.holds("orders", "reporting")


def test_a_log_has_the_name_of_its_worker() -> None:
    reasons = ["stopped: shop.public.orders/0: it -> see its log", "preparing: shop.public.orders/1"]
    assert [problem.next for problem in unready("decide-2", reasons, Scope(), TABLES)] == [
        "see the log of worker decide-2"
    ] * 2


def test_only_workers_on_the_way_hold_copies_up() -> None:
    assert scope_of_worker("decide", "") == Scope()
    assert scope_of_worker("capture", "") is None
    assert scope_of_worker("verify", "") is None


def test_what_lost_changes_comes_first_and_the_rest_keeps_its_order() -> None:
    still = [Problem(what="capture does not run", next="trueup apply"), Problem(what="no worker", next="trueup worker")]
    lost = Problem(what="the slot is gone", next="trueup resync shop")
    assert losses_first([*still, lost]) == [lost, *still]


def test_nothing_comes_before_kafka_and_everybody_waits_for_it() -> None:
    lost, away = Problem(what="the slot is gone", next="trueup resync shop"), kafka_away("one:9092,two:9092")
    assert losses_first([lost, away]) == [away, lost]
    assert away.what == 'cannot reach "kafka" at one:9092,two:9092'
    assert away.holds("orders", "reporting")
    assert not away.stops, "it goes on by itself"
