from datetime import timedelta

import pytest
from validators import complaints, needs_dciodvfy

from station.dicom.document import build
from station.dicom.image import build_pair
from station.exam import Release

PDF = b"%PDF-1.7\n1 0 obj\n"


@pytest.fixture(scope="session")
def pair(exam, exposure, processing, presentation, context):
    return build_pair(exam, exposure, processing, presentation, context)


@pytest.fixture(scope="session")
def released(make_study, study):
    return make_study(release=Release("Demo^Physician", study.made_at + timedelta(minutes=9), physician=True))


@needs_dciodvfy
def test_the_validator_has_nothing_to_say(study, released, pair, tmp_path):
    for each in (study, released):
        assert complaints(build(each, PDF, pair), tmp_path) == []


@needs_dciodvfy
def test_the_validator_would_notice(study, pair, tmp_path):
    page = build(study, PDF, pair)
    del page.BurnedInAnnotation
    assert complaints(page, tmp_path)


@pytest.mark.parametrize("pdf", [PDF, PDF + b"x"])
def test_the_page_comes_out_byte_by_byte(study, pair, pdf):
    page = build(study, pdf, pair)
    assert len(page.EncapsulatedDocument) % 2 == 0
    assert page.EncapsulatedDocument[: page.EncapsulatedDocumentLength] == pdf


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("Modality", "DOC"),
        ("MIMETypeOfEncapsulatedDocument", "application/pdf"),
        ("BurnedInAnnotation", "YES"),
        ("ImageLaterality", "L"),
        ("DocumentTitle", "DXR-BMD report"),
        ("VerificationFlag", "UNVERIFIED"),
        ("ContentDate", "20260303"),
        ("AcquisitionDateTime", "20260302235803.250000"),
    ],
)
def test_it_says(study, pair, keyword, value):
    assert build(study, PDF, pair).get(keyword) == value


def test_it_is_a_diagnostic_imaging_report_of_these_objects(study, pair):
    page = build(study, PDF, pair)
    (concept,) = page.ConceptNameCodeSequence
    assert (concept.CodeValue, concept.CodingSchemeDesignator) == ("18748-4", "LN")
    assert [item.ReferencedSOPInstanceUID for item in page.SourceInstanceSequence] == [
        image.SOPInstanceUID for image in pair
    ]


def test_the_released_page_replaces_the_preliminary_one(study, released, pair):
    first, second = build(study, PDF, pair), build(released, PDF, pair)
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert second.VerificationFlag == "VERIFIED"
    (earlier,) = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert earlier.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert build(released, PDF, pair) == second


def test_a_release_of_the_charge_alone_leaves_it_preliminary(make_study, study, pair):
    charged = make_study(release=Release("Demo^Technologist", study.made_at))
    assert build(charged, PDF, pair) == build(study, PDF, pair)


def test_refuses_what_is_no_page_and_a_page_of_nothing(study, pair):
    with pytest.raises(ValueError, match="must be a PDF"):
        build(study, b"<html>", pair)
    with pytest.raises(ValueError, match="at least one image"):
        build(study, PDF, [])
