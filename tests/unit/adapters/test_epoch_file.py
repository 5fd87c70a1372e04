"""The epoch is raised in the registration, and nothing else changes there."""

from pathlib import Path

import pytest

from tests.rules.checkout import ROOT
from trueup.adapters.epoch_file import write_epoch
from trueup.model.errors import Refused


def test_comments_order_and_references_stay(tmp_path: Path) -> None:
    before = (ROOT / "connectors/systems/shop.yaml").read_text()
    path = tmp_path / "shop.yaml"
    path.write_text(before)
    write_epoch(path, 7)
    assert path.read_text() == before.replace("epoch: 1", "epoch: 7")
    assert list(tmp_path.iterdir()) == [path]


def test_an_epoch_that_was_left_out_is_added(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text('system: shop  # ours\nkind: postgresql\ndsn: "${env:SHOP_DSN}"\n')
    write_epoch(path, 2)
    assert path.read_text() == 'system: shop  # ours\nkind: postgresql\ndsn: "${env:SHOP_DSN}"\nepoch: 2\n'


def test_a_file_that_is_not_there_is_refused_with_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        write_epoch(tmp_path / "gone.yaml", 2)
    assert "epoch: 2" in str(refusal.value)
