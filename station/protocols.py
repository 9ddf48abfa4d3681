"""Acquisition protocols and reference populations: load, validate, select.

A protocol is the site's word on how the exam is made: view, technique by hand size, geometry, positioning
limits, analysis constants, codes. Every limit that readiness or analysis applies is a number in here.
"""

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
    field_mm: tuple[Positive, Positive]  # light field (rows, columns) at the panel, centred

    @property
    def magnification(self) -> float:
        """M = SID / (SID − OID)."""
        return self.sid_mm / (self.sid_mm - self.oid_mm)


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


class Analysis(Strict):
    """Constants and limits of the DXR measurement; units in the names."""

    bmd_constant_g_cm3: Constant
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


class AgePoint(Strict):
    """Age-matched mean and SD."""

    age: Positive
    mean: Positive
    sd: Positive


class Reference(Strict):
    """A named, versioned reference population; between ages it is interpolated linearly."""

    name: str
    version: str
    quantity: Literal["DXR-BMD"]
    unit: Literal["g/cm2"]
    status: Status
    source: str
    young_adult: YoungAdult
    women: Annotated[list[AgePoint], Field(min_length=2)]
    men: Annotated[list[AgePoint], Field(min_length=2)]

    @model_validator(mode="after")
    def _ascending(self) -> "Reference":
        for name, curve in (("women", self.women), ("men", self.men)):
            ages = [point.age for point in curve]
            if ages != sorted(set(ages)):
                raise ValueError(f"{name}: ages must ascend without repeats")
        return self

    @property
    def id(self) -> str:
        """`name@version`, as printed with every score."""
        return f"{self.name}@{self.version}"


def load_protocol(name_or_path: str = "hand-dxr") -> Protocol:
    """A shipped protocol by name, or a file by path. Raises `BadFile`."""
    return read(_find(name_or_path, "protocols"), Protocol)


def load_reference(name_or_path: str) -> Reference:
    """A shipped reference population by name, or a file by path. Raises `BadFile`."""
    return read(_find(name_or_path, "protocols", "references"), Reference)


def _find(name_or_path: str, *folder: str) -> Path:
    if name_or_path.endswith((".yaml", ".yml")):
        return Path(name_or_path)
    path = shipped(*folder, f"{name_or_path}.yaml")
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in shipped(*folder).glob("*.yaml")))
        raise BadFile(f"{name_or_path}: no such file; known are {known}, or give a path ending in .yaml")
    return path
