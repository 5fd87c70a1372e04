"""The command `trueup` from outside: exit codes, what goes where, and that no option is lost on the way."""

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

import trueup.demo.run
from tests.status_example import EXAMPLE, KAFKA_AWAY, look, view_of
from trueup.core.status_view import StatusView
from trueup.demo.commands import Status
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


def statuses(monkeypatch: pytest.MonkeyPatch, view: StatusView) -> None:
    """Every status from now on finds this; no server is asked."""
    for name, answer in {"open_project": (None, None), "open_secrets": None, "read_status": view}.items():
        monkeypatch.setattr(f"trueup.runtime.cli_status.{name}", lambda *_, found=answer: found)


@pytest.mark.parametrize(
    ("view", "code"),
    [
        (view_of([look("orders", "reporting"), look("stock", "shop", age_s=None, to_apply=7)], []), 0),
        (view_of([look("orders", "reporting", age_s=6)], []), 1),
        (EXAMPLE, 1),
        (msgspec.structs.replace(EXAMPLE, unreachable=["replica archive"]), 2),
        (KAFKA_AWAY, 2),
    ],
)
def test_status_ends_with_what_it_found(monkeypatch: pytest.MonkeyPatch, view: StatusView, code: int) -> None:
    statuses(monkeypatch, view)
    for arguments in ([], ["--json"], ["--wide"]):
        ended = trueup_command("status", *arguments)
        assert ended.exit_code == code, ended.output
        assert ("cannot reach" in ended.stderr) is bool(view.unreachable)


def test_status_without_a_terminal_breaks_no_name_and_begins_with_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long = view_of([look("t" * 40, "r" * 40, age_s=6)], EXAMPLE.problems)
    statuses(monkeypatch, long)
    ended = trueup_command("status", "--wide")
    assert ended.stdout.startswith('! cannot reach "replica archive"')
    assert f"{'t' * 40}  {'r' * 40}" in ended.stdout
    assert "2180 coalesced, 14 unchanged" in ended.stdout


def test_status_as_json_says_the_state_and_the_next_command(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses(monkeypatch, EXAMPLE)
    seen = msgspec.json.decode(trueup_command("status", "--json").stdout)
    lines = {(line["table"], line["replica"]): line for line in seen["tables"]}
    stuck, away = lines["customers", "reporting"], lines["orders", "archive"]
    assert (stuck["state"], stuck["next"]) == ("stuck", "trueup worker apply reporting")
    assert (away["state"], away["applied"], away["lag"], away["filling"]) == ("unknown", None, None, None)
    assert msgspec.convert(seen, Status).lag is None, "the demo reads it, and a part does not say"
    assert {"what", "next"} <= seen["problems"][0].keys()


def test_status_without_kafka_is_a_screen_and_json_with_what_is_not_known_as_null(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    statuses(monkeypatch, KAFKA_AWAY)
    shown = trueup_command("status")
    assert shown.stdout.startswith('! cannot reach "kafka" at 127.0.0.1:29000')
    assert shown.stderr.splitlines()[0] == 'cannot reach "kafka"'
    seen = msgspec.json.decode(trueup_command("status", "--json").stdout)
    assert (seen["unreachable"][0], seen["decide"]) == ("kafka", [])
    assert {(line["captured"], line["decide_lag"], line["lag"]) for line in seen["tables"]} == {(None, None, None)}
    assert {line["state"] for line in seen["tables"]} == {"stopped", "late", "unknown", "filling"}
    assert msgspec.convert(seen, Status).lag is None


def test_status_writes_its_picture_whatever_else_it_writes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    statuses(monkeypatch, EXAMPLE)
    for name, arguments in {"a.svg": (), "b.svg": ("--json",)}.items():
        assert trueup_command("status", "--svg", str(tmp_path / name), *arguments).exit_code == 1
        assert (tmp_path / name).read_text(encoding="utf-8").startswith("<svg")
    ended = trueup_command("status", "--svg", str(tmp_path / "a.svg" / "c.svg"))
    assert ended.exit_code == 2
    assert "cannot write" in ended.stderr
