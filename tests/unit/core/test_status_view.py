"""What status makes of a worker that is not ready."""

from trueup.core.status_view import Problem, losses_first, unready


def test_stopped_partitions_of_one_cause_are_one_problem_with_its_cure() -> None:
    reasons = [
        'stopped: shop.public.orders/0: the log of system "shop" went back -> trueup resync shop',
        'retrying: shop.public.orders/1: cannot reach "kafka"',
        'stopped: shop.public.orders/2: the log of system "shop" went back -> trueup resync shop',
    ]
    first, second = unready("decide", reasons)
    assert first == Problem(
        what='stopped at worker decide: the log of system "shop" went back (2 partitions)', next="trueup resync shop"
    )
    assert "cannot reach" in second.what


def test_what_lost_changes_comes_first_and_the_rest_keeps_its_order() -> None:
    still = [Problem(what="capture does not run", next="trueup apply"), Problem(what="no worker", next="trueup worker")]
    lost = Problem(what="the slot is gone", next="trueup resync shop")
    assert losses_first([*still, lost]) == [lost, *still]
