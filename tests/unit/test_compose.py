"""The compose file, which nobody could run here: what it mounts is there, and it says what the stack says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.alerting import ROOT
from trueup.stack.prometheus import alertmanager_settings, prometheus_settings
from trueup.stack.settings import Observability, StackSettings

FOLDER = ROOT / "infra" / "compose"
WRITTEN_BY_ITS_USER = {"./rules.yml"}


def read(name: str) -> Any:
    return YAML(typ="safe").load((FOLDER / name).read_text(encoding="utf-8"))


def test_everything_it_mounts_is_in_the_repository() -> None:
    services = read("compose.yaml")["services"]
    mounts = [volume.split(":")[0] for service in services.values() for volume in service["volumes"]]
    ours = {mount for mount in mounts if mount.startswith(".")} - WRITTEN_BY_ITS_USER
    assert ours
    assert not [mount for mount in ours if not (FOLDER / mount).exists()]


def test_it_scrapes_evaluates_and_routes_as_the_local_stack_does(tmp_path: Path) -> None:
    watched = Observability(targets_dir=Path("/targets"), rules_file=Path("/etc/prometheus/rules.yml"))
    local = prometheus_settings(StackSettings(state_dir=tmp_path, observability=watched))
    ours = read("prometheus.yml")
    assert {key: ours[key] for key in ("global", "rule_files", "scrape_configs")} == {
        key: local[key] for key in ("global", "rule_files", "scrape_configs")
    }
    assert read("alertmanager.yml") == alertmanager_settings()


def test_it_says_that_it_is_untested() -> None:
    assert "UNTESTED" in (FOLDER / "compose.yaml").read_text(encoding="utf-8")
