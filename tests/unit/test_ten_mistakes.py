"""What DBAs get wrong in registrations: every message names the file, the line, the field and the cure."""

from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from tests.unit.project_folder import CUSTOMERS, ORDERS, SHOP_SYSTEM, file_of, spoiled, write_project
from trueup.adapters.project_files import read_project
from trueup.core.registration_rules import problems_of
from trueup.model.errors import ConfigurationError
from trueup.runtime.cli import app


class Mistake(NamedTuple):
    """In file `name`, `old` is replaced by `new`; the message says so in these words."""

    name: str
    old: str
    new: str
    line: int
    field: str
    primary: str
    cure: str


MISTAKES = {
    "misspelt field": Mistake("orders", "owner:", "onwer:", 2, "onwer", '"onwer" does not exist', '"owner"'),
    "misspelt field, deeper": Mistake(
        "orders", "min: 0", "mn: 0", 9, "checks[0].mn", 'field "mn" does not exist in a check', '"min"'
    ),
    "missing field": Mistake("customers", "key: [customer_id]\n", "", 1, "key", '"key" is missing', "key: ["),
    "not supported yet": Mistake(
        "orders", "version: log", "effects: [mail]", 5, "effects", "not supported yet", "remove it"
    ),
    "in the wrong place": Mistake(
        "orders", "version: log", "policy: prefer", 5, "policy", '"policy" does not exist', "under conflicts"
    ),
    "check not supported yet": Mistake(
        "orders", "min: 0", "when: x", 9, "checks[0].when", "not supported yet", "remove it"
    ),
    "on_violation": Mistake(
        "orders",
        "min: 0",
        "min: 0, on_violation: warn",
        9,
        "checks[0].on_violation",
        'value "warn" of "on_violation" is none',
        "use escalate or flag or reject",
    ),
    "pattern": Mistake(
        "orders", "min: 0", "matches: '(a'", 9, "checks[0].matches", "pattern cannot be used: missing )", "RE2"
    ),
    "lookaround": Mistake(
        "orders", "min: 0", "matches: '(?=a)a'", 9, "checks[0].matches", "pattern cannot be used: invalid", "RE2"
    ),
    "bound as a word": Mistake(
        "orders", "min: 0", "min: none", 9, "checks[0].min", '"min" is not written as it must be', "in quotes"
    ),
    "more digits than a float has": Mistake(
        "orders", "min: 0", "min: 0.10000000000000000001", 9, "checks[0].min", "more digits", "put it in quotes"
    ),
    "length upside down": Mistake(
        "orders",
        "min: 0",
        "length: {min: 9, max: 1}",
        9,
        "checks[0].length.min",
        "length min 9 is greater than max 1",
        "exchange",
    ),
    "comparison misspelt": Mistake(
        "orders",
        "min: 0",
        "compare: {at_last: total}",
        9,
        "checks[0].compare.at_last",
        '"at_last" does not exist in the comparison of a check',
        '"at_least"',
    ),
    "check of a copy": Mistake(
        "customers",
        "{replica: reporting}",
        "{replica: reporting, checks: [{column: email, matches: '['}]}",
        6,
        "replicas[0].checks[0].matches",
        "pattern cannot be used",
        "RE2",
    ),
    "function and column": Mistake(
        "orders",
        "min: 0",
        "function: looks_right",
        9,
        "checks[0].column",
        'names function "looks_right" and column',
        "two checks",
    ),
    "mariadb": Mistake(
        "system_shop", "postgresql", "mariadb", 2, "kind", '"mariadb" is not supported yet', "use postgresql"
    ),
    "list for a word": Mistake(
        "orders", "[order_id]", "order_id", 4, "key", '"key" is text where a list belongs', "key: [order_id]"
    ),
    "number for text": Mistake(
        "orders", "{column: change_reason}", "{column: 7}", 6, "cause.column", "a number where text", "quotes"
    ),
    "duration": Mistake("orders", "5s", "5 seconds", 7, "window.within", '"within" is not written', "500ms, 5s"),
    "zero window": Mistake("orders", "5s", "0s", 7, "window.within", "cannot be kept", "such as 5s"),
    "double field": Mistake(
        "orders",
        "version: log",
        "key: [id]",
        5,
        "key",
        '"key" is given twice',
        "the first is on line 4",
    ),
    "replica column twice": Mistake(
        "orders",
        "      email:",
        "      id:",
        16,
        "replicas[0].columns.id",
        "is given twice",
        "the first is on line 14",
    ),
    "owner not registered": Mistake(
        "customers", "system: shop", "system: shpo", 2, "owner.system", '"shpo" is not registered', "shop"
    ),
    "replica not registered": Mistake(
        "customers",
        "replica: reporting",
        "replica: archive",
        6,
        "replicas[0].replica",
        '"archive" is not registered',
        "connectors/replicas/archive.yaml",
    ),
    "password in clear": Mistake(
        "system_shop",
        "${env:SHOP_DSN}",
        "postgresql://shop:hunter2@db/shop",
        3,
        "dsn",
        "is not a reference",
        "${env:NAME}",
    ),
    "name of the file": Mistake(
        "orders", "table: orders", "table: order", 1, "table", "two names differ", "order.yaml"
    ),
    "same source twice": Mistake(
        "orders", "public.orders", "public.customers", 3, "source.table", "registered twice", "customers.yaml"
    ),
    "loop": Mistake(
        "customers",
        "replica: reporting",
        "replica: shop",
        6,
        "replicas[0].replica",
        "go round in a loop",
        "another target",
    ),
    "one target twice": Mistake(
        "orders", "sales.orders", "public.customers", 12, "replicas[0].table", "two copies", "customers.yaml"
    ),
    "key not copied": Mistake(
        "orders",
        "id: order_id",
        "id: change_reason",
        13,
        "replicas[0].columns",
        'key column "order_id" is not copied',
        "add order_id",
    ),
    "key masked": Mistake(
        "orders",
        "id: order_id",
        "id: {from: order_id, mask: sha256}",
        14,
        "replicas[0].columns.id.mask",
        'key column "order_id" is masked',
        "copy the key unmasked",
    ),
    "lossy cast of the key": Mistake(
        "orders",
        "id: order_id",
        "id: {from: order_id, cast: smallint}",
        14,
        "replicas[0].columns.id.cast",
        "may make two keys one",
        "without a cast",
    ),
    "cast with SQL in it": Mistake(
        "orders",
        "numeric(12,2)",
        "text); drop table x; --",
        15,
        "replicas[0].columns.amount_eur.cast",
        "does not name a type",
        '"text"',
    ),
    "check without a rule": Mistake(
        "orders", ", min: 0", "", 9, "checks[0]", 'check of column "amount" has no rule', "add min"
    ),
    "min above max": Mistake(
        "orders", "min: 0", "min: 5, max: 4", 9, "checks[0].min", "5 is greater than max 4", "exchange"
    ),
    "alias": Mistake("orders", "log\n", "*a\n", 5, "", "not YAML", "correct the line"),
    "tab": Mistake("orders", "  - replica", "\t- replica", 11, "", "not YAML", "spaces"),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named_with_file_line_field_and_cure(tmp_path: Path, mistake: Mistake) -> None:
    texts = {"orders": ORDERS, "customers": CUSTOMERS, "system_shop": SHOP_SYSTEM}
    text = spoiled(texts[mistake.name], mistake.old, mistake.new)
    project = write_project(tmp_path, **{mistake.name: text})

    with pytest.raises(ConfigurationError) as caught:
        read_project(project, problems_of)

    error = caught.value
    said = str(error)
    assert not hasattr(error, "errors"), said
    assert error.file == str(project / file_of(mistake.name))
    assert error.line == mistake.line
    assert (error.field or "") == mistake.field
    assert mistake.primary in error.primary
    assert mistake.cure in (error.hint or "")
    assert f"{error.file}:{error.line}" in said
    assert mistake.field in said
    assert "hunter2" not in said


TOGETHER = (  # in three files of one project: mistakes of form hide none of meaning
    "not supported yet",
    "number for text",
    "duration",
    "check without a rule",
    "key masked",
    "cast with SQL in it",
    "name of the file",
    "owner not registered",
    "replica not registered",
    "password in clear",
)


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_the_command_says_it_too_and_ends_with_2(tmp_path: Path, mistake: Mistake) -> None:
    texts = {"orders": ORDERS, "customers": CUSTOMERS, "system_shop": SHOP_SYSTEM}
    project = write_project(tmp_path, **{mistake.name: spoiled(texts[mistake.name], mistake.old, mistake.new)})
    ended = CliRunner().invoke(app, ["apply", "--project", str(project)])
    assert ended.exit_code == 2, ended.output
    assert said_of(mistake, project, ended.stderr), ended.stderr
    assert ended.stdout == ""


def test_apply_shows_ten_mistakes_at_once(tmp_path: Path) -> None:
    texts = {"orders": ORDERS, "customers": CUSTOMERS, "system_shop": SHOP_SYSTEM}
    for mistake in (MISTAKES[name] for name in TOGETHER):
        texts[mistake.name] = spoiled(texts[mistake.name], mistake.old, mistake.new)
    project = write_project(tmp_path, **texts)
    ended = CliRunner().invoke(app, ["apply", "--project", str(project)])
    assert ended.exit_code == 2, ended.output
    unsaid = [name for name in TOGETHER if not said_of(MISTAKES[name], project, ended.stderr, line=False)]
    assert not unsaid, ended.stderr


def said_of(mistake: Mistake, project: Path, text: str, *, line: bool = True) -> bool:
    """Whether a text has file, field, words and cure of a mistake.

    :param line: and its line, which is another one where an earlier mistake of the same file adds or takes lines.
    """
    file = f"{project / file_of(mistake.name)}"
    wanted = [f"{file}:{mistake.line}" if line else file, mistake.field, mistake.primary, mistake.cure]
    return all(words in text for words in wanted)
