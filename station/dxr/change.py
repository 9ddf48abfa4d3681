"""Change of DXR-BMD between two visits, against the measurement's own scatter.

Assumes
    Two results of the same person, each with its date and the type of detector it was made with.
Tolerates
    Any interval; the yearly rate is given from half a year on only.
Method
    The least significant change at 95 % is 2.77 times the CV of a single measurement (1.96·√2), taken of the
    mean of the two densities.
Meaning
    `significant` says that the change is not explained by repeatability, not that it matters.
Known failures
    A CV that was not measured at this station is only as good as its status.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from math import isfinite
from typing import Any

from pydantic import TypeAdapter

from station.exam import Side
from station.protocols import Constant
from station.result import DxrResult, Reason

LSC_FACTOR = 2.77  # 1.96·√2 (derived; the ISCD standard by memory)
_DAYS_PER_YEAR = 365.25
_MIN_RATE_YEARS = 0.5  # own choice: repeatability over a shorter time makes any rate


@dataclass(frozen=True, slots=True)
class Record:
    """What of a result must be kept to compare a later one with it."""

    taken: date
    bmd_g_cm2: float
    side: Side
    bones: tuple[int, ...]
    detector_type: str
    algorithm: str  # name@version
    reference: str  # name@version
    roi_mode: str
    constant_g_cm3: float
    porosity_measured: bool

    def __post_init__(self) -> None:
        if not (isfinite(self.bmd_g_cm2) and 0 < self.bmd_g_cm2 < 2):
            raise ValueError(f"a DXR-BMD lies within 0 to 2 g/cm², got {self.bmd_g_cm2:g}")
        if not self.detector_type.strip():
            raise ValueError("a record needs the type of its detector")


@dataclass(frozen=True, slots=True)
class Change:
    """Later minus earlier."""

    change_g_cm2: float
    percent: float  # of the earlier density
    years: float
    percent_per_year: float | None  # None where the visits are less than half a year apart
    least_significant_g_cm2: float
    least_significant_percent: float  # of the mean of both
    significant: bool
    cv_status: str  # where the CV comes from: published, derived, memory or site


def record_of(result: DxrResult, taken: date, detector_type: str) -> Record | Reason:
    """The record of a result, or why it has none."""
    if result.bmd_g_cm2 is None or result.bmd_constant_g_cm3 is None:
        message = "a result without a density cannot be followed over time"
        return Reason("no-density", message, "Give the pixel spacing, and measure again.")
    return Record(
        taken=taken,
        bmd_g_cm2=result.bmd_g_cm2.value,
        side=result.side,
        bones=tuple(bone.number for bone in result.bones),
        detector_type=detector_type,
        algorithm=result.algorithm,
        reference=result.reference,
        roi_mode=result.roi_mode,
        constant_g_cm3=result.bmd_constant_g_cm3,
        porosity_measured=result.porosity_measured,
    )


def record_json(record: Record) -> dict[str, Any]:
    """The record as JSON types; dates are ISO 8601."""
    return asdict(record) | {
        "taken": record.taken.isoformat(),
        "side": str(record.side),
        "bones": list(record.bones),
    }


def record_from(entry: Mapping[str, Any]) -> Record:
    """The record of `record_json`. Raises ValueError, naming every key that is missing or wrong."""
    return TypeAdapter(Record).validate_python(dict(entry))


def compare(earlier: Record, later: Record, cv_percent: Constant) -> Change | Reason:
    """Change between two visits, or the first reason why they cannot be compared.

    Parameters
    ----------
    cv_percent : Constant
        Repeatability of a single density, in percent, with repositioning.
    """
    reason = _incomparable(earlier, later)
    if reason is not None:
        return reason
    if not 0 < cv_percent.value < 100:
        raise ValueError(f"a CV must lie within 0 to 100 %, got {cv_percent.value:g}")
    change = later.bmd_g_cm2 - earlier.bmd_g_cm2
    percent = 100 * change / earlier.bmd_g_cm2
    years = (later.taken - earlier.taken).days / _DAYS_PER_YEAR
    least_percent = LSC_FACTOR * cv_percent.value
    least = least_percent / 100 * (earlier.bmd_g_cm2 + later.bmd_g_cm2) / 2
    return Change(
        change_g_cm2=change,
        percent=percent,
        years=years,
        percent_per_year=percent / years if years >= _MIN_RATE_YEARS else None,
        least_significant_g_cm2=least,
        least_significant_percent=least_percent,
        significant=abs(change) > least,
        cv_status=cv_percent.status,
    )


def _incomparable(earlier: Record, later: Record) -> Reason | None:
    if later.taken < earlier.taken:
        message = f"the later visit ({later.taken}) is before the earlier one ({earlier.taken})"
        return Reason("visits-out-of-order", message, "Give the earlier visit first.")
    analyse_again = "Analyse both images again in the same way."
    same = (
        ("detector-differs", "detector_type", "Repeat the later view on the first type of detector."),
        ("side-differs", "side", "Compare views of the same hand."),
        ("algorithm-differs", "algorithm", analyse_again),
        ("bones-differ", "bones", "Compare results of the same metacarpals."),
        ("reference-differs", "reference", analyse_again),
        ("roi-mode-differs", "roi_mode", analyse_again),
        ("constant-differs", "constant_g_cm3", analyse_again),
        ("porosity-differs", "porosity_measured", analyse_again),
    )
    for name, field, remedy in same:
        before, after = getattr(earlier, field), getattr(later, field)
        if before != after:
            message = f"not comparable: {field.replace('_', ' ')} is {_word(before)} then {_word(after)}"
            return Reason(name, message, remedy)
    return None


def _word(value: object) -> str:
    if isinstance(value, Side):
        return value.word
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
