"""`make repair-million`: three rows of a million, damaged by hand under load, are found exactly, mended and proven.

The last line it prints is JSON: seconds, rows compared per second and the peak of resident memory of each command.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

import msgspec
import pytest

from tests.damaged_copy import HOT, REPLICA, DamagedCopy, key
from tests.pipeline import Pipeline

ROWS = int(os.environ.get("ROWS", "1000000"))
CHANGES_PER_S = 200
RSS_MB_MAX = 250  # of which 100 are the imports; a million keys with their hashes would be 400 more

pytestmark = [pytest.mark.soak, pytest.mark.integration, pytest.mark.timeout(3_600)]


class Ran(msgspec.Struct):
    """One command: what it said, and what it cost."""

    code: int
    answer: Any
    seconds: float
    rss_mb: float

    def cost(self, rows: int) -> dict[str, float]:
        return {
            "seconds": round(self.seconds, 1),
            "rss_mb": round(self.rss_mb),
            "rows_per_s": round(rows / self.seconds),
        }


def measured(pipeline: Pipeline, *arguments: str) -> Ran:
    began = time.monotonic()
    command = [sys.executable, "-m", "trueup.runtime.cli", *arguments, "--json"]
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            [*command, "--project", str(pipeline.folder.project_dir)], env=pipeline.folder.environment(), stdout=out
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        answer = msgspec.json.decode(out.read())
    return Ran(process.returncode, answer, time.monotonic() - began, usage.ru_maxrss / 1024)


def test_three_rows_of_a_million(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    copy = DamagedCopy(pipeline, "million", ROWS)
    began = time.monotonic()
    copy.begin(within_s=2_400)
    filled_s = time.monotonic() - began
    with copy.written(CHANGES_PER_S) as commits:
        wrong = copy.damage()
        loaded = time.monotonic()
        verified = measured(pipeline, "verify", copy.name)
        (found,) = verified.answer["results"]
        assert dict(zip(found["keys"], found["kinds"], strict=True)) == wrong
        assert set(found["unproven_keys"]) <= {key(HOT)}, "it never rests: unproven, or seen equal all the same"
        repaired = measured(pipeline, "repair", copy.name, "--replica", REPLICA)
        (mended,) = repaired.answer["results"]
        assert (repaired.code, mended["mended"], mended["left"]) == (0, 3, [])
        proven = measured(pipeline, "verify", copy.name)
        (clean,) = proven.answer["results"]
        assert (proven.code, clean["differing"]) == (0, 0)
        assert clean["proven_through"] is not None
        rate = commits[0] / (time.monotonic() - loaded)
    assert rate > CHANGES_PER_S / 2, "there was no load to speak of"
    commands = {"verify": verified, "repair": repaired, "verify_again": proven}
    assert all(ran.rss_mb < RSS_MB_MAX for ran in commands.values())
    numbers = {
        "rows": found["rows_source"],
        "filled_s": round(filled_s),
        "changes_per_s": round(rate),
        **{name: ran.cost(found["rows_source"]) for name, ran in commands.items()},
    }
    with capsys.disabled():
        sys.stdout.write("\n" + json.dumps(numbers) + "\n")
