"""Acquisition protocols and reference populations: load, validate, select.

A protocol is the site's word on how the exam is made: view, technique by hand size, geometry, positioning
limits, analysis constants, codes. Every limit that readiness or analysis applies is a number in here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from station.devices import FocalSpot, Technique
from station.yaml_file import BadFile, Strict, read, shipped

Positive = Annotated[float, Field(gt=0)]
Status = Literal["published", "derived", "memory", "site"]


class TechniqueSetting(Strict):
    """One technique of the table by hand size."""

    kvp: Annotated[float, Field(ge=40, le=70)]
    ma: Positive
    ms: Positive
    focal_spot: FocalSpot = FocalSpot.SMALL

    def as_technique(self) -> Technique:
        return Technique(self.kvp, self.ma, self.ms, self.focal_spot)


class Geometry(Strict):
    """Distances of the view."""

    sid_mm: Annotated[float, Field(ge=500, le=2000)]  # source to image
    oid_mm: Annotated[float, Field(ge=0, le=200)]  # metacarpal axis above the image plane
    oid_u95_mm: Annotated[float, Field(gt=0, le=50)]  # half width of its 95 % interval, hand to hand
    field_mm: tuple[Positive, Positive]  # light field (rows, columns) at the panel, centred

    @property
    def magnification(self) -> float:
        """M = SID / (SID − OID)."""
        return self.sid_mm / (self.sid_mm - self.oid_mm)

    @property
    def scale_u95(self) -> float:
        """Relative half width of the 95 % interval of object-plane lengths."""
        return self.oid_u95_mm / (self.sid_mm - self.oid_mm)


class ExposureIndexTarget(Strict):
    """IEC 62494-1: EI_T and the band of the deviation index beyond which the operator is warned."""

    target: Positive
    warn_deviation: Positive


class TechniqueLimits(Strict):
    """How far read-back and delivery may differ from what was asked."""

    read_back_percent: Positive
    delivered_percent: Positive


class Positioning(Strict):
    """Limits of the positioning check."""

    rotation_limit_deg: Positive
    finger_spread_deg: tuple[float, float]  # allowed angle between index and little finger
    field_margin_mm: float  # metacarpals 2-4 stay that far inside the light field
    still_s: Positive
    still_limit_mm: Positive


class Constant(Strict):
    """A number with where it comes from."""

    value: float
    status: Status
    source: str


class SiteCalibration(Strict):
    """A density constant this site measured on its own detectors, e.g. in healthy young women."""

    bmd_constant_g_cm3: Annotated[float, Field(gt=0.8, lt=1.8)]  # expected 1.10-1.32 (derived)
    status: Literal["site"]
    source: str  # how, when and in whom
    detector_serials: Annotated[list[str], Field(min_length=1)]


class ShapeCorrection(Strict):
    """By how much the round model reads too high on real sections; taken out only where enabled.

    Strength only: the density constant was made with the round model, so correcting it would need another.
    """

    enabled: bool
    cortical_area_excess: Annotated[float, Field(ge=0, lt=0.5)]
    second_moment_excess: Annotated[float, Field(ge=0, lt=0.5)]
    status: Status
    source: str


class HazardRatio(Strict):
    """Hazard ratio per SD of density lost, never without its range."""

    value: Constant
    low: Constant
    high: Constant

    @model_validator(mode="after")
    def _in_order(self) -> "HazardRatio":
        if not 1 <= self.low.value <= self.value.value <= self.high.value:
            raise ValueError("a hazard ratio per SD lost needs 1 <= low <= value <= high")
        return self


class AgePoint(Strict):
    """Age-matched mean and SD."""

    age: Positive
    mean: Positive
    sd: Positive


class RiskPoint(Strict):
    """Ten-year probability at an age."""

    age: Positive
    percent: Annotated[float, Field(gt=0, lt=100)]


class RiskCurves(Strict):
    """Ten-year probabilities by sex; between ages the logarithm is interpolated linearly."""

    women: Annotated[list[RiskPoint], Field(min_length=2)]
    men: Annotated[list[RiskPoint], Field(min_length=2)]

    @model_validator(mode="after")
    def _ascending(self) -> "RiskCurves":
        _refuse_disorder(women=self.women, men=self.men)
        return self


class RiskTable(Strict):
    """A named, versioned table of fracture probabilities of a population."""

    name: str
    version: str
    status: Status
    source: str
    meaning: str  # who these people are, in words to print
    outcomes: Annotated[dict[str, RiskCurves], Field(min_length=1)]

    @property
    def id(self) -> str:
        """`name@version`, as printed with every risk."""
        return f"{self.name}@{self.version}"


class AbsoluteRiskSetting(Strict):
    """Ten-year risk: for research, off unless a site switches it on."""

    enabled: bool
    table: str  # file name in protocols/references, without .yaml
    population: RiskTable | None = None  # read from `table` when the protocol is loaded


class Risk(Strict):
    """How fracture risk is shown."""

    min_age_years: Positive
    hazard_ratios: dict[str, HazardRatio]  # by outcome
    absolute_risk: AbsoluteRiskSetting


class Analysis(Strict):
    """Constants and limits of the DXR measurement; units in the names."""

    bmd_constant_g_cm3: Constant
    site_calibration: SiteCalibration | None = None
    roi_mode: Literal["fixed", "scaled"] = "fixed"  # scaled: fractions of the bone length
    shape_correction: ShapeCorrection | None = None
    repeatability_cv_percent: Constant | None = None  # of the density, for changes over time
    risk: Risk | None = None
    bone_weights: dict[Literal[2, 3, 4], float]
    roi_length_mm: dict[Literal[2, 3, 4], Positive]
    roi_margin_fraction: Annotated[float, Field(gt=0, lt=0.5)]  # of the bone length, kept from either end
    default_porosity: Constant
    reference_magnification: Constant
    pixel_warn_mm: Positive
    pixel_limit_mm: Positive
    min_valid_fraction: Annotated[float, Field(gt=0, le=1)]
    min_age_years: Positive  # below it T and Z are withheld
    reference: str  # file name in protocols/references, without .yaml

    def constant_for(self, detector_serial: str) -> Constant:
        """The site's own density constant for its detectors, else the general one."""
        site = self.site_calibration
        if site is None or detector_serial not in site.detector_serials:
            return self.bmd_constant_g_cm3
        return Constant(value=site.bmd_constant_g_cm3, status=site.status, source=site.source)


class Code(Strict):
    """A coded procedure; the meaning is the site's own wording, never the licensed descriptor."""

    value: str
    scheme: str
    meaning: Annotated[str, Field(min_length=1, max_length=64)]


class Codes(Strict):
    """Procedure codes by how the image came to be."""

    acquired_for_dxr: Code
    existing_image: Code


class Protocol(Strict):
    """One acquisition protocol file."""

    name: str
    version: str
    title: str
    view: Literal["PA"]
    body_part: Literal["HAND"]
    techniques: dict[Literal["small", "medium", "large"], TechniqueSetting]
    technique_limits: TechniqueLimits
    geometry: Geometry
    exposure_index: ExposureIndexTarget
    positioning: Positioning
    analysis: Analysis
    codes: Codes

    @model_validator(mode="after")
    def _complete(self) -> "Protocol":
        missing = {"small", "medium", "large"} - set(self.techniques)
        if missing:
            raise ValueError(f"techniques for hand size {', '.join(sorted(missing))} are missing")
        return self

    @property
    def id(self) -> str:
        """`name@version`, as recorded with every result."""
        return f"{self.name}@{self.version}"

    def technique(self, hand_size: str) -> Technique:
        """The technique for a hand size: small, medium or large."""
        for size, setting in self.techniques.items():
            if size == hand_size:
                return setting.as_technique()
        raise KeyError(f"hand size '{hand_size}' is not in {self.id}; choose {', '.join(self.techniques)}")


class YoungAdult(Strict):
    """Young-adult reference of the T-score."""

    mean: Positive
    sd: Positive
    status: Status
    source: str


class TriageBands(Strict):
    """Cut-offs of the T-score that were made with this very reference."""

    unlikely_above: float
    likely_at_or_below: float
    sexes: Annotated[list[Literal["F", "M"]], Field(min_length=1)]  # of those they were made in
    min_age_years: Positive  # of the same
    status: Status
    source: str

    @model_validator(mode="after")
    def _in_order(self) -> "TriageBands":
        if not self.likely_at_or_below < self.unlikely_above:
            raise ValueError("likely_at_or_below must be lower than unlikely_above")
        return self


class Reference(Strict):
    """A named, versioned reference population; between ages it is interpolated linearly.

    Without curves the Z-score is withheld, without bands the triage.
    """

    name: str
    version: str
    quantity: Literal["DXR-BMD"]
    unit: Literal["g/cm2"]
    status: Status
    source: str
    young_adult: YoungAdult
    women: Annotated[list[AgePoint], Field(min_length=2)] | None = None
    men: Annotated[list[AgePoint], Field(min_length=2)] | None = None
    triage: TriageBands | None = None

    @model_validator(mode="after")
    def _ascending(self) -> "Reference":
        _refuse_disorder(women=self.women or [], men=self.men or [])
        return self

    @property
    def id(self) -> str:
        """`name@version`, as printed with every score."""
        return f"{self.name}@{self.version}"


def load_protocol(name_or_path: str = "hand-dxr") -> Protocol:
    """A shipped protocol by name, or a file by path, with the risk table it asks for. Raises `BadFile`."""
    protocol = read(_find(name_or_path, "protocols"), Protocol)
    risk = protocol.analysis.risk
    if risk is None or not risk.absolute_risk.enabled or risk.absolute_risk.population is not None:
        return protocol
    table = load_risk_table(risk.absolute_risk.table)
    setting = risk.absolute_risk.model_copy(update={"population": table})
    risk = risk.model_copy(update={"absolute_risk": setting})
    return protocol.model_copy(update={"analysis": protocol.analysis.model_copy(update={"risk": risk})})


def load_risk_table(name_or_path: str) -> RiskTable:
    """A shipped table of fracture probabilities by name, or a file by path. Raises `BadFile`."""
    return read(_find(name_or_path, "protocols", "references"), RiskTable)


def load_reference(name_or_path: str) -> Reference:
    """A shipped reference population by name, or a file by path. Raises `BadFile`."""
    return read(_find(name_or_path, "protocols", "references"), Reference)


def _refuse_disorder(**curves: Sequence[AgePoint | RiskPoint]) -> None:
    for name, curve in curves.items():
        ages = [point.age for point in curve]
        if ages != sorted(set(ages)):
            raise ValueError(f"{name}: ages must ascend without repeats")


def _find(name_or_path: str, *folder: str) -> Path:
    if name_or_path.endswith((".yaml", ".yml")):
        return Path(name_or_path)
    path = shipped(*folder, f"{name_or_path}.yaml")
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in shipped(*folder).glob("*.yaml")))
        raise BadFile(f"{name_or_path}: no such file; known are {known}, or give a path ending in .yaml")
    return path
