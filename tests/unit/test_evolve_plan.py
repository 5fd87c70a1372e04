"""What `trueup apply` does about changed columns, decided from what the registry has."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.envelopes import CAPTURED, ORDERS, envelope_schema
from tests.replica_batches import ORDERS as COPY
from tests.replica_batches import column, plan_of
from trueup.core.decode import EnvelopeDecoder
from trueup.core.truth_schema import canonical_text, captured_table, passed_ids, passed_until, truth_schema
from trueup.model.columns import CapturedTable, Column
from trueup.model.errors import SchemaChanged
from trueup.model.rebuild import added_columns
from trueup.runtime.additions import Additions
from trueup.runtime.evolve_plan import Applied, must_be_read_again, schema_steps
from trueup.runtime.provision_steps import RegisterSchema, WriteSchema
from trueup.runtime.truth_schema_file import applied_anew

EXTRA = Column(name="extra", pg_type="text", nullable=True)
WITH_EXTRA = msgspec.structs.replace(CAPTURED, columns=(*CAPTURED.columns, EXTRA))
WITHOUT_PHOTO = msgspec.structs.replace(CAPTURED, columns=tuple(c for c in CAPTURED.columns if c.name != "photo"))
OLD, NEW = 4, 9
APPLIED = Applied(truth=truth_schema(ORDERS, CAPTURED), captured={OLD: envelope_schema()})
ENDS = {"shop": 500, "elsewhere": 7}
IGNORING = msgspec.structs.replace(ORDERS, evolve="ignore")


def test_nothing_changed_nothing_evolves() -> None:
    assert not APPLIED.evolved(ORDERS, CAPTURED)
    assert APPLIED.schema(ORDERS, CAPTURED, ENDS) == APPLIED.truth


def test_a_table_that_was_never_applied_evolves_from_nothing() -> None:
    never = Applied(truth=None, captured={})
    assert not never.evolved(ORDERS, CAPTURED)
    assert never.added(CAPTURED) == frozenset()


def test_an_added_column_makes_the_captured_schemas_without_it_older() -> None:
    assert APPLIED.evolved(ORDERS, WITH_EXTRA)
    assert APPLIED.added(WITH_EXTRA) == {"extra"}
    assert passed_ids(APPLIED.schema(ORDERS, WITH_EXTRA, ENDS)) == {OLD}


def test_what_came_between_two_looks_is_passed_by_the_second() -> None:
    """Two columns were added; records with the first alone were captured after apply had looked."""
    columns = msgspec.structs.replace(
        WITH_EXTRA, columns=(*WITH_EXTRA.columns, msgspec.structs.replace(EXTRA, name="z"))
    )
    applied = Applied(truth=APPLIED.schema(ORDERS, columns, ENDS), captured={OLD: envelope_schema()})
    assert not applied.evolved(ORDERS, columns)
    later = msgspec.structs.replace(applied, captured={OLD: envelope_schema(), NEW: envelope_schema(WITH_EXTRA)})
    assert later.evolved(ORDERS, columns)
    assert passed_ids(later.schema(ORDERS, columns, ENDS)) == {OLD, NEW}


def test_until_when_schemas_are_older_is_said_when_something_changed_and_stays() -> None:
    taken_over = msgspec.structs.replace(APPLIED, truth=APPLIED.schema(ORDERS, WITH_EXTRA, ENDS))
    assert taken_over.truth is not None
    assert passed_until(taken_over.truth) == {"shop": 500}, "of the systems of the table alone"
    later = {"shop": 900}
    assert taken_over.schema(ORDERS, WITH_EXTRA, later) == taken_over.truth, "else what was undone since would pass"
    assert not taken_over.evolved(ORDERS, WITH_EXTRA)
    assert passed_until(taken_over.schema(ORDERS, WITH_EXTRA, later, reread=True)) == later
    both = msgspec.structs.replace(taken_over, captured={OLD: envelope_schema(), NEW: envelope_schema(WITH_EXTRA)})
    undone = both.schema(ORDERS, CAPTURED, later)
    assert passed_ids(undone) == {OLD, NEW}
    assert passed_until(undone) == later
    once_more = msgspec.structs.replace(both, truth=undone).schema(ORDERS, WITH_EXTRA, {"shop": 901})
    assert passed_ids(once_more) == {OLD, NEW}
    assert passed_until(once_more) == {"shop": 901}


def with_default(captured: CapturedTable, name: str) -> dict[str, Any]:
    schema = envelope_schema(captured)
    for field in EnvelopeDecoder(schema).row_schema["fields"]:
        if field["name"] == name:
            field["type"], field["default"] = [{"type": "string", "connect.default": "x"}, "null"], "x"
    return schema


def test_rows_captured_with_a_default_are_read_again_once_it_is_gone() -> None:
    """Whether the added column is null everywhere says nothing of the one whose nulls were lost."""
    for columns in (CAPTURED, WITH_EXTRA):
        applied = msgspec.structs.replace(APPLIED, captured={NEW: with_default(CAPTURED, "customer")})
        assert applied.evolved(ORDERS, columns)
        assert passed_ids(applied.schema(ORDERS, columns, ENDS)) == {NEW}
        assert must_be_read_again(ORDERS, applied, columns, NothingThere())  # type: ignore[arg-type]
        again = msgspec.structs.replace(applied, truth=applied.schema(ORDERS, columns, ENDS))
        assert not again.evolved(ORDERS, columns)
        assert not again.loses_nulls(columns)


class NothingThere:
    """A source whose new columns are null everywhere."""

    def has_values(self, *_: object) -> bool:
        return False


def test_an_added_column_that_is_null_everywhere_is_not_read_again() -> None:
    assert not must_be_read_again(ORDERS, APPLIED, WITH_EXTRA, NothingThere())  # type: ignore[arg-type]


def test_a_table_that_ignores_keeps_its_columns_and_passes_nothing() -> None:
    applied = msgspec.structs.replace(APPLIED, captured={OLD: envelope_schema(), NEW: envelope_schema(WITH_EXTRA)})
    assert applied.registered(WITH_EXTRA, IGNORING) == CAPTURED
    assert applied.registered(WITH_EXTRA, ORDERS) == WITH_EXTRA
    assert not applied.evolved(IGNORING, CAPTURED)
    assert applied.registered(WITHOUT_PHOTO, IGNORING) == WITHOUT_PHOTO


class Registry:
    """Answers from memory."""

    def __init__(self, problem: str | None = None, latest: dict[str, tuple[int, Any]] | None = None) -> None:
        self.problem, self._latest = problem, latest or {}

    def id_of(self, _subject: str, _schema: Any) -> int | None:
        return None

    def incompatibility(self, _subject: str, _schema: Any) -> str | None:
        return self.problem

    def compatibility(self, _subject: str) -> str | None:
        return None

    def latest(self, subject: str) -> tuple[int, Any] | None:
        return self._latest.get(subject)


def test_the_registry_knows_a_schema_before_the_project_does(tmp_path: Path) -> None:
    """A worker that starts between the two must find its schema registered."""
    steps = schema_steps(ORDERS, truth_schema(ORDERS, CAPTURED), tmp_path / "orders.avsc", Registry())  # type: ignore[arg-type]
    assert [type(step) for step in steps] == [RegisterSchema, WriteSchema]


def test_a_schema_that_could_not_read_the_topic_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(SchemaChanged) as refused:
        schema_steps(ORDERS, truth_schema(ORDERS, CAPTURED), tmp_path / "x", Registry("photo: int to string"))  # type: ignore[arg-type]
    assert refused.value.detail == "photo: int to string"
    assert "former type back" in str(refused.value.hint)
    assert '"orders"' in refused.value.primary


@pytest.fixture
def project(tmp_path: Path) -> Any:
    """Settings of a folder where orders was applied."""
    path = tmp_path / "schemas/avro/orders.avsc"
    path.parent.mkdir(parents=True)
    path.write_text(canonical_text(truth_schema(ORDERS, CAPTURED)), encoding="utf-8")

    class Folder:
        project_dir = tmp_path

    return Folder()


def waiting(
    project: Any, captured: CapturedTable, evolve: str = "additive", schema: dict[str, Any] | None = None
) -> list[str]:
    registry = Registry(latest={"shop.public.orders-value": (NEW, schema or envelope_schema(captured))})
    table = msgspec.structs.replace(ORDERS, evolve=evolve)
    return Additions(project, [table], registry, lambda _: None).waiting()  # type: ignore[arg-type]


def test_only_additions_to_additive_tables_are_taken_over_by_themselves(project: Any) -> None:
    assert waiting(project, WITH_EXTRA) == ["orders"]
    assert waiting(project, WITH_EXTRA, "stop") == []
    assert waiting(project, WITH_EXTRA, "ignore") == []
    assert waiting(project, CAPTURED) == []
    assert waiting(project, WITHOUT_PHOTO) == []
    both = msgspec.structs.replace(WITHOUT_PHOTO, columns=(*WITHOUT_PHOTO.columns, EXTRA))
    assert waiting(project, both) == []
    assert waiting(project, WITH_EXTRA, schema=with_default(WITH_EXTRA, "extra")) == [], "its nulls are lost"


def test_a_stopped_worker_sees_that_its_table_was_applied_anew(project: Any) -> None:
    running = truth_schema(ORDERS, CAPTURED)
    assert not applied_anew(project, "orders", running)
    assert applied_anew(project, "orders", truth_schema(ORDERS, WITH_EXTRA))
    assert not applied_anew(project, "never applied", running)
    assert captured_table(running) == CAPTURED


def test_a_copy_gets_by_alter_only_what_no_truth_record_has_yet() -> None:
    columns = (column("id", "bigint"), column("amount", "numeric(12,2)"), column("note", "text"))
    new = plan_of(*columns, column("extra", "text"))
    assert [c.name for c in added_columns(COPY, new, {"extra"})] == ["extra"]
    assert added_columns(COPY, new, ()) == (), "the truth has had it for long: that takes a rebuild"
    assert added_columns(COPY, COPY, {"extra"}) == ()
    wider = plan_of(columns[0], column("amount", "numeric(14,2)"), columns[2], column("extra", "text"))
    assert added_columns(COPY, wider, {"extra"}) == (), "more than that changed"
