"""What a DXR analysis says: measurements with uncertainty, or a refusal with reasons. Frozen, no I/O.

Lengths are in the object plane (magnification divided out). A quantity that was not or must not be measured
is None; it is never zero, and never a guess.
"""

from dataclasses import dataclass
from typing import Literal

from station.exam import Side


@dataclass(frozen=True, slots=True)
class Measurement:
    """A value with its unit and the half width of its 95 % interval, in the same unit."""

    value: float
    unit: str
    u95: float


@dataclass(frozen=True, slots=True)
class Reason:
    """One finding: why something was refused, withheld or flagged, and what to do about it."""

    id: str  # stable, lower case with dashes
    message: str
    remedy: str
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Bone:
    """One metacarpal. Pixels are (row, column) of the analysed frame; the axis runs from base to head."""

    number: int  # 2, 3 or 4
    mci: Measurement  # 2T/W, scale free
    t_mm: Measurement | None  # thickness of one wall, mean of the radial and ulnar wall
    w_mm: Measurement | None  # outer width
    vpa_cm: Measurement | None  # volume per projected area
    valid_fraction: float  # of the profiles in the ROI
    axis_px: tuple[tuple[float, float], tuple[float, float]]
    roi_px: tuple[tuple[float, float], ...]  # four corners


@dataclass(frozen=True, slots=True)
class DxrResult:
    """A measured hand. `scale` relative: ratios only, lengths and densities are None."""

    algorithm: str  # name@version
    side: Side
    scale: Literal["absolute", "relative"]
    bones: tuple[Bone, ...]
    mci: Measurement
    t_mm: Measurement | None
    w_mm: Measurement | None
    vpa_cm: Measurement | None
    bmd_g_cm2: Measurement | None
    bmd_status: str  # where the density constant comes from: published, derived, memory or site
    porosity: float | None
    porosity_measured: bool
    t_score: float | None
    z_score: float | None
    reference: str  # name@version
    notes: tuple[Reason, ...] = ()  # what was withheld or is limited


@dataclass(frozen=True, slots=True)
class Refused:
    """The analysis gave no number, and why."""

    reasons: tuple[Reason, ...]
    side: Side | None = None
