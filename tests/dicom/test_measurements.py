import subprocess
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta

import highdicom
import pytest
from validators import complaints, needs_dciodvfy, needs_dsrdump

from station.codes import SCHEME, quantities, term
from station.dicom.image import build_pair
from station.dicom.lint.seen import below, children
from station.dicom.measurements import build, read
from station.dicom.modules import write
from station.exam import Patient, Release, Side
from station.result import AbsoluteRisk, Range, Reason, Refused
from station.statements import PRELIMINARY
from station.study import Equipment

# Every message of the validator that is accepted, with its reason.
EXPLAINED = {
    "Warning - Unrecognized defined term <99DXR> for value 1 of attribute <Coding Scheme Designator>": (
        "the private scheme, declared in the object"
    ),
    "Warning - Unrecognized defined term <2.25.312940866565274731761371152259503708403> for value 1 of "
    "attribute <Coding Scheme UID>": "the private scheme has a UID of its own",
    "Warning - Missing attribute or value that would be needed to build DICOMDIR - Patient ID": (
        "type 2: an unknown person has none until the order is reconciled"
    ),
    "Warning - Missing attribute or value that would be needed to build DICOMDIR - Study ID": (
        "type 2: it is the requested procedure's, and an unscheduled exam has none"
    ),
}


@pytest.fixture(scope="session")
def image(exam, exposure, processing, presentation, context):
    return build_pair(exam, exposure, processing, presentation, context)[0]


@pytest.fixture(scope="session")
def report(study, image):
    return build(study, image)


@pytest.fixture(scope="session")
def released(make_study, study, image):
    release = Release("Demo^Physician", study.made_at + timedelta(minutes=9), physician=True)
    return build(make_study(release=release), image)


def relative(result):
    """The same hand without a scale."""
    bones = tuple(
        replace(bone, t_mm=None, w_mm=None, vpa_cm=None, length_mm=None, bhi=None) for bone in result.bones
    )
    nothing = dict.fromkeys(
        ("t_mm", "w_mm", "vpa_cm", "bmd_g_cm2", "porosity", "t_score", "z_score", "bhi", "triage")
    )
    nothing |= dict.fromkeys(("bmd_constant_g_cm3", "bmd_constant_source", "porosity_u95"))
    return replace(result, scale="relative", roi_mode="scaled", bones=bones, hazards=(), **nothing)


def texts(dataset, key):
    return [str(item.TextValue) for item in below(dataset, (term(key).value, SCHEME))]


@needs_dciodvfy
@pytest.mark.parametrize("which", ["report", "released"])
def test_the_validator_has_nothing_unexplained_to_say(request, which, tmp_path):
    assert set(complaints(request.getfixturevalue(which), tmp_path)) <= set(EXPLAINED)


@needs_dciodvfy
def test_the_validator_accepts_an_exam_of_which_little_is_known(make_study, measured, image, tmp_path):
    item = replace(
        make_study().exam.item,
        patient=Patient("", "", None, None),
        accession_number="",
        requested_procedure_id="",
        scheduled_step_id="",
        referring_physician="",
        side=Side.RIGHT,
    )
    study = make_study(
        exam=replace(make_study().exam, item=item),
        equipment=Equipment("", "DXR1"),
        result=relative(replace(measured, side=Side.RIGHT)),
        code=None,
    )
    assert set(complaints(build(study, image), tmp_path)) <= set(EXPLAINED)


@needs_dciodvfy
def test_the_validator_would_notice(report, tmp_path):
    spoiled = deepcopy(report)
    del spoiled.CompletionFlag
    assert not set(complaints(spoiled, tmp_path)) <= set(EXPLAINED)


@needs_dsrdump
def test_a_public_reader_prints_the_report(released, tmp_path):
    write(released, tmp_path / "report.dcm")
    done = subprocess.run(
        ["dsrdump", "+Pl", str(tmp_path / "report.dcm")], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if "Specific Character Set: ISO_IR 192" not in line]
    assert (done.returncode, said) == (0, [])  # this version checks no UTF-8
    for said in ("DXR bone mineral density", "0.5311", "g/cm2", "Third metacarpal", "Demo^Physician"):
        assert said in done.stdout


def test_another_library_reads_every_number_with_its_unit(report, measured):
    read_back = highdicom.sr.ComprehensiveSR.from_dataset(report)
    groups = read_back.content.get_image_measurement_groups()
    found = [
        (item.name.value, item.value, item.unit.value)
        for group in groups
        for item in group.get_measurements()
    ]
    expected = [
        (one.term.public.value if one.term.public else one.term.value, one.value, one.term.unit)
        for one in quantities(measured)
    ]
    assert found == expected
    assert len(found) > 40
    assert {group.finding_sites[0].laterality.value for group in groups} == {"7771000"}
    assert [group.tracking_identifier for group in groups] == [
        "hand",
        "metacarpal 2",
        "metacarpal 3",
        "metacarpal 4",
    ]


def test_every_uncertainty_is_given_on_both_sides_in_the_unit_of_its_value(report, measured):
    for group in below(report, ("125007", "DCM")):
        for item in group.ContentSequence:
            if item.ValueType != "NUM":
                continue
            unit = item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue
            above, beneath = (children(item, (code, "SCT")) for code in ("371886008", "371885007"))
            assert len(above) == len(beneath) <= 1
            for spread in (*above, *beneath):
                assert spread.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == unit
    (bmd,) = below(report, (term("bmd").value, SCHEME))
    (above,) = children(bmd, ("371886008", "SCT"))
    assert above.MeasuredValueSequence[0].FloatingPointValue == measured.bmd_g_cm2.u95


def test_a_second_run_makes_the_same_bytes(study, image, report, tmp_path):
    for name, dataset in (("first", report), ("second", build(study, image))):
        write(dataset, tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_it_is_preliminary_until_a_physician_releases_it(make_study, study, report, released, image):
    charged = build(make_study(release=Release("Demo^Technologist", study.made_at)), image)
    assert charged == report
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert texts(report, "wording") == [PRELIMINARY]
    assert (released.PreliminaryFlag, released.VerificationFlag) == ("FINAL", "VERIFIED")
    (observer,) = released.VerifyingObserverSequence
    assert observer.VerifyingObserverName == "Demo^Physician"
    assert observer.VerificationDateTime == "20260303001100.000000"
    assert "Demo^Physician" in texts(released, "wording")[0]


def test_the_released_report_replaces_the_preliminary_one_and_both_stay(report, released):
    assert report.SOPInstanceUID != released.SOPInstanceUID
    assert report.SeriesInstanceUID == released.SeriesInstanceUID
    (predecessor,) = (
        released.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    )
    assert predecessor.ReferencedSOPInstanceUID == report.SOPInstanceUID
    assert "PredecessorDocumentsSequence" not in report


def test_a_name_of_one_word_can_release(make_study, study, image):
    release = Release("Physician", study.made_at, physician=True)
    assert build(make_study(release=release), image).VerificationFlag == "VERIFIED"


def test_nothing_measured_is_no_report(make_study, image):
    for result in (None, Refused((Reason("no-hand", "no hand", "place it"),))):
        with pytest.raises(ValueError, match="measured"):
            build(make_study(result=result), image)


def test_without_a_scale_only_ratios_are_reported(make_study, measured, image):
    dataset = build(make_study(result=relative(measured)), image)
    groups = highdicom.sr.ComprehensiveSR.from_dataset(dataset).content.get_image_measurement_groups()
    units = {item.unit.value for group in groups for item in group.get_measurements()}
    assert units <= {"1", "mm2", "mm3", "mm4"}  # of the sample's strength, which knows its scale
    assert texts(dataset, "scale") == ["relative"]
    assert texts(dataset, "reference") == texts(dataset, "constant_source") == texts(dataset, "hazard") == []
    assert read(dataset)["dxr"]["bmd_g_cm2"] is None


def test_band_and_risk_cannot_be_read_without_caveats_and_ranges(make_study, measured, image):
    risk = AbsoluteRisk("hip", Range(4.1, 2.2, 7.3), "table@1", 3.9, "people of one country")
    dataset = build(make_study(result=replace(measured, absolute_risks=(risk,))), image)
    (band,) = texts(dataset, "triage")
    assert all(caveat in band for caveat in measured.triage.caveats)
    (hazard,) = texts(dataset, "hazard")
    assert "1.05 times (0.82-1.31)" in hazard
    assert "1.8 (1.5-2.5) per SD" in hazard
    (absolute,) = texts(dataset, "risk")
    assert absolute.startswith("research only")
    assert "4.1 % (2.2-7.3)" in absolute


def test_density_names_its_constant_and_scores_their_population(report):
    (bmd,) = below(report, (term("bmd").value, SCHEME))
    (constant,) = children(bmd, (term("constant").value, SCHEME))
    assert constant.MeasuredValueSequence[0].NumericValue == 1.315
    for name in ((term("t_score").value, SCHEME), ("113071", "DCM")):
        (score,) = below(report, name)
        (population,) = children(score, ("121405", "DCM"))
        assert population.TextValue == "sectra-consistent-derived@1 (derived)"
    assert texts(report, "constant_status") == ["derived"]
    assert texts(report, "note") == ["pixel-coarse: the pixels are coarse → Prefer full resolution."]


@pytest.mark.parametrize(("code", "said"), [(True, ("0750T", "C4")), (False, ("363679005", "SCT"))])
def test_the_procedure_reported_is_the_one_that_billing_decided(make_study, image, code, said):
    study = make_study() if code else make_study(code=None)
    dataset = build(study, image)
    (procedure,) = children(dataset, ("121058", "DCM"))
    (value,) = procedure.ConceptCodeSequence
    assert (value.CodeValue, value.CodingSchemeDesignator) == said
    assert len(dataset.PerformedProcedureCodeSequence) == int(code)
