"""The command `trueup` from outside: exit codes, what goes where, and that no option is lost on the way."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import trueup.demo.run
from trueup.demo.options import DemoOptions
from trueup.model.errors import Refused
from trueup.runtime.cli import app


def trueup_command(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def performances(monkeypatch: pytest.MonkeyPatch) -> list[DemoOptions]:
    """The options of every demo from now on; all of them hold, none is performed."""
    seen: list[DemoOptions] = []

    def perform(options: DemoOptions) -> bool:
        seen.append(options)
        return True

    monkeypatch.setattr(trueup.demo.run, "demo", perform)
    return seen


def test_stack_down_without_a_stack_says_so_and_is_no_failure(tmp_path: Path) -> None:
    ended = trueup_command("stack", "down", "--project", str(tmp_path))
    assert ended.exit_code == 0, ended.output
    assert "nothing to stop" in ended.stderr
    assert str(tmp_path) in ended.stderr
    assert not (tmp_path / "var").exists()


def test_stack_status_without_a_stack_cannot_run(tmp_path: Path) -> None:
    ended = trueup_command("stack", "status", "--project", str(tmp_path))
    assert ended.exit_code == 2
    assert "trueup stack up" in ended.stderr


def test_every_option_of_the_demo_reaches_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = performances(monkeypatch)
    given = DemoOptions(
        keep=True,
        observe=True,
        seconds=20,
        rows=2_000,
        rate=50,
        seed=7,
        json=True,
        state_dir=tmp_path,
        port_base=31_000,
    )
    numbers = ("--seconds=20", "--rows=2000", "--rate=50", "--seed=7", "--port-base=31000")
    ended = trueup_command("demo", "--keep", "--observe", "--json", *numbers, f"--state-dir={tmp_path}")
    assert ended.exit_code == 0, ended.output
    assert seen == [given]
    assert all(getattr(given, field) != getattr(DemoOptions(), field) for field in DemoOptions.__struct_fields__), (
        "an option left at its default would prove nothing"
    )


def test_the_demo_runs_with_its_defaults_when_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = performances(monkeypatch)
    trueup_command("demo")
    assert seen == [DemoOptions()]


def test_a_promise_of_the_demo_that_did_not_hold_is_exit_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trueup.demo.run, "demo", lambda _: False)
    assert trueup_command("demo").exit_code == 1


def test_what_the_demo_refuses_is_text_and_exit_2(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: DemoOptions) -> bool:
        raise Refused('folder "precious" is not empty', hint="name another one: --state-dir DIR")

    monkeypatch.setattr(trueup.demo.run, "demo", refuse)
    ended = trueup_command("demo")
    assert ended.exit_code == 2
    assert "precious" in ended.stderr
    assert "--state-dir" in ended.stderr
    assert ended.stdout == ""
