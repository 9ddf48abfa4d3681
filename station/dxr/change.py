"""Change of DXR-BMD between two visits, against the measurement's own scatter.

Assumes
    Two reports of the same person, each with its date and the type of detector it was made with.
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
from typing import Any, Literal, cast

from pydantic import TypeAdapter, ValidationError

from station.exam import Side
from station.protocols import Constant
from station.result import Reason

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
    image: Literal["for processing", "display"]  # a display image was filtered

    def __post_init__(self) -> None:
        if not (isfinite(self.bmd_g_cm2) and 0 < self.bmd_g_cm2 < 2):
            raise ValueError(f"a DXR-BMD lies within 0 to 2 g/cm², got {self.bmd_g_cm2:g}")
        if not self.detector_type.strip():
            raise ValueError("a record needs the type of its detector")


# Keys of the report's `dxr` and `visit`
_OF_DXR = {
    "bmd_g_cm2": "bmd_g_cm2",
    "algorithm": "algorithm",
    "reference": "reference",
    "roi_mode": "roi_mode",
    "constant_g_cm3": "bmd_constant_g_cm3",
    "porosity_measured": "porosity_measured",
}
_OF_VISIT = ("taken", "detector_type")
_MISSING = {"taken": "when it was taken", "detector_type": "with which type of detector"}


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
    cv_percent: float
    cv_status: str  # where the CV comes from: published, derived, memory or site
    cv_source: str


def record_of(report: Mapping[str, Any]) -> Record | Reason:
    """The record of a report of `exam` or `analyse`, or why it has none.

    Raises
    ------
    ValueError
        The report is damaged; every key that is missing or wrong is named.
    """
    dxr, visit = _part(report, "dxr"), _part(report, "visit")
    if dxr.get("bmd_g_cm2") is None:
        message = f"{report.get('source')!r}: a result without a density cannot be followed over time"
        return Reason("no-density", message, "Give the pixel spacing, and measure again.")
    missing = [words for name, words in _MISSING.items() if not visit.get(name)]
    if missing:
        message = f"{report.get('source')!r}: the image does not say {' and '.join(missing)}"
        return Reason("visit-unknown", message, "Analyse it again with --taken and --detector.")
    known = {name: dxr.get(key) for name, key in _OF_DXR.items() if dxr.get(key) is not None}
    notes = _notes(report)
    entry = known | {
        "bones": tuple(sorted(_part(dxr, "bones"))),
        "side": report.get("side"),
        "image": "display" if "display-image" in notes else "for processing",
    }
    try:
        return TypeAdapter(Record).validate_python(entry | {name: visit[name] for name in _OF_VISIT})
    except ValidationError as error:
        keys = ", ".join(str(part["loc"][0] if part["loc"] else part["msg"]) for part in error.errors())
        raise ValueError(f"{report.get('source')!r}: the result is damaged at {keys}") from error


def _notes(report: Mapping[str, Any]) -> set[str]:
    reasons: Any = report.get("reasons") or []
    if not isinstance(reasons, list):
        raise ValueError("the result is damaged: reasons is no list")  # noqa: TRY004  of a file, not of code
    return {str(reason.get("id")) for reason in reasons if isinstance(reason, Mapping)}


def _part(report: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found: Any = report.get(key) or {}
    if not isinstance(found, Mapping):
        raise ValueError(f"the result is damaged: {key} is no object")  # noqa: TRY004  of a file, not of code
    return cast("Mapping[str, Any]", found)


def change_of(
    earlier: Mapping[str, Any], later: Mapping[str, Any], cv_percent: Constant | None
) -> Change | Reason:
    """Change between two reports of `exam` or `analyse`, or the first reason why there is none.

    Raises
    ------
    ValueError
        A report is damaged.
    """
    first, second = record_of(earlier), record_of(later)
    if isinstance(first, Reason):
        return first
    if isinstance(second, Reason):
        return second
    if cv_percent is None:
        message = "the protocol holds no repeatability_cv_percent"
        return Reason("no-precision", message, "Measure this station's precision and put it there.")
    return compare(first, second, cv_percent)


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
        cv_percent=cv_percent.value,
        cv_status=cv_percent.status,
        cv_source=cv_percent.source,
    )


def change_json(found: Change | Reason) -> dict[str, Any]:
    """A comparison as JSON types."""
    if isinstance(found, Reason):
        reason = {"id": found.id, "message": found.message, "remedy": found.remedy}
        return {"comparable": False, "change": None, "reason": reason}
    return {"comparable": True, "change": asdict(found), "reason": None}


def change_text(found: Change | Reason) -> str:
    """The same for a person's eyes."""
    if isinstance(found, Reason):
        return f"NOT COMPARABLE\n  {found.id}: {found.message} → {found.remedy}"
    rate = "" if found.percent_per_year is None else f", {found.percent_per_year:+.1f} % a year"
    verdict = "beyond" if found.significant else "within"
    meaning = "not explained by repeatability" if found.significant else "no change is shown"
    return (
        f"DXR-BMD {found.change_g_cm2:+.4f} g/cm² ({found.percent:+.1f} %) in {found.years:.1f} years{rate}\n"
        f"  {verdict} the least significant change of {found.least_significant_g_cm2:.4f} g/cm² "
        f"({found.least_significant_percent:.1f} %, 95 %): {meaning}\n"
        f"  from a CV of {found.cv_percent:g} % ({found.cv_status}: {found.cv_source})\n"
        "  that both are of the same person is for the reader to know"
    )


def _incomparable(earlier: Record, later: Record) -> Reason | None:
    if later.taken < earlier.taken:
        message = f"the later visit ({later.taken}) is before the earlier one ({earlier.taken})"
        return Reason("visits-out-of-order", message, "Give the earlier visit first.")
    analyse_again = "Analyse both images again in the same way."
    same = (
        ("detector-differs", "detector_type", "Repeat the later view on the first type of detector."),
        ("image-kind-differs", "image", "Compare images of the same kind, best the For Processing ones."),
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
