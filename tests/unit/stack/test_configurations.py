"""What the servers are told: loopback only, exactly-once possible, copies as many as there are brokers."""

import os
import pwd
from pathlib import Path

from trueup.stack.connect import worker_settings
from trueup.stack.java import properties_text
from trueup.stack.kafka import node_settings
from trueup.stack.postgres_home import reachable
from trueup.stack.settings import StackSettings


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
