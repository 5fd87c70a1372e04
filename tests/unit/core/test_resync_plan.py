"""Which epoch a resync makes: always above everything known, and a killed run is completed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.evolution import ColumnChanges
from trueup.core.resync_plan import next_run, refuse_changed_columns, resumes
from trueup.model.errors import UnsafeChange
from trueup.model.source_table import ResyncNote

DONE = ResyncNote(epoch=2, stage="done")
EPOCHS = st.integers(1, 9)
NOTES = st.none() | st.builds(ResyncNote, epoch=EPOCHS, stage=st.sampled_from(["begun", "snapshot", "sweep", "done"]))


def test_the_first_one_raises_the_epoch() -> None:
    run = next_run(None, 1, [1, 1])
    assert run == ResyncNote(epoch=2, stage="begun")
    assert not resumes(run, None)


@pytest.mark.parametrize("stage", ["begun", "snapshot", "sweep"])
@pytest.mark.parametrize("registered", [1, 2])
def test_a_killed_one_is_completed_whether_or_not_the_file_was_written(stage: str, registered: int) -> None:
    note = ResyncNote(epoch=2, stage=stage, heartbeat_from=77)  # type: ignore[arg-type]
    assert next_run(note, registered, [1]) == note
    assert resumes(note, note)


def test_one_that_is_done_is_followed_by_a_new_one() -> None:
    assert next_run(DONE, 2, [2]) == ResyncNote(epoch=3, stage="begun")
    assert not resumes(next_run(DONE, 2, [2]), DONE)


def test_a_registration_taken_from_an_old_copy_does_not_bring_an_epoch_back() -> None:
    assert next_run(DONE, 1, [1, 2, 5]).epoch == 6


def test_a_source_restored_into_an_older_resync_begins_anew() -> None:
    assert next_run(ResyncNote(epoch=2, stage="snapshot"), 4, [2]) == ResyncNote(epoch=5, stage="begun")


@given(EPOCHS, st.lists(EPOCHS), NOTES)
def test_an_epoch_is_new_or_the_unfinished_one(registered: int, applied: list[int], note: ResyncNote | None) -> None:
    run = next_run(note, registered, applied)
    known = [registered, *applied]
    if resumes(run, note):
        assert note is not None
        assert note.stage != "done"
        assert run.epoch >= max(known)
    else:
        assert run.epoch > max(known)
        assert note is None or run.epoch > note.epoch


def test_columns_that_nobody_took_over_are_not_taken_over_by_the_way() -> None:
    refuse_changed_columns("shop", {"orders": ColumnChanges()})
    with pytest.raises(UnsafeChange) as refused:
        refuse_changed_columns("shop", {"calm": ColumnChanges(), "orders": ColumnChanges(added=("b",), gone=("a",))})
    assert '"orders"' in refused.value.primary
    assert "calm" not in refused.value.primary
    assert refused.value.detail == "orders: added: b; gone: a"
    assert "trueup apply --rebuild" in str(refused.value.hint)
    assert "trueup resync shop --take-columns" in str(refused.value.hint)
