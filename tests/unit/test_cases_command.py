"""`trueup cases decide` before anything is sent: what it refuses, and what it makes of the answer."""

from typing import Any

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from tests.case_makers import CHECKED, Partition, decision_on
from tests.envelopes import CAPTURED, change, key_of, order
from trueup.adapters.secret_references import Secrets
from trueup.core.case_decision import CHANGED, NotObeyed, Obeyed
from trueup.model.case import Case, CaseStatus
from trueup.model.columns import CapturedTable
from trueup.model.errors import Refused
from trueup.model.registration import Project, System
from trueup.model.settings import Settings
from trueup.runtime.cases import Cases, why_not_obeyed
from trueup.runtime.cli import app
from trueup.runtime.cli_cases import _assignments

SHOP = System(system="shop", kind="postgresql", dsn="${env:SHOP_DSN}")


class Offline(Cases):
    """Without a project folder and without servers."""

    def captured(self, case: Case) -> CapturedTable:
        return CAPTURED


def cases() -> Cases:
    project = Project(systems={"shop": SHOP}, replicas={}, tables={"orders": CHECKED.table})
    return Offline(Settings(), project, Secrets(Settings(), {}))


def opened() -> Partition:
    partition = Partition()
    partition.decide(change(0, row=order()), change(1, "u", order(amount="-1.00")))
    return partition


def decision(
    case: Case, take: str | None = "B", values: dict[str, str | None] | None = None, because: str = "x"
) -> Any:
    return cases().decision(case, take=take, values=values or {}, because=because, by="fatima")


def test_a_decision_is_based_on_what_was_seen() -> None:
    case = opened().case()
    made = decision(case, because=" called the customer ")
    assert (made.case, made.based_on, made.take, made.because, made.by) == (
        case.id,
        case.versions,
        "B",
        "called the customer",
        "fatima",
    )
    assert made.id != decision(case).id


@pytest.mark.parametrize(
    ("take", "values", "because", "why"),
    [
        ("C", {}, "x", 'has no side "C"'),
        (None, {}, "x", 'has no side ""'),
        ("B", {}, "  ", "needs a reason"),
        (None, {"state": "paid"}, "x", "differ in more columns: amount"),
        ("B", {"amount": "1.00"}, "x", "one owner"),
        (None, {"amount": "1.00"}, "x", "one owner"),
    ],
)
def test_what_cannot_be_decided_is_refused_before_it_is_sent(
    take: str | None, values: dict[str, str | None], because: str, why: str
) -> None:
    with pytest.raises(Refused, match=why):
        decision(opened().case(), take, values, because)


def test_a_case_that_is_over_needs_no_decision_and_says_who_made_it() -> None:
    case = opened().case()
    ended = replace(case, status=CaseStatus.DECIDED, decision=decision_on(case))
    with pytest.raises(Refused) as refused:
        decision(ended)
    assert "by fatima, who took B" in str(refused.value)
    with pytest.raises(Refused, match="superseded"):
        decision(replace(case, status=CaseStatus.SUPERSEDED))


def test_the_answer_is_read_back_from_the_case() -> None:
    partition = opened()
    seen = partition.case()
    asked = decision_on(seen)
    obeyed = opened().obey(asked, 7)
    assert isinstance(obeyed, Obeyed)
    assert why_not_obeyed(seen, obeyed.case, asked) is None
    assert "fatima had decided it" in str(why_not_obeyed(seen, obeyed.case, replace(asked, id="another")))

    partition.decide(change(2, "u", order(amount="-2.00")))
    refused = partition.obey(asked, 7)
    assert isinstance(refused, NotObeyed)
    assert refused.case is not None
    assert why_not_obeyed(seen, refused.case, asked) == CHANGED

    assert "epoch" in str(why_not_obeyed(seen, seen, asked)), "nobody refused it and nothing changed"
    (over,) = partition.decide(change(8, "u", order(amount="8.00"))).cases.values()
    assert "later change" in str(why_not_obeyed(seen, over, replace(asked, id="another")))
    assert key_of(1) not in partition.open


def test_values_and_nulls_are_named_once_each() -> None:
    assert _assignments(["a=1=2", "b="], ["c"]) == {"a": "1=2", "b": "", "c": None}
    for values, nulls in ((["a"], []), (["a=1", "a=2"], []), (["c=1"], ["c"])):
        with pytest.raises(Refused):
            _assignments(values, nulls)


def test_help_has_an_example_of_each_command() -> None:
    for command in ("list", "show", "decide"):
        said = CliRunner().invoke(app, ["cases", command, "--help"])
        assert said.exit_code == 0
        assert f"trueup cases {command}" in said.output
