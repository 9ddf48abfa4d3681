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
class Strength:
    """Strength of one shaft by its shape alone; what needs a scale is None without one."""

    model: str  # how the section was modelled: round, or with its mean bias taken out
    buckling_ratio: Measurement  # outer radius over wall, scale free
    cortical_area_mm2: Measurement | None = None
    second_moment_mm4: Measurement | None = None  # bending in the plane of the image
    section_modulus_mm3: Measurement | None = None


@dataclass(frozen=True, slots=True)
class Triage:
    """In which band of the T-score a person falls; never to be shown without its caveats."""

    band: Literal["osteoporosis-unlikely", "central-dxa-needed", "osteoporosis-likely"]
    upper_t: float  # above it: unlikely
    lower_t: float  # at and below it: likely
    near_limit: bool  # the 95 % interval of the density reaches into another band
    message: str
    caveats: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A number that must not be shown without its range."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Hazard:
    """Risk of a fracture relative to the mean of persons of the same age and sex."""

    outcome: str  # e.g. hip
    per_sd: Range  # hazard ratio per SD of density lost
    relative: Range  # of this person; over the range of `per_sd` and the 95 % interval of the density
    status: str  # of the middle of `per_sd`: published, derived or memory


@dataclass(frozen=True, slots=True)
class AbsoluteRisk:
    """Probability of a fracture within ten years, for research; only where a protocol switches it on."""

    outcome: str
    percent: Range
    population: str  # name@version of the table
    population_percent: float  # of that table at this age and sex
    meaning: str  # who the table's people are


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
    mci_area: Measurement | None = None  # A/W² = π·(T/W)·(1 − T/W), scale free; not 2T/W
    length_mm: Measurement | None = None  # base to finger joint along `axis_px`; the base end is estimated
    bhi: Measurement | None = None  # bone health index, the same number as PBI
    strength: Strength | None = None


@dataclass(frozen=True, slots=True)
class DxrResult:
    """A measured hand. `scale` relative: ratios only, lengths and densities are None."""

    algorithm: str  # name@version
    side: Side
    scale: Literal["absolute", "relative"]
    bones: tuple[Bone, ...]
    mci: Measurement  # mean of 2T/W
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
    mci_area: Measurement | None = None
    bhi: Measurement | None = None
    bmd_constant_g_cm3: float | None = None  # the constant that was used; None without a density
    bmd_constant_source: str | None = None
    reference_status: str | None = None  # of the reference's curves: published, derived, memory or site
    roi_mode: Literal["fixed", "scaled"] = "fixed"
    triage: Triage | None = None
    hazards: tuple[Hazard, ...] = ()
    absolute_risks: tuple[AbsoluteRisk, ...] = ()
    porosity_u95: float | None = None  # of the constant: how far persons differ


@dataclass(frozen=True, slots=True)
class Refused:
    """The analysis gave no number, and why."""

    reasons: tuple[Reason, ...]
    side: Side | None = None
