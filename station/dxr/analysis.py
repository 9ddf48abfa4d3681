"""DXR of one hand image: the one public function of this package.

Assumes
    One PA hand. A dose image is corrected (For Processing), linear, and made in this protocol's geometry.
Tolerates
    Any in-plane rotation, either side, mirrored display images, display images of unknown scale.
Method
    localise, axes, edges, radiogrammetry, reference, with the gates of `quality` and `foreign` between.
Meaning
    Lengths are in the object plane. Density is c·VPA·(1 − p) with VPA brought to the reference magnification;
    constants come from the protocol. Without a trusted scale only MCI, A/W² and the buckling ratio are given.
Known failures
    See the modules. Porosity is not measured in this version: the protocol's constant is used and marked so.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from station.dxr.axes import find_axes, growth_plates
from station.dxr.edges import Axis, Walls, find_walls
from station.dxr.foreign import dressing_reason, foreign_reasons, oddness
from station.dxr.localise import Located, locate
from station.dxr.quality import (
    bone_reason,
    cut_reason,
    exposure_reason,
    frame_reason,
    growth_note,
    pitch_note,
    rotation_reason,
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
from station.dxr.reference import scores
from station.dxr.risk import assess
from station.dxr.strength import (
    LENGTH_U95_FRACTION,
    ROUND,
    ShapeFactors,
    area_index,
    bone_health_index,
    strength,
    strength_of_ratio,
)
from station.exam import Sex, Side
from station.frame import Frame, Signal
from station.protocols import Analysis, Constant, Protocol, Reference
from station.result import Bone, DxrResult, Measurement, Reason, Refused

ALGORITHM = "dxr-open@2"

_Number = Literal[2, 3, 4]
_MEASURED: tuple[_Number, ...] = (2, 3, 4)
_MIN_BONES = 2  # own choice
# What is no shaft that can be looked at for something foreign
_NO_SHAFT = frozenset({"not-a-metacarpal", "resolution-too-low", "underexposed", "width-implausible"})
_DETECTOR_BLUR_MM = 0.10  # sigma of a flat panel with its focal spot, 0.09-0.14 (derived)


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
    side : Side, optional
        What the exam says; it names the result, while the image's own thumb names the bones.

    Returns
    -------
    DxrResult or Refused
        Means over metacarpals 2-4, or over two of them with the note `bones-incomplete`; never a number
        from a bone that failed a gate.
    """
    limits = protocol.analysis
    found = frame_reason(frame, limits.pixel_limit_mm) or _find(frame)
    if isinstance(found, Reason):
        return Refused((found,), side)
    scale = _Scale.of(frame, protocol)
    bones, failed = _bones(frame, found, limits, scale)
    if len(bones) < _MIN_BONES:
        return Refused(tuple(failed), side or found.side)
    conflict = together_reason({b.number: b.walls for b in bones}, {b.number: b.profile for b in bones})
    if conflict is not None:
        return Refused((conflict, *failed), side or found.side)
    notes = [pitch_note(frame, limits.pixel_warn_mm), scale.note, _side_note(side, found.side)]
    notes.append(growth_note(growth_plates(frame, found.axes), patient_age))
    if scale.mm_per_px is not None:
        notes += [_calibration_note(frame, limits), _region_note(limits)]
    if failed:
        notes += [_incomplete(bones), *failed]
    known = tuple(note for note in notes if note is not None)
    constant = limits.constant_for(frame.source)
    result = replace(_result(bones, scale, limits, constant, side or found.side, reference), notes=known)
    return _scored(result, patient_age, sex, limits, reference)


@dataclass(frozen=True, slots=True)
class _Found:
    """The hand, its side by its own thumb, and the axes of its metacarpals."""

    located: Located
    side: Side
    axes: dict[int, Axis]


def _find(frame: Frame) -> _Found | Reason:
    located = locate(frame)
    if isinstance(located, Reason):
        return located
    axes = find_axes(frame, located)
    if isinstance(axes, Reason):
        return axes
    return cut_reason(located, axes) or rotation_reason(axes) or _Found(located, located.side, axes)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Object-plane mm per frame pixel, None if unknown; the blur that is known, in pixels."""

    mm_per_px: float | None
    blur_px: float
    note: Reason | None

    @classmethod
    def of(cls, frame: Frame, protocol: Protocol) -> "_Scale":
        if frame.spacing_mm is None or not frame.scale_known:
            message = "the image has no trusted pixel spacing: lengths, densities and scores are withheld"
            remedy = "Give the pixel spacing at the detector, or use the original DICOM image."
            return cls(None, 0.0, Reason("scale-unknown", message, remedy))
        pitch = float(np.mean(frame.spacing_mm))
        magnification = protocol.geometry.magnification
        if frame.signal is Signal.DOSE:
            return cls(pitch / magnification, _DETECTOR_BLUR_MM / pitch, None)
        # a display image was filtered in an unknown way: only the edge filter's own blur can be put back
        message = f"display image: edges may be enhanced, and magnification {magnification:.3f} is assumed"
        return cls(
            pitch / magnification, 0.0, Reason("display-image", message, "Prefer the For Processing image.")
        )


@dataclass(frozen=True, slots=True)
class _Measured:
    """A bone as measured, before or after its gates."""

    number: _Number
    walls: Walls
    profile: Profile


def _bones(
    frame: Frame, found: _Found, limits: Analysis, scale: _Scale
) -> tuple[list[_Measured], list[Reason]]:
    shafts = [_shaft(frame, found, number, limits, scale) for number in _MEASURED]
    own = {shaft.number: _own_reason(shaft, limits, scale) for shaft in shafts}
    odd = {shaft.number: oddness(shaft.walls, shaft.profile) for shaft in shafts}
    sound = [n for n, reason in own.items() if reason is None or reason.id not in _NO_SHAFT]
    foreign = foreign_reasons(odd, sound)
    dressing = dressing_reason({n: odd[n] for n in sound}, foreign)
    reasons = own | foreign
    if dressing is not None:
        return [], [dressing, *(reason for reason in reasons.values() if reason is not None)]
    bones = [shaft for shaft in shafts if reasons[shaft.number] is None]
    return bones, [reason for reason in reasons.values() if reason is not None]


def _own_reason(shaft: _Measured, limits: Analysis, scale: _Scale) -> Reason | None:
    """The first gate that a bone fails by itself."""
    noisy = exposure_reason(shaft.walls, shaft.profile)
    return noisy or bone_reason(shaft.walls, shaft.profile, scale.mm_per_px, limits.min_valid_fraction)


def _shaft(frame: Frame, found: _Found, number: _Number, limits: Analysis, scale: _Scale) -> _Measured:
    walls = find_walls(frame, found.axes[number])
    if scale.mm_per_px is None or limits.roi_mode == "scaled":
        roi_px = RELATIVE_ROI[number] * walls.strip.length_px
    else:
        roi_px = limits.roi_length_mm[number] / scale.mm_per_px
    return _Measured(number, walls, measure(walls, number, roi_px, limits.roi_margin_fraction, scale.blur_px))


def _incomplete(bones: list[_Measured]) -> Reason:
    names = " and ".join(str(bone.number) for bone in bones)
    message = f"only metacarpals {names} could be measured; the means are of these"
    remedy = "Compare only with results of the same bones."
    return Reason("bones-incomplete", message, remedy, len(bones), len(_MEASURED))


def _calibration_note(frame: Frame, limits: Analysis) -> Reason | None:
    site = limits.site_calibration
    if site is None or frame.source in site.detector_serials:
        return None
    message = f"the site's density constant is not of detector {frame.source}: the general one was used"
    remedy = "Calibrate this detector, or use an image of a calibrated one."
    return Reason("site-calibration-not-used", message, remedy)


def _region_note(limits: Analysis) -> Reason | None:
    if limits.roi_mode == "fixed":
        return None
    message = "regions scaled with the bone: constant and references were made with fixed lengths"
    return Reason("roi-scaled", message, "Compare only with results of the same region mode.")


def _side_note(given: Side | None, seen: Side) -> Reason | None:
    if given is None or given is seen:
        return None
    message = f"the order says {given.word}, the thumb in the image says {seen.word}"
    return Reason("side-disagrees", message, "Check which hand it is; the image may be mirrored on display.")


def _result(
    bones: list[_Measured],
    scale: _Scale,
    limits: Analysis,
    constant: Constant,
    side: Side,
    reference: Reference,
) -> DxrResult:
    shape = _shape(limits)
    reported = [_bone(bone, scale, shape) for bone in bones]
    weights = np.array([limits.bone_weights[bone.number] for bone in bones])
    equal = np.ones(len(bones))
    vpa = _mean_if_all([bone.vpa_cm for bone in reported], weights)
    bmd = None if vpa is None else _density(vpa, limits, constant)
    relative = scale.mm_per_px is None
    return DxrResult(
        algorithm=ALGORITHM,
        side=side,
        scale="relative" if relative else "absolute",
        bones=tuple(reported),
        mci=_mean([bone.mci for bone in reported], equal),
        t_mm=_mean_if_all([bone.t_mm for bone in reported], equal),
        w_mm=_mean_if_all([bone.w_mm for bone in reported], equal),
        vpa_cm=vpa,
        bmd_g_cm2=bmd,
        bmd_status=constant.status,
        porosity=None if bmd is None else limits.default_porosity.value,
        porosity_measured=False,
        t_score=None,
        z_score=None,
        reference=reference.id,
        reference_status=reference.status,
        mci_area=_mean_if_all([bone.mci_area for bone in reported], equal),
        bhi=_mean_if_all([bone.bhi for bone in reported], equal),
        bmd_constant_g_cm3=None if bmd is None else constant.value,
        bmd_constant_source=None if bmd is None else constant.source,
        roi_mode="scaled" if relative else limits.roi_mode,
    )


def _density(vpa_cm: Measurement, limits: Analysis, constant: Constant) -> Measurement:
    per_cm = density(limits.reference_magnification.value, constant.value, limits.default_porosity.value)
    return Measurement(per_cm * vpa_cm.value, "g/cm2", per_cm * vpa_cm.u95)


def _shape(limits: Analysis) -> ShapeFactors:
    bias = limits.shape_correction
    if bias is None or not bias.enabled:
        return ROUND
    return ShapeFactors(1 / (1 + bias.cortical_area_excess), 1 / (1 + bias.second_moment_excess))


def _scored(
    result: DxrResult, age: float | None, sex: Sex | None, limits: Analysis, reference: Reference
) -> DxrResult:
    if result.bmd_g_cm2 is None:
        return result
    found = scores(result.bmd_g_cm2, age, sex, reference, limits.min_age_years)
    meant = assess(found, age, sex, reference, limits.risk, result.bmd_status)
    return replace(
        result,
        t_score=found.t,
        z_score=found.z,
        triage=meant.triage,
        hazards=meant.hazards,
        absolute_risks=meant.absolute_risks,
        notes=(*result.notes, *found.notes, *meant.notes),
    )


def _bone(measured: _Measured, scale: _Scale, shape: ShapeFactors) -> Bone:
    profile, strip = measured.profile, measured.walls.strip
    relative_u95 = float(np.hypot(profile.t_u95_px / profile.t_px, profile.w_u95_px / profile.w_px))
    half = profile.w_px / 2
    start, end = profile.roi_px
    corners = strip.to_frame_px([start, start, end, end], [-half, half, half, -half])
    base, head = strip.to_frame_px([0.0, strip.length_px], [0.0, 0.0])
    mci = Measurement(profile.mci, "1", profile.mci * relative_u95)
    t = w = vpa = length = bhi = None
    strong = strength_of_ratio(mci)
    if scale.mm_per_px is not None:
        mm = scale.mm_per_px
        t = Measurement(profile.t_px * mm, "mm", profile.t_u95_px * mm)
        w = Measurement(profile.w_px * mm, "mm", profile.w_u95_px * mm)
        vpa_u95_mm = volume_per_area_u95(t.value, t.u95, w.value, w.u95)
        vpa = Measurement(volume_per_area(t.value, w.value) / 10, "cm", vpa_u95_mm / 10)
        length = Measurement(strip.length_px * mm, "mm", LENGTH_U95_FRACTION * strip.length_px * mm)
        bhi, strong = bone_health_index(t, w, length), strength(t, w, shape)
    return Bone(
        number=measured.number,
        mci=mci,
        t_mm=t,
        w_mm=w,
        vpa_cm=vpa,
        valid_fraction=profile.valid_fraction,
        axis_px=((float(base[0]), float(base[1])), (float(head[0]), float(head[1]))),
        roi_px=tuple((float(row), float(column)) for row, column in corners),
        mci_area=area_index(mci),
        length_mm=length,
        bhi=bhi,
        strength=strong,
    )


def _mean_if_all(values: list[Measurement | None], weights: npt.NDArray[np.float64]) -> Measurement | None:
    known = [value for value in values if value is not None]
    return _mean(known, weights) if len(known) == len(values) else None


def _mean(values: list[Measurement], weights: npt.NDArray[np.float64]) -> Measurement:
    """Weighted mean; systematic parts are common to the bones, so half widths are averaged, not reduced."""
    share = weights / weights.sum()
    value = float(share @ np.array([v.value for v in values]))
    return Measurement(value, values[0].unit, float(share @ np.array([v.u95 for v in values])))
