"""A part that nobody can reach: every command that needs it ends with 2, in time, and names it."""

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
