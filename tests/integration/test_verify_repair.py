"""Proof of equality on the real stack: three damaged rows among 20,000 are found, mended and proven, under load."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.damaged_copy import HOT, REPLICA, DamagedCopy, key
from tests.pipeline import Pipeline
from tests.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

ROWS = 20_000
RANGES = ("--range-rows", "1000")


@pytest.fixture(scope="module")
def damaged_copy(pipeline: Pipeline) -> Iterator[DamagedCopy]:
    made = DamagedCopy(pipeline, "proven", ROWS)
    made.begin()
    yield made
    made.file.unlink()
    pipeline.apply()
    assert pipeline.workers is not None
    for worker in ("decide", f"apply-{REPLICA}"):
        pipeline.workers.kill(worker)


def audited(copy: DamagedCopy) -> dict[str, str]:
    found = copy.at_replica(f"SELECT key, kind FROM trueup.repairs WHERE target = 'public.{copy.name}'")
    assert len(dict(found)) == len(found), "a key was repaired twice"
    return dict(found)


def forget_audit(copy: DamagedCopy) -> None:
    copy.at_replica(f"DELETE FROM trueup.repairs WHERE target = 'public.{copy.name}'")


def clean(copy: DamagedCopy) -> None:
    ran = copy.pipeline.trueup("verify", copy.name)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert copy.differences() == 0


def test_three_damaged_rows_are_found_mended_and_proven_under_load(damaged_copy: DamagedCopy) -> None:
    copy, pipeline = damaged_copy, damaged_copy.pipeline
    forget_audit(copy)
    with copy.written(per_second=150) as commits:
        wrong = copy.damage()
        (found,) = pipeline.json("verify", copy.name, *RANGES)["results"]
        assert dict(zip(found["keys"], found["kinds"], strict=True)) == wrong
        assert (found["differing"], found["changed"], found["missing"], found["extra"]) == (3, 1, 1, 1)
        # A key that never rests is not proven, or was seen equal when its writer paused; never is it different.
        assert set(found["unproven_keys"]) <= {key(HOT)}
        assert found["caught_up"]
        assert found["proven_through"] is None
        status = pipeline.json("status")
        told = [problem for problem in status["problems"] if copy.name in problem["what"]]
        assert told[0]["next"] == f"trueup repair {copy.name} --replica {REPLICA} --dry-run"

        (shown,) = pipeline.json("repair", copy.name, "--replica", REPLICA, "--dry-run", *RANGES)["results"]
        assert {k["key"]: (k["kind"], k["outcome"]) for k in shown["keys"]} == {
            k: (kind, "mended") for k, kind in wrong.items()
        }
        assert (shown["mended"], shown["left"]) == (0, None)
        assert audited(copy) == {}

        ran = pipeline.trueup("repair", copy.name, "--replica", REPLICA, "--json", *RANGES)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        (mended,) = msgspec.json.decode(ran.stdout)["results"]
        assert (mended["found"], mended["mended"], mended["left"]) == (3, 3, [])
        assert audited(copy) == wrong

        again = pipeline.trueup("verify", copy.name, "--json", *RANGES)
        assert again.returncode == 0, again.stdout + again.stderr
        (proven,) = msgspec.json.decode(again.stdout)["results"]
        assert (proven["differing"], proven["keys"]) == (0, [])
        assert proven["proven_through"] is not None
        assert commits[0] > 1_000, "there was no load to speak of"
    clear = f"SELECT count(*) FROM trueup.repairs r WHERE target = 'public.{copy.name}' AND r::text LIKE '%%clear%%'"
    assert copy.at_replica(clear) == [(0,)]
    (line,) = copy.at_replica(
        "SELECT differing_keys, proven_through > now() - interval '5 minutes', proven_position IS NOT NULL"
        f" FROM trueup.proofs WHERE table_name = '{copy.name}'"
    )
    assert line == (0, True, True)
    clean(copy)


def test_a_truth_that_is_behind_its_owner_is_named_and_not_painted_over(damaged_copy: DamagedCopy) -> None:
    copy, pipeline = damaged_copy, damaged_copy.pipeline
    copy.at_source(f"ALTER PUBLICATION trueup_shop DROP TABLE {copy.name}")
    copy.at_source(f"UPDATE {copy.name} SET amount = 77777 WHERE id = 50")  # nobody captures it
    copy.at_source(f"ALTER PUBLICATION trueup_shop ADD TABLE {copy.name}")
    ran = pipeline.trueup("repair", copy.name, "--json")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    (result,) = msgspec.json.decode(ran.stdout)["results"]
    (told,) = result["keys"]
    assert (told["key"], told["outcome"]) == (key(50), "truth_differs")
    assert told["next"] == f"trueup resnapshot {copy.name} --key '50'"
    assert copy.at_replica(f"SELECT amount::int FROM {copy.name} WHERE id = 50") == [(50,)]
    assert pipeline.trueup("resnapshot", copy.name, "--key", "50").returncode == 0
    arrived = lambda: copy.at_replica(f"SELECT amount::int FROM {copy.name} WHERE id = 50") == [(77777,)]  # noqa: E731
    eventually(arrived, within_s=60, what="the row was read again")
    clean(copy)


@pytest.mark.long
def test_a_repair_that_was_killed_is_completed_by_the_next(damaged_copy: DamagedCopy) -> None:
    copy, pipeline = damaged_copy, damaged_copy.pipeline
    forget_audit(copy)
    copy.at_replica(f"UPDATE {copy.name} SET amount = amount + 1 WHERE id BETWEEN 101 AND 900")
    wrong = {key(number): "changed" for number in range(101, 901)}
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "trueup.runtime.cli",
            "repair",
            copy.name,
            "--project",
            str(pipeline.folder.project_dir),
        ],
        env=pipeline.folder.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: len(audited(copy)) > 50, within_s=120, what="some keys are mended")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = len(audited(copy))
    assert 50 < before < len(wrong), "it was not killed in the middle"
    ran = pipeline.trueup("repair", copy.name, "--json")
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr
    (result,) = msgspec.json.decode(ran.stdout)["results"]
    assert result["mended"] == len(wrong) - before
    assert audited(copy) == wrong
    clean(copy)


@pytest.mark.long
def test_following_goes_on_where_it_was_ended_and_shows_metrics(damaged_copy: DamagedCopy) -> None:
    copy, folder = damaged_copy, damaged_copy.pipeline.folder
    entry = folder.state_dir / "workers" / "verify.json"
    began = "SELECT state->>'began_at' FROM trueup.proof_passes WHERE target = 'public.proven'"

    def follow(rate: int) -> "subprocess.Popen[bytes]":
        options = ("--follow", "--every", "1", "--metrics-port", "0", "--rows-per-second", str(rate), *RANGES)
        command = [sys.executable, "-m", "trueup.runtime.cli", "verify", copy.name, *options]
        return subprocess.Popen([*command, "--project", str(folder.project_dir)], env=folder.environment())

    slow = follow(rate=1_000)
    try:
        eventually(lambda: copy.at_replica(began), within_s=60, what="a pass is under way")
    finally:
        slow.kill()
        slow.wait()
    entry.unlink(missing_ok=True)
    ((noted,),) = copy.at_replica(began)
    (resumed,) = copy.pipeline.json("verify", copy.name, "--resume", *RANGES)["results"]
    assert resumed["proven_through"] == noted, "it began again"
    assert resumed["rows_source"] == copy.at_source(f"SELECT count(*) FROM {copy.name}")[0][0]
    assert copy.at_replica(began) == []
    copy.at_replica(f"UPDATE {copy.name} SET amount = amount + 1 WHERE id = {ROWS}")
    fast = follow(rate=1_000_000)
    try:
        differs = f'trueup_differing_keys{{replica="{REPLICA}",table="{copy.name}"}} 1.0'
        eventually(lambda: differs in scraped(entry), within_s=90, what="the metric tells of the damage")
        copy.at_replica(f"UPDATE {copy.name} SET amount = amount - 1 WHERE id = {ROWS}")
        mended = differs.replace(" 1.0", " 0.0")
        eventually(lambda: mended in scraped(entry), within_s=90, what="the metric tells that it is gone")
        through = [line for line in scraped(entry).splitlines() if line.startswith("trueup_proven_equal_timestamp")]
        assert float(through[0].rpartition(" ")[2]) > 1.7e9
    finally:
        fast.send_signal(signal.SIGTERM)
        code = fast.wait(60)
    assert code == 0
    assert not entry.exists()
    clean(copy)


def scraped(entry: Path) -> str:
    if not entry.exists():
        return ""
    url = msgspec.json.decode(entry.read_bytes())["url"]
    return httpx.get(f"{url}/metrics", timeout=10, trust_env=False).text
