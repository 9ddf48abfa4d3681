"""Rows kept over an outage, chosen by barcode, made up for an emergency, exchanged for the right order."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.exam import Exam, Patient, Sex, Side, WorklistItem
from station.orders import Answer, Cache, Row, WrongOrder, emergency, reconciled, select
from station.result import Reason

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
PATIENT = Patient("P1", "Test^Person", date(1961, 5, 4), Sex.FEMALE)
ITEM = WorklistItem("ACC1", PATIENT, Side.LEFT, "0750T", "1.2.3", "RP1", "SPS1")


def row(item: WorklistItem | None = ITEM, **changes) -> Row:
    shown = {"patient_id": "P1", "accession_number": "ACC1", "step_id": "SPS1"}
    return Row(item, NOW, **(shown | changes))


OTHER = row(replace(ITEM, accession_number="ACC2"), accession_number="ACC2", step_id="SPS2")
CHEST = row(
    None,
    accession_number="ACC3",
    step_id="SPS3",
    problems=(Reason("procedure-other", "ordered is C4:71045", "this station makes 0750T only"),),
)
BROKEN = row(None, accession_number="ACC4", step_id="SPS4", problems=(Reason("missing", "no UID", "RIS"),))


# --- the cache ---------------------------------------------------------------------------------------


def test_what_was_kept_is_what_was_answered(tmp_path):
    answer = Answer((row(), BROKEN), NOW, 0.4)
    Cache(tmp_path / "worklist.json").write(answer)
    assert Cache(tmp_path / "worklist.json").read() == (answer, None)


def test_nothing_kept_is_no_fault(tmp_path):
    assert Cache(tmp_path / "worklist.json").read() == (None, None)


@given(st.binary(max_size=60))
def test_a_damaged_file_is_empty_with_a_reason(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("cache") / "worklist.json"
    path.write_bytes(content)
    answer, reason = Cache(path).read()
    assert answer is None
    assert reason.id == "worklist-cache"


def test_a_file_that_was_cut_is_empty_with_a_reason(tmp_path):
    cache = Cache(tmp_path / "worklist.json")
    cache.write(Answer((row(),), NOW, 0.4))
    cache.path.write_bytes(cache.path.read_bytes()[:-20])
    assert cache.read()[1].id == "worklist-cache"


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        (timedelta(seconds=20), "fresh"),
        (timedelta(minutes=1), "1 minute old"),
        (timedelta(hours=5, minutes=59), "5 hours old"),
        (timedelta(days=2), "2 days old"),
        (-timedelta(hours=1), "of unknown age: the clock was set back"),
    ],
)
def test_the_age_is_said_in_words(passed, words):
    assert Answer((), NOW, 0.1).age(NOW + passed) == words


# --- the barcode -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["ACC1", "acc1", " ACC1\r\n", "]C1ACC1", "*ACC1*", "\x02ACC1\x03", "SPS1"])
def test_a_barcode_finds_its_row_whatever_the_scanner_adds(text):
    assert select([OTHER, row(), BROKEN], text) == row()


def test_a_patients_only_order_for_this_station_is_found_by_patient():
    assert select([row(), CHEST], "P1") == row()


def test_a_row_given_twice_is_one():
    assert select([row(), row()], "ACC1") == row()


def test_a_row_that_cannot_be_used_is_found_with_its_reason():
    assert select([row(), BROKEN], "ACC4") == BROKEN


@pytest.mark.parametrize(
    ("rows", "text", "id_"),
    [
        ([row(), OTHER], "P1", "barcode-ambiguous"),
        ([row(), BROKEN], "P1", "barcode-ambiguous"),  # the unusable one may be the one that is meant
        ([row()], "ACC", "barcode-unknown"),
        ([row()], "ACC11", "barcode-unknown"),
        ([row(accession_number="", patient_id="", step_id="")], " ", "barcode-empty"),
    ],
)
def test_nothing_is_guessed_from_a_barcode(rows, text, id_):
    found = select(rows, text)
    assert isinstance(found, Reason)
    assert found.id == id_


@given(st.text(max_size=20))
def test_any_barcode_gives_a_row_or_a_reason(text):
    assert isinstance(select([row(), OTHER, CHEST, BROKEN], text), Row | Reason)


# --- emergency and reconciliation --------------------------------------------------------------------


def test_an_emergency_needs_a_name_a_birth_date_and_a_sex_and_marks_what_it_made_up():
    item = emergency("Doe^J", Side.RIGHT, NOW, "2.25.7", birth_date=date(1950, 1, 1), sex=Sex.MALE)
    assert item.patient.id.startswith("EMERGENCY-")
    assert item.accession_number.startswith("EMG")
    assert (item.study_instance_uid, item.side, item.procedure_code) == ("2.25.7", Side.RIGHT, "0750T")


def test_an_unknown_person_gets_a_name_that_says_so():
    assert emergency(" ", Side.LEFT, NOW, "2.25.7").patient.name.startswith("EMERGENCY^")


@pytest.mark.parametrize("bad", [{"birth_date": date(2030, 1, 1)}, {"name": "a\\b"}])
def test_an_emergency_that_cannot_be_is_refused(bad):
    with pytest.raises(ValueError, match=r"birth date|name"):
        emergency(bad.get("name", "Doe"), Side.LEFT, NOW, "2.25.7", birth_date=bad.get("birth_date"))


def test_joined_to_an_order_the_exam_keeps_its_study_and_every_uid_made_from_it():
    item = emergency("Doe^J", Side.LEFT, NOW, "2.25.7")
    joined = reconciled(item, ITEM)
    assert joined == replace(ITEM, study_instance_uid="2.25.7", requested_study_uid="1.2.3")
    before, after = (Exam("2.25.10", one, "hand-dxr@1", NOW, "medium") for one in (item, joined))
    assert before.uid_for("exposure", "1") == after.uid_for("exposure", "1")


def test_joined_to_its_own_order_again_nothing_changes():
    assert reconciled(ITEM, ITEM) == ITEM


def test_an_order_that_was_joined_twice_keeps_the_exams_study():
    first = reconciled(emergency("Doe^J", Side.LEFT, NOW, "2.25.7"), ITEM)
    right = replace(ITEM, accession_number="ACC9", study_instance_uid="1.2.9")
    assert reconciled(first, right).study_instance_uid == "2.25.7"
    assert reconciled(first, right).requested_study_uid == "1.2.9"


def test_the_other_hands_order_is_refused():
    with pytest.raises(WrongOrder, match=r"for the right hand.*exam shows the left") as caught:
        reconciled(ITEM, replace(ITEM, side=Side.RIGHT))
    assert "hand" in caught.value.remedy


def test_another_procedures_order_is_refused():
    with pytest.raises(WrongOrder, match="0749T"):
        reconciled(ITEM, replace(ITEM, procedure_code="0749T"))
