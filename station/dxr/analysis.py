"""DXR of one hand image: the one public function of this package.

Assumes
    One PA hand. A dose image is corrected (For Processing), linear, and made in this protocol's geometry.
Tolerates
    Any in-plane rotation, either side, mirrored display images, display images of unknown scale.
Method
    locate, metacarpals, edges, radiogrammetry, reference, with the gates of `quality` between.
Meaning
    Lengths are in the object plane. Density is c·VPA·(1 − p) with VPA brought to the reference magnification;
    constants come from the protocol. Without a trusted scale only MCI, A/W² and the buckling ratio are given.
Known failures
    See the modules. Porosity is seldom measurable: else the protocol's constant is used and marked so.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from station.dxr.edges import Axis, find_axis, find_walls
from station.dxr.localise import Located, locate
from station.dxr.metacarpals import find_shafts, settle_bases
from station.dxr.porosity import SPREAD_U95, measure_porosity
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
    density,
    measure,
    volume_per_area,
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
from station.dxr.trace import Trace, Traced
from station.exam import Sex, Side
from station.frame import Frame, Signal
from station.protocols import Analysis, Constant, Protocol, Reference
from station.result import Bone, DxrResult, Measurement, Reason, Refused

ALGORITHM = "dxr-open@2"

_MEASURED: tuple[Literal[2, 3, 4], ...] = (2, 3, 4)
_MIN_BONES = 2  # own choice
_EXPECTED_WIDTH = 0.2  # of the palm radius (derived from real hands)
_FOREIGN_SCALE_U95 = 0.015  # relative: 15 to 30 mm above a panel at 0.9 to 1.3 m (derived)
_ALIKE = (
    0.4  # correlation between the bones' errors: canals of a hand are alike (derived: carved real surfaces)
)
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
    return traced(frame, patient_age, sex, protocol, reference, side)[0]


def traced(
    frame: Frame,
    patient_age: float | None,
    sex: Sex | None,
    protocol: Protocol,
    reference: Reference,
    side: Side | None = None,
) -> tuple[DxrResult | Refused, Trace]:
    """The same as `analyse`, with what it saw on the way: for a picture that says why."""
    strange = frame_reason(frame, protocol.analysis.pixel_limit_mm)
    if strange is not None:
        return Refused((strange,), side), Trace()
    found, trace = _find(frame)
    if isinstance(found, Reason):
        return Refused((found,), side), trace
    trace = replace(trace, bones=_bones(frame, found, protocol.analysis, _Scale.of(frame, protocol)))
    result = _answer(frame, found, trace.bones, protocol, reference, side)
    if isinstance(result, DxrResult):
        result = _scored(result, patient_age, sex, protocol.analysis, reference)
    return result, trace


def _answer(
    frame: Frame,
    found: "_Found",
    seen: tuple[Traced, ...],
    protocol: Protocol,
    reference: Reference,
    side: Side | None,
) -> DxrResult | Refused:
    """The result of the bones that passed their gates, without scores."""
    limits = protocol.analysis
    scale = _Scale.of(frame, protocol)
    bones = [bone for bone in seen if bone.reason is None]
    failed = [bone.reason for bone in seen if bone.reason is not None]
    if len(bones) < _MIN_BONES:
        return Refused(tuple(failed), side or found.side)
    conflict = together_reason({b.number: b.walls for b in bones}, {b.number: b.profile for b in bones})
    if conflict is not None:
        return Refused((conflict, *failed), side or found.side)
    notes = [pitch_note(frame, limits.pixel_warn_mm), scale.note, _side_note(side, found.side)]
    if scale.mm_per_px is not None:
        notes += [_calibration_note(frame, limits), _region_note(limits)]
    if failed:
        notes += [_incomplete(bones), *failed]
    known = tuple(note for note in notes if note is not None)
    constant = limits.constant_for(frame.serial)
    result = replace(_result(bones, scale, limits, constant, side or found.side, reference), notes=known)
    return _with_porosity(result, frame, bones, scale)


@dataclass(frozen=True, slots=True)
class _Found:
    """The hand, its side by its own thumb, and the axes of its metacarpals."""

    located: Located
    side: Side
    axes: dict[int, Axis]


def _find(frame: Frame) -> tuple[_Found | Reason, Trace]:
    located = locate(frame)
    if isinstance(located, Reason):
        return located, Trace()
    shafts = find_shafts(located)
    if isinstance(shafts, Reason):
        return shafts, Trace(located)
    expected_px = _EXPECTED_WIDTH * located.hand.palm_radius_px * located.scale
    ends = {n: (np.asarray(shafts[n].base_px), np.asarray(shafts[n].head_px)) for n in _MEASURED}
    axes = settle_bases({n: find_axis(frame, *ends[n], expected_px) for n in _MEASURED})
    return cut_reason(located, axes) or _Found(located, located.side, axes), Trace(located, axes)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Object-plane mm per frame pixel, None if unknown; the blur that is known, in pixels."""

    mm_per_px: float | None
    relative_u95: float  # half width of the 95 % interval of `mm_per_px`, over it
    blur_px: float
    note: Reason | None

    @classmethod
    def of(cls, frame: Frame, protocol: Protocol) -> "_Scale":
        if frame.spacing_mm is None or not frame.scale_known:
            message = "the image has no trusted pixel spacing: lengths, densities and scores are withheld"
            remedy = "Give the pixel spacing at the detector, or use the original DICOM image."
            return cls(None, 0.0, 0.0, Reason("scale-unknown", message, remedy))
        pitch = float(np.mean(frame.spacing_mm))
        magnification = protocol.geometry.magnification
        if frame.signal is Signal.DOSE:
            return cls(pitch / magnification, protocol.geometry.scale_u95, _DETECTOR_BLUR_MM / pitch, None)
        # a display image was filtered in an unknown way: only the edge filter's own blur can be put back
        message = f"display image: edges may be enhanced, and magnification {magnification:.3f} is assumed"
        note = Reason("display-image", message, "Prefer the For Processing image.")
        return cls(pitch / magnification, _FOREIGN_SCALE_U95, 0.0, note)

    def length(self, value_px: float, u95_px: float, unit: Literal["mm", "cm"]) -> Measurement:
        """In the object plane, with the scale's own uncertainty."""
        per_px = (self.mm_per_px or float("nan")) * (0.1 if unit == "cm" else 1.0)
        return Measurement(
            value_px * per_px, unit, per_px * float(np.hypot(u95_px, self.relative_u95 * value_px))
        )


def _bones(frame: Frame, found: _Found, limits: Analysis, scale: _Scale) -> tuple[Traced, ...]:
    bones: list[Traced] = []
    for number in _MEASURED:
        walls = find_walls(frame, found.axes[number])
        if scale.mm_per_px is None or limits.roi_mode == "scaled":
            roi_px = RELATIVE_ROI[number] * walls.strip.length_px
        else:
            roi_px = limits.roi_length_mm[number] / scale.mm_per_px
        profile = measure(walls, number, roi_px, limits.roi_margin_fraction, scale.blur_px)
        reason = exposure_reason(walls, profile)
        reason = reason or bone_reason(walls, profile, scale.mm_per_px, limits.min_valid_fraction)
        bones.append(Traced(number, walls, profile, reason))
    return tuple(bones)


def _incomplete(bones: list[Traced]) -> Reason:
    names = " and ".join(str(bone.number) for bone in bones)
    message = f"only metacarpals {names} could be measured; the means are of these"
    remedy = "Compare only with results of the same bones."
    return Reason("bones-incomplete", message, remedy, len(bones), len(_MEASURED))


def _calibration_note(frame: Frame, limits: Analysis) -> Reason | None:
    site = limits.site_calibration
    if site is None or frame.serial in site.detector_serials:
        return None
    message = f"the site's density constant is not of detector {frame.serial}: the general one was used"
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
    bones: list[Traced],
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
    vpa = _mean_if_all([bone.vpa_cm for bone in reported], weights, scale.relative_u95)
    bmd = None if vpa is None else _density(vpa, limits, constant)
    relative = scale.mm_per_px is None
    return DxrResult(
        algorithm=ALGORITHM,
        side=side,
        scale="relative" if relative else "absolute",
        bones=tuple(reported),
        mci=_mean([bone.mci for bone in reported], equal),
        t_mm=_mean_if_all([bone.t_mm for bone in reported], equal, scale.relative_u95),
        w_mm=_mean_if_all([bone.w_mm for bone in reported], equal, scale.relative_u95),
        vpa_cm=vpa,
        bmd_g_cm2=bmd,
        bmd_status=constant.status,
        porosity=None if bmd is None else limits.default_porosity.value,
        porosity_measured=False,
        t_score=None,
        z_score=None,
        reference=reference.id,
        reference_status=reference.status,
        mci_area=_mean_if_all([bone.mci_area for bone in reported], equal, 0.0),
        bhi=_mean_if_all([bone.bhi for bone in reported], equal, scale.relative_u95),
        bmd_constant_g_cm3=None if bmd is None else constant.value,
        bmd_constant_source=None if bmd is None else constant.source,
        roi_mode="scaled" if relative else limits.roi_mode,
    )


def _density(vpa_cm: Measurement, limits: Analysis, constant: Constant) -> Measurement:
    per_cm = density(limits.reference_magnification.value, constant.value, limits.default_porosity.value)
    return Measurement(per_cm * vpa_cm.value, "g/cm2", per_cm * vpa_cm.u95)


def _with_porosity(result: DxrResult, frame: Frame, bones: list[Traced], scale: _Scale) -> DxrResult:
    """The density with the porosity of this image where it shows it; else with the constant's own spread."""
    bmd, constant = result.bmd_g_cm2, result.porosity
    if bmd is None or constant is None or scale.mm_per_px is None:
        return result
    if frame.signal is Signal.DOSE:
        found = measure_porosity(frame, [(bone.walls, bone.profile) for bone in bones], scale.mm_per_px)
    else:
        message = "the constant is used for porosity: a display image was filtered in an unknown way"
        found = Reason("porosity-not-measured", message, "Prefer the For Processing image.")
    if isinstance(found, Reason):
        u95 = float(np.hypot(bmd.u95, bmd.value * SPREAD_U95 / (1 - constant)))
        density = Measurement(bmd.value, bmd.unit, u95)
        return replace(result, bmd_g_cm2=density, porosity_u95=SPREAD_U95, notes=(*result.notes, found))
    value = bmd.value * (1 - found.value) / (1 - constant)
    u95 = float(np.hypot(bmd.u95, bmd.value * found.u95 / (1 - constant)))
    return replace(
        result,
        bmd_g_cm2=Measurement(value, bmd.unit, u95),
        porosity=found.value,
        porosity_u95=found.u95,
        porosity_measured=True,
    )


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


def _bone(measured: Traced, scale: _Scale, shape: ShapeFactors) -> Bone:
    profile, strip = measured.profile, measured.walls.strip
    half = profile.w_px / 2
    start, end = profile.roi_px
    corners = strip.to_frame_px([start, start, end, end], [-half, half, half, -half])
    base, head = strip.to_frame_px([0.0, strip.length_px], [0.0, 0.0])
    mci = Measurement(profile.mci, "1", profile.mci_u95)
    t = w = vpa = length = bhi = None
    strong = strength_of_ratio(mci)
    if scale.mm_per_px is not None:
        t = scale.length(profile.t_px, profile.t_u95_px, "mm")
        w = scale.length(profile.w_px, profile.w_u95_px, "mm")
        vpa = scale.length(volume_per_area(profile.t_px, profile.w_px), profile.vpa_u95_px, "cm")
        length = scale.length(strip.length_px, LENGTH_U95_FRACTION * strip.length_px, "mm")
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


def _mean_if_all(
    values: list[Measurement | None], weights: npt.NDArray[np.float64], scale_u95: float
) -> Measurement | None:
    known = [value for value in values if value is not None]
    return _mean(known, weights, scale_u95) if len(known) == len(values) else None


def _mean(values: list[Measurement], weights: npt.NDArray[np.float64], scale_u95: float = 0.0) -> Measurement:
    """Weighted mean; the scale is common to the bones, their own errors are alike to `_ALIKE`."""
    share = weights / weights.sum()
    value = float(share @ np.array([v.value for v in values]))
    squares = [v.u95**2 - (scale_u95 * v.value) ** 2 for v in values]
    own = share * np.sqrt(np.maximum(squares, 0.0))
    image = (1 - _ALIKE) * float(own @ own) + _ALIKE * float(own.sum()) ** 2
    return Measurement(value, values[0].unit, float(np.sqrt(image + (scale_u95 * value) ** 2)))
