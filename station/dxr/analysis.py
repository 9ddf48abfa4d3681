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
    See the modules. Porosity is seldom measurable: else the protocol's constant is used and marked so.
"""

from dataclasses import dataclass, replace
from typing import Literal

from station.dxr.axes import find_axes, growth_plates
from station.dxr.edges import Axis, find_walls
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
from station.dxr.quantities import Scale, result_of
from station.dxr.radiogrammetry import RELATIVE_ROI, measure
from station.dxr.reference import scores
from station.dxr.risk import assess
from station.dxr.trace import Trace, Traced
from station.exam import Sex, Side
from station.frame import Frame
from station.protocols import Analysis, Protocol, Reference
from station.result import DxrResult, Reason, Refused

_MEASURED: tuple[Literal[2, 3, 4], ...] = (2, 3, 4)
_MIN_BONES = 2  # own choice
# What is no shaft that can be looked at for something foreign
_NO_SHAFT = frozenset({"not-a-metacarpal", "resolution-too-low", "underexposed", "width-implausible"})


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
    scale = Scale.of(frame, protocol)
    seen, dressing = _bones(frame, found, protocol.analysis, scale)
    trace, side = replace(trace, bones=seen), side or found.side
    bones = [bone for bone in seen if bone.reason is None]
    whole = rotation_reason(found.axes) or dressing
    reason = whole or (_conflict(bones) if len(bones) >= _MIN_BONES else None)
    failed = tuple(bone.reason for bone in seen if bone.reason is not None)
    if reason is not None or len(bones) < _MIN_BONES:
        return Refused(failed if reason is None else (reason, *failed), side), trace
    notes = _notes(frame, protocol.analysis, scale, bones, failed)
    notes += [_side_note(side, found.side), growth_note(growth_plates(frame, found.axes), patient_age)]
    result = result_of(bones, scale, protocol.analysis, frame, side, reference)
    result = replace(result, notes=(*(note for note in notes if note is not None), *result.notes))
    return _scored(result, patient_age, sex, protocol.analysis, reference), trace


def _conflict(bones: list[Traced]) -> Reason | None:
    return together_reason({b.number: b.walls for b in bones}, {b.number: b.profile for b in bones})


def _notes(
    frame: Frame, limits: Analysis, scale: Scale, bones: list[Traced], failed: tuple[Reason, ...]
) -> list[Reason | None]:
    notes = [pitch_note(frame, limits.pixel_warn_mm), scale.note]
    if scale.mm_per_px is not None:
        notes += [_calibration_note(frame, limits), _region_note(limits)]
    if failed:
        notes += [_incomplete(bones), *failed]
    return notes


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
    axes = find_axes(frame, located)
    if isinstance(axes, Reason):
        return axes, Trace(located)
    return cut_reason(located, axes) or _Found(located, located.side, axes), Trace(located, axes)


def _bones(
    frame: Frame, found: _Found, limits: Analysis, scale: Scale
) -> tuple[tuple[Traced, ...], Reason | None]:
    """The bones with the gates they fail, and what lies on the hand as a whole."""
    shafts = [_shaft(frame, found, number, limits, scale) for number in _MEASURED]
    own = {shaft.number: shaft.reason for shaft in shafts}
    odd = {shaft.number: oddness(shaft.walls, shaft.profile) for shaft in shafts}
    sound = [n for n, reason in own.items() if reason is None or reason.id not in _NO_SHAFT]
    foreign = foreign_reasons(odd, sound)
    reasons = own | foreign
    bones = tuple(replace(shaft, reason=reasons[shaft.number]) for shaft in shafts)
    return bones, dressing_reason({n: odd[n] for n in sound}, foreign)


def _shaft(frame: Frame, found: _Found, number: Literal[2, 3, 4], limits: Analysis, scale: Scale) -> Traced:
    walls = find_walls(frame, found.axes[number])
    if scale.mm_per_px is None or limits.roi_mode == "scaled":
        roi_px = RELATIVE_ROI[number] * walls.strip.length_px
    else:
        roi_px = limits.roi_length_mm[number] / scale.mm_per_px
    profile = measure(walls, number, roi_px, limits.roi_margin_fraction, scale.blur_px)
    noisy = exposure_reason(walls, profile)
    own = noisy or bone_reason(walls, profile, scale.mm_per_px, limits.min_valid_fraction)
    return Traced(number, walls, profile, own)


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


def _side_note(given: Side, seen: Side) -> Reason | None:
    if given is seen:
        return None
    message = f"the order says {given.word}, the thumb in the image says {seen.word}"
    return Reason("side-disagrees", message, "Check which hand it is; the image may be mirrored on display.")


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
