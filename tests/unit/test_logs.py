"""What libraries say again and again is in the log seldom; what they say for the first time always."""

import logging

from trueup.runtime.logs import Seldom


def record(message: str, *arguments: object, name: str = "aiokafka.client") -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, __file__, 1, message, arguments, None)


def test_the_same_message_passes_once_in_five_minutes_whatever_its_arguments() -> None:
    now_s = 0.0
    seldom = Seldom(lambda: now_s)
    gone = "Unable connect to node with id %s: %s"
    assert seldom.filter(record(gone, 1, "refused"))
    for now_s in range(1, 300, 7):
        assert not seldom.filter(record(gone, now_s, "refused"))
        assert not seldom.filter(record(gone, now_s, "reset"))
    now_s = 301.0
    assert seldom.filter(record(gone, 1, "refused"))


def test_another_message_or_another_library_is_heard() -> None:
    seldom = Seldom(lambda: 0.0)
    assert seldom.filter(record("Heartbeat failed"))
    assert seldom.filter(record("Heartbeat session expired"))
    assert seldom.filter(record("Heartbeat failed", name="faust"))
