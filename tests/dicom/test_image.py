import shutil
import subprocess
from dataclasses import replace
from datetime import datetime

import numpy as np
import pydicom
import pytest

from simulators.phantom import HandPhantom
from simulators.spec import HandSpec, Panel, Pose
from station.devices import Delivered, EndOfExposure
from station.dicom.image import build_pair, write
from station.dxr.hand import find_hand
from station.exam import Coded, Patient, Side
from station.frame import Stage
from station.image_file import read_image
from station.study import Equipment

needs_dciodvfy = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")

# Every message of the validator that is accepted, with its reason.
EXPLAINED = {
    "Warning - Missing attribute or value that would be needed to build DICOMDIR - Patient ID": (
        "type 2: an unknown person has none until the order is reconciled"
    ),
    "Warning - Missing attribute or value that would be needed to build DICOMDIR - Study ID": (
        "type 2: it is the requested procedure's, and an unscheduled exam has none"
    ),
}


@pytest.fixture
def pair(exam, exposure, processing, presentation, context):
    return build_pair(exam, exposure, processing, presentation, context)


def written(dataset, folder):
    path = folder / "image.dcm"
    write(dataset, path)
    return path


def complaints(path):
    answer = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    lines = (answer.stdout + answer.stderr).splitlines()
    return [line for line in lines if line.startswith(("Error", "Warning"))]


@needs_dciodvfy
@pytest.mark.parametrize("which", [0, 1])
def test_the_validator_has_nothing_to_say(pair, tmp_path, which):
    path = written(pair[which], tmp_path)
    assert complaints(path) == []


@needs_dciodvfy
def test_the_validator_accepts_an_exam_of_which_little_is_known(
    exam, exposure, processing, presentation, context, tmp_path
):
    item = replace(
        exam.item,
        patient=Patient("", "", None, None),
        accession_number="",
        requested_procedure_id="",
        scheduled_step_id="",
        referring_physician="",
        side=Side.RIGHT,
    )
    context = replace(
        context, equipment=Equipment("", ""), exposure_index=None, calibrated_at=None, code=None
    )
    bare = build_pair(
        replace(exam, item=item),
        replace(exposure, delivered=None, dap_ugym2=None),
        replace(processing, scale_known=False),
        presentation,
        context,
    )
    for dataset in bare:
        assert set(complaints(written(dataset, tmp_path))) == set(EXPLAINED)


@needs_dciodvfy
def test_the_validator_would_notice(pair, tmp_path):
    del pair[0].ImageLaterality
    assert complaints(written(pair[0], tmp_path))


def test_pixels_come_back_as_they_were(pair, processing, presentation, tmp_path):
    linear = pydicom.dcmread(written(pair[0], tmp_path)).pixel_array
    assert np.array_equal(linear, np.maximum(np.rint(processing.pixels), 0))
    shown = pydicom.dcmread(written(pair[1], tmp_path)).pixel_array
    assert np.array_equal(shown, presentation.frame.pixels)


def test_the_stations_own_reader_understands_the_pair(pair, processing, tmp_path):
    frame = read_image(written(pair[0], tmp_path))
    assert (frame.stage, frame.signal) == (processing.stage, processing.signal)
    assert frame.spacing_mm == processing.spacing_mm
    assert read_image(written(pair[1], tmp_path)).stage is Stage.FOR_PRESENTATION


def test_a_file_is_little_endian_explicit_and_replaced_as_a_whole(pair, tmp_path):
    path = written(pair[0], tmp_path)
    written(pair[1], tmp_path)
    read = pydicom.dcmread(path)
    assert read.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert read.SOPInstanceUID == read.file_meta.MediaStorageSOPInstanceUID == pair[1].SOPInstanceUID
    assert [p.name for p in tmp_path.iterdir()] == ["image.dcm"]


def test_names_keep_their_letters(pair, tmp_path):
    read = pydicom.dcmread(written(pair[1], tmp_path))
    assert read.SpecificCharacterSet == "ISO_IR 192"
    assert str(read.PatientName) == "Łukasiewicz^Zoë"
    assert read.InstitutionName == "Haus für Knochen"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", "P-17"),
        ("PatientBirthDate", "19610504"),
        ("PatientSex", "F"),
        ("PatientAge", "064Y"),
        ("StudyInstanceUID", "2.25.11"),
        ("AccessionNumber", "ACC-9"),
        ("Modality", "DX"),
        ("ImageLaterality", "L"),
        ("BodyPartExamined", "HAND"),
        ("ViewPosition", "PA"),
        ("PatientOrientation", ["L", "H"]),
        ("IrradiationEventUID", "2.25.12"),
        ("KVP", 50.2),
        ("ExposureTime", 16),
        ("ExposureTimeInuS", 16040),
        ("XRayTubeCurrent", 100),
        ("XRayTubeCurrentInuA", 99600),
        ("Exposure", 2),
        ("ExposureInuAs", 1598),
        ("FocalSpots", 0.6),
        ("ImageAndFluoroscopyAreaDoseProduct", 0.24),  # 2.4 µGy·m² in dGy·cm²
        ("DistanceSourceToDetector", 1000),
        ("DistanceSourceToPatient", 985),
        ("ExposureIndex", 900),
        ("TargetExposureIndex", 1000),
        ("DeviationIndex", -0.46),
        ("DetectorType", "SCINTILLATOR"),
        ("DetectorID", "SIM-1"),
        ("DateOfLastDetectorCalibration", "20260228"),
        ("TimeOfLastDetectorCalibration", "235000.000000"),
        ("ImagerPixelSpacing", [0.1, 0.1]),
        ("PixelSpacingCalibrationType", "GEOMETRY"),
        ("Grid", "NONE"),
        ("PhotometricInterpretation", "MONOCHROME2"),
        ("PresentationLUTShape", "IDENTITY"),
        ("LossyImageCompression", "00"),
        ("BurnedInAnnotation", "NO"),
        ("ExposureControlMode", "MANUAL"),
        ("ExposureStatus", "NORMAL"),
        ("PerformedProcedureStepID", "SPS-1"),
    ],
)
def test_both_objects_carry(pair, tmp_path, keyword, value):
    for dataset in pair:
        assert pydicom.dcmread(written(dataset, tmp_path)).get(keyword) == value


@pytest.fixture
def ordered(exam):
    """The exam with an order that says everything, joined to it after it had its own study."""
    codes = (Coded("0750T", "C4", "site text"), Coded("HAND-DXR-OF-THIS-SITE", "99SITE", ""))
    item = replace(
        exam.item,
        reason="osteopenia, follow-up",
        procedure="DXR of the hand",
        step="Hand PA",
        codes=codes,
        requested_study_uid="2.25.777",
    )
    return replace(exam, item=item)


@pytest.fixture
def ordered_pair(ordered, exposure, processing, presentation, context):
    return build_pair(ordered, exposure, processing, presentation, context)


def test_the_order_is_said_in_the_request(ordered_pair, tmp_path):
    for dataset in ordered_pair:
        (request,) = pydicom.dcmread(written(dataset, tmp_path)).RequestAttributesSequence
        assert request.RequestedProcedureID == "RP-1"
        assert request.ScheduledProcedureStepID == "SPS-1"
        assert request.AccessionNumber == "ACC-9"
        assert request.RequestedProcedureDescription == "DXR of the hand"
        assert request.ReasonForTheRequestedProcedure == "osteopenia, follow-up"
        assert request.ScheduledProcedureStepDescription == "Hand PA"
        first, second = request.ScheduledProtocolCodeSequence
        assert (first.CodeValue, first.CodingSchemeDesignator) == ("0750T", "C4")
        assert (second.LongCodeValue, second.CodeMeaning) == ("HAND-DXR-OF-THIS-SITE",) * 2


def test_an_exam_keeps_its_study_and_names_the_orders_in_the_request(ordered_pair):
    for dataset in ordered_pair:
        assert dataset.StudyInstanceUID == "2.25.11"
        assert dataset.RequestAttributesSequence[0].StudyInstanceUID == "2.25.777"


def test_the_images_belong_to_the_performed_procedure_step_of_the_exam(
    exam, exposure, processing, presentation, context
):
    unscheduled = replace(exam, item=replace(exam.item, scheduled_step_id=""))
    for one in (exam, unscheduled):
        for dataset in build_pair(one, exposure, processing, presentation, context):
            (step,) = dataset.ReferencedPerformedProcedureStepSequence
            assert step.ReferencedSOPClassUID == "1.2.840.10008.3.1.2.3.3"
            assert step.ReferencedSOPInstanceUID == exam.uid_for("mpps")
            assert 0 < len(dataset.PerformedProcedureStepID) <= 16


@needs_dciodvfy
def test_the_validator_accepts_a_whole_order(ordered_pair, tmp_path):
    private = (
        "Warning - Unrecognized defined term <99SITE> for value 1 of attribute <Coding Scheme Designator>"
    )
    for dataset in ordered_pair:
        assert complaints(written(dataset, tmp_path)) == [private]  # the site's own scheme, as it ordered


@pytest.mark.parametrize("side", Side)
def test_the_thumb_lies_where_patient_orientation_says(
    exam, exposure, processing, presentation, context, side
):
    """PS3.17 Annex A: in the anatomic position a thumb points to its own side, and fingers to the feet."""
    phantom = HandPhantom(HandSpec(), Pose.parse(f"side={side.value},spread=1.5"))
    seen = find_hand(phantom.silhouette(Panel(300, 240, 1.0)))
    thumb, little = (seen.fingers[finger].tip_px[1] for finger in (1, 5))
    fingers, wrist = seen.fingers[3].tip_px[0], seen.fingers[3].base_px[0]
    ordered = replace(exam, item=replace(exam.item, side=side))
    for dataset in build_pair(ordered, exposure, processing, presentation, context):
        to_the_right, downwards = dataset.PatientOrientation
        assert (thumb > little) == (to_the_right == side.value)
        assert (wrist > fingers) == (downwards == "H")


def test_the_light_field_is_given_where_its_edges_are_in_the_image(
    exam, exposure, processing, presentation, context
):
    """At the panel, so without magnification; columns and rows count from 1 (PS3.3 C.8.7.3)."""
    whole = np.zeros((300, 240), np.float32)
    frame = replace(processing, pixels=whole, spacing_mm=(1.0, 1.0))
    picture = replace(presentation.frame, pixels=whole.astype(np.uint16), spacing_mm=(1.0, 1.0))
    for dataset in build_pair(exam, exposure, frame, replace(presentation, frame=picture), context):
        assert dataset.CollimatorShape == "RECTANGULAR"
        assert (dataset.CollimatorUpperHorizontalEdge, dataset.CollimatorLowerHorizontalEdge) == (11, 290)
        assert (dataset.CollimatorLeftVerticalEdge, dataset.CollimatorRightVerticalEdge) == (11, 230)
        assert list(dataset.ExposedArea) == [28, 22]
    for dataset in build_pair(exam, exposure, processing, presentation, context):
        assert "CollimatorShape" not in dataset


def test_an_exposure_that_was_cut_short_says_so(exam, exposure, processing, presentation, context):
    short = replace(exposure, delivered=replace(exposure.delivered, end=EndOfExposure.RELEASED))
    for dataset in build_pair(exam, short, processing, presentation, context):
        assert dataset.ExposureStatus == "ABORTED"


def test_a_meter_that_reads_zero_has_measured_nothing(exam, exposure, processing, presentation, context):
    for dataset in build_pair(exam, replace(exposure, dap_ugym2=0.0), processing, presentation, context):
        assert "ImageAndFluoroscopyAreaDoseProduct" not in dataset


def test_the_two_differ_in_what_their_pixels_mean(pair):
    linear, shown = pair
    assert (linear.PresentationIntentType, shown.PresentationIntentType) == (
        "FOR PROCESSING",
        "FOR PRESENTATION",
    )
    assert (linear.PixelIntensityRelationship, linear.PixelIntensityRelationshipSign) == ("LIN", 1)
    assert (shown.PixelIntensityRelationship, shown.PixelIntensityRelationshipSign) == ("LOG", -1)
    assert (linear.BitsStored, shown.BitsStored) == (16, 12)
    assert (shown.WindowCenter, shown.WindowWidth) == (1200.5, 2100)
    assert "WindowCenter" not in linear
    assert linear.SeriesInstanceUID != shown.SeriesInstanceUID


def test_the_picture_points_at_its_source(pair):
    linear, shown = pair
    (source,) = shown.SourceImageSequence
    assert (source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID) == (
        linear.SOPClassUID,
        linear.SOPInstanceUID,
    )
    (series,) = shown.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == linear.SeriesInstanceUID
    assert "black outside the field" in shown.DerivationDescription
    assert "ab" * 32 in linear.DetectorDescription


def test_times_are_in_the_exams_zone_and_say_so(pair):
    for dataset in pair:
        assert dataset.TimezoneOffsetFromUTC == "+0100"
        assert (dataset.StudyDate, dataset.StudyTime[:4]) == ("20260302", "2350")
        assert (dataset.AcquisitionDate, dataset.AcquisitionTime) == ("20260302", "235803.250000")


def test_a_second_run_makes_the_same_objects(exam, exposure, processing, presentation, context, pair):
    again = build_pair(exam, exposure, processing, presentation, context)
    assert again == pair
    other = build_pair(exam, replace(exposure, number=2), processing, presentation, context)
    assert len({d.SOPInstanceUID for d in (*pair, *other)}) == 4
    assert other[0].SeriesInstanceUID == pair[0].SeriesInstanceUID


def test_lengths_are_given_at_the_height_of_the_bone(pair):
    for dataset in pair:
        magnification = float(dataset.EstimatedRadiographicMagnificationFactor)
        assert magnification == pytest.approx(1000 / 985)
        assert [float(s) for s in dataset.PixelSpacing] == pytest.approx([0.1 * 0.985] * 2)
        assert "15 mm" in dataset.PixelSpacingCalibrationDescription


def test_without_a_known_scale_no_length_can_be_measured(exam, exposure, processing, presentation, context):
    for dataset in build_pair(exam, exposure, replace(processing, scale_known=False), presentation, context):
        assert "PixelSpacing" not in dataset
        assert "EstimatedRadiographicMagnificationFactor" not in dataset
        assert "must not be measured" in dataset.ImageComments


@pytest.mark.parametrize("delivered", [None, Delivered(50, 100, 16, 1.6, EndOfExposure.UNKNOWN)])
def test_a_technique_that_was_not_read_back_is_not_claimed(
    exam, exposure, processing, presentation, context, delivered
):
    for dataset in build_pair(
        exam, replace(exposure, delivered=delivered), processing, presentation, context
    ):
        assert not {"KVP", "ExposureTime", "XRayTubeCurrent", "Exposure", "ExposureInuAs"} & set(
            dataset.dir()
        )


def test_the_code_is_the_one_given_and_nothing_without_one(
    exam, exposure, processing, presentation, context, pair
):
    for dataset in pair:
        for sequence in (dataset.ProcedureCodeSequence, dataset.PerformedProtocolCodeSequence):
            assert [(i.CodeValue, i.CodingSchemeDesignator) for i in sequence] == [("0750T", "C4")]
    for dataset in build_pair(exam, exposure, processing, presentation, replace(context, code=None)):
        assert "ProcedureCodeSequence" not in dataset
        assert "PerformedProtocolCodeSequence" not in dataset


def test_a_saturated_level_beyond_16_bits_becomes_the_largest_number(
    exam, exposure, processing, presentation, context
):
    frame = replace(processing, pixels=processing.pixels.copy(), saturation=70000.0)
    frame.pixels[0, 0] = 70000
    linear, _ = build_pair(exam, exposure, frame, presentation, context)
    assert linear.pixel_array[0, 0] == 65535
    with pytest.raises(ValueError, match="16 bits"):
        build_pair(exam, exposure, replace(frame, saturation=None), presentation, context)


def test_refuses_frames_that_are_no_pair(exam, exposure, processing, presentation, context):
    cut = replace(presentation, frame=replace(presentation.frame, pixels=presentation.frame.pixels[1:]))
    bright = replace(
        presentation, frame=replace(presentation.frame, pixels=presentation.frame.pixels + np.uint16(9))
    )
    for message, first, second in (
        ("corrected dose", presentation.frame, presentation),
        ("rendered", processing, replace(presentation, frame=processing)),
        ("shape", processing, cut),
        ("spacing", replace(processing, spacing_mm=None), presentation),
        ("0-4095", processing, bright),
    ):
        with pytest.raises(ValueError, match=message):
            build_pair(exam, exposure, first, second, context)


def test_refuses_a_time_without_zone(exam, exposure, processing, presentation, context):
    naive = replace(exposure, started_at=datetime(2026, 3, 2, 12, 0))  # noqa: DTZ001  that is the case
    with pytest.raises(ValueError, match="time zone"):
        build_pair(exam, naive, processing, presentation, context)


@pytest.mark.parametrize(
    "facts",
    [
        {"station_name": "a name of 17 chars"},
        {"institution": "x" * 65},
        {"model": "a\\b"},
        {"focal_spot_mm": (0.0, 1.2)},
    ],
)
def test_refuses_equipment_facts_that_dicom_cannot_carry(facts):
    with pytest.raises(ValueError, match=r"equipment|focal"):
        Equipment(**{"institution": "I", "station_name": "S", **facts})
