"""Reading a project folder: what is written is what is read, and all mistakes come at once."""

import string
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.unit.project_folder import (
    CUSTOMERS,
    ORDERS,
    ORDERS_CAPTURED,
    parts,
    spoiled,
    table_of,
    write_project,
)
from trueup.adapters.configuration_errors import ConfigurationErrors
from trueup.adapters.project_files import read_project, read_registration, refuse_problems
from trueup.adapters.struct_mistakes import mistakes_in
from trueup.core.column_rules import problems_with_columns
from trueup.core.registration_rules import problems_of
from trueup.model.errors import ConfigurationError, NextStep
from trueup.model.registration import ColumnRule, Table

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True)
# Names of columns are any text PostgreSQL takes: words YAML would read as numbers, dates or null among them.
COLUMNS = st.one_of(
    st.sampled_from(["null", "yes", "1", "0x1F", "2024-01-01", "~", "a: b", "#", "- x", "é", "<<", "1e3", " "]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"]), min_size=1, max_size=20),
)
QUALIFIED = st.builds("{}.{}".format, NAMES, NAMES)
WINDOWS = st.fixed_dictionaries(
    {"within": st.builds("{}{}".format, st.integers(1, 999), st.sampled_from(["ms", "s", "m", "h"]))},
    optional={"objective": st.sampled_from(["99%", "99.9%", "95.125%"])},
)
NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False))
CHECKS = st.fixed_dictionaries(
    {"column": COLUMNS},
    optional={
        "min": NUMBERS,
        "max": NUMBERS,
        "one_of": st.lists(st.one_of(COLUMNS, st.integers(), st.booleans())),
        "not_null": st.booleans(),
        "on_violation": st.sampled_from(["reject", "flag"]),
    },
)
RULES = st.one_of(
    COLUMNS,
    st.fixed_dictionaries({"from": COLUMNS}, optional={"cast": st.just("numeric(12,2)"), "mask": st.just("sha256")}),
)
COPIES = st.fixed_dictionaries(
    {"replica": NAMES},
    optional={"table": QUALIFIED, "window": WINDOWS, "columns": st.dictionaries(COLUMNS, RULES, max_size=4)},
)
TABLES = st.fixed_dictionaries(
    {
        "table": NAMES,
        "owner": st.fixed_dictionaries({"system": NAMES}, optional={"team": COLUMNS}),
        "source": st.fixed_dictionaries({"table": QUALIFIED}),
        "key": st.lists(COLUMNS, min_size=1, max_size=3),
    },
    optional={
        "writers": st.lists(NAMES, max_size=8),
        "conflicts": st.fixed_dictionaries(
            {"policy": st.sampled_from(["last_write_wins", "prefer"])}, optional={"system": NAMES}
        ),
        "version": st.one_of(st.just("log"), st.fixed_dictionaries({"column": COLUMNS})),
        "cause": st.fixed_dictionaries({"column": COLUMNS}),
        "window": WINDOWS,
        "checks": st.lists(CHECKS, max_size=3),
        "replicas": st.lists(COPIES, max_size=3),
    },
)
JUNK = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.just([]), st.just({"x": 1}))


@given(plain=TABLES)
def test_a_table_written_as_yaml_is_read_as_itself(
    tmp_path_factory: pytest.TempPathFactory, plain: dict[str, Any]
) -> None:
    table = msgspec.convert(plain, Table)
    text = StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False  # in flow style ruamel writes a key such as '~' so that it cannot read it again
    writer.dump(msgspec.to_builtins(table), text)
    path = tmp_path_factory.getbasetemp() / "table.yaml"
    path.write_text(text.getvalue(), encoding="utf-8")

    read, _, problems = read_registration(path, Table)

    assert problems == []
    assert read == table


@given(plain=TABLES, data=st.data())
def test_what_has_no_mistake_converts_and_what_does_not_convert_has_one(
    plain: dict[str, Any], data: st.DataObject
) -> None:
    spoil(plain, data)
    mistakes = mistakes_in(Table, plain, "orders.yaml")
    try:
        msgspec.convert(plain, Table)
    except msgspec.ValidationError:
        assert mistakes
    else:
        assert mistakes == []


def spoil(plain: dict[str, Any], data: st.DataObject) -> None:
    """Replace, remove or add a value at a place drawn by chance."""
    node: Any = plain
    while True:
        steps = sorted(node) if isinstance(node, dict) else list(range(len(node)))
        if not steps:
            return
        step = data.draw(st.sampled_from(steps))
        if isinstance(node[step], dict | list) and data.draw(st.booleans()):
            node = node[step]
            continue
        change = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if change == "replace":
            node[step] = data.draw(JUNK)
        elif change == "remove":
            del node[step]
        elif isinstance(node, dict):
            node[data.draw(st.sampled_from(["keys", "table", "column", "min"]))] = data.draw(JUNK)
        return


def test_a_valid_project_is_read_whole(tmp_path: Path) -> None:
    project = read_project(write_project(tmp_path), problems_of)

    assert list(project.systems) == ["shop"]
    assert list(project.replicas) == ["reporting", "shop"]
    assert list(project.tables) == ["customers", "orders"]
    columns = project.tables["orders"].replicas[0].columns
    assert columns is not None
    assert columns["email"] == ColumnRule(from_="email", mask="sha256")


def test_an_empty_folder_is_an_empty_project(tmp_path: Path) -> None:
    assert read_project(tmp_path, problems_of).tables == {}


def test_all_mistakes_are_reported_together(tmp_path: Path) -> None:
    orders = spoiled(spoiled(ORDERS, "owner:", "onwer:"), "min: 0", "mn: 0")
    customers = spoiled(CUSTOMERS, "system: shop", "system: shpo")
    project = write_project(tmp_path, orders=orders, customers=customers)

    with pytest.raises(ConfigurationErrors) as caught:
        read_project(project, problems_of)

    fields = [error.field for error in caught.value.errors]
    assert sorted(map(str, fields)) == ["checks[0].mn", "onwer", "owner.system"]
    assert len(caught.value.others) == 2
    assert caught.value.next_step is NextStep.REFUSE
    said = str(caught.value)
    assert said.startswith("3 mistakes")
    assert all(str(error) in said for error in caught.value.errors)


def test_a_broken_system_file_does_not_blame_its_tables(tmp_path: Path) -> None:
    project = write_project(tmp_path, system_shop="system: shop\nkind: postgresql\n")
    with pytest.raises(ConfigurationError, match='field "dsn" is missing') as caught:
        read_project(project, problems_of)
    assert not isinstance(caught.value, ConfigurationErrors)


def test_a_file_ending_in_yml_is_not_passed_over(tmp_path: Path) -> None:
    project = write_project(tmp_path)
    (project / "schemas/tables/late.yml").write_text(ORDERS)
    with pytest.raises(ConfigurationError, match=r"\.yml") as caught:
        read_project(project, problems_of)
    assert "late.yaml" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "file is empty"),
        (b"# nothing\n", "file is empty"),
        (b"- a\n- b\n", "a list where a mapping belongs"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"a: \x00\n", "not YAML"),
        (b"a: 1\n---\nb: 2\n", "not YAML"),
        (b"a: &x [1]\nb: *x\n", "alias"),
        (b"a: &x [*x]\n", "alias"),
        (b"a: !!python/object:os.system x\n", "YAML tag"),
        (b"? [a]\n: 1\n", "name of a field"),
        (b"[" * 3000, "not YAML"),
        (b"a: " + b"[" * 30 + b"]" * 30, "nested too deeply"),
    ],
)
def test_what_is_no_registration_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    read, lines, problems = read_registration(path, Table)
    assert read is None
    assert lines[()] >= 1
    assert any(said in problem.primary for problem in problems), problems
    assert all(problem.hint for problem in problems)


def test_a_final_newline_does_not_pass_a_pattern(tmp_path: Path) -> None:
    path = tmp_path / "orders.yaml"
    path.write_text(spoiled(ORDERS, "{within: 5s}", '{within: "5s\\n"}'))
    _, _, problems = read_registration(path, Table)
    assert [problem.path for problem in problems] == [("window", "within")]


def test_long_values_are_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "orders.yaml"
    path.write_text(spoiled(ORDERS, "version: log", f"version: {string.ascii_letters}"))
    _, _, problems = read_registration(path, Table)
    assert problems
    assert string.ascii_letters not in problems[0].primary


def test_a_folder_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        read_project(tmp_path / "nowhere", problems_of)


def test_problems_with_columns_are_raised_with_their_lines(tmp_path: Path) -> None:
    project = write_project(tmp_path)
    table = table_of(cause={"column": "change_reson"})
    with pytest.raises(ConfigurationError, match='"change_reson" does not exist') as caught:
        refuse_problems(project, problems_with_columns(table, ORDERS_CAPTURED))
    assert parts(caught.value) == (str(project / "schemas/tables/orders.yaml"), 6, "cause.column")
    assert 'did you mean "change_reason"' in (caught.value.hint or "")
