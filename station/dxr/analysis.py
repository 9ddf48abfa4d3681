"""DXR of one hand image: the one public function of this package.

Assumes
    One PA hand. A dose image is corrected (For Processing) and linear; it comes from this protocol's geometry.
Tolerates
    Any in-plane rotation, either side, mirrored display images, display images of unknown scale.
Method
    locate, metacarpals, edges, radiogrammetry, reference, with the gates of `quality` between (dxr.md 1.9).
Meaning
    Lengths are in the object plane. Density is c·VPA·(1 − p) with VPA brought to the reference magnification;
    constants come from the protocol. Without a trusted scale only MCI is given.
Known failures
    See the modules; porosity is not measured in this version, the protocol's constant is used.
"""

from dataclasses import dataclass

import numpy as np

from station.dxr.edges import Walls, find_walls
from station.dxr.localise import Located, locate
from station.dxr.metacarpals import Shaft, find_shafts
from station.dxr.quality import (
    bone_reason,
    cut_reason,
    exposure_reason,
    frame_reason,
    pitch_note,
    together_reason,
)
from station.dxr.radiogrammetry import (
    RELATIVE_ROI,
    Profile,
    density,
    measure,
    volume_per_area,
    volume_per_area_u95,
)
from station.dxr.reference import Scores, scores
from station.exam import Sex, Side
from station.frame import Frame, Signal
from station.protocols import Analysis, Protocol, Reference
from station.result import Bone, DxrResult, Measurement, Reason, Refused

ALGORITHM = "dxr-open@1"

MEASURED = (2, 3, 4)
_MIN_BONES = 2  # dxr.md 1.9
_EXPECTED_WIDTH = 0.2  # of the palm radius (derived from the hands in shared/data)
_DETECTOR_BLUR_MM = 0.10  # sigma of a flat panel with its focal spot, 0.09-0.14 (derived, dxr.md 1.6)


def analyse(
    frame: Frame,
    patient_age: float | None,
    sex: Sex | None,
    protocol: Protocol,
    reference: Reference,
    side: Side | None = None,
) -> DxrResult | Refused:
    """Measure the metacarpals of one hand image.

    Parameters
    ----------
    frame : Frame
        For Processing dose image, or a display image with bone bright.
    patient_age : float or None
        Years at the exam.
    side : Side, optional
        What the exam says; it names the result, while the image's own thumb names the bones.

    Returns
    -------
    DxrResult or Refused
        Never a number with a failed gate.
    """
    constants = protocol.analysis
    found = frame_reason(frame, constants.pixel_limit_mm) or _find(frame)
    if isinstance(found, Reason):
        return Refused((found,), side)
    scale = _Scale.of(frame, protocol)
    bones, reasons = _bones(frame, found, constants, scale)
    if len(bones) >= _MIN_BONES:
        conflict = together_reason({b.number: b.walls for b in bones}, {b.number: b.profile for b in bones})
        reasons = [conflict, *reasons] if conflict else reasons
    if len(bones) < _MIN_BONES or (reasons and reasons[0].id in _WHOLE_HAND):
        return Refused(tuple(reasons), side or found.side)
    notes = [pitch_note(frame, constants.pixel_warn_mm), scale.note, _side_note(side, found.side)]
    if reasons:
        notes += [_incomplete(bones), *reasons]
    result = _result(bones, scale, protocol, side or found.side, reference)
    return _scored(result, patient_age, sex, protocol, reference, [n for n in notes if n is not None])


@dataclass(frozen=True, slots=True)
class _Found:
    """The hand, its side by its own thumb, and its shafts."""

    located: Located
    side: Side
    shafts: dict[int, Shaft]


def _find(frame: Frame) -> _Found | Reason:
    located = locate(frame)
    if isinstance(located, Reason):
        return located
    shafts = find_shafts(located)
    if isinstance(shafts, Reason):
        return shafts
    cut = cut_reason(located, shafts)
    if cut is not None:
        return cut
    return _Found(located, located.side, shafts)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Object-plane mm per frame pixel, None if unknown; the blur that is known, in pixels."""

    mm_per_px: float | None
    blur_px: float
    note: Reason | None

    @classmethod
    def of(cls, frame: Frame, protocol: Protocol) -> "_Scale":
        if frame.spacing_mm is None or not frame.scale_known:
            return cls(
                None,
                0.0,
                Reason(
                    "scale-unknown",
                    "the image has no trusted pixel spacing: lengths, densities and scores are withheld",
                    "Give the pixel spacing at the detector, or use the original DICOM image.",
                ),
            )
        pitch = float(np.mean(frame.spacing_mm))
        # a display image has been filtered in an unknown way: only the edge filter's own blur is put back
        blur = _DETECTOR_BLUR_MM / pitch if frame.signal is Signal.DOSE else 0.0
        note = None
        if frame.signal is not Signal.DOSE:
            note = Reason(
                "display-image",
                f"a display image: its edges may be enhanced; magnification {protocol.geometry.magnification:.3f} "
                "of the protocol is assumed",
                "Prefer the For Processing image.",
            )
        return cls(pitch / protocol.geometry.magnification, blur, note)


@dataclass(frozen=True, slots=True)
class _Measured:
    """A bone that passed its gates."""

    number: int
    walls: Walls
    profile: Profile


def _bones(
    frame: Frame, located: Located, shafts: dict[int, Shaft], constants: Analysis, scale: _Scale
) -> tuple[list[_Measured], list[Reason]]:
    expected = _EXPECTED_WIDTH * located.hand.palm_radius_px * located.scale
    bones: list[_Measured] = []
    reasons: list[Reason] = []
    for number in MEASURED:
        shaft = shafts[number]
        walls = find_walls(frame, np.asarray(shaft.base_px), np.asarray(shaft.head_px), expected)
        if scale.mm_per_px is None:
            roi_px = RELATIVE_ROI[number] * walls.strip.length_px
        else:
            roi_px = constants.roi_length_mm[number] / scale.mm_per_px
        profile = measure(walls, number, roi_px, constants.roi_margin_fraction, scale.blur_px)
        failed = exposure_reason(frame, walls, profile) or bone_reason(
            walls, profile, scale.mm_per_px, constants.min_valid_fraction
        )
        if failed is None:
            bones.append(_Measured(number, walls, profile))
        else:
            reasons.append(failed)
    return bones, reasons


def _incomplete(bones: list[_Measured]) -> Reason:
    names = " and ".join(str(bone.number) for bone in bones)
    return Reason(
        "bones-incomplete",
        f"only metacarpals {names} could be measured; the means are of these",
        "Compare only with results of the same bones.",
        len(bones),
        len(MEASURED),
    )


def _side_note(given: Side | None, seen: Side) -> Reason | None:
    if given is None or given is seen:
        return None
    return Reason(
        "side-disagrees",
        f"the order says {given.word}, the thumb in the image says {seen.word}",
        "Check the patient's hand; an image may also be mirrored on display.",
    )


def _result(
    bones: list[_Measured],
    scale: _Scale,
    protocol: Protocol,
    side: Side,
    notes: list[Reason],
    subject: tuple[float | None, Sex | None, Reference],
) -> DxrResult:
    age, sex, reference = subject
    constants = protocol.analysis
    reported = tuple(_bone(bone, scale) for bone in bones)
    weights = np.array([constants.bone_weights[bone.number] for bone in bones])  # pyright: ignore
    vpa = _combined([b.vpa_cm for b in reported], weights)
    bmd = None
    found = Scores(None, None)
    if vpa is not None:
        factor = density(
            constants.reference_magnification.value,
            constants.bmd_constant_g_cm3.value,
            constants.default_porosity.value,
        )
        bmd = Measurement(factor * vpa.value, "g/cm2", factor * vpa.u95)
        found = scores(bmd.value, age, sex, reference, constants.min_age_years)
    equal = np.ones(len(bones))
    mci = _combined([bone.mci for bone in reported], equal)
    assert mci is not None
    return DxrResult(
        algorithm=ALGORITHM,
        side=side,
        scale="relative" if scale.mm_per_px is None else "absolute",
        bones=reported,
        mci=mci,
        t_mm=_combined([bone.t_mm for bone in reported], equal),
        w_mm=_combined([bone.w_mm for bone in reported], equal),
        vpa_cm=vpa,
        bmd_g_cm2=bmd,
        porosity=None if bmd is None else constants.default_porosity.value,
        porosity_measured=False,
        t_score=found.t,
        z_score=found.z,
        reference=reference.id,
        notes=(*notes, *found.notes),
    )


def _bone(measured: _Measured, scale: _Scale) -> Bone:
    profile, strip = measured.profile, measured.walls.strip
    mci_u95 = profile.mci * float(np.hypot(profile.t_u95_px / profile.t_px, profile.w_u95_px / profile.w_px))
    half = profile.w_px / 2
    start, end = profile.roi_px
    corners = strip.to_frame_px([start, start, end, end], [-half, half, half, -half])
    base, head = strip.to_frame_px([0.0, strip.length_px], [0.0, 0.0])
    t = w = vpa = None
    if scale.mm_per_px is not None:
        mm = scale.mm_per_px
        t = Measurement(profile.t_px * mm, "mm", profile.t_u95_px * mm)
        w = Measurement(profile.w_px * mm, "mm", profile.w_u95_px * mm)
        u95_mm = volume_per_area_u95(t.value, t.u95, w.value, w.u95)
        vpa = Measurement(volume_per_area(t.value, w.value) / 10, "cm", u95_mm / 10)
    return Bone(
        number=measured.number,
        mci=Measurement(profile.mci, "1", mci_u95),
        t_mm=t,
        w_mm=w,
        vpa_cm=vpa,
        valid_fraction=profile.valid_fraction,
        axis_px=((float(base[0]), float(base[1])), (float(head[0]), float(head[1]))),
        roi_px=tuple((float(row), float(column)) for row, column in corners),
    )


def _combined(values: list[Measurement | None], weights: np.ndarray) -> Measurement | None:
    """Weighted mean; the systematic parts are common to the bones, so the half widths are averaged too."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    share = weights / weights.sum()
    return Measurement(
        float(share @ [value.value for value in known]),
        known[0].unit,
        float(share @ [value.u95 for value in known]),
    )
