"""The screen: on 100 columns nothing is cut; what is left out stands elsewhere; the picture asks nobody."""

import xml.etree.ElementTree as ET

import pytest
from rich.console import Console

from tests.rules.checkout import ROOT
from tests.status_example import EXAMPLE, KAFKA_AWAY, look, view_of
from trueup.core.status_problems import Problem
from trueup.core.status_view import StatusView
from trueup.runtime.status_screen import PROBLEMS_MAX, screen, svg

NAME = "abcdefghijklmno"  # with a digit 16 characters


def drawn(view: StatusView, width: int, *, wide: bool = False) -> list[str]:
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(screen(view, width=width, wide=wide))
    return capture.get().splitlines()


def twelve(**seen: object) -> StatusView:
    looks = [look(f"{NAME}{n % 10}", f"{NAME[::-1]}{n % 10}", **seen) for n in range(12)]  # type: ignore[arg-type]
    return view_of(looks, [])


@pytest.mark.parametrize("width", [100, 80, 60, 40])
def test_the_columns_fit_the_terminal(width: int) -> None:
    lines = drawn(twelve(age_s=400_000, to_decide=1_234_567, to_apply=12_345_678), width)
    assert all(len(line) <= width for line in lines)
    assert "…" not in "".join(lines), "nothing is cut"


def test_a_hundred_columns_have_every_number_and_whole_names_on_a_line_each() -> None:
    lines = drawn(twelve(age_s=400_000, to_decide=1_234_567, to_apply=12_345_678), 100)
    heading = next(line for line in lines if line.startswith("state"))
    assert heading.split()[-3:] == ["window", "p99", "proven"]
    for number in range(10):
        (line, *_) = [line for line in lines if f"{NAME}{number}" in line]
        assert f"{NAME[::-1]}{number}" in line
        assert line.split()[3:] == ["1234567", "12345678", "5", "d", "5", "s", "635", "ms", "3", "min"]


def test_eighty_columns_keep_names_and_lag() -> None:
    lines = drawn(twelve(age_s=3, to_apply=17), 82)
    heading = next(line for line in lines if line.startswith("state"))
    assert "to apply" in heading
    assert "p99" not in heading
    assert sum(line.startswith("flowing") and NAME in line for line in lines) == 12


def test_without_a_terminal_and_with_everything_no_line_is_broken() -> None:
    lines = drawn(EXAMPLE, 10_000, wide=True)
    assert any("orders" in line and "2180 coalesced, 14 unchanged" in line for line in lines)
    assert sum(line.startswith("! ") for line in lines) == len(EXAMPLE.problems)


def test_whoever_is_not_fine_has_the_next_command_below_and_those_with_the_same_share_it() -> None:
    lines = [line.split("  ")[0] if not line.startswith("  ->") else line for line in drawn(EXAMPLE, 200)]
    grid = lines[lines.index("state") + 1 :]
    assert grid[:3] == [
        "stopped",
        "stopped",
        "  -> run: trueup apply; it takes the new columns over, and the table goes on by itself",
    ]
    assert grid[grid.index("stuck") + 1] == "  -> trueup worker apply reporting"
    assert grid[grid.index("flowing") :] == ["flowing", *["idle"] * 5], "nothing is to be done about these"


def test_problems_are_on_top_and_no_more_than_a_screen_holds() -> None:
    problems = [Problem(what=f"problem {number}", next="mend it") for number in range(PROBLEMS_MAX + 2)]
    lines = drawn(view_of([look("orders", "reporting")], problems), 100)
    assert lines[:PROBLEMS_MAX] == [f"! problem {number}  ->  mend it" for number in range(PROBLEMS_MAX)]
    assert lines[PROBLEMS_MAX] == "! and 2 more: trueup status --json"
    assert "1 copy: 1 idle" in lines
    assert drawn(view_of([], problems[:PROBLEMS_MAX]), 100)[PROBLEMS_MAX] == ""


def test_nothing_is_wrong_is_said_only_then() -> None:
    assert drawn(view_of([look("orders", "reporting")], []), 100)[0] == "nothing is wrong"
    assert "nothing is wrong" not in drawn(view_of([look("orders", "reporting", age_s=6)], []), 100)
    assert "nothing is wrong" not in drawn(EXAMPLE, 100)


def test_what_is_not_known_is_a_dash() -> None:
    (line,) = [line for line in drawn(EXAMPLE, 200) if line.startswith("unknown")]
    assert line.split() == ["unknown", "orders", "archive", "0", "-", "-", "5", "min", "-", "-"]


def test_without_kafka_the_screen_says_so_first_and_shows_what_the_replicas_say() -> None:
    lines = drawn(KAFKA_AWAY, 100)
    cure = "start kafka; workers go on by themselves then"
    assert lines[0] == f'! cannot reach "kafka" at 127.0.0.1:29000  ->  {cure}'
    assert "12 copies: 2 stopped, 2 late, 7 unknown, 1 filling" in lines
    late = next(line for line in lines if line.startswith("late") and "customers" in line)
    assert late.split() == [
        "late",
        "customers",
        "reporting",
        "-",
        "-",
        "21",
        "min",
        "5",
        "min",
        "635",
        "ms",
        "3",
        "min",
    ]
    assert f"  -> {cure}" in lines
    assert "  -> see its server; apply workers wait for it by themselves" in lines, "of the replica that is away"
    assert "nothing is wrong" not in lines


@pytest.mark.parametrize("width", [100, 80, 60, 40])
def test_without_kafka_the_columns_fit_too(width: int) -> None:
    assert all(len(line) <= width for line in drawn(KAFKA_AWAY, width))


def test_without_kafka_no_unknown_number_is_shown_as_zero() -> None:
    for line in drawn(KAFKA_AWAY, 10_000, wide=True):
        assert " 0 " not in line, line


def hosts_named(picture: str) -> list[str]:
    """Addresses in a picture. The name of SVG itself is one, and is not asked."""
    return [part.split('"')[0] for part in picture.split("//")[1:] if not part.startswith("www.w3.org/2000/svg")]


@pytest.mark.parametrize("wide", [False, True])
def test_the_picture_has_every_line_and_names_no_host(wide: bool) -> None:
    picture = svg(EXAMPLE, wide=wide)
    text = "".join(ET.fromstring(picture).itertext()).replace("\N{NO-BREAK SPACE}", " ")  # noqa: S314 - our own
    for part in ("stuck", "pgbench_accounts", "-> trueup worker apply reporting", "12 copies"):
        assert part in text, part
    assert ("coalesced" in text) is wide
    assert hosts_named(picture) == []


def test_the_picture_of_the_readme_names_no_host() -> None:
    picture = (ROOT / "infra" / "status.svg").read_text(encoding="utf-8")
    assert ET.fromstring(picture).tag.endswith("svg")  # noqa: S314 - a file of this repository
    assert hosts_named(picture) == []
