"""Rejection notes: filed where the objects are, in codes that archives act on."""

import subprocess
from dataclasses import replace

import pytest
from validators import complaints, needs_dciodvfy, needs_dsrdump

from station.dicom import dose, rejection
from station.dicom.content import dcm
from station.dicom.image import build_pair
from station.dicom.modules import write
from station.exam import REJECTION_REASONS, Patient, Rejection

POSITIONING = dcm("111209", "Positioning")


@pytest.fixture
def pair(exam, exposure, processing, presentation, context):
    return build_pair(exam, exposure, processing, presentation, context)


@pytest.fixture
def rejecting(make_study):
    return make_study(rejections={1: Rejection("111209", "Test^Person")})


@pytest.fixture
def note(rejecting, pair):
    return rejection.build(rejecting, pair, rejection.QUALITY, POSITIONING)


def named(document):
    return {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID: item.ValueType
        for item in document.ContentSequence
        if item.ValueType in {"IMAGE", "COMPOSITE"}
    }


def said(document, code):
    return [item for item in document.ContentSequence if code in _names(item)]


def _names(item):
    return [name.CodeValue for name in item.get("ConceptNameCodeSequence", [])]


@pytest.mark.parametrize("code", REJECTION_REASONS)
def test_a_rejected_pair_is_taken_back_with_its_reason(rejecting, pair, code):
    note = rejection.build(rejecting, pair, rejection.QUALITY, dcm(code, REJECTION_REASONS[code]))
    assert note.Modality == "KO"
    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"
    (modifier,) = said(note, "113011")
    assert modifier.ConceptCodeSequence[0].CodeValue == code
    assert named(note) == {image.SOPInstanceUID: "IMAGE" for image in pair}


def test_the_evidence_lists_the_objects_in_their_series(note, pair):
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == pair[0].StudyInstanceUID
    listed = {
        series.SeriesInstanceUID: [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence]
        for series in study.ReferencedSeriesSequence
    }
    assert listed == {image.SeriesInstanceUID: [image.SOPInstanceUID] for image in pair}


def test_who_rejected_is_named_and_only_for_the_own_exposure(note, make_study, pair):
    assert [str(item.PersonName) for item in said(note, "121008")] == ["Test^Person"]
    other = make_study(rejections={7: Rejection("111209", "Other^Person")})
    assert said(rejection.build(other, pair, rejection.QUALITY, POSITIONING), "121008") == []


def test_a_wrong_order_is_taken_back_where_the_objects_were_sent(make_study, pair, exam):
    """The exam belongs to another patient by now; the note must find what lies in the archive."""
    patient = Patient("P-99", "Right^Person", None, None)
    item = replace(exam.item, patient=patient, accession_number="ACC-99", study_instance_uid="2.25.99")
    joined = make_study(exam=replace(exam, item=item))
    note = rejection.build(joined, pair, rejection.WRONG_ORDER, None)
    assert note.ConceptNameCodeSequence[0].CodeValue == "113038"
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "AccessionNumber"):
        assert note.get(keyword) == pair[0].get(keyword)
    assert "ReferencedRequestSequence" not in note
    assert said(note, "113011") == []


def test_objects_that_are_no_images_are_taken_back_too(study, pair):
    report = dose.build(study, pair)
    note = rejection.build(study, [*pair, report], rejection.WRONG_ORDER, None)
    assert named(note)[report.SOPInstanceUID] == "COMPOSITE"
    assert len(named(note)) == 3


def test_the_same_objects_make_the_same_note_and_others_another(rejecting, pair, note):
    assert rejection.build(rejecting, pair, rejection.QUALITY, POSITIONING) == note
    others = [
        rejection.build(rejecting, pair[:1], rejection.QUALITY, POSITIONING),
        rejection.build(rejecting, pair, rejection.WRONG_ORDER, None),
    ]
    assert len({note.SOPInstanceUID, *(other.SOPInstanceUID for other in others)}) == 3


def test_refuses_a_note_that_no_archive_would_act_on(study, pair):
    elsewhere = [pair[0], pair[1].copy()]
    elsewhere[1].StudyInstanceUID = "2.25.98"
    for message, refused, title, reason in (
        ("at least one object", [], rejection.QUALITY, POSITIONING),
        ("takes nothing back", pair, dcm("113000", "Of Interest"), None),
        ("belongs to", pair, rejection.QUALITY, None),
        ("belongs to", pair, rejection.WRONG_ORDER, POSITIONING),
        ("CID 7011", pair, rejection.QUALITY, dcm("110514", "Incorrect worklist entry selected")),
        ("2 studies", elsewhere, rejection.WRONG_ORDER, None),
    ):
        with pytest.raises(ValueError, match=message):
            rejection.build(study, refused, title, reason)


@needs_dciodvfy
def test_the_validator_has_nothing_to_say(study, pair, note, tmp_path):
    assert complaints(note, tmp_path) == []
    assert complaints(rejection.build(study, pair, rejection.WRONG_ORDER, None), tmp_path) == []


@needs_dsrdump
def test_another_toolkit_reads_it(note, tmp_path):
    path = tmp_path / "note.dcm"
    write(note, path)
    answer = subprocess.run(["dsrdump", str(path)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0
    assert "Document Title Modifier" in answer.stdout
    assert '"Rejected for Quality Reasons"' in answer.stdout
