import re
from dataclasses import replace
from datetime import timedelta

import pytest
from whole import NAMES, PDF, again, objects_of, study_of

from station.codes import SCHEME, term
from station.dicom import document, measurements, rejection
from station.dicom.lint import problems
from station.dicom.lint_seen import below
from station.exam import Patient, Release


@pytest.fixture(scope="session")
def whole_study(make_study, exposure, context):
    return study_of(make_study, exposure, context)


@pytest.fixture(scope="session")
def whole(whole_study, processing, presentation, context):
    objects = objects_of(whole_study, processing, presentation, context)
    return {name: again(dataset) for name, dataset in objects.items()}


def test_a_whole_exam_as_built_has_no_problems(whole, exam):
    assert problems(list(whole.values()), exam) == ()
    assert problems(list(whole.values())) == ()


SHARED = [
    ("side", "most of the study", "page", "ImageLaterality", "R"),
    ("identity", "PatientID", "report", "PatientID", "P-18"),
    ("identity", "AccessionNumber", "dose", "AccessionNumber", "ACC-8"),
    ("date", "StudyTime", "page", "StudyTime", "234900"),
    ("date", "acquisition at|an image taken at", "linear", "ContentTime", "000002"),
    ("timezone", "TimezoneOffsetFromUTC", "state", "TimezoneOffsetFromUTC", "+0000"),
]


@pytest.mark.parametrize(("name", "message", "which", "keyword", "value"), SHARED)
def test_without_the_exam_the_objects_are_held_against_each_other(
    whole, name, message, which, keyword, value
):
    spoiled = again(whole[which])
    setattr(spoiled, keyword, value)
    told = problems([spoiled if each == which else whole[each] for each in NAMES])
    assert {reason.id for reason in told} == {f"dicom-{name}"}
    assert all(re.search(message, reason.message) for reason in told), told


def test_two_objects_in_one_place_are_found(whole, exam):
    page = again(whole["page"])
    page.SeriesInstanceUID = whole["report"].SeriesInstanceUID
    told = problems([page if each == "page" else whole[each] for each in NAMES], exam)
    assert [(reason.id, "one series holds" in reason.message) for reason in told] == [("dicom-uid", True)]
    told = problems([*whole.values(), again(whole["page"])], exam)
    assert {reason.id for reason in told} == {"dicom-uid"}


def test_nothing_is_made_in_the_future(whole, exam, study):
    objects = list(whole.values())
    assert problems(objects, exam, now=study.made_at) == ()
    told = problems(objects, exam, now=study.made_at - timedelta(minutes=5))
    assert {reason.id for reason in told} == {"dicom-date"}
    assert all("future" in reason.message for reason in told)


def test_documents_alone_need_no_images_beside_them(whole, exam):
    assert problems([whole["report"], whole["page"]], exam) == ()
    assert problems([whole["report"], whole["page"]]) == ()


def test_a_note_about_objects_of_a_wrong_order_carries_that_orders_patient(make_study, whole, exam):
    own = replace(exam, item=replace(exam.item, patient=Patient("P-99", "Demo^Patient", None, None)))
    note = rejection.build(make_study(exam=own), [whole["report"]], rejection.WRONG_ORDER, None)
    assert note.PatientID == whole["report"].PatientID
    assert problems([note], own) == ()
    note.ConceptNameCodeSequence[0].CodeValue = "113001"  # for its quality it would be of this exam
    assert "dicom-identity" in {reason.id for reason in problems([note], own)}


def test_released_and_preliminary_documents_live_in_one_study(whole_study, whole, exam):
    release = Release("Demo^Physician", whole_study.made_at + timedelta(minutes=9), physician=True)
    released = replace(whole_study, release=release)
    report = measurements.build(released, whole["linear"])
    page = document.build(released, PDF, [whole["linear"], report])
    assert problems([*whole.values(), report, page], exam) == ()
    told = problems([*whole.values(), report], exam)
    assert [reason.id for reason in told] == ["dicom-standing"]


def test_a_report_of_somebody_else_is_not_judged_by_our_terms(whole):
    foreign = again(whole["report"])
    foreign.CodingSchemeIdentificationSequence[0].CodingSchemeUID = "2.25.1"
    for item in below(foreign, (term("valid_fraction").value, SCHEME)):
        item.MeasuredValueSequence[0].NumericValue = "97"  # percent there
    assert problems([foreign]) == ()
