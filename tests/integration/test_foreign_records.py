"""What stands in a capture topic and should not: repeated, late, malformed, foreign, aborted and forged records.

One scratch pipeline for all; each test has keys of its own.
"""

import urllib.request
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.forged_records import Forged, Forger
from tests.integration.breakable_pipeline import BreakablePipeline, breakable_pipeline
from tests.pipeline import Pipeline
from tests.waiting import eventually
from trueup.core.connector_config import heartbeat_topic
from trueup.core.decode import EPOCH_HEADER
from trueup.model.event import LogRecord
from trueup.model.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

HOUR_US = 3_600_000_000


@pytest.fixture(scope="module")
def scratch(
    pipeline: Pipeline, stack_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BreakablePipeline]:
    with breakable_pipeline(pipeline, stack_settings, tmp_path_factory.mktemp("foreign")) as made:
        made.start(60)
        yield made


@pytest.fixture
def forger(scratch: BreakablePipeline) -> Iterator[Forger]:
    made = Forger(scratch.system.settings, scratch.topic)
    yield made
    made.close()


def key_of(row_id: int) -> bytes:
    return b'{"id":%d}' % row_id


def changed(scratch: BreakablePipeline, forger: Forger, row_id: int, *notes: str) -> list[LogRecord]:
    """A row is changed at its source, once per note; the captured changes."""
    for note in notes:
        scratch.execute(f"UPDATE orders SET note = '{note}' WHERE id = {row_id}")
    scratch.equal()
    scratch.decided()  # a copy shows a truth a moment before the offset that counts it
    return forger.history(key_of(row_id))[-len(notes) :]


def totals(scratch: BreakablePipeline) -> dict[str, int]:
    return dict(scratch.pipeline.decide_totals(scratch.topic))


def counted_as(scratch: BreakablePipeline, before: dict[str, int]) -> dict[str, int]:
    """Outcomes since, after everything written so far has one."""
    scratch.decided()
    scratch.counted()
    now = totals(scratch)
    return {outcome: now[outcome] - before[outcome] for outcome in now if now[outcome] != before[outcome]}


def letters(scratch: BreakablePipeline) -> list[dict[str, Any]]:
    answer = msgspec.json.decode(scratch.trueup("deadletters", "list", "--json", "--table", scratch.table).stdout)
    return list(answer["dead_letters"])


def note_at_copy(scratch: BreakablePipeline, row_id: int) -> str:
    return str(scratch.rows("warehouse")[row_id][1])


def test_f27_repeated_events_and_suffixes_change_nothing(scratch: BreakablePipeline, forger: Forger) -> None:
    """F-27: a capture without exactly-once writes an event again, or everything since its last offset again."""
    _, second, third = changed(scratch, forger, 1, "v1", "v2", "v3")
    before, truths = totals(scratch), scratch.pipeline.committed_records(f"trueup.truth.{scratch.table}")
    forger.write([third, second, third])
    # The newest has the position of the newest, so its content says that it is nothing new.
    assert counted_as(scratch, before) == {"duplicate": 1, "unchanged": 2}
    assert note_at_copy(scratch, 1) == "v3"
    assert scratch.pipeline.committed_records(f"trueup.truth.{scratch.table}") == truths


def test_f28_a_late_older_change_neither_overtakes_nor_resurrects(scratch: BreakablePipeline, forger: Forger) -> None:
    """F-28: of an earlier position, or of an epoch that is over."""
    older, _ = changed(scratch, forger, 2, "old", "new")
    deleted, _ = changed(scratch, forger, 3, "old", "new")
    scratch.execute("DELETE FROM orders WHERE id = 3")
    scratch.equal()
    scratch.decided()
    before = totals(scratch)
    forger.write([older, deleted])
    of_an_epoch_that_is_over = [msgspec.structs.replace(r, headers=((EPOCH_HEADER, b"0"),)) for r in (older, deleted)]
    forger.write(of_an_epoch_that_is_over)
    assert counted_as(scratch, before) == {"duplicate": 2, "stale": 2}
    assert note_at_copy(scratch, 2) == "new"
    assert 3 not in scratch.rows("warehouse")


def test_f25_times_that_are_equal_or_go_back_have_no_say_in_the_order(
    scratch: BreakablePipeline, forger: Forger
) -> None:
    """F-25: the clock of the source jumps by an hour, forth and back; its log goes on."""
    (last,) = changed(scratch, forger, 4, "true")
    row = forger.envelope(last)["after"]
    jumps = [HOUR_US, -HOUR_US, -HOUR_US]
    rows = [row | {"note": f"jump {number}"} for number in (1, 2, 3)] + [row]
    changes = [Forged("u", None, after, jump_us) for after, jump_us in zip(rows, [*jumps, 0], strict=True)]
    written = forger.following(last, key_of(4), changes)
    before = totals(scratch)
    forger.write(written[:3])
    scratch.decided()
    eventually(lambda: note_at_copy(scratch, 4) == "jump 3", within_s=20, what="the last of them counts")
    forger.write(written[3:])
    assert counted_as(scratch, before) == {"applied": 4}
    scratch.execute("UPDATE orders SET note = 'after the jumps' WHERE id = 4")
    scratch.equal()


MALFORMED = {
    "no JSON, no Avro": "NotFramed",
    "empty value": "NotFramed",
    "JSON": "NotFramed",
    "truncated": "NotAvro",
    "unknown schema": "SchemaMissing",
    "missing op": "OpMissing",
    "unknown op": "OpMissing",
    "no position": "PositionMissing",
    "no epoch": "EpochMissing",
    "no key": "KeyMissing",
    "key with a column too many": "KeyChanged",
    "key that is no JSON": "KeyMalformed",
    "key nested deeply": "KeyMalformed",
    "key with a column twice": "KeyMalformed",
    "no row": "RowMissing",
}


def malformed(forger: Forger, good: LogRecord) -> dict[str, LogRecord]:
    """Every broken form of a good record."""
    value = good.value or b""

    def with_value(broken: bytes) -> LogRecord:
        return msgspec.structs.replace(good, value=broken)

    def with_key(broken: bytes | None) -> LogRecord:
        return msgspec.structs.replace(good, key=broken)

    return {
        "no JSON, no Avro": with_value(b"\xff" * 30),
        "empty value": with_value(b""),
        "JSON": with_value(b'{"op":"u","after":{"id":5}}'),
        "truncated": with_value(value[:-9]),
        "unknown schema": with_value(b"\x00\x7f\xff\xff\xff" + value[5:]),
        "missing op": forger.altered(good, op=""),
        "unknown op": forger.altered(good, op="x"),
        "no position": forger.altered(good, source={"sequence": None}),
        "no epoch": msgspec.structs.replace(good, headers=()),
        "no key": with_key(None),
        "key with a column too many": with_key(b'{"id":5,"line":1}'),
        "key that is no JSON": with_key(b'{"id":'),
        "key nested deeply": with_key(b'{"id":' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
        "key with a column twice": with_key(b'{"id":5,"id":5}'),
        "no row": forger.altered(good, after=None),
    }


def test_f41_each_malformed_record_is_a_dead_letter_and_the_next_goes_on(
    scratch: BreakablePipeline, forger: Forger
) -> None:
    """F-41: with its offset, in order; the worker lives, the metric counts."""
    (good,) = changed(scratch, forger, 5, "good")
    assert scratch.workers is not None
    pids, before, known = scratch.workers.pids(), totals(scratch), rejected_of(scratch)
    ends = scratch.reader.ends([scratch.topic])
    records = malformed(forger, good)
    assert records.keys() == MALFORMED.keys()
    forger.write(list(records.values()))
    scratch.execute("UPDATE orders SET note = 'behind them' WHERE id = 5")
    scratch.equal()
    assert counted_as(scratch, before) == {"applied": 1, "rejected": len(MALFORMED)}
    first = ends[scratch.topic, good.partition]
    ours = {(good.partition, offset): name for offset, name in enumerate(MALFORMED, start=first)}
    found = {ours.get((letter["partition"], letter["offset"])): letter for letter in letters(scratch)}
    found.pop(None, None)
    assert {name: letter["error_class"] for name, letter in found.items()} == MALFORMED
    assert scratch.workers.pids() == pids
    eventually(lambda: rejected_of(scratch) == known + len(MALFORMED), within_s=10, what="the metric says so")
    of_the_key = [letter for letter in found.values() if letter["key"] == key_of(5).decode()]
    assert of_the_key
    assert all(letter["superseded"] for letter in of_the_key), "a later change of the key was applied"


def rejected_of(scratch: BreakablePipeline) -> int:
    """What the decide worker's metrics say of the table."""
    entry = msgspec.json.decode((scratch.folder.state_dir / "workers" / "decide.json").read_bytes())
    with urllib.request.urlopen(f"{entry['url']}/metrics", timeout=5) as answer:  # noqa: S310 - on loopback
        lines = answer.read().decode().splitlines()
    wanted = ("trueup_records_total{", f'table="{scratch.table}"', 'outcome="rejected"')
    return int(sum(float(line.split()[-1]) for line in lines if all(word in line for word in wanted)))


def test_f42_foreign_messages_are_ignored_or_rejected_and_stop_nobody(
    scratch: BreakablePipeline, forger: Forger
) -> None:
    """F-42: a tombstone, a logical message, a heartbeat, and a row of another table, in its own schema."""
    (good,) = changed(scratch, forger, 6, "good")
    heartbeat = next(iter(scratch.reader.read(heartbeat_topic(scratch.name))))
    other = next(record for record in scratch.reader.read("shop.public.orders") if record.value is not None)
    before = totals(scratch)
    records = [
        msgspec.structs.replace(good, value=None),
        forger.altered(good, op="m", after=None),
        msgspec.structs.replace(heartbeat, partition=good.partition),
        msgspec.structs.replace(other, partition=good.partition),
    ]
    forger.write(records)
    scratch.execute("UPDATE orders SET note = 'behind them' WHERE id = 6")
    scratch.equal()
    assert counted_as(scratch, before) == {"applied": 1, "ignored": 2, "rejected": 2}
    assert scratch.problems() == []


def test_f43_records_of_an_aborted_transaction_are_never_seen(scratch: BreakablePipeline, forger: Forger) -> None:
    """F-43: Connect with exactly-once writes such records when it is killed; its next task writes the changes again."""
    good, _ = changed(scratch, forger, 7, "first", "second")
    before = totals(scratch)
    aborted = forger.altered(good, after=forger.envelope(good)["after"] | {"note": "aborted"})
    forger.write_and_abort([aborted] * 5)
    scratch.execute("UPDATE orders SET note = 'third' WHERE id = 7")
    seen = set()

    def third() -> bool:
        seen.add(note_at_copy(scratch, 7))
        return "third" in seen

    eventually(third, within_s=40, what="the change behind the aborted ones")
    assert seen <= {"second", "third"}
    assert counted_as(scratch, before) == {"applied": 1}


def test_f45_a_forged_change_is_rejected_whatever_it_claims(scratch: BreakablePipeline, forger: Forger) -> None:
    """F-45: of a system or a table that does not own the data. (Who may write at all is for ACLs.)"""
    (good,) = changed(scratch, forger, 8, "good")
    row = forger.envelope(good)["after"] | {"note": "forged"}
    before = totals(scratch)
    claims = [{"name": "evil"}, {"schema": "public"}, {"table": "unmapped"}, {"table": 'x"; DROP TABLE y;--'}]
    forger.write([forger.altered(good, source=claim, after=row) for claim in claims])
    assert counted_as(scratch, before) == {"rejected": len(claims)}
    assert note_at_copy(scratch, 8) == "good"
    forged = [letter for letter in letters(scratch) if letter["error_class"] == "WrongAuthority"][-len(claims) :]
    assert len(forged) == len(claims)
    assert {letter["stage"] for letter in forged} == {"authority"}
    for said in ("from evil.", ".public.", ".unmapped,", "DROP TABLE y;--,"):
        assert [letter for letter in forged if said in str(letter["reason"])], said
