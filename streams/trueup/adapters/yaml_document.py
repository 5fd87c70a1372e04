"""YAML to plain data with the line of every field. Strict: what has two readings is a mistake.

Works on the parser's nodes, not on ruamel's round-trip objects: nodes show doubled keys, aliases and tags
with their lines, and each can be reported in its turn. What the data means is `adapters.struct_mistakes`.
"""

from __future__ import annotations

import decimal
from pathlib import Path
from typing import Any, Final

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from trueup.model.problem import FieldPath, Problem

_TAG: Final = "tag:yaml.org,2002:"
# A date stays the text it was written as.
_TEXT_TAGS: Final = {f"{_TAG}str", f"{_TAG}timestamp", f"{_TAG}merge"}
_VALUE_TAGS: Final = {f"{_TAG}{name}" for name in ("int", "float", "bool", "null")}
_COLLECTION_TAGS: Final = {f"{_TAG}map", f"{_TAG}seq"}
_DEPTH_MAX: Final = 20  # a registration has five levels; the bound keeps a crafted file from the recursion limit


class YamlDocument(msgspec.Struct, frozen=True):
    """Plain data, lines counted from 1, and what was wrong with the YAML itself."""

    data: Any
    lines: dict[FieldPath, int]
    problems: list[Problem]


def read_yaml(path: Path) -> YamlDocument:
    """Read one file. What it says, or that it is absent, is never raised: it is a problem of the document."""
    file = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return _unreadable(file, "file is not UTF-8 text", "save it as UTF-8")
    except OSError as error:
        return _unreadable(file, f"cannot read the file: {error.strerror}", "check its path and its permissions")
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        what = f"file is not YAML: {error.problem or error.context}"
        return _unreadable(file, what, "correct the line named; indent with spaces, quote special text", line)
    except (YAMLError, RecursionError):
        return _unreadable(file, "file is not YAML: it holds characters or a nesting YAML refuses", "write it anew")
    if root is None:
        return _unreadable(file, "file is empty", "fill in a registration, or remove the file")
    reading = _Reading(file, yaml)
    data = reading.value_of(root, ())
    return YamlDocument(data, reading.lines, reading.problems)


def _unreadable(file: str, primary: str, hint: str, line: int = 1) -> YamlDocument:
    return YamlDocument(None, {(): line}, [Problem(file=file, path=(), primary=primary, hint=hint)])


class _Reading:
    """Walks the nodes of one document."""

    def __init__(self, file: str, yaml: YAML) -> None:
        self.file = file
        self.lines: dict[FieldPath, int] = {(): 1}
        self.problems: list[Problem] = []
        self._yaml = yaml
        self._seen: set[int] = set()

    def value_of(self, node: Node, path: FieldPath) -> object:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in self._seen:
            # An alias is the anchored node once more: reading on could loop, or multiply without end.
            self._mistake(path, "value is a YAML alias", "write the value out")
            return None
        if len(path) > _DEPTH_MAX:
            self._mistake(path, "value is nested too deeply", "see schemas/README.md for the format")
            return None
        self._seen.add(id(node))
        match node:
            case MappingNode() if node.tag in _COLLECTION_TAGS:
                return self._mapping(node, path)
            case SequenceNode() if node.tag in _COLLECTION_TAGS:
                return [self.value_of(item, (*path, index)) for index, item in enumerate(node.value)]
            case ScalarNode() if node.tag in _TEXT_TAGS:
                return node.value
            case ScalarNode() if node.tag in _VALUE_TAGS:
                value: object = self._yaml.constructor.construct_object(node)
                if isinstance(value, float) and _loses_digits(node.value, value):
                    hint = "put it in quotes, so that it stays as it is written; or write fewer digits"
                    self._mistake(path, "number has more digits than YAML keeps", hint)
                return value
        self._mistake(path, f'YAML tag "{node.tag}" has no meaning here', "remove the tag")
        return None

    def _mapping(self, node: MappingNode, path: FieldPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._mistake(path, "name of a field is not a word", "write `field: value`")
                continue
            key = str(key_node.value)
            here = (*path, key)
            line = key_node.start_mark.line + 1
            if key in data:
                hint = f"keep one of the two; the first is on line {self.lines[here]}"
                self.lines[here] = line
                self._mistake(here, f'field "{key}" is given twice', hint)
                continue
            self.lines[here] = line
            data[key] = self.value_of(value_node, here)
        return data

    def _mistake(self, path: FieldPath, primary: str, hint: str) -> None:
        self.problems.append(Problem(file=self.file, path=path, primary=primary, hint=hint))


def _loses_digits(written: str, value: float) -> bool:
    try:
        exact = decimal.Decimal(written.replace("_", ""))
    except decimal.InvalidOperation:
        return False  # .inf and .nan, which no field takes
    return exact != decimal.Decimal(str(value))
