"""trueup.toml, its overrides, the local stack's addresses, and secrets by reference."""

from pathlib import Path

import pytest

from tests.unit.project_folder import write_project
from trueup.adapters.configuration_errors import ConfigurationErrors
from trueup.adapters.project_files import read_project
from trueup.adapters.secret_references import Secrets
from trueup.adapters.settings_file import read_settings
from trueup.core.registration_rules import problems_of
from trueup.model.errors import ConfigurationError
from trueup.model.settings import Settings

STACK_ENV = """\
# written by the local stack
TRUEUP_BOOTSTRAP_SERVERS=127.0.0.1:30000
TRUEUP_CONNECT_URL="http://127.0.0.1:30010"
TRUEUP_REGISTRY_URL=http://127.0.0.1:30011
SHOP_DSN=postgresql://shop:a=b@127.0.0.1/shop
"""


def write_stack(folder: Path, text: str = STACK_ENV, state_dir: str = "var") -> None:
    (folder / state_dir / "stack").mkdir(parents=True)
    (folder / state_dir / "stack" / "stack.env").write_text(text)


def test_no_file_means_defaults(tmp_path: Path) -> None:
    settings = read_settings(tmp_path, {})
    assert settings == Settings(project_dir=tmp_path, state_dir=tmp_path / "var")


def test_who_wins(tmp_path: Path) -> None:
    (tmp_path / "trueup.toml").write_text('[connect]\nurl = "http://file"\n[kafka]\npartitions = 8\n')
    write_stack(tmp_path)
    settings = read_settings(tmp_path, {"TRUEUP_REGISTRY_URL": "http://variable", "TRUEUP_CACHE_DIR": "x"})
    assert settings.registry.url == "http://variable"
    assert settings.connect.url == "http://file"
    assert settings.kafka.bootstrap_servers == "127.0.0.1:30000"
    assert settings.kafka.partitions == 8


def test_every_kind_of_override(tmp_path: Path) -> None:
    write_stack(tmp_path, state_dir="elsewhere")
    settings = read_settings(
        tmp_path,
        {
            "TRUEUP_STATE_DIR": "elsewhere",
            "TRUEUP_STACK_PORT_BASE": "31000",
            "TRUEUP_STACK_DATABASES": "shop, warehouse",
            "TRUEUP_ENVIRONMENT": "production",
            "TRUEUP_KAFKA__PARTITIONS": "12",
            "TRUEUP_WORKER__METRICS_HOST": "::1",
        },
    )
    assert settings.state_dir == tmp_path / "elsewhere"
    assert settings.stack_port_base == 31_000
    assert settings.stack_databases == ("shop", "warehouse")
    assert settings.environment == "production"
    assert settings.kafka.partitions == 12
    assert settings.worker.metrics_host == "::1"
    assert settings.connect.url == "http://127.0.0.1:30010"


def test_an_absolute_state_dir_stays(tmp_path: Path) -> None:
    assert read_settings(Path(), {"TRUEUP_STATE_DIR": str(tmp_path)}).state_dir == tmp_path


@pytest.mark.parametrize(
    ("text", "line", "field", "cure"),
    [
        ("[kafka]\npartitons = 4\n", 2, "kafka.partitons", '"partitions"'),
        ("[kafak]\npartitions = 4\n", 1, "kafak", '"kafka"'),
        ('\n[kafka]\npartitions = "4"\n', 3, "kafka.partitions", "whole number"),
        ("[kafka]\npartitions = 0\n", 2, "kafka.partitions", "at least 1"),
        ('environment = "test"\n', 1, "environment", "development or production"),
        ('project_dir = "x"\n', 1, "project_dir", "--project"),
        ("[kafka\n", 1, None, "name = value"),
    ],
)
def test_a_mistake_in_the_file(tmp_path: Path, text: str, line: int, field: str | None, cure: str) -> None:
    path = tmp_path / "trueup.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read_settings(tmp_path, {})
    assert (caught.value.file, caught.value.line, caught.value.field) == (str(path), line, field)
    assert cure in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("variable", "value", "field"),
    [
        ("TRUEUP_KAFKA__PARTITONS", "4", "kafka.partitons"),
        ("TRUEUP_KAFAK__PARTITIONS", "4", "kafak.partitions"),
        ("TRUEUP_KAFKA__PARTITIONS", "four", "kafka.partitions"),
        ("TRUEUP_STACK_PORT_BASE", "", "stack_port_base"),
        ("TRUEUP_ENVIRONMENT", "test", "environment"),
    ],
)
def test_a_mistake_in_a_variable(tmp_path: Path, variable: str, value: str, field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_settings(tmp_path, {variable: value})
    assert variable in caught.value.file
    assert caught.value.field == field
    assert caught.value.hint


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    (tmp_path / "trueup.toml").write_text("colour = 1\n[worker]\nbatch = 2\n")
    with pytest.raises(ConfigurationErrors) as caught:
        read_settings(tmp_path, {"TRUEUP_KAFKA__X": "1"})
    assert [error.field for error in caught.value.errors] == ["colour", "worker.batch", "kafka.x"]


def secrets_of(folder: Path, environment: dict[str, str]) -> tuple[Secrets, Path]:
    project = write_project(folder)
    return Secrets(read_settings(project, {}), environment), project


def test_a_variable_wins_over_the_local_stack(tmp_path: Path) -> None:
    secrets, project = secrets_of(tmp_path, {})
    shop = read_project(project, problems_of).systems["shop"]
    write_stack(project)
    assert secrets.owner_dsn(shop) == "postgresql://shop:a=b@127.0.0.1/shop"
    own = Secrets(read_settings(project, {}), {"SHOP_DSN": "own", "SHOP_CAPTURE_DSN": "capture"})
    assert own.owner_dsn(shop) == "own"
    assert own.capture_dsn(shop) == "capture"


def test_a_login_of_its_own_is_optional(tmp_path: Path) -> None:
    secrets, project = secrets_of(tmp_path, {"REPORTING_DSN": "r", "SHOP_WRITER_DSN": "w", "SHOP_DSN": "s"})
    replicas = read_project(project, problems_of).replicas
    assert secrets.ddl_dsn(replicas["reporting"]) == "r"
    assert secrets.writer_dsn(replicas["shop"]) == "w"
    assert secrets.ddl_dsn(replicas["shop"]) == "s"


@pytest.mark.parametrize("environment", [{}, {"SHOP_CAPTURE_DSN": ""}])
def test_a_variable_that_is_absent_is_named_where_it_is_used(tmp_path: Path, environment: dict[str, str]) -> None:
    secrets, project = secrets_of(tmp_path, environment)
    with pytest.raises(ConfigurationError, match='"SHOP_CAPTURE_DSN" is') as caught:
        secrets.capture_dsn(read_project(project, problems_of).systems["shop"])
    assert caught.value.file == str(project / "connectors/systems/shop.yaml")
    assert (caught.value.line, caught.value.field) == (4, "capture_dsn")
    assert "trueup stack up" in (caught.value.hint or "")


def test_a_secret_in_a_file(tmp_path: Path) -> None:
    secrets, project = secrets_of(tmp_path, {})
    (project / "dsn.txt").write_text("postgresql://x\n")
    (project / "empty.txt").write_text("\n")
    assert secrets.resolve("${file:dsn.txt}", project / "x.yaml", "dsn") == "postgresql://x"
    assert secrets.resolve(f"${{file:{project}/dsn.txt}}", project / "x.yaml", "dsn") == "postgresql://x"
    for name in ("absent.txt", "empty.txt"):
        with pytest.raises(ConfigurationError, match=name):
            secrets.resolve(f"${{file:{name}}}", project / "x.yaml", "dsn")


def test_a_secret_in_clear_is_refused_and_not_shown(tmp_path: Path) -> None:
    secrets, project = secrets_of(tmp_path, {})
    with pytest.raises(ConfigurationError) as caught:
        secrets.resolve("postgresql://u:hunter2@h/d", project / "connectors/systems/shop.yaml", "dsn")
    assert "hunter2" not in str(caught.value)
