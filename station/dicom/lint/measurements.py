"""Checks of a measurement report of this station: sides, standing, evidence, and the numbers' sense."""

from collections.abc import Iterator, Sequence
from math import isclose, isfinite

from pydicom.dataset import Dataset

from station.codes import SCHEME, SCHEME_UID, term
from station.dicom.lint.every import Findings
from station.dicom.lint.seen import Seen, as_float, below, children, code_of, name_of, number_of
from station.exam import Exam

_GROUP, _MEASUREMENTS = ("125007", "DCM"), ("126010", "DCM")
_SITE, _LATERALITY = ("363698007", "SCT"), ("272741003", "SCT")
_WIDTH, _SCORES = ("103355008", "SCT"), (("DXR-T", SCHEME), ("113071", "DCM"))
_POPULATION = ("121405", "DCM")
_SPREAD = (("371886008", "SCT"), ("371885007", "SCT"))
_BMD, _VPA, _MCI, _T, _POROSITY, _CONSTANT = (
    (term(key).value, SCHEME) for key in ("bmd", "vpa", "mci", "t", "porosity", "constant")
)
_FRACTIONS = frozenset((term(key).value, SCHEME) for key in ("mci", "porosity", "valid_fraction"))
_INDEX_TOLERANCE = 1e-3  # relative: MCI of a bone is 2T/W of the same profile
# Own choice: the magnification at which a protocol may report VPA
_MAGNIFICATION = (1.0, 1.06)
_MEAN_TOLERANCE = 1e-6


def ours(seen: Seen) -> bool:
    """Whether the report uses this station's terms; another's numbers are not ours to judge."""
    declared = seen.dataset.get("CodingSchemeIdentificationSequence") or ()
    return seen.kind == "measurement report" and any(
        item.get("CodingSchemeUID") == SCHEME_UID for item in declared
    )


def standing(seen: Seen, _exam: Exam | None) -> Findings:
    """Final is what a named person verified; everything else says that it is preliminary."""
    verified = seen.get("VerificationFlag") == "VERIFIED"
    if verified != bool(seen.dataset.get("VerifyingObserverSequence")):
        yield "standing", "verified by nobody, or somebody named without verification"
    if verified != (seen.get("PreliminaryFlag") == "FINAL"):
        yield (
            "standing",
            f"preliminary flag '{seen.get('PreliminaryFlag')}' on a report, verified: {verified}",
        )
    wording = [
        str(item.get("TextValue", "")) for item in below(seen.dataset, (term("wording").value, SCHEME))
    ]
    if len(wording) != 1 or wording[0].startswith("preliminary") == verified:
        yield "standing", "the words about the result's standing do not fit its flags"


def sites(seen: Seen, _exam: Exam | None) -> Findings:
    """Every group says of which side it is."""
    for group in _groups(seen):
        if len([found for site in children(group, _SITE) for found in children(site, _LATERALITY)]) != 1:
            yield "side", "a group of measurements does not say its side"


def numbers(seen: Seen, _exam: Exam | None) -> Findings:
    """Values, their exact binaries and half widths are numbers that can be."""
    for _, item in seen.items:
        measured = item.get("MeasuredValueSequence") or ()
        if not measured:
            continue
        label, text = _label(item), as_float(measured[0].get("NumericValue"))
        exact = measured[0].get("FloatingPointValue", text)
        if text is None or not isfinite(text):
            yield "number", f"{label} has no number"
        elif not isclose(float(exact), text, rel_tol=1e-6, abs_tol=1e-9):
            yield "number", f"{label} is {text:g} as text and {exact:g} as binary"
        elif name_of(item) in _FRACTIONS and not 0 <= text <= 1:
            yield "number", f"{label} is {text:g}; it lies within 0 to 1"
        elif name_of(item) in _SPREAD and text < 0:
            yield "number", f"an uncertainty of {text:g}"


def units(seen: Seen, _exam: Exam | None) -> Findings:
    """A half width is in the unit of its value, above as below."""
    for _, item in seen.items:
        if "MeasuredValueSequence" not in item or "ContentSequence" not in item:
            continue
        spread = [number_of(found) for code in _SPREAD for found in children(item, code)]
        own = number_of(item)
        if spread and own and (len(set(spread)) > 1 or {found and found[1] for found in spread} != {own[1]}):
            yield (
                "number",
                f"the uncertainty of {_label(item)} is in another unit, or not the same on both sides",
            )


def meaning(seen: Seen, _exam: Exam | None) -> Findings:
    """A density names its constant, a score its population; nothing is given alone that needs the other."""
    for group in _groups(seen):
        for item in children(group, _BMD):
            if not children(item, _CONSTANT):
                yield "number", "a density without the constant it was made with"
        for code in _SCORES:
            for item in children(group, code):
                if not children(item, _POPULATION):
                    yield "number", f"{_label(item)} without the population it is against"


def sense(seen: Seen, _exam: Exam | None) -> Findings:
    """What follows from other numbers of the report does follow."""
    hand = [group for group in _groups(seen) if _label(group) == "hand"]
    bones = [group for group in _groups(seen) if _label(group) != "hand"]
    for group in bones:  # the hand's are means, and a mean of ratios is no ratio of means
        mci, t, w = (_of(group, code) for code in (_MCI, _T, _WIDTH))
        if mci and t and w and not isclose(2 * t / w, mci, rel_tol=_INDEX_TOLERANCE):
            yield "number", f"{_label(group)}: MCI {mci:.3f} does not follow from T {t:.3f} and W {w:.3f} mm"
    if len(hand) != 1 or not bones:
        yield "number", "a report has one result of the hand and at least one of a metacarpal"
        return
    for code, what in ((_T, "T"), (_WIDTH, "W"), (_MCI, "MCI")):
        yield from _mean(what, _of(hand[0], code), [_of(bone, code) for bone in bones])
    yield from _density(hand[0])


def shafts(seen: Seen) -> dict[str, dict[str, float | None]]:
    """T and W in mm and MCI of each metacarpal by its number, of a report of this station."""
    return {
        _label(group).removeprefix("metacarpal "): {
            name: _of(group, code) for name, code in (("T", _T), ("W", _WIDTH), ("MCI", _MCI))
        }
        for group in _groups(seen)
        if _label(group) != "hand"
    }


def _mean(what: str, own: float | None, values: Sequence[float | None]) -> Findings:
    known = [value for value in values if value is not None]
    if own is None or not known or len(known) < len(values):
        return
    if not isclose(own, sum(known) / len(known), rel_tol=_MEAN_TOLERANCE):
        yield "number", f"{what} {own:.4f} of the hand is not the mean of its bones'"


def _density(hand: Dataset) -> Findings:
    bmd, vpa, porosity = (_of(hand, code) for code in (_BMD, _VPA, _POROSITY))
    constant = next((number_of(k) for d in children(hand, _BMD) for k in children(d, _CONSTANT)), None)
    if bmd is None or vpa is None or porosity is None or constant is None:
        return
    low, high = (constant[0] * factor * vpa * (1 - porosity) for factor in _MAGNIFICATION)
    if not low * (1 - _MEAN_TOLERANCE) <= bmd <= high:
        yield (
            "number",
            f"a density of {bmd:.4f} does not follow from {constant[0]:g} × VPA × (1 − porosity): {low:.4f}",
        )


def _groups(seen: Seen) -> Iterator[Dataset]:
    for part in children(seen.dataset, _MEASUREMENTS):
        yield from children(part, _GROUP)


def _of(group: Dataset, code: tuple[str, str]) -> float | None:
    found = [number_of(item) for item in children(group, code)]
    return found[0][0] if len(found) == 1 and found[0] else None


def _label(item: Dataset) -> str:
    """A group's tracking identifier, else the meaning of the item's name."""
    for tracking in children(item, ("112039", "DCM")):
        return str(tracking.get("TextValue", ""))
    named = item.get("ConceptNameCodeSequence") or ()
    return str(named[0].get("CodeMeaning", code_of(named[0])[0])) if named else "a number"


MEASUREMENTS = (standing, sites, numbers, units, meaning, sense)
