"""Rules for what is installed: pins, locks, and the contents of the wheel."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import trueup
from tests.rules.checkout import ROOT, files

DATA_FOLDERS = ("schemas", "connectors", "infra/local")
"""For DBAs and SREs in the checkout, and needed by the installed commands."""

PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[[\w, -]+\])?==(?P<version>[^ ;\\]+)")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """The names of all files in the wheel, built as `make wheel` builds it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = subprocess.run(command, check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("trueup-*.whl")
    with zipfile.ZipFile(path) as archive:
        return frozenset(archive.namelist())


def pins(requirements: list[str]) -> dict[str, str]:
    found = {}
    for requirement in requirements:
        pin = PIN.match(requirement)
        assert pin is not None, f"not pinned with ==: {requirement}"
        found[pin["name"].lower().replace("_", "-")] = pin["version"]
    return found


def locked(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return pins([line for line in lines if line and not line.startswith((" ", "#"))])


def project() -> dict[str, list[str]]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {
        "version": [document["project"]["version"]],
        "build": document["build-system"]["requires"],
        "runtime": document["project"]["dependencies"],
        "dev": document["dependency-groups"]["dev"],
    }


def test_the_version_is_the_same_in_both_places() -> None:
    assert project()["version"] == [trueup.__version__]


def test_the_locks_hold_the_pins_of_the_project() -> None:
    runtime, dev = pins(project()["runtime"]), pins(project()["dev"])
    assert runtime.items() <= locked("requirements.lock").items(), "run `make lock`"
    assert (runtime | dev).items() <= locked("requirements-dev.lock").items(), "run `make lock`"
    assert pins(project()["build"]).items() <= dev.items(), "setup builds with the tools of the dev group"


def test_tests_run_with_the_versions_that_users_get() -> None:
    assert locked("requirements.lock").items() <= locked("requirements-dev.lock").items(), "run `make lock`"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_line_of_a_lock_has_a_hash(name: str) -> None:
    blocks = re.split(r"^(?=[A-Za-z0-9])", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    without = [block.split()[0] for block in blocks if block.strip() and "--hash=sha256:" not in block]
    assert not without


def test_the_wheel_carries_the_data_folders(wheel: frozenset[str]) -> None:
    missing = [
        name
        for folder in DATA_FOLDERS
        for name in (f"trueup/_data/{path.relative_to(ROOT)}" for path in files_below(folder))
        if name not in wheel
    ]
    assert not missing
    assert all(files_below(folder) for folder in DATA_FOLDERS)


def test_the_wheel_carries_all_code_and_nothing_else(wheel: frozenset[str]) -> None:
    code = {str(path.relative_to(ROOT / "streams")) for path in files_below("streams")}
    packed = {name for name in wheel if not name.startswith("trueup/_data/") and ".dist-info/" not in name}
    assert packed == code
    assert "trueup/py.typed" in packed


def files_below(folder: str) -> list[Path]:
    return [path for path in files() if path.is_relative_to(ROOT / folder)]
