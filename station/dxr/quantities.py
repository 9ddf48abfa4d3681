"""From pixels across the shafts to what is reported: lengths in the object plane, density, strength, means.

Assumes
    Bones that passed their gates; a dose image is made in the protocol's geometry.
Tolerates
    Unknown scale: then only what is free of it is given.
Method
    Lengths are divided by the magnification; density is c·VPA·(1 − p), VPA at the reference magnification.
Meaning
    u95 holds the image's own part and the scale's, that is how far the bones' height above the panel differs.
    In means the scale is common to the bones, and their own errors are partly alike.
Known failures
    The constant c is uncertain by up to 10 % between systems, which no u95 holds.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from station.dxr.porosity import SPREAD_U95, measure_porosity
from station.dxr.radiogrammetry import density, volume_per_area
from station.dxr.strength import (
    LENGTH_U95_FRACTION,
    ROUND,
    ShapeFactors,
    area_index,
    bone_health_index,
    strength,
    strength_of_ratio,
)
from station.dxr.trace import Traced
from station.exam import Side
from station.frame import Frame, Signal
from station.protocols import Analysis, Constant, Protocol, Reference
from station.result import Bone, DxrResult, Measurement, Reason

ALGORITHM = "dxr-open@3"

_FOREIGN_SCALE_U95 = 0.015  # relative: 15 to 30 mm above a panel at 0.9 to 1.3 m (derived)
_ALIKE = 0.4  # correlation of the bones' errors: canals of a hand are alike (derived: carved real surfaces)
_DETECTOR_BLUR_MM = 0.10  # sigma of a flat panel with its focal spot, 0.09-0.14 (derived)


@dataclass(frozen=True, slots=True)
class Scale:
    """Object-plane mm per frame pixel, None if unknown; the blur that is known, in pixels."""

    mm_per_px: float | None
    relative_u95: float  # half width of the 95 % interval of `mm_per_px`, over it
    blur_px: float
    note: Reason | None

    @classmethod
    def of(cls, frame: Frame, protocol: Protocol) -> "Scale":
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


def result_of(
    bones: list[Traced], scale: Scale, limits: Analysis, frame: Frame, side: Side, reference: Reference
) -> DxrResult:
    """Everything but the scores, from the bones that passed their gates."""
    constant = limits.constant_for(frame.serial)
    return _with_porosity(
        _without_porosity(bones, scale, limits, constant, side, reference), frame, bones, scale
    )


def _without_porosity(
    bones: list[Traced],
    scale: Scale,
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


def _with_porosity(result: DxrResult, frame: Frame, bones: list[Traced], scale: Scale) -> DxrResult:
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


def _bone(measured: Traced, scale: Scale, shape: ShapeFactors) -> Bone:
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
