"""What `trueup resync` refuses before it talks to anybody."""

import pytest
from typer.testing import CliRunner

from tests.rules.checkout import ROOT
from trueup.runtime.cli import app


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], ['system "nobody" is not registered', "shop"]),
        (["shop", "orders"], ["a single table cannot be resynced", "trueup resnapshot orders", "trueup resync shop"]),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_can(arguments: list[str], words: list[str]) -> None:
    ran = CliRunner().invoke(app, ["resync", *arguments, "--yes", "--project", str(ROOT)])
    assert ran.exit_code == 2
    assert all(word in ran.output for word in words), ran.output


def test_a_row_of_a_table_that_is_not_registered_is_refused() -> None:
    ran = CliRunner().invoke(app, ["resnapshot", "nothing", "--project", str(ROOT)])
    assert ran.exit_code == 2
    assert "orders" in ran.output


@pytest.mark.parametrize("key", ["", "{", '{"sku": 1}'])
def test_a_key_of_another_table_is_refused(key: str) -> None:
    ran = CliRunner().invoke(app, ["resnapshot", "order_lines", "--key", key, "--project", str(ROOT)])
    assert ran.exit_code == 2
    assert "is no key" in ran.output
