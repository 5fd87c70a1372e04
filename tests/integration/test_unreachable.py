"""A part that nobody can reach: every command that needs it ends with 2, in time, and names it."""

import json
import time

import pytest

from tests.pipeline import Pipeline

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

NAMED_WITHIN_S = 30
NOBODY = "127.0.0.1:1"  # nobody listens there
ADDRESSES = {
    "kafka": {"TRUEUP_BOOTSTRAP_SERVERS": NOBODY},
    "connect": {"TRUEUP_CONNECT_URL": f"http://{NOBODY}"},
    "registry": {"TRUEUP_REGISTRY_URL": f"http://{NOBODY}"},
    "source warehouse": {"WAREHOUSE_DSN": f"postgresql://owner@{NOBODY}/warehouse"},
    "replica reporting": dict.fromkeys(
        ("REPORTING_DSN", "REPORTING_WRITER_DSN"), f"postgresql://writer@{NOBODY}/reporting"
    ),
}
COMMANDS = {
    "apply": list(ADDRESSES),
    "status": list(ADDRESSES),
    "verify": list(ADDRESSES),
    "deadletters list": ["kafka", "replica reporting"],
}


@pytest.mark.parametrize(
    ("command", "part"), [(command, part) for command, parts in COMMANDS.items() for part in parts]
)
def test_a_command_names_the_part_it_cannot_reach(pipeline: Pipeline, command: str, part: str) -> None:
    began = time.monotonic()
    ended = pipeline.trueup(*command.split(), environment=ADDRESSES[part])
    took_s = time.monotonic() - began
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert f'cannot reach "{part}"' in ended.stderr
    assert "Traceback" not in ended.stderr
    assert took_s < NAMED_WITHIN_S


def test_status_shows_what_it_could_ask_although_a_part_is_not_there(pipeline: Pipeline) -> None:
    pipeline.converged(120)
    ended = pipeline.trueup("status", environment=ADDRESSES["replica reporting"])
    assert ended.returncode == 2
    assert ended.stdout.startswith('! cannot reach "replica reporting"'), "what is wrong first"
    assert "order_lines" in ended.stdout
    assert "warehouse" in ended.stdout


def test_status_without_kafka_says_so_first_and_how_old_each_copy_is(pipeline: Pipeline) -> None:
    pipeline.converged(120)
    with_kafka = {(line["table"], line["replica"]) for line in pipeline.json("status")["tables"]}
    began = time.monotonic()
    ended = pipeline.trueup("status", "--json", environment=ADDRESSES["kafka"])
    assert time.monotonic() - began < NAMED_WITHIN_S
    assert ended.returncode == 2, ended.stderr
    seen = json.loads(ended.stdout)
    assert seen["unreachable"] == ["kafka"], "the others were asked, and answered"
    assert seen["problems"][0]["what"] == f'cannot reach "kafka" at {NOBODY}'
    assert seen["decide"] == []
    assert {(line["table"], line["replica"]) for line in seen["tables"]} == with_kafka
    for line in seen["tables"]:
        assert line["state"] in {"late", "unknown"}, line
        assert (line["captured"], line["decide_lag"], line["lag"]) == (None, None, None)
        assert line["applied"] is not None
        assert line["window_s"] is None or line["as_of_age_s"] is not None, "its replica knows"
    screen = pipeline.trueup("status", environment=ADDRESSES["kafka"])
    assert screen.returncode == 2
    assert screen.stdout.startswith(f'! cannot reach "kafka" at {NOBODY}')
    assert "order_lines" in screen.stdout
