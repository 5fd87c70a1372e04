"""Cases of a table with one owner on the real stack: a check that leaves an amount to people to judge."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.breakable_pipeline import BreakablePipeline, breakable_pipeline
from tests.pipeline import Pipeline
from tests.waiting import eventually
from trueup.adapters.project_files import read_project
from trueup.adapters.secret_references import Secrets
from trueup.core.case_decision import CHANGED
from trueup.core.registration_rules import problems_of
from trueup.model.settings import Settings
from trueup.runtime.cases import Cases, why_not_obeyed

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

ROWS = 1_300


@pytest.fixture(scope="module")
def owned(
    pipeline: Pipeline, stack_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BreakablePipeline]:
    """A table whose negative amounts are for people, at once overdue. Each test has rows of its own."""
    folder: Path = tmp_path_factory.mktemp("owned")
    with breakable_pipeline(pipeline, stack_settings, folder) as scratch:
        scratch.start(ROWS, on_violation="escalate", more="cases: {decide_within: 1s}\n")
        yield scratch


def listed(owned: BreakablePipeline, *arguments: str) -> dict[str, dict[str, Any]]:
    ran = owned.trueup("cases", "list", "--json", *arguments)
    assert ran.returncode == 0, ran.stderr
    return {case["key"]: case for case in json.loads(ran.stdout)["cases"]}


def opened(owned: BreakablePipeline, row: int, amount: int = -1) -> str:
    """Write a negative amount at the owner, and wait for its case."""
    owned.execute(f"UPDATE orders SET amount = {amount} WHERE id = {row}")
    key = f'{{"id":{row}}}'
    eventually(lambda: key in listed(owned), within_s=40, what=f"a case of row {row}")
    return str(listed(owned)[key]["id"])


def decide(owned: BreakablePipeline, case: str, take: str, *more: str, expected: int = 0) -> str:
    ran = owned.trueup("cases", "decide", case, "--take", take, "--because", "asked the desk", "--by", "fatima", *more)
    assert ran.returncode == expected, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def copied(owned: BreakablePipeline, row: int) -> object:
    return owned.rows("warehouse")[row][0]


def shows(owned: BreakablePipeline, row: int, amount: int) -> None:
    eventually(lambda: copied(owned, row) == amount, within_s=120, what=f"the copy of row {row} holds {amount}")


def metric(owned: BreakablePipeline, name: str) -> float:
    port = owned.folder.metrics_port_base
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text.splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f'{name}{{table="{owned.table}"')))


def test_only_the_key_of_a_case_waits_and_what_a_person_takes_reaches_the_copy(owned: BreakablePipeline) -> None:
    case = opened(owned, 1)
    owned.execute("UPDATE orders SET note = 'meanwhile' WHERE id > 300")
    shown = {"meanwhile"}
    eventually(
        lambda: {row[1] for key, row in owned.rows("warehouse").items() if key > 300} == shown,
        within_s=60,
        what="1,000 other keys converge meanwhile",
    )
    assert copied(owned, 1) == 1
    eventually(lambda: metric(owned, "trueup_cases_overdue") >= 1, within_s=20, what="the overdue case in the metric")
    assert metric(owned, "trueup_cases_open") >= 1
    problems = [problem for problem in owned.problems() if problem["next"] == "trueup cases list"]
    assert "overdue" in problems[0]["what"]
    view = json.loads(owned.trueup("cases", "show", case, "--json").stdout)
    assert [column["column"] for column in view["columns"] if column["differs"]] == ["amount"]
    verified = json.loads(owned.trueup("verify", "--json").stdout)
    assert (verified["differing"], verified["results"][0]["explained"]) == (0, 1)

    decide(owned, case, "B")

    shows(owned, 1, -1)
    owned.equal()
    owned.counted()
    assert case not in {found["id"] for found in listed(owned).values()}
    kept = listed(owned, "--all")['{"id":1}']
    assert (kept["status"], kept["decision"]["by"], kept["decision"]["because"]) == (
        "decided",
        "fatima",
        "asked the desk",
    )
    (flags,) = owned.pipeline.query("warehouse", "SELECT flags FROM trueup.flags WHERE key = %s", (b'{"id":1}',))
    assert flags[0] == ["amount must be at least 0"]
    assert "decided" in decide(owned, case, "A", expected=2)


@pytest.mark.long
def test_what_a_person_keeps_out_stays_out_until_the_owner_writes_again(owned: BreakablePipeline) -> None:
    case = opened(owned, 2)
    decide(owned, case, "A")
    assert copied(owned, 2) == 2
    owned.verified()
    owned.execute("UPDATE orders SET amount = 22 WHERE id = 2")
    shows(owned, 2, 22)


def test_a_correction_by_the_owner_decides_its_case(owned: BreakablePipeline) -> None:
    case = opened(owned, 3)
    owned.execute("UPDATE orders SET amount = 33 WHERE id = 3")
    shows(owned, 3, 33)
    assert listed(owned, "--all")['{"id":3}']["status"] == "superseded"
    assert "superseded" in decide(owned, case, "A", expected=2)


@pytest.mark.long
def test_a_decision_on_images_that_changed_is_not_obeyed(owned: BreakablePipeline) -> None:
    case = opened(owned, 4)
    settings = owned.system.settings
    cases = Cases(settings, read_project(settings.project_dir, problems_of), Secrets(settings, {}))
    seen = cases.find(case)
    asked = cases.decision(seen, take="B", values={}, because="looked right", by="fatima")
    owned.execute("UPDATE orders SET amount = -44 WHERE id = 4")
    eventually(lambda: cases.find(case).versions != seen.versions, within_s=40, what="the newer image in the case")
    assert why_not_obeyed(seen, cases.send(seen, asked, 60), asked) == CHANGED
    assert copied(owned, 4) == 4
    assert CHANGED in owned.trueup("cases", "show", case).stdout.replace("\n", " ")
    decide(owned, case, "B")
    shows(owned, 4, -44)


@pytest.mark.long
def test_a_value_cannot_be_set_where_there_is_one_owner(owned: BreakablePipeline) -> None:
    case = opened(owned, 5)
    assert "one owner" in decide(owned, case, "A", "--set", "amount=5", expected=2)
    decide(owned, case, "B")
    shows(owned, 5, -1)


def test_cases_and_decisions_survive_kills_and_lost_local_state(owned: BreakablePipeline) -> None:
    """The worker is gone when the decision is written, and so is everything it kept on its disk."""
    case, other = opened(owned, 6), opened(owned, 7)
    owned.stop_workers()
    assert "stands in the log" in decide(owned, case, "B", "--timeout", "1", expected=2)
    shutil.rmtree(owned.folder.state_dir / "workers")
    owned.start_workers()
    shows(owned, 6, -1)
    assert other in {found["id"] for found in listed(owned).values()}
    assert owned.workers is not None
    owned.workers.kill("decide")
    decide(owned, other, "B")
    shows(owned, 7, -1)
    owned.counted()
