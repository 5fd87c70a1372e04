"""What the product tells people to run exists, and what it tells them to read is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from trueup.runtime.cli import app

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "streams" / "trueup").rglob("*.py"))
DOCUMENTS = [*sorted(ROOT.glob("*/README.md")), ROOT / "README.md", ROOT / "ARCHITECTURE.md"]

# Up to where one command ends in a sentence: the next one, or punctuation.
_COMMAND = re.compile(r"\btrueup ((?:[a-z]+\b ?){1,2})((?:(?!\btrueup )[^;,:()`\n\"])*)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_SECTION = re.compile(r'"([A-Z][^"]+)" in infra/README\.md')


def texts_of(path: Path) -> Iterator[str]:
    """The texts of a module without its docstrings; what an f-string fills in is X."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


COMMANDS = typer.main.get_command(app)


def mistakes_in(text: str) -> list[str]:
    """Options that the commands named in a text do not have."""
    found = []
    for words, rest in _COMMAND.findall(text):
        command: Any = COMMANDS
        for word in words.split():
            command = getattr(command, "commands", {}).get(word, command)
        if hasattr(command, "commands"):
            continue  # prose: "the schema trueup", "trueup needs"
        known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
        found += [f"{command.name} {option}" for option in _OPTION.findall(rest) if option not in known | {"--help"}]
    return found


def test_a_command_or_an_option_that_is_none_is_found() -> None:
    """`trueup status` proposed the first one to whoever was woken."""
    assert mistakes_in("trueup verify X --replica X") == ["verify --replica"]
    assert mistakes_in("run trueup repair X --replica X --dry-run; then trueup verify X --dry-run") == [
        "verify --dry-run"
    ]
    assert mistakes_in("trueup worker apply X --name X --metrics-port 0") == []


def test_commands_of_messages_exist() -> None:
    assert [(path.name, m) for path in SOURCES for text in texts_of(path) for m in mistakes_in(text)] == []


def test_commands_of_documents_exist() -> None:
    assert [(str(path), m) for path in DOCUMENTS for m in mistakes_in(path.read_text(encoding="utf-8"))] == []


def test_sections_that_messages_name_are_there() -> None:
    headings = set(re.findall(r"^#+ (.+)$", (ROOT / "infra" / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    named = {name for path in SOURCES for text in texts_of(path) for name in _SECTION.findall(text)}
    assert named
    assert named <= headings
    pointers = [t for path in SOURCES for t in texts_of(path) if "infra/README.md" in t and not _SECTION.search(t)]
    assert [text for text in pointers if re.search(r"\bsee infra|are in infra|is in infra", text)] == []
