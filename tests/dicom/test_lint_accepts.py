"""What can happen in an exam is no contradiction: a lint that cries wolf keeps good images back."""

from dataclasses import replace
from datetime import UTC, date, timedelta, timezone

import pytest
from whole import objects_of, study_of

from station.devices import Delivered, EndOfExposure
from station.dicom.lint import problems
from station.exam import Coded, Patient, Sex, Side
from station.study import Equipment


@pytest.fixture(scope="session")
def known(make_study, exposure, context):
    return study_of(make_study, exposure, context)


def ordered(**changes):
    return lambda study: replace(study, exam=replace(study.exam, item=replace(study.exam.item, **changes)))


def exposed(**changes):
    return lambda study: replace(
        study, exposures=(study.exposures[0], replace(study.exposures[1], **changes))
    )


def right(study):
    study = ordered(side=Side.RIGHT, procedure="hand left or right")(study)
    return replace(study, result=replace(study.result, side=Side.RIGHT))


def relative(study):
    bones = tuple(replace(bone, t_mm=None, w_mm=None, vpa_cm=None) for bone in study.result.bones)
    nothing = dict.fromkeys(("t_mm", "w_mm", "vpa_cm", "bmd_g_cm2", "bhi", "porosity", "t_score", "z_score"))
    result = replace(study.result, scale="relative", bones=bones, triage=None, hazards=(), **nothing)
    return replace(study, result=result)


def opened(**changes):
    return lambda study: replace(study, exam=replace(study.exam, **changes))


def at_zone(zone):
    return lambda study: opened(opened_at=study.exam.opened_at.astimezone(zone))(study)


ORDER = {
    "requested_study_uid": "2.25.4711",
    "codes": (Coded("HAND-DXR", "99SITE", "both hands"), Coded("73120", "C4", "site text")),
    "reason": "fall on the right hand",
}
VARIANTS = {
    "right": right,
    "without a scale": relative,
    "nobody known": ordered(
        patient=Patient("", "", None, None), accession_number="", requested_procedure_id=""
    ),
    "name in three scripts": ordered(
        patient=Patient("P-1", "Yamada^Tarou=山田^太郎=やまだ^たろう", date(1950, 2, 28), Sex.MALE)
    ),
    "one word": ordered(patient=Patient("P-2", "Person", date(2026, 3, 2), None)),
    "an order with codes of its own": ordered(**ORDER),
    "no charge": lambda study: replace(study, code=None),
    "no index": lambda study: replace(study, indices={1: study.indices[1]}),
    "no dose meter": exposed(dap_ugym2=None),
    "silent generator": exposed(delivered=None),
    "ended early": exposed(delivered=Delivered(50.1, 99.0, 7.0, 0.7, EndOfExposure.RELEASED)),
    "bare equipment": lambda study: replace(study, equipment=Equipment("", ""), calibrated_at=None),
    "greenwich": at_zone(UTC),
    "west": at_zone(timezone(-timedelta(hours=3, minutes=30))),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_can_happen_is_no_contradiction(known, processing, presentation, context, variant):
    study = VARIANTS[variant](known)
    settings = replace(context, equipment=study.equipment, calibrated_at=study.calibrated_at, code=study.code)
    frame = replace(processing, scale_known=study.result.scale == "absolute")
    indexed = replace(settings, exposure_index=study.indices.get(2))
    objects = list(objects_of(study, frame, presentation, settings, indexed).values())
    now = study.made_at + timedelta(seconds=1)
    assert problems(objects, study.exam, now=now) == ()
    assert problems(objects, now=now) == ()


def test_a_clock_that_was_set_back_keeps_no_image_from_the_archive(known, processing, presentation, context):
    """Without the exam nobody knows whose clock it was, and it is told."""
    back = timedelta(hours=1)
    exposures = tuple(replace(each, started_at=each.started_at - back) for each in known.exposures)
    for study in (replace(known, exposures=exposures), replace(known, made_at=known.made_at - back)):
        objects = list(objects_of(study, processing, presentation, context).values())
        assert problems(objects, study.exam) == ()
        assert {reason.id for reason in problems(objects)} == {"dicom-date"}
