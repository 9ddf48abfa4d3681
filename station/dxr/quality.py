"""Gates of the DXR analysis: each may refuse, with what was found, the limit and what to do.

Assumes
    Profiles by `radiogrammetry.measure`, walls by `edges.find_walls`.
Tolerates
    Unknown scale: limits in mm apply only where a scale is known.
Method
    One small function per gate, pure; a gate returns a Reason or None. A gate on one bone drops that bone, a
    gate on the frame or the hand refuses the image.
Meaning
    A refusal is an answer: no number is better than a number from the wrong edge.
Known failures
    A gate sees what breaks the anatomy of a shaft; a smooth wrong edge (for instance a cast) can pass.
"""

import numpy as np
import numpy.typing as npt

from station.dxr.edges import ALONG_STEP_PX, Axis, Walls
from station.dxr.localise import Located
from station.dxr.radiogrammetry import Profile
from station.frame import Frame, Signal, Stage
from station.result import Reason

Bools = npt.NDArray[np.bool_]
Image = npt.NDArray[np.float32]

# Limits without a place in the protocol. "derived": from published sizes or from real hands.
_MIN_WIDTH_PX = 25.0  # fewer pixels across a shaft cannot resolve its walls; 0.2 mm pixels on 5 mm (derived)
_WALL_SHARE = (0.07, 0.47)  # T/W of living metacarpals (derived)
_WIDTH_MM = (4.0, 13.0)  # W of metacarpals 2-4, child to large man (derived)
_MAX_WALL_RATIO = 3.0  # radial to ulnar wall; BLSA: about 1.1 (derived)
_MAX_WIDTH_RATIO = 1.9  # widest to narrowest of the three bones (derived)
_MAX_UNCERTAIN = 0.25  # half width of MCI's interval over MCI: beyond it the number says nothing (own choice)
_MIN_CONTRAST = 2.0  # endosteal edge steepness over its noise (derived)
_MAX_EXTENT = 0.17  # of W, half-maximum width of the outer slope; sharp images 0.06-0.16 (derived)
# Extent of a sharp edge on phantoms: rise of the tube, 2.9 sigma of blur, 4.1 pixels (derived, within 8 %)
_RISE_MM, _PER_BLUR, _PER_PITCH = 0.22, 2.9, 4.1
_MOST_BLUR_MM = 0.25  # sigma of the worst system that may be measured
_SLACK = 1.1
_MAX_SATURATED = 0.02  # of the region's pixels, dose image: where the detector clips, bone is lost (derived)
_MAX_CLIPPED = 0.25  # display image: clipped cortex alone keeps its edges, clipped canal does not (derived)
_MIN_SNR = 8.0  # of single pixels under the bone (derived: below it the endosteal edge drowns)
_MIN_FLARE = (
    0.9  # a metacarpal widens from its narrowest part to base and head; 0.1 is its edges' error (anatomy)
)
_LAST_WAIST = (
    0.65  # metacarpals are narrowest at or below mid length (0.34-0.55 in real hands), phalanges above
)
_SHAFT = (0.3, 0.75)  # of the length: where nothing may cross
_MIN_DIP = 0.25  # contrast of the shaft at its weakest place, over its median (derived)
_BESIDE = 0.3  # of the width, looked at beside the bone
_DIP_LENGTH = 0.04  # of the length, half of what is averaged
_MAX_ANISOTROPY = 0.01
# Of metacarpals 2 and 4 at mid length, over length 3: mean less 3 SD of 15 real hands (derived)
_MIN_SPACING = 0.417
_OPEN_PLATE = 1.15  # clearness; phantoms and one grown hand 0.7-0.8, most open plates 1.2-2 (derived)
_ADULT_YEARS = 18.0
_PLATES_CLOSED_YEARS = 25.0  # no metacarpal grows beyond; older lines are scars (anatomy)


def frame_reason(frame: Frame, limit_mm: float) -> Reason | None:
    """Whether the frame can be analysed at all."""
    if frame.stage is Stage.RAW:
        remedy = "Correct offset, gain and defects first."
        return Reason("uncorrected-frame", "a raw frame is not analysed", remedy)
    if frame.spacing_mm is None:
        return None
    ratio = frame.spacing_mm[0] / frame.spacing_mm[1]
    if abs(ratio - 1) > _MAX_ANISOTROPY:
        return Reason(
            "pixels-not-square", "the pixels are not square", "Resample to square pixels.", ratio, 1.0
        )
    pitch = max(frame.spacing_mm)
    if frame.scale_known and pitch > limit_mm:
        message = f"pixel pitch {pitch:g} mm; at most {limit_mm:g} mm resolves the cortex"
        return Reason("pixel-too-large", message, "Use the full-resolution image.", pitch, limit_mm)
    return None


def pitch_note(frame: Frame, warn_mm: float) -> Reason | None:
    """A note on pixels that resolve the cortex poorly."""
    if frame.spacing_mm is None or not frame.scale_known or max(frame.spacing_mm) <= warn_mm:
        return None
    pitch = max(frame.spacing_mm)
    message = f"pixel pitch {pitch:g} mm; above {warn_mm:g} mm the cortex is resolved poorly"
    return Reason("pixel-coarse", message, "Prefer the full-resolution image.", pitch, warn_mm)


def cut_reason(located: Located, axes: dict[int, Axis]) -> Reason | None:
    """Metacarpals 2-4 must lie inside the image and inside the hand that is visible in it."""
    rows, columns = located.hand.mask.shape
    for number, axis in axes.items():
        for end in (axis.base_px, axis.head_px):
            row, column = np.rint((end + 0.5) / located.scale - 0.5).astype(int)
            if not (0 <= row < rows and 0 <= column < columns and located.hand.mask[row, column]):
                return Reason(
                    "metacarpal-cut",
                    f"metacarpal {number} is cut by the image or the field",
                    "Centre the hand on the third metacarpal and open the field to the wrist.",
                    number,
                )
    return None


def rotation_reason(axes: dict[int, Axis]) -> Reason | None:
    """Whether metacarpals 2 and 4 lie too close for a flat hand, seen from 25-40 degrees on."""
    middles = {number: (axis.base_px + axis.head_px) / 2 for number, axis in axes.items()}
    length = float(np.hypot(*(axes[3].head_px - axes[3].base_px)))
    spacing = float(np.hypot(*(middles[2] - middles[4]))) / length
    if spacing >= _MIN_SPACING:
        return None
    return Reason(
        "hand-rotated",
        f"metacarpals 2 and 4 lie {spacing:.2f} bone lengths apart: the hand is turned on its side",
        "Lay the hand flat, palm down, without rotating it.",
        spacing,
        _MIN_SPACING,
    )


def growth_note(clearness: float, age: float | None) -> Reason | None:
    """A note where growth plates are open or must be expected to be."""
    seen = clearness > _OPEN_PLATE and (age is None or age < _PLATES_CLOSED_YEARS)
    if not seen and (age is None or age >= _ADULT_YEARS):
        return None
    what = "growth plates are seen at the metacarpal heads" if seen else "growth plates may still be open"
    remedy = "Use references for children; adult scores do not apply before growth has ended."
    return Reason(
        "physes-open", f"{what}: ratios are given, adult scores do not apply", remedy, clearness, _OPEN_PLATE
    )


def bone_reason(walls: Walls, profile: Profile, mm_per_px: float | None, min_valid: float) -> Reason | None:
    """The first gate that one bone fails."""
    checks = (
        _resolution(profile),
        _saturation(walls, profile),
        _shape(walls, profile),
        _sharpness(walls, profile, mm_per_px),
        _valid(profile, min_valid),
        _contrast(profile),
        _certain(profile),
        _anatomy(profile, mm_per_px),
    )
    return next((reason for reason in checks if reason is not None), None)


def exposure_reason(walls: Walls, profile: Profile) -> Reason | None:
    """Signal to noise of single pixels under the bone of a dose image."""
    if walls.strip.signal is not Signal.DOSE:
        return None
    canal = _canal(walls, profile)
    rest = canal - np.median(canal, axis=1, keepdims=True)
    # second differences along the bone leave noise only; 6 is the sum of squares of (1, -2, 1)
    noise = 1.4826 * float(np.median(np.abs(np.diff(rest, 2, axis=0)))) / np.sqrt(6)
    snr = 1 / max(noise, 1e-6)
    if snr >= _MIN_SNR:
        return None
    return Reason(
        "underexposed",
        f"the image is too noisy under metacarpal {profile.number} (signal to noise {snr:.1f})",
        "Check the technique for the hand size and that the field is open.",
        snr,
        _MIN_SNR,
    )


def together_reason(walls: dict[int, Walls], profiles: dict[int, Profile]) -> Reason | None:
    """Bones must be alike in width and must not overlap in the regions measured."""
    widths = [profile.w_px for profile in profiles.values()]
    ratio = max(widths) / min(widths)
    if ratio > _MAX_WIDTH_RATIO:
        return Reason(
            "metacarpals-inconsistent",
            "the shafts found differ in width beyond anatomy",
            "Check that the hand lies flat, palm down.",
            ratio,
            _MAX_WIDTH_RATIO,
        )
    for left, right in ((2, 3), (3, 4)):
        if left in walls and right in walls and _overlap(walls[left], profiles[left], walls[right]):
            return Reason(
                "bones-overlap",
                f"metacarpals {left} and {right} overlap where they are measured",
                "Lay the hand flat, palm down, without rotating it.",
            )
    return None


def _resolution(profile: Profile) -> Reason | None:
    if profile.w_px >= _MIN_WIDTH_PX:
        return None
    return Reason(
        "resolution-too-low",
        f"metacarpal {profile.number} is {profile.w_px:.0f} pixels wide; its walls are not resolved",
        "Use the full-resolution image.",
        profile.w_px,
        _MIN_WIDTH_PX,
    )


def _saturation(walls: Walls, profile: Profile) -> Reason | None:
    rows, columns = _region(walls, profile)
    top = walls.strip.ceiling
    share = 0.0 if top is None else float((walls.strip.raw[rows][:, columns] >= top - 0.5).mean())
    limit = _MAX_SATURATED if walls.strip.signal is Signal.DOSE else _MAX_CLIPPED
    if share <= limit:
        return None
    return Reason(
        "saturated",
        f"{share:.0%} of the pixels of metacarpal {profile.number} are clipped",
        "Lower the exposure, or export the image without clipping.",
        share,
        limit,
    )


def _sharpness(walls: Walls, profile: Profile, mm_per_px: float | None) -> Reason | None:
    rows, _ = _region(walls, profile)
    extent_px = float(np.median(walls.extent[rows]))
    limit_px = _MAX_EXTENT * profile.w_px
    if mm_per_px is not None and walls.strip.signal is Signal.DOSE:
        squares = _RISE_MM**2 + (_PER_BLUR * _MOST_BLUR_MM) ** 2 + (_PER_PITCH * mm_per_px) ** 2
        limit_px = min(limit_px, _SLACK * float(np.sqrt(squares)) / mm_per_px)
    if extent_px <= limit_px:
        return None
    share, limit = extent_px / profile.w_px, limit_px / profile.w_px
    return Reason(
        "blurred",
        f"the outline of metacarpal {profile.number} is blurred over {share:.0%} of its width",
        "Look for motion; use the original image, neither reduced nor smoothed.",
        share,
        limit,
    )


def _valid(profile: Profile, minimum: float) -> Reason | None:
    if profile.valid_fraction >= minimum:
        return None
    return Reason(
        "too-few-valid-profiles",
        f"only {profile.valid_fraction:.0%} of metacarpal {profile.number}'s profiles show four clear edges",
        "Look for motion, rings, casts or a rotated hand; repeat only if the cause can be removed.",
        profile.valid_fraction,
        minimum,
    )


def _certain(profile: Profile) -> Reason | None:
    uncertain = profile.mci_u95 / profile.mci
    if uncertain <= _MAX_UNCERTAIN:
        return None
    return Reason(
        "edges-uncertain",
        f"the walls of metacarpal {profile.number} are uncertain by {uncertain:.0%}: no tube looks like this",
        "Look for motion, a double contour or clipped cortex; use the original image.",
        uncertain,
        _MAX_UNCERTAIN,
    )


def _contrast(profile: Profile) -> Reason | None:
    if profile.contrast >= _MIN_CONTRAST:
        return None
    return Reason(
        "no-endosteal-edge",
        f"the inner edge of metacarpal {profile.number} does not stand out from its surroundings",
        "Check exposure and focus; without a visible canal the bone cannot be measured.",
        profile.contrast,
        _MIN_CONTRAST,
    )


def _anatomy(profile: Profile, mm_per_px: float | None) -> Reason | None:
    share = profile.t_px / profile.w_px
    if not _WALL_SHARE[0] <= share <= _WALL_SHARE[1]:
        limit = _WALL_SHARE[0] if share < _WALL_SHARE[0] else _WALL_SHARE[1]
        message = f"the wall of metacarpal {profile.number} is {share:.2f} of its width, beyond anatomy"
        return Reason("wall-implausible", message, "Look at the edges drawn on the image.", share, limit)
    thin, thick = sorted(profile.walls_px)
    if thick > _MAX_WALL_RATIO * max(thin, 1e-6):
        message = f"the two walls of metacarpal {profile.number} differ beyond anatomy"
        remedy = "Lay the hand flat, palm down; look for overlying structures."
        return Reason("walls-unequal", message, remedy, thick / max(thin, 1e-6), _MAX_WALL_RATIO)
    width_mm = None if mm_per_px is None else profile.w_px * mm_per_px
    if width_mm is not None and not _WIDTH_MM[0] <= width_mm <= _WIDTH_MM[1]:
        limit = _WIDTH_MM[0] if width_mm < _WIDTH_MM[0] else _WIDTH_MM[1]
        message = (
            f"metacarpal {profile.number} would be {width_mm:.1f} mm wide: the pixel spacing cannot be right"
        )
        return Reason("width-implausible", message, "Check the pixel spacing of this image.", width_mm, limit)
    return None


def _shape(walls: Walls, profile: Profile) -> Reason | None:
    s = walls.strip.along_px / walls.strip.length_px
    width = walls.width_px
    inside = (
        np.abs(walls.strip.along_px - profile.narrowest_px) <= (profile.roi_px[1] - profile.roi_px[0]) / 2
    )
    waist = float(np.median(width[inside]))
    flare = min(float(np.median(width[s < 0.16])), float(np.median(width[s > 0.8]))) / waist
    remedy = "Check that this is a PA hand, lying flat, with its metacarpals whole and free."
    name = f"what should be metacarpal {profile.number}"
    if flare < _MIN_FLARE:
        message = f"{name} does not widen to its ends as a metacarpal does"
        return Reason("not-a-metacarpal", message, remedy, flare, _MIN_FLARE)
    place = profile.narrowest_px / walls.strip.length_px
    if place > _LAST_WAIST:
        message = f"{name} is narrowest towards the finger, as a phalanx is"
        return Reason("not-a-metacarpal", message, remedy, place, _LAST_WAIST)
    dip = _weakest_contrast(walls)
    if dip < _MIN_DIP:
        message = f"{name} is interrupted: a joint, a fracture or an overlying edge crosses its shaft"
        return Reason("shaft-broken", message, remedy, dip, _MIN_DIP)
    return None


def _weakest_contrast(walls: Walls) -> float:
    """Least contrast of bone to the darker of its two sides along the shaft, over its median."""
    strip = walls.strip
    x = strip.across_px[None, :]
    low, high = (edge[:, None] for edge in walls.outer)
    reach = _BESIDE * float(np.median(walls.width_px))
    sides = ((x <= low) & (x > low - reach), (x >= high) & (x < high + reach))
    beside = np.minimum(*(_row_means(strip.values, side) for side in sides))
    contrast = _row_means(strip.values, (x > low) & (x < high)) - beside
    half = max(round(_DIP_LENGTH * strip.length_px / ALONG_STEP_PX), 1)
    smooth = np.convolve(
        np.pad(contrast, half, mode="edge"), np.full(2 * half + 1, 1 / (2 * half + 1)), "valid"
    )
    s = strip.along_px / strip.length_px
    shaft = smooth[(s > _SHAFT[0]) & (s < _SHAFT[1])]
    return float(shaft.min() / max(np.median(shaft), 1e-9))


def _row_means(values: Image, where: Bools) -> npt.NDArray[np.float64]:
    return (values * where).sum(axis=1) / np.maximum(where.sum(axis=1), 1)


def _region(walls: Walls, profile: Profile) -> tuple[Bools, Bools]:
    s, x = walls.strip.along_px, walls.strip.across_px
    rows = (s >= profile.roi_px[0]) & (s <= profile.roi_px[1])
    return rows, np.abs(x) <= profile.w_px / 2


def _canal(walls: Walls, profile: Profile) -> Image:
    rows, _ = _region(walls, profile)
    half = max((profile.w_px - 2 * profile.t_px) / 4, 2.0)
    return walls.strip.values[rows][:, np.abs(walls.strip.across_px) <= half]


def _overlap(left: Walls, profile: Profile, right: Walls) -> bool:
    """Whether the left bone's outline in its region enters the right bone's outline."""
    s = left.strip.along_px
    rows = (s >= profile.roi_px[0]) & (s <= profile.roi_px[1])
    for edge in left.outer:
        offset = left.strip.to_frame_px(s[rows], edge[rows]) - right.strip.origin_px
        along, across = offset @ right.strip.along, offset @ right.strip.across
        other = right.strip.along_px
        low, high = (np.interp(along, other, side) for side in right.outer)
        within = (along > other[0]) & (along < other[-1])
        if bool((within & (across > low + 1) & (across < high - 1)).mean() > 0.1):
            return True
    return False
