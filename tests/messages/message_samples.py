"""A measured hand, its protocol, and who releases it, as the messages get them."""

from datetime import UTC, datetime, timedelta, timezone

from station.exam import Release, Side
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
