"""What the rules look at: the files of the checkout, parsed once."""

import ast
import functools
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

DefinedFunction = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Module:
    """A Python file: where it is, its lines, its syntax tree."""

    path: Path
    lines: tuple[str, ...]
    tree: ast.Module

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def is_product(self) -> bool:
        return self.path.is_relative_to(ROOT / "streams")


@functools.cache
def files() -> tuple[Path, ...]:
    """Every file that is committed or could be: tracked, or new and not ignored."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    paths = (ROOT / name for name in listing.split("\0") if name)
    return tuple(sorted(path for path in paths if path.is_file()))


@functools.cache
def modules() -> tuple[Module, ...]:
    """Every Python file of the product and of the tests."""
    folders = (ROOT / "streams", ROOT / "tests")
    found = []
    for path in files():
        if path.suffix == ".py" and any(path.is_relative_to(folder) for folder in folders):
            source = path.read_text(encoding="utf-8")
            found.append(Module(path, tuple(source.splitlines()), ast.parse(source, filename=str(path))))
    return tuple(found)


def product_modules() -> tuple[Module, ...]:
    return tuple(module for module in modules() if module.is_product)


def imported_names(tree: ast.Module) -> set[str]:
    """Full names of what a module imports: `import a.b` gives a.b, `from a import b` gives a and a.b."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def called_names(tree: ast.Module) -> list[tuple[str, int]]:
    """Each call with a dotted name, as written, and its line: `time.sleep(1)` gives time.sleep."""
    calls = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            calls.append((ast.unparse(node.func), node.lineno))
    return calls
