"""`make bench-drain`: how fast captured changes are drained, beside a bare loop over the same records.

1. a stack of its own, and 100,000 rows in the source: snapshot through Debezium, decide and apply;
2. 200,000 changes, captured by Debezium; then Kafka Connect is stopped;
3. timed: the bare loop, into a table beside the copy;
4. timed: one decide and one apply worker, until the replica has counted the last record;
5. the numbers count only if both tables equal the source: rows and checksum;
6. 1,000,000 more keys for the decide worker alone (`key_flood`): its memory;
7. timed: its local state is wiped, and it starts again.

The last line of stdout is one JSON object. Exit code 1 when a gate is missed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.benchmarks.bare_loop import Job
from tests.benchmarks.key_flood import flood
from tests.benchmarks.pipeline import APPLY, CAPTURE_TOPIC, DECIDE, REPLICA, SYSTEM, MeasuredPipeline
from tests.benchmarks.workload import COLUMNS, TABLE, change_rows, content, create_rows
from trueup.adapters.topic_reader import TopicReader
from trueup.demo.waiting import until
from trueup.model.write import VERSION_COLUMN
from trueup.runtime.partition_memory import DECIDE_GROUP

_RATIO_MIN: Final = 0.3
_RSS_MB_MAX: Final = 400
_DRAIN_S_MAX, _FILL_S_MAX = 300.0, 600.0
_COPY, _BARE = f"public.{TABLE}", f"bare.{TABLE}"


class Report(msgspec.Struct, frozen=True):
    """What was measured.

    :param drain_per_s: captured changes a second, from the decide worker's first fetch to the replica's last commit.
    :param rss_mb: the most memory either worker ever had resident, in MB, that with all keys included.
    :param decide_per_s: of the decide worker alone, while it took the keys of step 6.
    :param cpu_us_per_change: of the processes, not of the servers they use; it changes less with other load than speed.
    :param recovery_s_per_million_keys: from the start of a worker without local state until it has all of it again.
    """

    drain_per_s: int
    ratio_to_bare_loop: float
    rss_mb: int
    recovery_s_per_million_keys: float
    bare_loop_per_s: int
    decide_per_s: int
    cpu_us_per_change: dict[str, float]
    changes: int
    state_keys: int
    replica_equals_source: bool

    @property
    def missed(self) -> list[str]:
        """The gates it does not pass."""
        gates = {
            "the replica equals the source": self.replica_equals_source,
            f"ratio_to_bare_loop is at least {_RATIO_MIN}": self.ratio_to_bare_loop >= _RATIO_MIN,
            f"rss_mb is below {_RSS_MB_MAX}": self.rss_mb < _RSS_MB_MAX,
        }
        return [gate for gate, held in gates.items() if not held]


def measure(pipeline: MeasuredPipeline, rows: int, changes: int, keys: int, say: Callable[[str], None]) -> Report:
    """Do it all once."""
    say("stack")
    pipeline.start()
    say(f"{rows:,} rows in the source")
    create_rows(pipeline.folder.dsn(SYSTEM), rows)
    _fill(pipeline, rows, say)
    starts = pipeline.capture_ends()
    say(f"{changes:,} changes")
    change_rows(pipeline.folder.dsn(SYSTEM), rows, changes)
    pipeline.wait_captured()
    pipeline.stack.stop_part("connect")
    _copy_beside(pipeline)
    say("bare loop")
    bare_s, cpu_s = _bare_loop(pipeline, starts, changes)
    say(f"bare loop: {changes / bare_s:,.0f} changes/s; now decide and apply")
    drain_s = _drain(pipeline, rows + changes, cpu_s)
    say(f"decide and apply: {changes / drain_s:,.0f} changes/s; now {keys:,} keys")
    source, *copies = _contents(pipeline)
    decide_s = _flood(pipeline, keys)
    say(f"decide alone: {keys / decide_s:,.0f} keys/s; now recovery")
    recovery_s = _recover(pipeline)
    state_keys = rows + changes // 5 + keys  # a fifth of the changes are inserts; deleted keys are kept
    return Report(
        drain_per_s=round(changes / drain_s),
        ratio_to_bare_loop=round(bare_s / drain_s, 3),
        rss_mb=round(pipeline.rss_bytes_max / 1e6),
        recovery_s_per_million_keys=round(recovery_s / state_keys * 1e6, 2),
        bare_loop_per_s=round(changes / bare_s),
        decide_per_s=round(keys / decide_s),
        cpu_us_per_change={name: round(seconds / changes * 1e6, 1) for name, seconds in cpu_s.items()},
        changes=changes,
        state_keys=state_keys,
        replica_equals_source=all(copy == source for copy in copies),
    )


def _fill(pipeline: MeasuredPipeline, rows: int, say: Callable[[str], None]) -> None:
    """Let the snapshot through to the replica."""
    pipeline.apply()
    say("snapshot through Debezium, decide and apply")
    with pipeline.worker(APPLY), pipeline.worker(DECIDE):
        until(
            lambda: pipeline.records_applied() >= rows,
            what="the snapshot at the replica",
            within_s=_FILL_S_MAX,
            pause_s=0.5,
        )
        pipeline.wait_captured()


def _copy_beside(pipeline: MeasuredPipeline) -> None:
    """The table of the bare loop starts as the copy stands."""
    pipeline.query(REPLICA, "CREATE SCHEMA IF NOT EXISTS bare")
    pipeline.query(REPLICA, f"CREATE TABLE {_BARE} (LIKE {_COPY} INCLUDING ALL)")
    pipeline.query(REPLICA, f'ALTER TABLE {_BARE} DROP COLUMN "{VERSION_COLUMN}"')
    pipeline.query(REPLICA, f"INSERT INTO {_BARE} SELECT {', '.join(COLUMNS)} FROM {_COPY}")
    pipeline.query(REPLICA, f"VACUUM (ANALYZE) {_BARE}")
    pipeline.query(REPLICA, f"VACUUM (ANALYZE) {_COPY}")


def _clean_pages(pipeline: MeasuredPipeline) -> None:
    """Start the replica's server anew: nothing is left to be written for whoever came before."""
    part = f"postgres-{REPLICA}"
    pipeline.stack.stop_part(part)
    pipeline.stack.start_part(part)


def _bare_loop(pipeline: MeasuredPipeline, starts: dict[int, int], changes: int) -> tuple[float, dict[str, float]]:
    """Seconds of the bare loop, and seconds of its CPU."""
    addresses = pipeline.stack.addresses()
    job = Job(
        bootstrap_servers=addresses.bootstrap_servers,
        registry_url=addresses.registry_url,
        topic=CAPTURE_TOPIC,
        starts=starts,
        dsn=pipeline.folder.dsn(REPLICA),
        table=_BARE,
    )
    _clean_pages(pipeline)
    done = pipeline.run("tests.benchmarks.bare_loop", job)
    assert done["changes"] == changes, f"{done['changes']} changes in the topic, {changes} were made"
    return done["seconds"], {"bare_loop": done["cpu_seconds"]}


def _drain(pipeline: MeasuredPipeline, records: int, cpu_s: dict[str, float]) -> float:
    """Seconds from the decide worker's first fetch until the replica has counted its last record; CPU into `cpu_s`."""
    _clean_pages(pipeline)
    with pipeline.worker(APPLY):
        since = pipeline.log_size(DECIDE)
        idle = pipeline.cpu_seconds(APPLY)
        with pipeline.worker(DECIDE):
            until(
                lambda: pipeline.records_applied() >= records,
                what="the last change at the replica",
                within_s=_DRAIN_S_MAX,
            )
            ended = datetime.now(UTC)
            cpu_s |= {DECIDE: pipeline.cpu_seconds(DECIDE), APPLY: pipeline.cpu_seconds(APPLY) - idle}
            began = min(pipeline.logged(DECIDE, "partition taken", since))
    assert pipeline.records_applied() == records, "a record was counted twice, or one nobody made"
    return (ended - began).total_seconds()


def _flood(pipeline: MeasuredPipeline, keys: int) -> float:
    """Seconds from the first fetch until the group's offsets stand at the end."""
    topics = TopicReader(pipeline.stack.addresses().bootstrap_servers)
    flood(pipeline.stack.addresses().bootstrap_servers, CAPTURE_TOPIC, len(pipeline.capture_ends()), keys)
    ends = pipeline.capture_ends()

    def decided() -> bool:
        committed = topics.committed(DECIDE_GROUP, [CAPTURE_TOPIC])
        return all(committed[CAPTURE_TOPIC, number][0] >= end for number, end in ends.items())

    since = pipeline.log_size(DECIDE)
    with pipeline.worker(DECIDE):
        until(decided, what="every key decided", within_s=_FILL_S_MAX, pause_s=0.5)
        return (datetime.now(UTC) - min(pipeline.logged(DECIDE, "partition taken", since))).total_seconds()


def _recover(pipeline: MeasuredPipeline) -> float:
    """Seconds from the start of a decide worker without local state until it has all of it again."""
    pipeline.forget_state()
    since, began = pipeline.log_size(DECIDE), datetime.now(UTC)
    with pipeline.worker(DECIDE):
        taken = pipeline.logged(DECIDE, "partition taken", since)
    return (max(taken) - began).total_seconds()


def _contents(pipeline: MeasuredPipeline) -> list[tuple[Any, ...]]:
    """The source, the copy, and the bare loop's table."""
    replica = pipeline.folder.dsn(REPLICA)
    return [content(pipeline.folder.dsn(SYSTEM), _COPY), content(replica, _COPY), content(replica, _BARE)]


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description="Drain of captured changes, beside a bare loop.")
    parser.add_argument("--quick", action="store_true", help="a quarter of the changes and of the keys")
    parser.add_argument("--rows", type=int, default=100_000, help="rows before the changes")
    parser.add_argument("--keys", type=int, default=None, help="more keys in the decide worker's state")
    parser.add_argument("--changes", type=int, default=None, help="changes to drain, a multiple of 100")
    parser.add_argument("--state-dir", type=Path, default=Path("var/bench-drain"))
    parser.add_argument("--port-base", type=int, default=29_500, help="first port of the benchmark's own stack")
    parser.add_argument(
        "--keep", action="store_true", help="leave the stack running; the next run wants another folder"
    )
    asked = parser.parse_args()
    keys = asked.keys or (250_000 if asked.quick else 1_000_000)
    changes = asked.changes or (50_000 if asked.quick else 200_000)

    began = time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:6.1f} s  {text}\n")

    # As an interrupt it lets `finally` stop the servers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pipeline = MeasuredPipeline(asked.state_dir, asked.port_base)
    try:
        report = measure(pipeline, asked.rows, changes, keys, say)
    finally:
        if not asked.keep:
            pipeline.stop()
    for gate in report.missed:
        say(f"missed: {gate}")
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
