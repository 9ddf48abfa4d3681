"""The objects of one exam together: what each says of patient, study and each other."""

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from station.dicom import dose, lint, measurements, presentation_state, rejection
from station.dicom.content import dcm
from station.dicom.image import build_pair
from station.dicom.modules import write
from station.exam import Coded, Patient, Rejection, Side

needs_dcentvfy = pytest.mark.skipif(shutil.which("dcentvfy") is None, reason="dicom3tools is not installed")

# What dcentvfy says although nothing is wrong, by a part of its words.
EXPLAINED = {
    "Different information entities for attribute - Element=<AccessionNumber>": (
        "it looks at names without their nesting: the study has it, and the images' request too"
    ),
}


class Line:
    label, kind = "metacarpal 2 periosteal", "periosteal"
    points_px = np.array([[20.0, 20.0], [60.0, 25.0]])


@pytest.fixture
def study(make_study, exam, exposure, context):
    """A rejected exposure and an accepted one, under an order that says everything."""
    codes = (Coded("0750T", "C4", "site text"),)
    item = replace(exam.item, procedure="DXR of the hand", step="Hand PA", reason="follow-up", codes=codes)
    again = replace(exposure, number=2, uid="2.25.13")
    return make_study(
        exam=replace(exam, item=item),
        exposures=(exposure, again),
        rejections={1: Rejection("111209", "Test^Person")},
        indices={1: context.exposure_index, 2: context.exposure_index},
    )


@pytest.fixture
def objects(study, processing, presentation, context):
    rejected, accepted = (
        build_pair(study.exam, exposure, processing, presentation, context) for exposure in study.exposures
    )
    return [
        *rejected,
        *accepted,
        presentation_state.build(study, accepted[1], [Line()]),
        dose.build(study, [*rejected, *accepted]),
        rejection.build(study, rejected, rejection.QUALITY, dcm("111209", "Positioning")),
        measurements.build(study, accepted[0]),
    ]


@needs_dcentvfy
def test_no_object_contradicts_another_about_patient_study_and_series(objects, tmp_path):
    assert unexplained(objects, tmp_path) == []


@needs_dcentvfy
@pytest.mark.parametrize("keyword", ["PatientName", "StudyDate", "SeriesDescription"])
def test_the_entity_validator_would_notice(objects, tmp_path, keyword):
    setattr(objects[0], keyword, "20200101" if keyword == "StudyDate" else "other")
    assert unexplained(objects, tmp_path)


@needs_dcentvfy
def test_a_note_about_a_wrong_order_fits_what_was_sent_under_it(make_study, study, objects, tmp_path):
    patient = Patient("P-99", "Right^Person", None, None)
    item = replace(study.exam.item, patient=patient, side=Side.RIGHT, study_instance_uid="2.25.99")
    joined = make_study(exam=replace(study.exam, item=item), exposures=study.exposures)
    note = rejection.build(joined, objects, rejection.WRONG_ORDER, None)
    assert unexplained([*objects, note], tmp_path) == []


def unexplained(objects, folder):
    paths = [folder / f"{number}.dcm" for number in range(len(objects))]
    for dataset, path in zip(objects, paths, strict=True):
        write(dataset, path)
    answer = subprocess.run(["dcentvfy", *map(str, paths)], capture_output=True, text=True, check=False)
    said = (answer.stdout + answer.stderr).splitlines()
    return [line for line in said if line.strip() and not any(known in line for known in EXPLAINED)]


def test_the_stations_own_lint_finds_nothing(objects, study):
    assert lint.problems(objects, study.exam) == ()


def test_no_two_objects_share_a_uid_and_no_two_kinds_a_series(objects):
    assert len({one.SOPInstanceUID for one in objects}) == len(objects)
    classes = {}
    for one in objects:
        classes.setdefault(one.SeriesInstanceUID, set()).add(one.SOPClassUID)
    assert all(len(found) == 1 for found in classes.values())
