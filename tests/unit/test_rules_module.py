"""The rules module of a project: loaded, its mistakes named with their lines, listed by `trueup rules`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.project_folder import ORDERS, spoiled, write_project
from trueup.adapters.rules_module import read_rule_functions
from trueup.model.errors import ConfigurationError
from trueup.model.settings import RulesSettings, Settings
from trueup.rules import Row
from trueup.runtime.cli import app
from trueup.runtime.cli_project import open_project

GOOD = '''\
from __future__ import annotations

from dataclasses import dataclass

from trueup.rules import Row, rule


@dataclass
class Limit:
    amount: int


@rule
def vat_matches_country(row: Row, before: Row | None, commit_time_us: int | None) -> str | None:
    """The VAT id begins with the country.

    More about it.
    """
    return None if row["amount"] is None else helped(row)


@rule
def plain(row: Row) -> str | None:
    return None


def helped(row: Row) -> str | None:
    return "too much" if row["amount"] > Limit(5).amount else None
'''


def loaded(tmp_path: Path, text: str) -> Settings:
    (tmp_path / "rules.py").write_text(text, encoding="utf-8")
    return Settings(project_dir=tmp_path, rules=RulesSettings(module="rules.py"))


def test_marked_functions_are_loaded_with_where_they_stand(tmp_path: Path) -> None:
    functions = read_rule_functions(loaded(tmp_path, GOOD))
    assert list(functions) == ["vat_matches_country", "plain"]
    found = functions["vat_matches_country"]
    assert found.takes == ("row", "before", "commit_time_us")
    assert (found.about, found.file) == ("The VAT id begins with the country.", str(tmp_path / "rules.py"))
    assert found.line == GOOD.splitlines().index("@rule") + 1
    row = Row({"amount": 6}, {"amount": ("amount", int)})
    assert found.call(row, before=None, commit_time_us=None) == "too much"


def test_without_a_module_there_are_no_functions(tmp_path: Path) -> None:
    assert read_rule_functions(Settings(project_dir=tmp_path)) == {}


def test_a_fingerprint_changes_with_its_function_and_that_of_the_module_with_any(tmp_path: Path) -> None:
    before = read_rule_functions(loaded(tmp_path, GOOD))
    after = read_rule_functions(loaded(tmp_path, spoiled(GOOD, "is None else helped(row)", "is None else None")))
    changed = {name for name in before if before[name].fingerprint != after[name].fingerprint}
    assert changed == {"vat_matches_country"}
    assert before["plain"].module_fingerprint != after["plain"].module_fingerprint


@pytest.mark.parametrize(
    ("old", "new", "line", "primary"),
    [
        ("def plain(row: Row)", "def plain(row)", 22, 'rule "plain" takes "row" without a type'),
        ("def plain(row: Row)", "def plain(row: dict[str, int])", 22, "with another type"),
        ("def plain(row: Row)", "def plain(record: Row)", 22, 'does not take "row" first'),
        ("def plain(row: Row)", "def plain(row: Row, *before: Row | None)", 22, "as variadic positional"),
        ("def plain(row: Row)", "def plain(row: Row, clock: int)", 22, 'takes "clock", which a rule is not given'),
        ("def plain(row: Row) -> str | None:", "def plain(row: Row):", 22, "does not say what it returns"),
        ("def plain(row: Row) -> str | None:", "def plain(row: Row) -> bool:", 22, "returns something else"),
        ("def plain(row: Row)", "async def plain(row: Row)", 22, "is a coroutine"),
        ("def plain(row: Row)", "def plain(row: Rwo)", 22, "annotation that cannot be read: NameError"),
        ("def plain(row: Row)", "def plain(row: Row", 24, "is not Python"),
        ("    amount: int", "    amount: int\n\n\n1 / 0", 13, "cannot be loaded: ZeroDivisionError"),
        ("    amount: int", "    amount: int\n\n\nimport nowhere_at_all", 13, "cannot be loaded: ModuleNotFoundError"),
        ("    amount: int", "    amount: int\n\n\nraise SystemExit(3)", 13, "cannot be loaded: SystemExit"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_cure(tmp_path: Path, old: str, new: str, line: int, primary: str) -> None:
    settings = loaded(tmp_path, spoiled(GOOD, old, new))
    with pytest.raises(ConfigurationError) as caught:
        read_rule_functions(settings)
    error = getattr(caught.value, "errors", (caught.value,))[0]
    assert primary in error.primary
    assert error.file == str(tmp_path / "rules.py")
    if "not Python" not in primary:
        assert error.line == line
    assert error.hint


def test_a_module_that_is_not_there_is_a_mistake_of_the_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_rule_functions(Settings(project_dir=tmp_path, rules=RulesSettings(module="nowhere.py")))
    assert (caught.value.file, caught.value.field) == (str(tmp_path / "trueup.toml"), "rules.module")


# --- registrations that name functions --------------------------------------------------------------------------------


def project_with(tmp_path: Path, check: str, at_copy: str = "") -> Path:
    orders = spoiled(ORDERS, "{column: amount, min: 0}", check)
    if at_copy:
        orders += f"    checks:\n      - {at_copy}\n"
    loaded(tmp_path, GOOD)
    (tmp_path / "trueup.toml").write_text('[rules]\nmodule = "rules.py"\n', encoding="utf-8")
    return write_project(tmp_path, orders=orders)


def test_a_registration_names_a_function_of_the_module(tmp_path: Path) -> None:
    path = project_with(tmp_path, "{function: vat_matches_country, on_violation: flag}", "{function: plain}")
    _, project = open_project(path)
    assert project.tables["orders"].checks[0].function == "vat_matches_country"
    assert list(project.functions) == ["vat_matches_country", "plain"]


@pytest.mark.parametrize(
    ("check", "at_copy", "line", "field", "primary", "hint"),
    [
        ("{function: plian}", "", 9, "checks[0].function", '"plian" is not in the rules module', 'mean "plain"?'),
        (
            "{function: plain}",
            "{function: vat_matches_country}",
            18,
            "replicas[0].checks[0].function",
            'takes "before", which a replica does not know',
            "checks of the table",
        ),
    ],
)
def test_a_function_that_cannot_be_used_there_is_refused(
    tmp_path: Path, check: str, at_copy: str, line: int, field: str, primary: str, hint: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_project(project_with(tmp_path, check, at_copy))
    assert (caught.value.line, caught.value.field) == (line, field)
    assert primary in caught.value.primary
    assert hint in (caught.value.hint or "")


def test_without_a_module_the_hint_says_how_to_name_one(tmp_path: Path) -> None:
    path = project_with(tmp_path, "{function: plain}")
    (path / "trueup.toml").unlink()
    with pytest.raises(ConfigurationError) as caught:
        open_project(path)
    assert 'module = "rules.py"' in (caught.value.hint or "")


def test_the_command_lists_checks_and_functions(tmp_path: Path) -> None:
    path = project_with(
        tmp_path,
        "{column: amount, min: 0, length: {max: 9}, compare: {at_least: revision}}\n"
        "  - {function: plain, on_violation: escalate}",
        "{column: email, not_null: true, on_violation: flag}",
    )
    answer = CliRunner().invoke(app, ["rules", "--project", str(path), "--json"])
    assert answer.exit_code == 0, answer.output
    data = json.loads(answer.stdout)
    assert [(r["table"], r["replica"], r["column"], r["asks"], r["on_violation"]) for r in data["rules"]] == [
        ("orders", None, "amount", "min 0, length max 9, at least revision", "reject"),
        ("orders", None, None, "function plain", "escalate"),
        ("orders", "reporting", "email", "not null", "flag"),
    ]
    by_name = {function["function"]: function for function in data["functions"]}
    assert by_name["plain"]["used_by"] == ["orders"]
    assert by_name["vat_matches_country"]["used_by"] == []
    assert len(by_name["plain"]["fingerprint"]) == len(data["module_fingerprint"]) == 12
    shown = CliRunner().invoke(app, ["rules", "--project", str(path)], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert by_name["plain"]["fingerprint"] in shown.stdout
    assert "escalate" in shown.stdout


def test_the_command_refuses_a_project_with_a_mistake(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["rules", "--project", str(project_with(tmp_path, "{function: plian}")), "--json"])
    assert (answer.exit_code, answer.stdout) == (2, "")
