from copy import deepcopy

import pytest

from station.dicom.image import build_pair
from station.dicom.lint import problems
from station.dicom.modules import coded, items


@pytest.fixture
def pair(exam, exposure, processing, presentation, context):
    return build_pair(exam, exposure, processing, presentation, context)


def test_a_pair_as_built_has_no_problems(pair, exam):
    assert problems(pair, exam) == ()


def put(keyword, value):
    return lambda image: setattr(image, keyword, value)


def drop(keyword):
    return lambda image: delattr(image, keyword)


def code(keyword, value, scheme):
    return lambda image: setattr(image, keyword, items(coded(value, scheme, "meaning")))


def region_of_the_right(image):
    image.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = items(coded("24028007", "SCT", "Right"))


SEEDED = [
    ("dicom-side", put("ImageLaterality", "R")),
    ("dicom-side", put("ImageLaterality", "U")),
    ("dicom-side", drop("ImageLaterality")),
    ("dicom-side", put("Laterality", "R")),
    ("dicom-side", put("SeriesDescription", "Hand PA, right")),
    ("dicom-side", region_of_the_right),
    ("dicom-view", put("ViewPosition", "AP")),
    ("dicom-view", code("ViewCodeSequence", "399348003", "SCT")),
    ("dicom-view", drop("ViewCodeSequence")),
    ("dicom-body-part", put("BodyPartExamined", "FOOT")),
    ("dicom-body-part", code("AnatomicRegionSequence", "56459004", "SCT")),
    ("dicom-exposure-index", put("DeviationIndex", "0.46")),
    ("dicom-exposure-index", put("ExposureIndex", "500")),
    ("dicom-exposure-index", drop("TargetExposureIndex")),
    ("dicom-exposure-index", put("ExposureIndex", "0")),
    ("dicom-spacing", put("PixelSpacing", ["0.1", "0.1"])),
    ("dicom-spacing", put("EstimatedRadiographicMagnificationFactor", "1.03")),
    ("dicom-spacing", put("DistanceSourceToPatient", "970")),
    ("dicom-spacing", drop("DistanceSourceToDetector")),
    ("dicom-spacing", drop("PixelSpacing")),
    ("dicom-spacing", drop("PixelSpacingCalibrationType")),
    ("dicom-spacing", drop("ImagerPixelSpacing")),
    ("dicom-code", code("ProcedureCodeSequence", "0750T", "CPT")),
    ("dicom-code", code("ProcedureCodeSequence", "77080", "C4")),
    ("dicom-code", code("PerformedProtocolCodeSequence", "0749T", "C4")),
    ("dicom-identity", put("PatientID", "P-18")),
    ("dicom-identity", put("StudyInstanceUID", "2.25.99")),
    ("dicom-identity", drop("AccessionNumber")),
    ("dicom-pixels", put("PixelIntensityRelationshipSign", 1 - 2)),
    ("dicom-pixels", put("WindowCenter", "100")),
    ("dicom-pixels", put("PhotometricInterpretation", "MONOCHROME1")),
]


@pytest.mark.parametrize(("finding", "spoil"), SEEDED)
def test_a_seeded_contradiction_is_found_and_nothing_else(pair, exam, finding, spoil):
    spoil(pair[0])
    found = {reason.id for reason in problems(pair, exam)}
    assert found == {finding}
    assert all(reason.message and reason.remedy for reason in problems(pair, exam))


@pytest.mark.parametrize("which", [0, 1])
def test_each_image_of_the_pair_is_checked(pair, exam, which):
    pair[which].ImageLaterality = "R"
    assert [reason.id for reason in problems(pair, exam)] == ["dicom-side"]


@pytest.mark.parametrize("keyword", ["IrradiationEventUID", "KVP", "DetectorID"])
def test_two_images_of_one_exposure_must_say_the_same(pair, exam, keyword):
    setattr(pair[1], keyword, "7")
    assert [reason.id for reason in problems(pair, exam)] == ["dicom-pair"]


def test_a_source_that_is_not_there_is_found(pair, exam):
    pair[1].SourceImageSequence[0].ReferencedSOPInstanceUID = "2.25.5"
    assert [reason.id for reason in problems(pair, exam)] == ["dicom-reference"]


def test_the_same_object_twice_is_found(pair, exam):
    assert "dicom-uid" in {reason.id for reason in problems((*pair, deepcopy(pair[1])), exam)}


def test_an_image_without_exposure_index_or_code_is_no_contradiction(pair, exam):
    for image in pair:
        for keyword in ("ExposureIndex", "TargetExposureIndex", "DeviationIndex"):
            delattr(image, keyword)
        del image.ProcedureCodeSequence, image.PerformedProtocolCodeSequence
    assert problems(pair, exam) == ()
