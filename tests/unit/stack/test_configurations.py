"""What the servers are told: loopback only, exactly-once possible, copies as many as there are brokers."""

import os
import pwd
from pathlib import Path

import msgspec
import pytest

from trueup.model.errors import Refused
from trueup.stack.connect import worker_settings
from trueup.stack.java import properties_text
from trueup.stack.kafka import node_settings
from trueup.stack.local_stack import LocalStack
from trueup.stack.postgres_home import reachable
from trueup.stack.prometheus import prometheus_settings
from trueup.stack.settings import Observability, StackSettings, decode_settings, encode_settings


def test_three_nodes_know_each_other_and_keep_three_copies(tmp_path: Path) -> None:
    settings = StackSettings(port_base=20000, brokers=3)
    node = node_settings(settings, 2, tmp_path)
    assert node["controller.quorum.voters"] == "1@127.0.0.1:20001,2@127.0.0.1:20003,3@127.0.0.1:20005"
    assert node["listeners"] == "PLAINTEXT://127.0.0.1:20002,CONTROLLER://127.0.0.1:20003"
    assert node["transaction.state.log.replication.factor"] == "3"
    assert node["transaction.state.log.min.isr"] == "2"


def test_one_node_asks_for_no_more_than_itself(tmp_path: Path) -> None:
    node = node_settings(StackSettings(), 1, tmp_path)
    assert {node[key] for key in node if key.endswith((".replication.factor", "min.isr", "insync.replicas"))} == {"1"}


def test_overrides_win(tmp_path: Path) -> None:
    overrides = {"transaction.partition.verification.enable": "false", "num.io.threads": "8"}
    node = node_settings(StackSettings(broker_overrides=overrides), 1, tmp_path)
    assert overrides.items() <= node.items()


def test_connect_listens_on_loopback_reads_only_the_secrets_folder_and_trusts_no_override(
    tmp_path: Path,
) -> None:
    settings = StackSettings(state_dir=tmp_path)
    worker = worker_settings(settings, tmp_path / "plugins")
    assert worker["listeners"].startswith("http://127.0.0.1:")
    assert worker["exactly.once.source.support"] == "enabled"
    assert worker["config.providers.directory.param.allowed.paths"] == str(tmp_path.resolve() / "secrets")
    assert "sasl" not in worker["connector.client.config.override.allowlist"]


def test_properties_escape_what_java_would_read_otherwise() -> None:
    assert properties_text({"a": r"C:\x", "b": "1\n2"}) == "a=C:\\\\x\nb=1\\n2\n"


def test_a_folder_below_a_private_one_is_not_reachable(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "inner").mkdir(mode=0o755)
    stranger = pwd.struct_passwd(("nobody", "x", 65534, 65534, "", "/", "/bin/false"))
    assert not reachable(tmp_path / "inner", stranger)
    assert reachable(tmp_path / "inner", pwd.getpwuid(os.getuid()))


def observed(tmp_path: Path) -> StackSettings:
    watched = Observability(
        targets_dir=tmp_path / "targets", rules_file=tmp_path / "rules.yml", alertmanager=tmp_path / "alertmanager"
    )
    return StackSettings(state_dir=tmp_path, port_base=20000, observability=watched)


def test_prometheus_finds_workers_by_their_files_and_sends_alerts_on_loopback(tmp_path: Path) -> None:
    written = prometheus_settings(observed(tmp_path))
    (job,) = written["scrape_configs"]
    assert job["file_sd_configs"][0]["files"] == [str(tmp_path / "targets" / "*.json")]
    assert written["rule_files"] == [str(tmp_path / "rules.yml")]
    (manager,) = written["alerting"]["alertmanagers"]
    assert manager["static_configs"] == [{"targets": ["127.0.0.1:20014"]}]


def test_observability_survives_being_written_down_and_read(tmp_path: Path) -> None:
    settings = observed(tmp_path)
    assert decode_settings(encode_settings(settings).encode()) == settings


def test_a_stack_with_observability_keeps_it_until_it_is_purged(tmp_path: Path) -> None:
    """Otherwise `stack up` without the option would forget two servers that run, and `stack down` leave them."""
    first = LocalStack(observed(tmp_path))
    first._remember_settings()
    second = LocalStack(StackSettings(state_dir=tmp_path, port_base=20000))
    second._remember_settings()
    assert second.part_names[-2:] == ["prometheus", "alertmanager"]
    assert LocalStack.at(tmp_path).part_names[-2:] == ["prometheus", "alertmanager"]


def test_without_an_alertmanager_there_is_only_prometheus(tmp_path: Path) -> None:
    watched = Observability(targets_dir=tmp_path, rules_file=tmp_path / "rules.yml")
    settings = msgspec.structs.replace(observed(tmp_path), observability=watched)
    assert prometheus_settings(settings)["alerting"] == {"alertmanagers": []}
    assert LocalStack(settings).part_names[-1] == "prometheus"


def test_without_the_option_there_is_no_prometheus(tmp_path: Path) -> None:
    assert "prometheus" not in LocalStack(StackSettings(state_dir=tmp_path)).part_names


def test_a_stack_refuses_observability_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = msgspec.structs.replace(observed(tmp_path / "state"), cache_dir=tmp_path)
    with pytest.raises(Refused, match="prometheus"):
        LocalStack(settings).up()
    assert not (tmp_path / "state").exists()
