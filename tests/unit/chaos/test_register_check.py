"""The checker of the chaos tests finds every anomaly it has a name for, and nothing where there is none."""

import pytest

from tests.chaos.findings import Anomaly, Finding
from tests.chaos.ledger import Ending, Ledger, Write
from tests.chaos.register_check import Rows, Seen, Watch, check_final, check_seen

OK, FAIL, INFO = Ending.OK, Ending.FAIL, Ending.INFO


def ledger_of(*entries: tuple[int, int, str | None, Ending]) -> Ledger:
    ledger = Ledger()
    for key, number, digest, ending in entries:
        ledger.record([Write(key, number, digest)], ending)
    return ledger


def names(findings: list[Finding]) -> list[Anomaly]:
    return [finding.anomaly for finding in findings]


def row(number: int, version: int, digest: str | None = None) -> Seen:
    return Seen(number, digest or f"v{number}", version.to_bytes(20, "big"))


def watched(*looks: Rows) -> Watch:
    watch = Watch("copy")
    for rows in looks:
        watch.look(rows)
    return watch


FINALS = {
    "at its last write": ([(1, 1, "a", OK), (1, 2, "b", OK)], {1: Seen(2, "b")}, []),
    "at an older write": ([(1, 1, "a", OK), (1, 2, "b", OK)], {1: Seen(1, "a")}, [Anomaly.LOST_UPDATE]),
    "missing": ([(1, 1, "a", OK)], {}, [Anomaly.LOST_UPDATE]),
    "with another value": ([(1, 1, "a", OK)], {1: Seen(1, "z")}, [Anomaly.LOST_UPDATE]),
    "deleted": ([(1, 1, "a", OK), (1, 2, None, OK)], {}, []),
    "still there after its delete": ([(1, 1, "a", OK), (1, 2, None, OK)], {1: Seen(1, "a")}, [Anomaly.RESURRECTED]),
    "rolled back, not there": ([(1, 1, "a", FAIL)], {}, []),
    "rolled back, there": ([(1, 1, "a", FAIL)], {1: Seen(1, "a")}, [Anomaly.G1A]),
    "written by nobody": ([], {1: Seen(1, "a")}, [Anomaly.G1A]),
    "unknown write happened": ([(1, 1, "a", OK), (1, 2, "b", INFO)], {1: Seen(2, "b")}, []),
    "unknown write did not happen": ([(1, 1, "a", OK), (1, 2, "b", INFO)], {1: Seen(1, "a")}, []),
    "neither known nor unknown": (
        [(1, 1, "a", OK), (1, 2, "b", OK), (1, 3, "c", INFO)],
        {1: Seen(1, "a")},
        [Anomaly.LOST_UPDATE],
    ),
    "unknown first write, not there": ([(1, 1, "a", INFO)], {}, []),
    "unknown delete, gone": ([(1, 1, "a", OK), (1, 2, None, INFO)], {}, []),
    "unknown write, and the known one gone": ([(1, 1, "a", OK), (1, 2, "b", INFO)], {}, [Anomaly.LOST_UPDATE]),
    "deleted before an unknown write": ([(1, 1, None, OK), (1, 2, "b", INFO)], {}, []),
}


@pytest.mark.parametrize(("entries", "rows", "expected"), FINALS.values(), ids=FINALS.keys())
def test_a_key_after_the_drain(
    entries: list[tuple[int, int, str | None, Ending]], rows: Rows, expected: list[Anomaly]
) -> None:
    assert names(check_final(rows, ledger_of(*entries), "copy")) == expected


WATCHES = {
    "newer and newer": ([{1: row(1, 1)}, {1: row(2, 5)}], []),
    "twice the same": ([{1: row(1, 1)}, {1: row(1, 1)}], []),
    "deleted and written again": ([{1: row(1, 1)}, {}, {1: row(3, 7)}], []),
    "version falls": ([{1: row(1, 5)}, {1: row(2, 4)}], [Anomaly.NONMONOTONIC]),
    "number falls": ([{1: row(2, 5)}, {1: row(1, 6)}], [Anomaly.NONMONOTONIC]),
    "another content in the same version": ([{1: row(1, 5)}, {1: row(1, 5, "other")}], [Anomaly.NONMONOTONIC]),
    "back after its delete": ([{1: row(1, 1)}, {}, {1: row(1, 1)}], [Anomaly.RESURRECTED]),
    "back after its delete, older": ([{1: row(2, 2)}, {}, {}, {1: row(1, 1)}], [Anomaly.RESURRECTED]),
    "falls behind the highest seen": ([{1: row(3, 3)}, {1: row(1, 1)}, {1: row(2, 2)}], [Anomaly.NONMONOTONIC] * 2),
    "one key's fall is another's rise": ([{1: row(1, 9), 2: row(2, 1)}, {1: row(3, 10), 2: row(4, 2)}], []),
}


@pytest.mark.parametrize(("looks", "expected"), WATCHES.values(), ids=WATCHES.keys())
def test_what_a_reader_sees(looks: list[Rows], expected: list[Anomaly]) -> None:
    assert names(watched(*looks).findings) == expected


def test_a_look_says_whether_something_moved() -> None:
    watch = Watch("copy")
    looks: list[Rows] = [{1: row(1, 1)}, {1: row(1, 1)}, {}, {}, {1: row(2, 2)}]
    assert [watch.look(rows) for rows in looks] == [True, False, True, False, True]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ((1, 1, "v1", FAIL), "rolled back"),
        ((1, 2, "v2", OK), "nobody wrote it"),
        ((1, 1, "other", OK), "not the one that was written"),
        ((2, 1, "v1", OK), "not the one that was written"),
    ],
)
def test_what_was_seen_was_written(entry: tuple[int, int, str, Ending], said: str) -> None:
    (finding,) = check_seen(watched({1: row(1, 1)}), ledger_of(entry), "copy")
    assert finding.anomaly is Anomaly.G1A
    assert said in finding.detail


@pytest.mark.parametrize("ending", [OK, INFO])
def test_what_was_seen_and_written_is_no_finding(ending: Ending) -> None:
    assert check_seen(watched({1: row(1, 1)}), ledger_of((1, 1, "v1", ending)), "copy") == []


def test_after_a_crash_of_the_replica_its_rows_may_be_older_and_then_rise_again() -> None:
    watch = watched({1: row(3, 3), 2: row(4, 4)})
    watch.begin_anew()
    watch.look({1: row(1, 1)})
    watch.look({1: row(3, 3), 2: row(4, 4)})
    assert watch.findings == []
    watch.look({1: row(2, 2), 2: row(4, 4)})
    assert names(watch.findings) == [Anomaly.NONMONOTONIC]
    assert set(watch.numbers) == {1, 2, 3, 4}, "what was seen before still has to have been written"
