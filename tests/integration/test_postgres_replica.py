"""adapters.postgres_replica on a real PostgreSQL 18: the fence, deletes, refused rows, claims, values of every type."""

import asyncio
import random

import psycopg
import pytest

from tests.replica_batches import (
    IDENTITY,
    ORDERS,
    REPLICA,
    Partition,
    column,
    delete,
    key_of,
    plan_of,
    upsert,
    write_of,
)
from tests.replica_database import nonzero, play, rows
from trueup.adapters.fakes import FakeReplica
from trueup.adapters.postgres_replica import PostgresReplica
from trueup.model.decision import Outcome
from trueup.model.errors import (
    BrokenInvariant,
    DeadLetterCapReached,
    Fenced,
    Stop,
    TransientReplica,
    Unreachable,
)
from trueup.model.registration import ColumnRule
from trueup.model.write import ClaimLost, CopyReplaced, Refusal, Write

pytest_plugins = ["tests.fix_postgres"]
pytestmark = pytest.mark.integration

HOSTILE = 'x"; DROP TABLE y; -- 100% %(a)s'


def notes(dsn: str) -> dict[int, str]:
    return dict(rows(dsn, "SELECT id, note FROM public.orders"))


def deleted_keys(dsn: str) -> set[bytes]:
    return {key for (key,) in rows(dsn, "SELECT key FROM trueup.deleted_keys")}


def test_a_replay_touches_no_row(database: str) -> None:
    fingerprint = "SELECT md5(string_agg(o::text || o.xmin::text, '|' ORDER BY id)) FROM public.orders o"

    async def scenario(partition: Partition) -> None:
        first = [upsert(n, n) for n in range(1, 60)]
        second = [delete(n, 100 + n) for n in range(1, 20)] + [upsert(n, 100 + n) for n in range(20, 70)]
        await partition.apply(*first)
        await partition.apply(*second)
        before = rows(database, fingerprint), rows(database, "SELECT *, xmin FROM trueup.deleted_keys ORDER BY key")
        replay = Partition(partition.replica, topic="the same records, read anew")
        assert nonzero((await replay.apply(*first)).counts) == {"stale": 59}
        assert nonzero((await replay.apply(*second)).counts) == {"duplicate": 69}
        after = rows(database, fingerprint), rows(database, "SELECT *, xmin FROM trueup.deleted_keys ORDER BY key")
        assert after == before

    play(database, scenario)


def test_an_older_update_after_a_delete_does_not_resurrect(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        await partition.apply(upsert(1, 1))
        assert nonzero((await partition.apply(delete(1, 5))).counts) == {"applied": 1}
        assert nonzero((await partition.apply(upsert(1, 4))).counts) == {"stale": 1}
        assert notes(database) == {}

    play(database, scenario)


def test_a_delete_of_a_key_nobody_knows_is_remembered(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        assert nonzero((await partition.apply(delete(7, 5))).counts) == {"applied": 1}
        assert nonzero((await partition.apply(delete(7, 5))).counts) == {"duplicate": 1}
        assert nonzero((await partition.apply(delete(7, 3))).counts) == {"stale": 1}
        assert deleted_keys(database) == {key_of(7)}
        assert nonzero((await partition.apply(upsert(7, 4))).counts) == {"stale": 1}
        assert notes(database) == {}

    play(database, scenario)


def test_a_key_can_come_back_and_go_again(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        await partition.apply(delete(1, 1), delete(2, 1))
        await partition.apply(upsert(1, 2, note="back"))
        assert notes(database) == {1: "back"}
        assert deleted_keys(database) == {key_of(2)}
        assert nonzero((await partition.apply(delete(1, 1))).counts) == {"stale": 1}
        await partition.apply(delete(1, 3))
        assert (notes(database), deleted_keys(database)) == ({}, {key_of(1), key_of(2)})

    play(database, scenario)


def test_progress_and_totals_travel_with_the_rows(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        await partition.apply(upsert(1, 1), upsert(2, 2), counts={Outcome.COALESCED: 3, Outcome.IGNORED: 1})
        await partition.apply(counts={Outcome.IGNORED: 1})
        claim = await partition.claim()
        assert (claim.token, claim.next_offset) == (2, 7)
        assert nonzero(claim.totals) == {"applied": 2, "coalesced": 3, "ignored": 2}

    play(database, scenario)


def test_a_zombie_is_fenced_before_it_writes(database: str) -> None:
    async def scenario(zombie: Partition) -> None:
        await zombie.apply(upsert(1, 1, note="first"))
        replica = PostgresReplica(REPLICA, database)
        owner = Partition(replica)
        await owner.claim()
        with pytest.raises(Fenced):
            await zombie.apply(upsert(1, 9, note="zombie"))
        await owner.apply(upsert(1, 2, note="owner"))
        await replica.close()
        assert notes(database) == {1: "owner"}

    play(database, scenario)


def test_a_batch_that_does_not_continue_progress_is_a_broken_invariant(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        await partition.apply(upsert(1, 1))
        partition.offset = 0
        with pytest.raises(BrokenInvariant):
            await partition.apply(upsert(2, 2))
        assert notes(database).keys() == {1}

    play(database, scenario)


def test_refused_rows_are_set_apart_and_the_rest_is_applied(database: str) -> None:
    bad = {5, 17, 18}

    async def scenario(partition: Partition) -> None:
        await partition.apply(upsert(99, 1, note="deleted later"))
        writes = [upsert(n, n + 1, amount="99999999999.99" if n in bad else "1.00") for n in range(40)]
        result = await partition.apply(*writes, delete(99, 90), counts={Outcome.COALESCED: 2})
        assert nonzero(result.counts) == {"applied": 38, "coalesced": 2, "rejected": 3}
        assert notes(database).keys() == set(range(40)) - bad
        letters = rows(database, "SELECT key, sqlstate, value, reason FROM trueup.dead_letters ORDER BY id")
        assert {bytes(letter[0]) for letter in letters} == {key_of(n) for n in bad}
        assert {letter[1] for letter in letters} == {"22003"}
        assert bytes(letters[0][2]).startswith(b"record ")
        assert all("99999999999" not in letter[3] for letter in letters)
        assert nonzero((await partition.claim()).totals) == {"applied": 39, "coalesced": 2, "rejected": 3}

    play(database, scenario)


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_postgres_cannot_hold_is_a_dead_letter(database: str, text: str) -> None:
    async def scenario(partition: Partition) -> None:
        result = await partition.apply(upsert(1, 1), upsert(2, 2, note=text), upsert(3, 3))
        assert nonzero(result.counts) == {"applied": 2, "rejected": 1}
        assert [refusal.key for refusal in result.refused] == [key_of(2)]

    play(database, scenario)


def test_a_constraint_of_the_replica_refuses_its_row_only(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        rows(database, "ALTER TABLE public.orders ADD CONSTRAINT no_ugly CHECK (note <> 'ugly')")
        result = await partition.apply(upsert(1, 1), upsert(2, 2, note="ugly"))
        assert nonzero(result.counts) == {"applied": 1, "rejected": 1}
        assert 'constraint "no_ugly"' in result.refused[0].reason

    play(database, scenario)


def test_a_later_change_supersedes_a_dead_letter(database: str) -> None:
    open_letters = "SELECT count(*) FROM trueup.dead_letters WHERE superseded_at IS NULL"

    async def scenario(partition: Partition) -> None:
        await partition.apply(upsert(1, 5, amount="1e99"), upsert(2, 6, amount="1e99"), upsert(3, 7, amount="1e99"))
        await partition.apply(upsert(1, 4))  # older than what was refused
        assert rows(database, open_letters) == [(3,)]
        await partition.apply(upsert(1, 8), delete(2, 9))
        assert rows(database, open_letters) == [(1,)]

    play(database, scenario)


def test_the_same_dead_letter_is_written_once(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        bad = upsert(1, 5, amount="1e99")
        await partition.apply(bad)
        await partition.apply(bad)
        assert rows(database, "SELECT count(*) FROM trueup.dead_letters") == [(1,)]

    play(database, scenario)


def test_what_failed_before_the_replica_is_written_with_the_batch(database: str) -> None:
    refusal = Refusal(key_of(9), write_of(9, 9, ()).version, 9, None, "transform", "DecodeFailed", None, "does not fit")

    async def scenario(partition: Partition) -> None:
        result = await partition.apply(upsert(1, 1), refused=(refusal,))
        assert nonzero(result.counts) == {"applied": 1, "rejected": 1}
        assert rows(database, "SELECT stage, record_offset, value FROM trueup.dead_letters") == [("transform", 9, None)]

    play(database, scenario)


def test_a_masked_copy_keeps_no_record_in_its_dead_letters(database: str) -> None:
    plan = plan_of(
        column("id", "bigint"),
        column("amount", "numeric(12,2)"),
        column("note", "text"),
        shown={"id": "id", "amount": "amount", "note": ColumnRule(from_="note", mask="sha256")},
    )

    async def scenario(partition: Partition) -> None:
        await partition.apply(upsert(1, 5, amount="1e99"))
        assert rows(database, "SELECT value FROM trueup.dead_letters") == [(None,)]

    play(database, scenario, plan)


def test_too_many_dead_letters_stop_the_table_and_leave_no_trace(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        replica = PostgresReplica(REPLICA, database, dead_letters_per_table_max=2)
        capped = Partition(replica)
        with pytest.raises(DeadLetterCapReached):
            await capped.apply(*(upsert(n, n, amount="1e99") for n in range(1, 5)), upsert(9, 9))
        await capped.apply(*(upsert(n, n, amount="1e99") for n in range(1, 3)))
        with pytest.raises(DeadLetterCapReached):
            await capped.apply(upsert(3, 3, amount="1e99"))
        await replica.close()
        assert rows(database, "SELECT count(*) FROM trueup.dead_letters") == [(2,)]
        assert notes(database) == {}

    play(database, scenario)


def test_strange_names_are_only_names(database: str) -> None:
    plan = plan_of(column("id", "bigint"), column(HOSTILE, "text"), target=f"{HOSTILE}.100%")

    async def scenario(partition: Partition) -> None:
        await partition.apply(write_of(1, 1, (1, "a")), write_of(2, 2, (2, "b")))
        await partition.apply(write_of(1, 3, (1, "c")), write_of(2, 4, (2, None), deleted=True))
        await partition.apply(write_of(1, 3, (1, "c")), write_of(2, 3, (2, "b")))

    play(database, scenario, plan)
    quoted = '"' + HOSTILE.replace('"', '""') + '"'
    assert rows(database, f'SELECT id, {quoted} FROM {quoted}."100%"') == [(1, "c")]


def test_replays_on_two_connections_do_not_deadlock(database: str) -> None:
    writes = [upsert(n, n, note="x" * 50) for n in range(400)]

    async def scenario(partition: Partition) -> None:
        await partition.apply(*writes)
        replicas = [PostgresReplica(REPLICA, database) for _ in range(2)]
        replays = [Partition(replica, topic=f"replay {n}") for n, replica in enumerate(replicas)]
        for round_number in range(1, 6):
            newer = [upsert(n, 1000 * round_number + n) for n in range(400)]
            results = await asyncio.gather(*(replay.apply(*newer) for replay in replays))
            assert sorted(result.counts[Outcome.APPLIED] for result in results) == [0, 400]
        for replica in replicas:
            await replica.close()

    play(database, scenario)


def test_a_lost_connection_voids_the_claim_and_reading_goes_on_from_progress(database: str) -> None:
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'trueup apply reporting'"

    async def scenario(partition: Partition) -> None:
        await partition.apply(upsert(1, 1))
        rows(database, kill)
        with pytest.raises(ClaimLost):
            await partition.apply(upsert(2, 2))
        with pytest.raises(ClaimLost):  # until it is claimed again
            await partition.apply(upsert(2, 2))
        claim = await partition.claim()
        assert (claim.token, claim.next_offset) == (2, 1)
        await partition.apply(upsert(2, 2))
        assert notes(database).keys() == {1, 2}

    play(database, scenario)


def test_a_lock_that_is_not_given_is_transient_and_the_same_batch_may_be_tried_again(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        await partition.apply(upsert(1, 1))
        with psycopg.connect(database) as blocker:
            blocker.execute("LOCK TABLE public.orders")
            with pytest.raises(TransientReplica) as refused:
                await partition.apply(upsert(1, 2))
            assert not isinstance(refused.value, ClaimLost)
            assert refused.value.sqlstate == "55P03"
        assert nonzero((await partition.apply(upsert(1, 2))).counts) == {"applied": 1}

    play(database, scenario)


def test_a_cancelled_batch_leaves_nothing_behind(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        await partition.apply(upsert(1, 1, note="before"))
        with psycopg.connect(database) as blocker:
            blocker.execute("LOCK TABLE public.orders")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(partition.apply(upsert(1, 2, note="after")), 0.3)
        assert notes(database) == {1: "before"}
        await partition.claim()
        await partition.apply(upsert(1, 2, note="after"))
        assert notes(database) == {1: "after"}

    play(database, scenario)


def test_a_missing_table_stops_with_the_cure(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        rows(database, "DROP TABLE public.orders")
        with pytest.raises(Stop, match="trueup apply"):
            await partition.apply(upsert(1, 1))

    play(database, scenario)


def test_a_copy_that_was_never_made_stops_with_the_cure(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        rows(database, "DELETE FROM trueup.copies")
        with pytest.raises(Stop, match="trueup apply"):
            await partition.replica.recorded(ORDERS)
        with pytest.raises(Stop, match="never made"):
            await partition.apply(upsert(1, 1))

    play(database, scenario)


def test_a_copy_made_from_another_registration_is_not_written(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        partition.plan = plan_of(column("id", "bigint"), column("amount", "numeric(12,2)"))
        with pytest.raises(CopyReplaced):
            await partition.apply(write_of(1, 1, (1, "1.00")))
        await partition.claim()
        assert await partition.replica.recorded(partition.plan) == ORDERS, "what the copy is, and goes on to be"

    play(database, scenario)


def test_a_replica_that_is_not_there_is_unreachable() -> None:
    replica = PostgresReplica("warehouse", "postgresql://nobody:SECRET@127.0.0.1:1/none")
    with pytest.raises(Unreachable, match="replica warehouse") as refused:
        asyncio.run(replica.claim("t", 0, IDENTITY))
    assert "SECRET" not in str(refused.value)


def test_an_address_that_is_none_is_not_repeated() -> None:
    replica = PostgresReplica("warehouse", "postgresql://u:SECRET@h:port:extra/none")
    with pytest.raises((Stop, Unreachable)) as refused:
        asyncio.run(replica.claim("t", 0, IDENTITY))
    assert "SECRET" not in str(refused.value)


def test_postgres_answers_as_the_replica_in_memory(database: str) -> None:
    chance = random.Random(20260105)

    async def scenario(partition: Partition) -> None:
        fake = Partition(FakeReplica())
        for _ in range(60):
            versions = chance.sample(range(1, 400), k=chance.randint(1, 12))
            writes: dict[bytes, Write] = {}
            for version in versions:
                make = delete if version % 3 == 0 else upsert
                write = make(version % 23, version)
                writes[write.key] = write
            real = await partition.apply(*writes.values())
            assert nonzero(real.counts) == nonzero((await fake.apply(*writes.values())).counts)
        replica = fake.replica
        assert isinstance(replica, FakeReplica)
        held = rows(database, "SELECT id, _trueup_version FROM public.orders")
        assert {key_of(row_id): bytes(version) for row_id, version in held} == {
            key: version for key, (version, _) in replica.rows[ORDERS.target].items()
        }
        assert {
            bytes(key): bytes(version)
            for key, version in rows(database, "SELECT key, version FROM trueup.deleted_keys")
        } == replica.deleted[ORDERS.target]

    play(database, scenario)
