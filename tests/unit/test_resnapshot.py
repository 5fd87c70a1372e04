"""`trueup resnapshot` refuses what Debezium would pass over in silence, before it talks to anybody."""

from pathlib import Path

import pytest

from trueup.adapters.secret_references import Secrets
from trueup.core.truth_schema import canonical_text, truth_schema
from trueup.model.columns import CapturedTable, Column
from trueup.model.errors import Refused
from trueup.model.registration import Owner, Project, Source, System, Table
from trueup.model.settings import Settings
from trueup.runtime.resnapshot import Resnapshot
from trueup.runtime.truth_schema_file import truth_schema_path

SHOP = System(system="shop", kind="postgresql", dsn="${env:SHOP_DSN}")
TABLE = Table(table="parts", owner=Owner(system="shop"), source=Source(table="public.parts"), key=["k"])


def refusal(folder: Path, pg_type: str, key: str | None) -> str:
    settings = Settings(project_dir=folder)
    captured = CapturedTable(table="parts", columns=(Column(name="k", pg_type=pg_type, nullable=False),), key=("k",))
    path = truth_schema_path(settings, "parts")
    path.parent.mkdir(parents=True)
    path.write_text(canonical_text(truth_schema(TABLE, captured)))
    project = Project(systems={"shop": SHOP}, replicas={}, tables={"parts": TABLE})
    with pytest.raises(Refused) as refused:
        Resnapshot(settings, project, Secrets(settings, {})).ask("parts", key)
    return str(refused.value)


@pytest.mark.parametrize("key", [None, "2026-01-05 10:00+00"])
def test_a_table_that_debezium_cannot_read_again(tmp_path: Path, key: str | None) -> None:
    found = refusal(tmp_path, "timestamp with time zone", key)
    assert 'key column "k" has type timestamp with time zone' in found
    assert "trueup resync shop" in found


@pytest.mark.parametrize(
    ("pg_type", "key", "words"),
    [
        ("bytea", "AAE", ["cannot be read", "base64"]),
        ("date", "0044-03-15", ["dead letter again", "1582-10-25", "update the row"]),
    ],
)
def test_a_key_that_no_snapshot_could_bring(tmp_path: Path, pg_type: str, key: str, words: list[str]) -> None:
    found = refusal(tmp_path, pg_type, key)
    assert all(word in found for word in words), found
