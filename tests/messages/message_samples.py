"""A measured hand, its protocol, and who releases it, as the messages get them."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

from station.billing import Facts, code_for
from station.devices import Delivered, EndOfExposure, Technique
from station.exam import Coded, Exam, Exposure, Patient, Release, Sex, Side, WorklistItem
from station.protocols import load_protocol
from station.result import (
    AbsoluteRisk,
    Bone,
    DxrResult,
    Hazard,
    Measurement,
    Range,
    Reason,
    Refused,
    Strength,
    Triage,
)
from station.study import Equipment, Study

OPENED_AT = datetime(2026, 3, 2, 23, 50, tzinfo=timezone(timedelta(hours=1)))
STARTED_AT = datetime(2026, 3, 2, 22, 58, 3, 250000, tzinfo=UTC)
RELEASED_AT = OPENED_AT + timedelta(minutes=20)
PROTOCOL = load_protocol()
OPERATOR = Release("Demo^Operator", RELEASED_AT)
PHYSICIAN = Release("Test^Physician^^Dr.", RELEASED_AT, physician=True)
REFUSED = Refused((Reason("no-hand", "no hand | found", "place a hand"),), Side.LEFT)


def bone(number: int) -> Bone:
    """A metacarpal whose numbers tell which one it is."""
    return Bone(
        number,
        Measurement(0.40 + number / 100, "1", 0.006),
        Measurement(1.6 + number / 100, "mm", 0.011),
        Measurement(8.0 + number / 100, "mm", 0.043),
        Measurement(0.40 + number / 1000, "cm", 0.004),
        0.97,
        ((100.5, 20.0), (30.25, 24.0)),
        ((80.0, 16.0), (50.0, 18.0), (50.0, 26.0), (80.0, 24.0)),
        length_mm=Measurement(60.0 + number, "mm", 3.1),
        strength=Strength("round", Measurement(2.4, "1", 0.02), Measurement(33.25, "mm2", 0.31)),
    )


MEASURED = DxrResult(
    algorithm="dxr-open@3",
    side=Side.LEFT,
    scale="absolute",
    bones=(bone(2), bone(3), bone(4)),
    mci=Measurement(0.414, "1", 0.0052),
    t_mm=Measurement(1.63, "mm", 0.0096),
    w_mm=Measurement(8.03, "mm", 0.0397),
    vpa_cm=Measurement(0.403, "cm", 0.0034),
    bmd_g_cm2=Measurement(0.52345678, "g/cm2", 0.0087),
    bmd_status="derived",
    porosity=0.011,
    porosity_measured=False,
    t_score=-2.193,
    z_score=-0.37,
    reference="sectra-consistent-derived@1",
    notes=(
        Reason("pixel-coarse", "the pixels are coarse: 0.16 > 0.15", "Prefer full resolution.", 0.16, 0.15),
    ),
    bhi=Measurement(5.1, "mm^0.34", 0.009),
    bmd_constant_g_cm3=1.315,
    bmd_constant_source="from group means printed by Dhainaut 2013",
    reference_status="derived",
    triage=Triage("central-dxa-needed", -1.0, -2.6, True, "refer to central DXA", ("not a WHO diagnosis",)),
    hazards=(Hazard("hip", Range(1.8, 1.5, 2.5), Range(1.05, 0.82, 1.31), "derived"),),
    absolute_risks=(AbsoluteRisk("hip", Range(2.1, 1.4, 3.2), "uk@1", 1.2, "women of the UK"),),
    porosity_u95=0.006,
)

DUE = code_for(
    Facts(True, True, True, True, MEASURED, image_present=True, already_charged=False, release=OPERATOR),
    PROTOCOL.codes,
)


def study_with(
    item: dict[str, Any] | None = None, patient: dict[str, Any] | None = None, **changes: Any
) -> Study:
    """The accepted exposure's study; `item` and `patient` change what the order says."""
    person = replace(
        Patient("P-17", "Łukasiewicz^Zoë^Anna^Dr.^MSc", date(1961, 5, 4), Sex.FEMALE), **(patient or {})
    )
    ordered = WorklistItem(
        "ACC-9", person, Side.LEFT, "0750T", "2.25.11", "RP-1", "SPS-1", "Test^Referrer", "frail & old"
    )
    ordered = replace(ordered, **({"codes": (Coded("HANDDXR", "99SITE", "Hand DXR"),)} | (item or {})))
    delivered = Delivered(50.2, 99.6, 16.04, 1.598, EndOfExposure.NORMAL)
    exposure = Exposure("2.25.12", 1, Technique(50, 100, 16), STARTED_AT, 1000.0, delivered, 2.4, image=True)
    study = Study(
        exam=Exam("2.25.10", ordered, PROTOCOL.id, OPENED_AT, "medium"),
        equipment=Equipment("Demo Clinic", "DXR1", "Maker", serial="ST-1", software_version="0.1.0"),
        protocol=PROTOCOL,
        detector_serial="SIM-1",
        made_at=OPENED_AT + timedelta(minutes=10),
        exposures=(exposure,),
        rejections={},
        indices={},
        result=MEASURED,
        calibrated_at=OPENED_AT - timedelta(days=2),
        code=PROTOCOL.codes.acquired_for_dxr,
    )
    return replace(study, **changes)
