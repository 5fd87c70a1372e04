"""Rules for every Python file: length, docstrings, names, what it may call, and that someone imports it."""

import ast
import tomllib
from collections.abc import Iterator

import grimp

from tests.rules.checkout import (
    ROOT,
    DefinedFunction,
    Module,
    called_names,
    imported_names,
    modules,
    product_modules,
)

MODULE_LINES_MAX = 400
"""The 90th percentile of the packages we took as models lies between 364 and 678 lines."""

FUNCTION_LINES_MAX = 70
"""TigerBeetle's bound: a function that fits on a screen. Docstrings are not counted."""

NAMES_THAT_SAY_NOTHING = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}

IMPORTED_BY_USERS_ONLY = {
    "trueup.adapters.fakes",  # ships for the tests of users and for ours
}

CLOCKS_AND_DICE = {"now", "utcnow", "today", "uuid1", "uuid4", "uuid6", "uuid7"}
"""import-linter keeps the modules time and random out of core and model; these come with types."""


def functions_of(module: Module) -> Iterator[DefinedFunction]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines_without_docstring(function: DefinedFunction) -> int:
    end = function.end_lineno
    assert end is not None
    lines = end - function.lineno + 1
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        assert docstring.end_lineno is not None
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def test_a_module_fits_in_one_sitting() -> None:
    too_long = {m.name: len(m.lines) for m in modules() if len(m.lines) > MODULE_LINES_MAX}
    assert not too_long, f"split them by what they are for; at most {MODULE_LINES_MAX} lines"


def test_a_function_fits_on_a_screen() -> None:
    too_long = [
        f"{module.name}:{function.lineno} {function.name}: {lines} lines"
        for module in modules()
        for function in functions_of(module)
        if (lines := lines_without_docstring(function)) > FUNCTION_LINES_MAX
    ]
    assert not too_long, f"at most {FUNCTION_LINES_MAX} lines, docstring aside"


def test_a_module_says_what_it_is_for() -> None:
    silent = [module.name for module in modules() if not ast.get_docstring(module.tree)]
    assert not silent, "a module opens with a docstring"


def test_a_module_is_named_for_its_thing() -> None:
    vague = [
        module.name
        for module in modules()
        if NAMES_THAT_SAY_NOTHING & {module.path.stem.strip("_"), module.path.parent.name}
    ]
    assert not vague, "name the thing, not the drawer it lies in"


def test_a_module_of_the_product_is_imported_by_another() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    entry_points = {target.partition(":")[0] for target in scripts.values()}
    graph = grimp.build_graph("trueup", cache_dir=None)
    packages = {
        ".".join(module.path.parent.relative_to(ROOT / "streams").parts)
        for module in product_modules()
        if module.path.name == "__init__.py"
    }
    run_by_name = {  # python -m trueup.stack.lock
        ".".join(module.path.relative_to(ROOT / "streams").with_suffix("").parts)
        for module in product_modules()
        if any(line.startswith("if __name__ ==") for line in module.lines)
    }
    dead = [
        name
        for name in sorted(graph.modules - packages - entry_points - run_by_name - IMPORTED_BY_USERS_ONLY)
        if not name.endswith(".__main__") and not graph.find_modules_that_directly_import(name)
    ]
    assert not dead, "nobody imports them; import or delete them"


def test_nobody_unpickles() -> None:
    banned = {"pickle", "cPickle", "dill", "marshal", "shelve"}
    users = [module.name for module in modules() if banned & imported_names(module.tree)]
    assert not users, "bytes from a topic or a file must not be able to run code; use msgspec or Avro"


def test_the_product_does_not_print() -> None:
    prints = [
        f"{module.name}:{line}"
        for module in product_modules()
        for name, line in called_names(module.tree)
        if name in {"print", "pprint", "pprint.pprint"}
    ]
    assert not prints, "commands write with rich or typer, workers with structlog"


def test_core_and_model_read_no_clock_and_throw_no_dice() -> None:
    pure = [m for m in product_modules() if {"core", "model"} & set(m.path.relative_to(ROOT).parts)]
    impure = [
        f"{module.name}:{line} {name}"
        for module in pure
        for name, line in called_names(module.tree)
        if name.rpartition(".")[2] in CLOCKS_AND_DICE
    ]
    assert not impure, "the caller knows the time and hands it in"


def test_tests_wait_for_something_and_do_not_sleep() -> None:
    sleeps = [
        f"{module.name}:{line}"
        for module in modules()
        if not module.is_product and module.path != ROOT / "tests" / "waiting.py"
        for name, line in called_names(module.tree)
        if name.rpartition(".")[2] == "sleep"
    ]
    assert not sleeps, "use tests.waiting.eventually: ends when the thing is there, or says what was missing"
