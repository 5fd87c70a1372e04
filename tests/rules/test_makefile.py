"""Rules for the Makefile, whose `help` prints its own comments."""

import re
import subprocess

from tests.rules.checkout import ROOT

TARGET = re.compile(r"^(?P<name>[A-Za-z][\w-]*)\s*:(?!=)(?P<rest>.*)$", re.MULTILINE)


def targets() -> dict[str, str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return {found["name"]: found["rest"] for found in TARGET.finditer(text)}


def test_every_target_has_a_comment_for_help() -> None:
    silent = [name for name, rest in targets().items() if not re.search(r"## \S", rest)]
    assert targets()
    assert not silent, "targets that a person does not call begin with an underscore; others say what they do"


def test_help_is_the_default_and_lists_every_target() -> None:
    printed = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    listed = {line.split()[0] for line in printed.splitlines() if line.strip()}
    assert listed == set(targets())
