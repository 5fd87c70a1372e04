"""Passwords are drawn once, private, and handed on in stack.env."""

import stat
from pathlib import Path

import psycopg
import pytest

from trueup.stack import credentials
from trueup.stack.settings import StackSettings


@pytest.fixture
def settings(tmp_path: Path) -> StackSettings:
    return StackSettings(state_dir=tmp_path / "stack", databases=("shop", "warehouse"))


def test_passwords_are_drawn_once(settings: StackSettings) -> None:
    first = credentials.load_credentials(settings)
    assert credentials.load_credentials(settings) == first
    drawn = [password for known in first.values() for password in (known.owner, known.capture, known.writer)]
    assert len(set(drawn)) == len(drawn)


def test_files_with_passwords_are_private(settings: StackSettings) -> None:
    credentials.write_secret_files(settings)
    private = [
        settings.state_dir / "credentials.json",
        settings.state_dir / "stack.env",
        *credentials.secrets_dir(settings).iterdir(),
    ]
    assert len(private) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    assert stat.S_IMODE(credentials.secrets_dir(settings).stat().st_mode) == 0o700


def test_stack_env_has_what_a_project_needs(settings: StackSettings) -> None:
    credentials.write_secret_files(settings)
    text = (settings.state_dir / "stack.env").read_text()
    environment = dict(line.split("=", 1) for line in text.splitlines())
    assert environment["TRUEUP_BOOTSTRAP_SERVERS"] == "127.0.0.1:29000"
    assert environment["TRUEUP_CONNECT_URL"] == "http://127.0.0.1:29010"
    assert environment["TRUEUP_REGISTRY_URL"] == "http://127.0.0.1:29011"
    for database, port in (("shop", 29020), ("warehouse", 29021)):
        prefix = database.upper()
        for key, role in (
            ("DSN", f"{database}_owner"),
            ("CAPTURE_DSN", "trueup_capture"),
            ("WRITER_DSN", "trueup_writer"),
        ):
            parts = psycopg.conninfo.conninfo_to_dict(environment[f"{prefix}_{key}"])
            assert (parts["user"], parts["port"], parts["dbname"]) == (role, str(port), database)
        password_file = Path(environment[f"{prefix}_CAPTURE_PASSWORD_FILE"])
        assert password_file.read_text() in environment[f"{prefix}_CAPTURE_DSN"]
