"""`trueup authority`: the three forms, and the demo's own registrations that it is shown with."""

import json
from pathlib import Path

import msgspec
import typer
from typer.testing import CliRunner

from tests.rules.checkout import ROOT
from tests.unit.project_folder import ORDERS, spoiled, write_project
from trueup.adapters.format_words import ELSEWHERE, NODE_WORDS, NOT_YET_FIELDS
from trueup.adapters.project_files import read_project
from trueup.core.authority_view import authority_data, authority_mermaid, authority_rows
from trueup.core.registration_rules import problems_of
from trueup.core.registration_schema import json_schema_texts
from trueup.model import registration
from trueup.runtime.cli_authority import authority
from trueup.runtime.cli_project import open_project
from trueup.runtime.cli_schemas import schemas


def run(*arguments: str) -> tuple[int, str, str]:
    app = typer.Typer()
    app.command()(authority)
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


def test_rows_say_owner_order_and_copies(tmp_path: Path) -> None:
    orders = spoiled(ORDERS, "version: log", "version: {column: updated_at, uncertainty: 2s}")
    rows = authority_rows(read_project(write_project(tmp_path, orders=orders), problems_of))
    assert [row.table for row in rows] == ["customers", "orders"]
    assert rows[0].order == "log"
    assert rows[0].copies[0].window is None
    assert (rows[1].owner, rows[1].team, rows[1].source_table) == ("shop", "order desk", "public.orders")
    assert rows[1].order == "column updated_at within 2s"
    (copy,) = rows[1].copies
    assert (copy.replica, copy.table, copy.window) == ("reporting", "sales.orders", "5s for 99.9%")
    assert copy.masked == ("email",)


def test_several_writers_are_named_with_their_policy(tmp_path: Path) -> None:
    writers = "writers: [shop, reporting]\nconflicts: {policy: prefer, system: shop}"
    orders = spoiled(ORDERS, "owner: {system: shop, team: order desk}", writers)
    orders = orders.partition("replicas:")[0]
    reporting = "system: reporting\nkind: postgresql\ndsn: ${env:REPORTING_OWNER_DSN}\n"
    project = write_project(tmp_path, orders=orders, system_reporting=reporting)
    registered = read_project(project, problems_of)
    row = authority_rows(registered)[1]
    assert (row.owner, row.writers, row.conflicts) == ("", ("shop", "reporting"), "prefer shop")
    assert 'system_reporting <-->|"writes, prefer shop"| table_orders' in authority_mermaid(registered)
    _, shown, _ = run("--project", str(project))
    assert "shop, reporting (prefer shop)" in " ".join(shown.split())


def test_json_is_plain_data(tmp_path: Path) -> None:
    data = authority_data(read_project(write_project(tmp_path), problems_of))
    assert json.loads(json.dumps(data))["tables"][1]["copies"][0]["masked"] == ["email"]


def test_mermaid_names_every_edge_and_escapes_labels(tmp_path: Path) -> None:
    orders = spoiled(ORDERS, "sales.orders", "'sales.\"x#1'")
    text = authority_mermaid(read_project(write_project(tmp_path, orders=orders), problems_of))
    assert text.startswith("flowchart LR\n")
    assert "system_shop -->|owns| table_orders" in text
    assert 'table_orders -->|"sales.#quot;x#35;1, 5s for 99.9%"| replica_reporting' in text


def test_the_command_has_three_forms(tmp_path: Path) -> None:
    project = str(write_project(tmp_path))
    code, shown, _ = run("--project", project)
    assert code == 0
    assert "sales.orders" in shown
    code, shown, stderr = run("--project", project, "--json")
    assert (code, stderr) == (0, "")
    assert [row["table"] for row in json.loads(shown)["tables"]] == ["customers", "orders"]
    code, shown, _ = run("--project", project, "--mermaid")
    assert code == 0
    assert shown.startswith("flowchart LR")


def test_the_command_refuses_with_exit_code_2(tmp_path: Path) -> None:
    project = write_project(tmp_path, orders=spoiled(ORDERS, "owner:", "onwer:"))
    code, shown, stderr = run("--project", str(project), "--json")
    assert (code, shown) == (2, "")
    assert "orders.yaml:2, field onwer" in stderr
    assert "hint:" in stderr
    assert run("--json", "--mermaid")[0] == 2


def test_nothing_registered_is_said(tmp_path: Path) -> None:
    code, shown, stderr = run("--project", str(tmp_path))
    assert (code, shown) == (0, "")
    assert "schemas/tables" in stderr


def test_the_demo_project_is_valid() -> None:
    _, project = open_project(ROOT)
    assert list(project.systems) == ["shop", "warehouse"]
    assert list(project.replicas) == ["reporting", "shop", "warehouse"]
    assert len(project.tables) == 9
    assert all(table.copy_at("reporting") for table in project.tables.values())
    masked = {column for row in authority_rows(project) for copy in row.copies for column in copy.masked}
    assert "email_sha256" in masked


def test_the_json_schemas_are_those_of_the_structs(tmp_path: Path) -> None:
    for name, text in json_schema_texts().items():
        stored = (ROOT / "schemas" / name).read_text(encoding="utf-8")
        assert stored == text, "run: python -m trueup.runtime.cli_schemas"
    schemas(tmp_path)
    assert {path.name for path in (tmp_path / "schemas").iterdir()} == set(json_schema_texts())


def test_every_node_has_a_word_and_no_field_is_both_known_and_not_yet() -> None:
    nodes = {
        name: kind
        for name, kind in vars(registration).items()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == registration.__name__
    }
    del nodes["_Node"], nodes["Project"]  # no part of the format
    assert nodes.keys() <= NODE_WORDS.keys()
    for name, kind in nodes.items():
        known = {field.encode_name for field in msgspec.structs.fields(kind)}
        assert not known & NOT_YET_FIELDS.get(name, frozenset())
        assert not known & {field for node, field in ELSEWHERE if node == name}
    assert NOT_YET_FIELDS.keys() | {node for node, _ in ELSEWHERE} <= nodes.keys()
