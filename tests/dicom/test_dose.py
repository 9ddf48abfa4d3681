"""The dose report against the templates, the public validators, and the exposures it was made from."""

import subprocess
from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from validators import complaints, needs_dciodvfy, needs_dsrdump

from station.devices import Delivered, EndOfExposure, FocalSpot, Technique
from station.dicom import dose
from station.dicom.image import build_pair
from station.dicom.modules import write
from station.exam import REJECTION_REASONS, Exposure, Patient, Rejection, Side
from station.study import Equipment

# The fixtures that are given are factories and frozen values: nothing of one example reaches the next.
pure = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# Rows of PS3.16 that are mandatory here, read out of PixelMed's SR validator of 2022.
ROOT = ["121058", "121005", "121012", "113705", "113702", "113706", "113854", "122142"]
ROOT += ["113945", "113943", "113944"]
TOTALS = ["113764", "113722", "113725", "113780"]
EVENT = ["113764", "113769", "111526", "113721", "123014", "122130"]  # TID 10003
EVENT += ["113738", "113780", "113768", "113733", "113734", "113824", "113736"]  # TID 10003B


def children(item, value):
    below = item.get("ContentSequence", [])
    return [child for child in below if child.ConceptNameCodeSequence[0].CodeValue == value]


def only(item, value):
    (child,) = children(item, value)
    return child


def coded_value(item):
    return item.ConceptCodeSequence[0].CodeValue


def number(item, value):
    """What a NUM says, with its unit; None where it says that the value is unknown."""
    child = only(item, value)
    if not child.MeasuredValueSequence:
        assert child.NumericValueQualifierCodeSequence[0].CodeValue == "114010"
        return None
    (measured,) = child.MeasuredValueSequence
    unit = measured.MeasurementUnitsCodeSequence[0]
    assert unit.CodingSchemeDesignator == "UCUM"
    return float(measured.NumericValue), unit.CodeValue


def events(report):
    return children(report, "113706")


def comments(item):
    return " ".join(child.TextValue for child in children(item, "121106"))


ENDS = st.sampled_from([end for end in EndOfExposure if end is not EndOfExposure.NOT_STARTED])
DELIVERED = st.builds(
    Delivered, st.floats(40, 70), st.floats(10, 200), st.floats(0.5, 100), st.floats(0.05, 20), ENDS
)
EXPOSURES = st.lists(
    st.builds(
        Exposure,
        uid=st.uuids().map(lambda one: f"2.25.{one.int}"),
        number=st.just(0),
        requested=st.builds(Technique, st.floats(40, 70), st.floats(10, 200), st.floats(0.5, 100)),
        started_at=st.just(None),
        sid_mm=st.floats(500, 2000),
        delivered=st.none() | DELIVERED,
        dap_ugym2=st.none() | st.floats(0.01, 100),
        image=st.booleans(),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda one: one.uid,
)


def numbered(found, exam):
    started = [exam.opened_at + timedelta(minutes=n) for n in range(len(found))]
    return tuple(
        replace(one, number=n, started_at=at)
        for n, (one, at) in enumerate(zip(found, started, strict=True), 1)
    )


@pure
@given(EXPOSURES)
def test_every_event_says_what_was_delivered_and_what_is_unknown(make_study, exam, found):
    exposures = numbered(found, exam)
    report = dose.build(make_study(exposures=exposures, indices={}))
    assert len(events(report)) == len(exposures)
    for event, exposure in zip(events(report), exposures, strict=True):
        assert exposure.uid == only(event, "113769").UID
        unknown = exposure.delivered is None or exposure.delivered.end is EndOfExposure.UNKNOWN
        technique = exposure.requested if unknown else exposure.delivered
        assert number(event, "113733") == (pytest.approx(technique.kvp, rel=1e-6), "kV")
        assert number(event, "113734") == (pytest.approx(technique.ma, rel=1e-6), "mA")
        assert number(event, "113824") == (pytest.approx(technique.ms, rel=1e-6), "ms")
        assert number(event, "113736") == (pytest.approx(technique.mas * 1000, rel=1e-6), "uA.s")
        assert number(event, "113750") == (pytest.approx(exposure.sid_mm, rel=1e-6), "mm")
        assert ("assumed" in comments(event)) == unknown
        assert ("No image" in comments(event)) == (not exposure.image)


@pure
@given(EXPOSURES)
def test_the_total_is_the_sum_of_the_events_or_unknown(make_study, exam, found):
    exposures = numbered(found, exam)
    report = dose.build(make_study(exposures=exposures))
    products = [number(event, "122130") for event in events(report)]
    assert [product is None for product in products] == [one.dap_ugym2 is None for one in exposures]
    total = number(only(report, "113702"), "113722")
    known = [one.dap_ugym2 for one in exposures if one.dap_ugym2 is not None]
    if len(known) == len(exposures):
        assert total == (pytest.approx(sum(known) * 1e-6, rel=1e-5), "Gy.m2")
        assert comments(report) == ""
    else:
        assert total is None
        assert ("at least" if known else "not measured") in comments(report)


def test_a_meter_that_reads_zero_has_measured_nothing(make_study, exposure):
    report = dose.build(make_study(exposures=(replace(exposure, dap_ugym2=0.0),)))
    assert number(events(report)[0], "122130") is None
    assert number(only(report, "113702"), "113722") is None


@pytest.mark.parametrize("code", REJECTION_REASONS)
def test_a_rejected_exposure_counts_with_its_reason(make_study, exposure, code):
    again = replace(exposure, number=2, uid="2.25.13")
    study = make_study(exposures=(exposure, again), rejections={1: Rejection(code, "Test^Person")})
    rejected, kept = (only(event, "130503") for event in events(dose.build(study)))
    assert coded_value(rejected) == "373066001"
    assert coded_value(only(rejected, "130504")) == code
    assert coded_value(kept) == "373067005"
    assert not children(kept, "130504")


def test_what_did_not_radiate_is_no_event(make_study, exposure):
    refused = replace(
        exposure, number=2, uid="2.25.13", delivered=Delivered(50, 100, 0, 0, EndOfExposure.NOT_STARTED)
    )
    report = dose.build(make_study(exposures=(refused, exposure)))
    assert [only(event, "113769").UID for event in events(report)] == [exposure.uid]
    assert number(only(report, "113702"), "113731") == (1, "1")
    with pytest.raises(ValueError, match="no exposure released radiation"):
        dose.build(make_study(exposures=(refused,)))


def test_a_shortened_exposure_says_why(make_study, exposure):
    short = replace(exposure, delivered=replace(exposure.delivered, end=EndOfExposure.RELEASED))
    assert "released early" in comments(events(dose.build(make_study(exposures=(short,))))[0])


def test_every_mandatory_row_of_the_templates_is_there(study):
    report = dose.build(study)
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "10001"
    for item, rows in ((report, ROOT), (only(report, "113702"), TOTALS), (events(report)[0], EVENT)):
        missing = [row for row in rows if not children(item, row)]
        assert missing == []
    assert coded_value(only(only(report, "121058"), "363703001")) == "261004008"


def test_the_scope_is_the_performed_procedure_step_of_the_exam(study, exam):
    report = dose.build(study)
    scope = only(report, "113705")
    assert coded_value(scope) == "113016"
    assert exam.uid_for("mpps") == only(scope, "121126").UID
    (step,) = report.ReferencedPerformedProcedureStepSequence
    assert step.ReferencedSOPInstanceUID == exam.uid_for("mpps")


@pytest.mark.parametrize(("side", "code"), [(Side.LEFT, "7771000"), (Side.RIGHT, "24028007")])
def test_the_target_is_a_hand_of_the_ordered_side(make_study, exam, side, code):
    report = dose.build(make_study(exam=replace(exam, item=replace(exam.item, side=side))))
    target = only(events(report)[0], "123014")
    assert coded_value(target) == "85562004"
    assert coded_value(only(target, "272741003")) == code


def test_the_exposure_index_is_that_of_the_image(study):
    event = events(dose.build(study))[0]
    assert [number(event, code) for code in ("113845", "113846", "113847")] == [
        (900, "1"),
        (1000, "1"),
        (-0.46, "1"),
    ]


def test_the_focal_spot_is_that_of_the_exposure(make_study, exposure):
    for spot, size_mm in ((FocalSpot.SMALL, 0.6), (FocalSpot.LARGE, 1.2)):
        used = replace(exposure, requested=replace(exposure.requested, focal_spot=spot))
        event = events(dose.build(make_study(exposures=(used,))))[0]
        assert number(event, "113766") == (size_mm, "mm")


def test_times_are_in_the_exams_zone(study):
    assert only(events(dose.build(study))[0], "111526").DateTime == "20260302235803.250000"


@pytest.fixture
def pair(exam, exposure, processing, presentation, context):
    return build_pair(exam, exposure, processing, presentation, context)


def test_the_written_images_stand_beside_their_event(study, pair):
    report = dose.build(study, pair)
    acquired = children(events(report)[0], "113795")
    named = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in acquired]
    assert named == [image.SOPInstanceUID for image in pair]
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    listed = [
        item.ReferencedSOPInstanceUID
        for series in evidence.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
    assert sorted(listed) == sorted(named)


def test_refuses_an_image_of_no_event_of_the_exam(study, pair):
    pair[0].IrradiationEventUID = "2.25.1"
    with pytest.raises(ValueError, match="no irradiation event"):
        dose.build(study, pair)


def test_a_second_run_makes_the_same_report(study, pair):
    assert dose.build(study, pair) == dose.build(study, pair)


@needs_dciodvfy
def test_the_validator_has_nothing_to_say(study, pair, tmp_path):
    assert complaints(dose.build(study, pair), tmp_path) == []


@needs_dciodvfy
def test_the_validator_accepts_events_of_which_little_is_known(make_study, exam, exposure, tmp_path):
    item = replace(exam.item, requested_procedure_id="RP-1", patient=Patient("P", "Test^Person", None, None))
    unknown = replace(exposure, delivered=None, dap_ugym2=None, image=False)
    study = make_study(
        exam=replace(exam, item=item),
        equipment=Equipment("", "", anode_material="", grid=""),
        exposures=(unknown, replace(exposure, number=2, uid="2.25.13")),
        rejections={1: Rejection("111213", "")},
        indices={},
        code=None,
    )
    assert complaints(dose.build(study), tmp_path) == []


@needs_dsrdump
@pytest.mark.parametrize("hours", [0, 1, -5])
def test_another_toolkit_reads_the_whole_tree_in_any_zone(study, pair, tmp_path, hours):
    path = tmp_path / "dose.dcm"
    there = study.exam.opened_at.astimezone(timezone(timedelta(hours=hours)))
    write(dose.build(replace(study, exam=replace(study.exam, opened_at=there)), pair), path)
    answer = subprocess.run(["dsrdump", str(path)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0
    for line in ('"Irradiation Event UID")="2.25.12"', '"Dose Area Product Total")="2.4e-06" (Gy.m2,UCUM'):
        assert line in answer.stdout
    assert "invalid" not in answer.stderr.lower()
