"""The text of a request for rows: names are quoted, values are constants, whatever a person typed."""

import json
import re

import pytest

from trueup.adapters.postgres_source_sql import note_resync, snapshot_again
from trueup.model.source_table import ResyncNote


def data_of(statement: str) -> dict[str, object]:
    found = re.search(r"'execute-snapshot', '(.*)'\)$", statement, re.DOTALL)
    assert found is not None
    data: dict[str, object] = json.loads(found[1].replace("''", "'"))
    return data


def test_a_whole_table() -> None:
    assert data_of(snapshot_again("id", ("public", "orders"), None)) == {
        "type": "incremental",
        "data-collections": ["public.orders"],
    }


@pytest.mark.parametrize(
    ("key", "row"),
    [
        ({"order_id": "7"}, "\"order_id\" = '7'"),
        ({"b": "x", "a": "1"}, "\"a\" = '1' AND \"b\" = 'x'"),
        ({"a": "1' OR true --"}, "\"a\" = '1'' OR true --'"),
        ({'we"ird': "1"}, '"we""ird" = \'1\''),
    ],
)
def test_one_row(key: dict[str, str], row: str) -> None:
    data = data_of(snapshot_again("id", ("public", "orders"), key))
    assert data["additional-conditions"] == [{"data-collection": "public.orders", "filter": row}]


def test_a_note_is_made_or_changed() -> None:
    statement = note_resync("sh'op", ResyncNote(epoch=2, stage="sweep", heartbeat_from=9))
    assert "('sh''op', 2, 'sweep', 9)" in statement
    assert "ON CONFLICT" in statement
