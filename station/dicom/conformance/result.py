"""A made-up result, whole and as small as can be, for the sample of the conformance statement.

Its numbers only differ from each other; the lint would stop a report of them.
"""

from dataclasses import replace

from station.exam import Side
from station.result import (
    AbsoluteRisk,
    Bone,
    DxrResult,
    Hazard,
    Measurement,
    Range,
    Reason,
    Strength,
    Triage,
)


def _measured(value: float, unit: str) -> Measurement:
    return Measurement(value, unit, value / 50)


def _bone(number: int, scale: float) -> Bone:
    place = 6.0 * number * scale
    return Bone(
        number,
        _measured(0.41 * scale, "1"),
        _measured(1.7 * scale, "mm"),
        _measured(8.2 * scale, "mm"),
        _measured(0.52 * scale, "cm"),
        0.97 / scale,
        ((40.0, place), (10.0, place)),
        ((30.0, place - 2), (20.0, place - 2), (20.0, place + 2), (30.0, place + 2)),
        _measured(0.12 * scale, "1"),
        _measured(66.0 * scale, "mm"),
        _measured(0.55 * scale, "mm^0.34"),
        Strength(
            "round",
            _measured(2.4 * scale, "1"),
            _measured(34.0 * scale, "mm2"),
            _measured(200.0 * scale, "mm4"),
            _measured(49.0 * scale, "mm3"),
        ),
    )


def measured(scale: float = 1.0) -> DxrResult:
    """A whole result, absolute and with a density."""
    wide = Range(1.8 * scale, 1.5, 2.5)
    return DxrResult(
        algorithm="dxr-open@3",
        side=Side.LEFT,
        scale="absolute",
        bones=tuple(_bone(number, scale) for number in (2, 3, 4)),
        mci=_measured(0.40 * scale, "1"),
        t_mm=_measured(1.6 * scale, "mm"),
        w_mm=_measured(7.9 * scale, "mm"),
        vpa_cm=_measured(0.5 * scale, "cm"),
        bmd_g_cm2=_measured(0.58 * scale, "g/cm2"),
        bmd_status="derived",
        porosity=0.011 * scale,
        porosity_measured=False,
        t_score=-0.5 * scale,
        z_score=-0.3 * scale,
        reference="population@1",
        notes=(Reason(f"note-{scale:g}", "a limit", "what to do"),),
        mci_area=_measured(0.11 * scale, "1"),
        bhi=_measured(0.54 * scale, "mm^0.34"),
        bmd_constant_g_cm3=1.315,
        bmd_constant_source="a source",
        reference_status="derived",
        triage=Triage("central-dxa-needed", -1.0, -2.6, False, f"refer {scale:g}", ("no diagnosis",)),
        hazards=(Hazard("hip", wide, wide, "derived"),),
        absolute_risks=(AbsoluteRisk("hip", wide, "table@1", 1.2, "people"),),
        porosity_u95=0.006 * scale,
    )


def least() -> DxrResult:
    """Nothing but the metacarpal index: the scale is unknown."""
    known = measured()
    bones = tuple(
        replace(
            bone, t_mm=None, w_mm=None, vpa_cm=None, mci_area=None, length_mm=None, bhi=None, strength=None
        )
        for bone in known.bones
    )
    nothing = dict.fromkeys(("t_mm", "w_mm", "vpa_cm", "bmd_g_cm2", "porosity", "porosity_u95", "t_score"))
    more = dict.fromkeys(
        ("z_score", "mci_area", "bhi", "bmd_constant_g_cm3", "bmd_constant_source", "triage")
    )
    rest = {"notes": (), "hazards": (), "absolute_risks": (), "bones": bones}
    return replace(known, **nothing, **more, **rest)
