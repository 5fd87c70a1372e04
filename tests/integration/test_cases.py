"""Two databases write the same customer within the uncertainty window: a case, and what a person makes of it.

On the real stack. Cases of tables with one owner are in test_cases_one_owner."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.integration.two_writers import Row, TwoWriters, moment, two_writers
from tests.pipeline import Pipeline
from tests.waiting import eventually
from trueup.adapters.project_files import read_project
from trueup.adapters.secret_references import Secrets
from trueup.core.case_decision import CHANGED
from trueup.core.registration_rules import problems_of
from trueup.model.settings import Settings
from trueup.runtime.cases import Cases, why_not_obeyed

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

WITHIN_TWO_SECONDS = (
    "conflicts: {{policy: last_write_wins}}\nversion: {{column: updated_at, uncertainty: 2s}}\n"
    "cases: {{decide_within: 1s}}"
)
MANY = 1_000


@pytest.fixture(scope="module")
def two(pipeline: Pipeline, stack_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoWriters]:
    """Each test has customers of its own."""
    folder: Path = tmp_path_factory.mktemp("cases")
    with two_writers(pipeline, stack_settings, folder, WITHIN_TWO_SECONDS) as made:
        for base in (1, 2, 3, 4, 5):
            made.write(made.a, base, "base", 0)
        made.start()
        made.equal(within_s=120)
        yield made


def listed(two: TwoWriters, *arguments: str) -> dict[int, dict[str, Any]]:
    """Cases by customer."""
    ran = two.trueup("cases", "list", "--json", *arguments)
    assert ran.returncode == 0, ran.stderr
    return {json.loads(case["key"])["id"]: case for case in json.loads(ran.stdout)["cases"]}


def contradict(two: TwoWriters, *customers: int) -> None:
    """At a and b, a second apart, neither knowing of the other; a's change is decided first."""
    with two.held_back(two.b):
        for customer in customers:
            two.write(two.b, customer, "by b", 101)
            two.write(two.a, customer, "by a", 100)
        holds = {customer: two.row(two.a, "by a", 100) for customer in customers}
        eventually(
            lambda: {key: two.rows(two.r).get(key) for key in holds} == holds, within_s=60, what="a's at the replica"
        )
    eventually(lambda: listed(two).keys() >= set(customers), within_s=60, what="the contradictions are cases")


def decide(two: TwoWriters, customer: int, *arguments: str, expected: int = 0) -> str:
    case = listed(two)[customer]["id"]
    ran = two.trueup("cases", "decide", case, "--because", "called the customer", "--by", "fatima", *arguments)
    assert ran.returncode == expected, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def metric(two: TwoWriters, name: str) -> float:
    text = httpx.get(f"http://127.0.0.1:{two.folder.metrics_port_base}/metrics", trust_env=False).text
    return float(
        next(line.split()[-1] for line in text.splitlines() if line.startswith(f'{name}{{table="{two.table}"'))
    )


def test_one_customer_waits_a_thousand_converge_and_the_decision_reaches_both_writers_and_the_replica(
    two: TwoWriters,
) -> None:
    escalated = two.decided().get("escalated", 0)
    contradict(two, 1)
    for writer, first in ((two.a, 1_001), (two.b, 1_001 + MANY // 2)):
        numbers = f"generate_series({first}, {first + MANY // 2 - 1}) n"
        two.query(writer, f"INSERT INTO customers (id, name, updated_at) SELECT n, 'new', '{moment(0)}' FROM {numbers}")
    others: dict[int, Row | None] = {}
    others |= {key: two.row(two.a, "new", 0) for key in range(1_001, 1_001 + MANY // 2)}
    others |= {key: two.row(two.b, "new", 0) for key in range(1_001 + MANY // 2, 1_001 + MANY)}
    two.everywhere(others, within_s=90)
    assert two.rows(two.r)[1] == two.row(two.a, "by a", 100), "the replica keeps what it had"
    assert two.decided()["escalated"] == escalated + 1, "one case, and nothing goes round"

    eventually(lambda: metric(two, "trueup_cases_overdue") >= 1, within_s=30, what="the overdue case in the metric")
    status = json.loads(two.trueup("status", "--json").stdout)
    assert any("overdue" in problem["what"] and two.table in problem["what"] for problem in status["problems"])
    case = listed(two)[1]
    view = json.loads(two.trueup("cases", "show", case["id"], "--json").stdout)
    assert [side["origin"] for side in view["sides"]] == [two.a, two.b]
    assert {c["column"] for c in view["columns"] if c["differs"]} == {"name", "signed", "updated_at"}
    two.verified()

    decide(two, 1, "--take", "B")

    two.everywhere({1: two.row(two.b, "by b", 101)}, within_s=60)
    two.verified()
    assert listed(two, "--all")[1]["status"] == "decided"

    two.write(two.a, 1, "later at a", 101.5)
    two.everywhere({1: two.row(two.a, "later at a", 101.5)}, within_s=60)
    two.verified()
    assert listed(two, "--all")[1]["decision"]["by"] == "fatima"


def test_further_changes_are_the_new_images_and_a_decision_on_the_old_ones_is_refused(
    two: TwoWriters, stack_settings: Settings
) -> None:
    contradict(two, 2)
    settings = msgspec.structs.replace(stack_settings, project_dir=two.folder.project_dir)
    cases = Cases(settings, read_project(settings.project_dir, problems_of), Secrets(settings, {}))
    seen = cases.find(listed(two)[2]["id"])
    asked = cases.decision(seen, take="A", values={}, because="looked right", by="fatima")
    two.write(two.a, 2, "a again", 300)
    eventually(lambda: cases.find(seen.id).versions[0] != seen.versions[0], within_s=60, what="a's newer image")
    two.write(two.b, 2, "b again", 400)
    eventually(lambda: cases.find(seen.id).versions[1] != seen.versions[1], within_s=60, what="b's newer image")
    assert two.rows(two.r)[2] == two.row(two.a, "by a", 100), "nothing is published meanwhile"

    assert why_not_obeyed(seen, cases.send(seen, asked, 90), asked) == CHANGED
    assert two.rows(two.r)[2] == two.row(two.a, "by a", 100)
    decide(two, 2, "--take", "A")
    two.everywhere({2: two.row(two.a, "a again", 300)}, within_s=60)
    two.verified()


@pytest.mark.long
def test_values_of_both_can_be_put_together(two: TwoWriters) -> None:
    contradict(two, 3)
    assert "differ in more columns" in decide(two, 3, "--set", "name=of both", expected=2)
    assert "cannot be set here" in decide(two, 3, "--take", "A", "--set", "updated_at=2026-01-05", expected=2)
    decide(two, 3, "--take", "A", "--set", "name=of both")
    two.everywhere({3: ("of both", two.a, moment(100))}, within_s=60)
    two.write(two.b, 3, "b upon it", 100.5)
    two.everywhere({3: two.row(two.b, "b upon it", 100.5)}, within_s=60)
    two.verified()


@pytest.mark.long
def test_a_case_and_a_decision_survive_a_killed_worker_and_lost_local_state(two: TwoWriters) -> None:
    """The decision is in the log and the worker is not there; nor is, afterwards, anything of its disk."""
    contradict(two, 4, 5)
    assert two.workers is not None
    two.workers.kill("decide")
    two.stop()
    assert "stands in the log" in decide(two, 4, "--take", "B", "--timeout", "1", expected=2)
    shutil.rmtree(two.folder.state_dir / "workers", ignore_errors=True)
    two.start()
    two.everywhere({4: two.row(two.b, "by b", 101)}, within_s=90)
    assert 5 in listed(two), "the other one waits on"
    assert two.workers is not None
    two.workers.kill("decide")
    decide(two, 5, "--take", "A")
    two.everywhere({5: two.row(two.a, "by a", 100)}, within_s=90)
    two.verified()
