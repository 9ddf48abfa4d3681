"""Performed procedure steps: what they say, and that a RIS which checks every attribute takes them."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpps_exams import (
    CHARGE,
    EQUIPMENT,
    OPENED_AT,
    RELEASE,
    an_exam,
    an_exposure,
    exams,
    made,
    objects_of,
    some_exposures,
    study_of,
)

from simulators.pacs.steps import AT_THE_END, ON_CREATE, Steps
from station.devices import EndOfExposure
from station.dicom import mpps
from station.exam import DISCONTINUATION_REASONS, Coded, Side, WorklistItem


@pytest.fixture
def exam():
    return an_exam()


@pytest.fixture
def exposure():
    return an_exposure()


# --- what they say --------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(exams, some_exposures, st.sampled_from(sorted(DISCONTINUATION_REASONS)), st.booleans())
def test_a_checking_ris_takes_every_step_to_its_end(exam, exposures, reason, finished):
    ris = Steps()
    status, _ = ris.create("2.25.1", mpps.created(exam, EQUIPMENT, "DXR1"))
    assert status.Status == 0, ris.complaints()
    if finished:
        last = mpps.completed(study_of(exam, exposures), objects_of(exam))
    else:
        last = mpps.discontinued(exam, reason, OPENED_AT, exposures)
    status, _ = ris.set("2.25.1", last)
    assert status.Status == 0, ris.complaints()
    assert ris.all()["2.25.1"].status == ("COMPLETED" if finished else "DISCONTINUED")


@settings(max_examples=60)
@given(exams, some_exposures, st.booleans(), st.sampled_from(["none", "code", "charge"]))
def test_a_charge_is_only_on_a_completed_step_and_only_where_one_was_given(exam, exposures, finished, told):
    assert mpps.created(exam, EQUIPMENT, "DXR1").BillingProcedureStepSequence == []
    code = None if told == "none" else CHARGE
    study = study_of(exam, exposures, RELEASE, code)
    charge = CHARGE if told == "charge" else None
    step = mpps.completed(study, objects_of(exam), charge=charge)
    if not finished:
        step = mpps.discontinued(exam, "110513", OPENED_AT, exposures, objects_of(exam))
    billed = [
        (c.CodeValue, c.CodingSchemeDesignator, c.CodeMeaning)
        for c in step.get("BillingProcedureStepSequence", [])
    ]
    expected = [("0750T", "C4", CHARGE.meaning)] if finished and told == "charge" else []
    assert billed == expected


def test_what_was_performed_is_what_the_objects_say_and_never_merely_what_was_ordered(exam, exposure):
    ordered = replace(exam, item=replace(exam.item, codes=(Coded("0750T", "C4", "ordered"),)))
    refused = mpps.completed(study_of(ordered, (exposure,)), objects_of(ordered))
    assert "ProcedureCodeSequence" not in refused
    assert "PerformedProtocolCodeSequence" not in refused
    measured = mpps.completed(study_of(ordered, (exposure,), code=CHARGE), objects_of(ordered))
    for performed in (measured.ProcedureCodeSequence, measured.PerformedProtocolCodeSequence):
        assert [code.CodeMeaning for code in performed] == [CHARGE.meaning]


def test_a_charge_needs_a_release_and_must_be_what_the_objects_say(exam, exposure):
    with pytest.raises(ValueError, match="needs a person's release"):
        mpps.completed(study_of(exam, (exposure,), None, CHARGE), objects_of(exam), charge=CHARGE)
    with pytest.raises(ValueError, match="not the code that the objects carry"):
        mpps.completed(study_of(exam, (exposure,), RELEASE, None), objects_of(exam), charge=CHARGE)


def test_the_same_exam_gives_the_same_step_again(exam, exposure, tmp_path):
    study = study_of(exam, (exposure,), RELEASE, CHARGE)
    for name in ("a", "b"):
        mpps.write(mpps.created(exam, EQUIPMENT, "DXR1"), tmp_path / f"{name}-create")
        mpps.write(mpps.completed(study, objects_of(exam), charge=CHARGE), tmp_path / f"{name}-set")
    for action in ("create", "set"):
        assert (tmp_path / f"a-{action}").read_bytes() == (tmp_path / f"b-{action}").read_bytes()


def test_an_emergency_has_no_scheduled_step_but_an_id_of_its_own(exam):
    item = WorklistItem("", exam.item.patient, Side.LEFT, "0750T", "2.25.11")
    step = mpps.created(replace(exam, item=item), EQUIPMENT, "DXR1")
    order = step.ScheduledStepAttributesSequence[0]
    assert order.StudyInstanceUID == "2.25.11"
    assert not order.ScheduledProcedureStepID
    assert not order.RequestedProcedureID
    assert order.ScheduledProtocolCodeSequence == []
    assert 1 <= len(step.PerformedProcedureStepID) <= 16
    assert mpps.created(exam, EQUIPMENT, "DXR1").PerformedProcedureStepID == "SP-1"


def test_an_exam_joined_to_its_order_later_names_both_studies(exam):
    joined = replace(exam, item=replace(exam.item, requested_study_uid="2.25.77"))
    order = mpps.created(joined, EQUIPMENT, "DXR1").ScheduledStepAttributesSequence[0]
    assert order.StudyInstanceUID == "2.25.11"
    assert [study.ReferencedSOPInstanceUID for study in order.ReferencedStudySequence] == ["2.25.77"]


def test_every_object_is_named_once_in_its_series(exam, exposure):
    step = mpps.completed(study_of(exam, (exposure,)), objects_of(exam), retrieve_ae_title="PACS")
    named = {
        series.SeriesInstanceUID: (
            [image.ReferencedSOPInstanceUID for image in series.ReferencedImageSequence],
            [one.ReferencedSOPInstanceUID for one in series.ReferencedNonImageCompositeSOPInstanceSequence],
        )
        for series in step.PerformedSeriesSequence
    }
    assert named == {
        "2.25.31": (["2.25.311", "2.25.312"], []),
        "2.25.32": (["2.25.321"], []),
        "2.25.33": ([], ["2.25.331"]),
    }
    assert {series.RetrieveAETitle for series in step.PerformedSeriesSequence} == {"PACS"}


def test_an_object_of_another_study_and_an_exam_without_objects_are_refused(exam, exposure):
    stranger = made(exam, "2.25.31", "2.25.311", image=True)
    stranger.StudyInstanceUID = "2.25.99"
    with pytest.raises(ValueError, match=r"belongs to another study, 2\.25\.99"):
        mpps.completed(study_of(exam, (exposure,)), [stranger])
    with pytest.raises(ValueError, match="discontinue it"):
        mpps.completed(study_of(exam, (exposure,)), [])


def test_the_dose_of_all_exposures_is_summed_in_dgy_cm2(exam, exposure):
    exposures = (exposure, replace(exposure, number=2, dap_ugym2=3.1))
    step = mpps.completed(study_of(exam, exposures), objects_of(exam))
    assert step.TotalNumberOfExposures == 2
    assert float(step.ImageAndFluoroscopyAreaDoseProduct) == pytest.approx(0.55)  # 5.5 µGy·m²
    assert [float(dose.XRayTubeCurrentInuA) for dose in step.ExposureDoseSequence] == [99600, 99600]
    assert [int(dose.ExposureTime) for dose in step.ExposureDoseSequence] == [10, 10]
    assert "CommentsOnRadiationDose" not in step


def test_a_dose_that_is_not_wholly_known_is_not_summed_but_said(exam, exposure):
    silent = replace(exposure, number=2, delivered=None, dap_ugym2=None)
    idle = replace(exposure, number=3, delivered=replace(exposure.delivered, end=EndOfExposure.NOT_STARTED))
    step = mpps.discontinued(exam, "110501", OPENED_AT, (exposure, silent, idle))
    assert step.TotalNumberOfExposures == 2  # without radiation there is no exposure
    assert "ImageAndFluoroscopyAreaDoseProduct" not in step
    assert len(step.ExposureDoseSequence) == 1
    assert (
        step.CommentsOnRadiationDose
        == "delivery of exposure 2 unknown; dose area product of exposure 2 unknown"
    )


def test_a_reason_that_is_none_is_refused_with_those_there_are(exam):
    with pytest.raises(ValueError, match="110512 Incorrect side ordered"):
        mpps.discontinued(exam, "110599", OPENED_AT)
    reason = mpps.discontinued(
        exam, "110512", OPENED_AT
    ).PerformedProcedureStepDiscontinuationReasonCodeSequence[0]
    assert (reason.CodeValue, reason.CodingSchemeDesignator) == ("110512", "DCM")


# --- a RIS that checks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("keyword", sorted(ON_CREATE))
def test_every_missing_mandatory_attribute_is_complained_of(exam, keyword):
    step = mpps.created(exam, EQUIPMENT, "DXR1")
    delattr(step, keyword)
    ris = Steps()
    status, _ = ris.create("2.25.1", step)
    assert status.Status == 0x0120
    assert ris.complaints() == [f"0120H {keyword} (type {ON_CREATE[keyword]}) is missing"]
    assert ris.all() == {}


@pytest.mark.parametrize("keyword", sorted(name for name, kind in ON_CREATE.items() if kind == 1))
def test_every_empty_attribute_of_type_1_is_complained_of(exam, keyword):
    step = mpps.created(exam, EQUIPMENT, "DXR1")
    setattr(step, keyword, None)
    ris = Steps()
    status, _ = ris.create("2.25.1", step)
    assert status.Status == 0x0121, ris.complaints()


@pytest.mark.parametrize("keyword", sorted(AT_THE_END))
def test_a_step_cannot_end_without_what_its_end_needs(exam, exposure, keyword):
    ris = Steps()
    ris.create("2.25.1", mpps.created(exam, EQUIPMENT, "DXR1"))
    last = mpps.completed(study_of(exam, (exposure,)), objects_of(exam))
    delattr(last, keyword)
    status, _ = ris.set("2.25.1", last)
    assert (status.Status, ris.complaints()) == (0x0121, [f"0121H {keyword} (type 1) is empty"])
    assert ris.all()["2.25.1"].status == "IN PROGRESS"


def test_what_was_not_created_or_must_not_change_cannot_be_set(exam, exposure):
    ris = Steps()
    first = mpps.created(exam, EQUIPMENT, "DXR1")
    del first.BillingProcedureStepSequence
    ris.create("2.25.1", first)
    last = mpps.completed(study_of(exam, (exposure,), RELEASE, CHARGE), objects_of(exam), charge=CHARGE)
    assert ris.set("2.25.1", last)[0].Status == 0x0105
    last = mpps.completed(study_of(exam, (exposure,)), objects_of(exam))
    last.PatientID = "P2"
    assert ris.set("2.25.1", last)[0].Status == 0x0105
    assert [text.split()[1:] for text in ris.complaints()] == [
        ["BillingProcedureStepSequence", "was", "not", "created"],
        ["PatientID", "may", "not", "be", "set"],
    ]
