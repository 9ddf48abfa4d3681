"""The station's own terms, `99DXR`: one table for structured reports, HL7 v2 and FHIR.

No public scheme has radiogrammetry, DXR densities or their T-score, LOINC's bone density terms are for DXA
(domain notes: tested, seen): these are ours, and every message and object declares the scheme. A value
that was sent once keeps its meaning for ever; a changed meaning is a new value and a new scheme version.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from station.exam import Coded
from station.result import Bone, DxrResult, Measurement

SCHEME = "99DXR"  # PS3.3 8.2: private designators begin with 99; HL7 v2 table 0396 says the same
SCHEME_VERSION = "1"
SCHEME_NAME = "DXR station private terms"
SCHEME_UID = "2.25.312940866565274731761371152259503708403"  # ours; a UUID made once
SCHEME_URI = f"urn:oid:{SCHEME_UID}"  # FHIR's form of it


@dataclass(frozen=True, slots=True)
class Term:
    """A quantity or a statement with its code."""

    key: str
    value: str  # code value, at most 16 characters (SH)
    meaning: str  # at most 64 characters (LO)
    unit: str = ""  # UCUM; empty for texts
    public: Coded | None = None  # the same notion in a public scheme

    @property
    def coded(self) -> Coded:
        """The term as others read it."""
        return Coded(self.value, SCHEME, self.meaning)

    @property
    def spread(self) -> Coded:
        """The uncertainty of the quantity as a statement of its own, where the format cannot nest it."""
        return Coded(f"{self.value}-U95", SCHEME, f"{self.meaning}, ± (95 %)")


_LENGTH = Coded("410668003", "SCT", "Length")

TERMS = (
    # quantities; `unit` is UCUM, the annotation in braces is a unity for UCUM
    Term("bmd", "DXR-BMD", "DXR bone mineral density estimate", "g/cm2"),
    Term("t_score", "DXR-T", "DXR T-score", "{T-score}"),
    Term("z_score", "DXR-Z", "DXR Z-score", "{Z-score}", Coded("113071", "DCM", "Z-score")),
    Term("mci", "DXR-MCI", "Metacarpal index 2T/W", "1"),
    Term("mci_area", "DXR-MCIA", "Cortical area per squared width of a metacarpal", "1"),
    Term("vpa", "DXR-VPA", "Cortical volume per projected area", "cm"),
    Term("t", "DXR-CT", "Thickness of one cortical wall", "mm"),
    Term("w", "DXR-W", "Outer width of a metacarpal shaft", "mm", Coded("103355008", "SCT", "Width")),
    Term("porosity", "DXR-POR", "Cortical porosity, fraction", "1"),
    Term("bhi", "DXR-BHI", "Bone health index", "{mm^0.34}"),
    Term("length", "DXR-L", "Length of a metacarpal, base end estimated", "mm", _LENGTH),
    Term("cortical_area", "DXR-CA", "Cortical area of a shaft section", "mm2"),
    Term("second_moment", "DXR-SMA", "Second moment of area, bending in the image plane", "mm4"),
    Term("section_modulus", "DXR-SM", "Section modulus, bending in the image plane", "mm3"),
    Term("buckling_ratio", "DXR-BR", "Buckling ratio, outer radius over wall", "1"),
    Term("valid_fraction", "DXR-VF", "Fraction of valid profiles in the region of interest", "1"),
    Term("uncertainty", "DXR-U95", "Half width of the 95 % interval"),  # in the unit of its quantity
    Term("hazard_per_sd", "DXR-HRSD", "Hazard ratio per standard deviation of density lost", "1"),
    Term("hazard", "DXR-HR", "Hazard ratio relative to the mean of same age and sex", "1"),
    Term("risk", "DXR-R10", "Probability of fracture within ten years", "%"),
    # method and place; no public code of a single metacarpal was found in DICOM's context groups
    Term("method", "DXR-RG", "Digital X-ray radiogrammetry"),
    Term("metacarpal_2", "DXR-MC2", "Second metacarpal"),
    Term("metacarpal_3", "DXR-MC3", "Third metacarpal"),
    Term("metacarpal_4", "DXR-MC4", "Fourth metacarpal"),
    # what a later result needs to be compared with this one
    Term("porosity_measured", "DXR-PORM", "Whether porosity was measured in this image"),
    Term("constant_status", "DXR-KST", "Status of the density constant"),
    Term("reference_status", "DXR-REFS", "Status of the reference population"),
    Term("detector_type", "DXR-DET", "Type of detector"),
    Term("detector_serial", "DXR-DSN", "Serial number of the detector"),
    # texts
    Term("report", "DXR-REP", "DXR report of one hand"),
    Term("status", "DXR-STAT", "Whether the analysis measured or refused"),
    Term("refusal", "DXR-REF", "Reason why the analysis refused"),
    Term("note", "DXR-NOTE", "Limitation of the analysis"),
    Term("scale", "DXR-SCALE", "Whether lengths are absolute or ratios only"),
    Term("triage", "DXR-BAND", "Band of the T-score"),
    Term("caveat", "DXR-CAV", "Caveat that goes with a result"),
    Term("algorithm", "DXR-ALG", "Algorithm, name and version"),
    Term("protocol", "DXR-PROT", "Acquisition protocol, name and version"),
    Term("reference", "DXR-REFP", "Reference population, name, version and status"),
    Term("constant", "DXR-K", "Density constant", "g/cm3"),
    Term("constant_source", "DXR-KSRC", "Source and status of the density constant"),
    Term("roi_mode", "DXR-ROI", "How the region of interest is placed"),
    Term("section_model", "DXR-SECT", "Model of the shaft section"),
    Term("wording", "DXR-PRE", "Standing of the result"),
    Term("side", "DXR-SIDE", "Side of the hand"),
)


def term(key: str) -> Term:
    """The term of that key. Raises `KeyError`."""
    for entry in TERMS:
        if entry.key == key:
            return entry
    raise KeyError(f"'{key}' is no term of {SCHEME}")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of a result with its term, of one metacarpal or of the hand."""

    term: Term
    value: float
    u95: float | None = None  # in the same unit; None where the result states none
    bone: int | None = None  # number of the metacarpal; None for the hand


def quantities(result: DxrResult) -> tuple[Quantity, ...]:
    """Every number that was measured, the hand's first, then bone by bone; nothing that is None."""
    hand: tuple[tuple[str, Measurement | None], ...] = (
        ("bmd", result.bmd_g_cm2),
        ("mci", result.mci),
        ("vpa", result.vpa_cm),
        ("t", result.t_mm),
        ("w", result.w_mm),
        ("mci_area", result.mci_area),
        ("bhi", result.bhi),
    )
    plain: tuple[tuple[str, float | None, float | None], ...] = (
        ("t_score", result.t_score, None),
        ("z_score", result.z_score, None),
        ("porosity", result.porosity, result.porosity_u95),
    )
    found = [Quantity(term(key), one.value, one.u95) for key, one in hand if one is not None]
    found += [Quantity(term(key), value, u95) for key, value, u95 in plain if value is not None]
    for bone in result.bones:
        found += _of_bone(bone)
    return tuple(found)


def _of_bone(bone: Bone) -> Iterator[Quantity]:
    strength = bone.strength
    every: tuple[tuple[str, Measurement | None], ...] = (
        ("mci", bone.mci),
        ("vpa", bone.vpa_cm),
        ("t", bone.t_mm),
        ("w", bone.w_mm),
        ("mci_area", bone.mci_area),
        ("bhi", bone.bhi),
        ("length", bone.length_mm),
        ("cortical_area", strength.cortical_area_mm2 if strength else None),
        ("second_moment", strength.second_moment_mm4 if strength else None),
        ("section_modulus", strength.section_modulus_mm3 if strength else None),
        ("buckling_ratio", strength.buckling_ratio if strength else None),
    )
    for key, one in every:
        if one is not None:
            yield Quantity(term(key), one.value, one.u95, bone.number)
    yield Quantity(term("valid_fraction"), bone.valid_fraction, None, bone.number)
