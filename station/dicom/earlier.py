"""A measurement report of an earlier visit, read back into what the comparison of two visits needs.

Read is only what this station's `measurements` writes: the scheme by its UID and version, every number with
its unit. Anything else is `NotOurs`: a number that might mean something else is worse than none.
"""

import re
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from pydicom.dataset import Dataset

from station.codes import SCHEME, SCHEME_UID, SCHEME_VERSION, TERMS, Term, term

_SR = "1.2.840.10008.5.1.4.1.1.88."  # every structured report begins so
_REPORT = ("126000", "DCM")
_GROUP, _MEASUREMENTS = ("125007", "DCM"), ("126010", "DCM")
_LIBRARY = ("111028", "DCM")
_SITE, _LATERALITY, _WHICH = ("363698007", "SCT"), ("272741003", "SCT"), ("106233006", "SCT")
_UPPER = ("371886008", "SCT")
_ALGORITHM = (("111001", "DCM"), ("111003", "DCM"))
_TAKEN = ("126201", "DCM")
_QUALITATIVE = ("C0034375", "UMLS")
_SIDES = {("7771000", "SCT"): "L", ("24028007", "SCT"): "R"}
_BONES = {(term(f"metacarpal_{number}").value, SCHEME): str(number) for number in (2, 3, 4)}
# Key of a term -> the report's key and its uncertainty's
_HAND_KEYS = {
    "bmd": ("bmd_g_cm2", "bmd_u95"),
    "mci": ("mci", "mci_u95"),
    "vpa": ("vpa_cm", None),
    "t": ("t_mm", "t_u95"),
    "w": ("w_mm", "w_u95"),
    "porosity": ("porosity", "porosity_u95"),
    "t_score": ("t_score", None),
    "z_score": ("z_score", None),
    "mci_area": ("mci_area", "mci_area_u95"),
    "bhi": ("bhi", "bhi_u95"),
}
_BONE_KEYS = {
    "mci": ("mci", "mci_u95"),
    "vpa": ("vpa_cm", None),
    "t": ("t_mm", "t_u95"),
    "w": ("w_mm", "w_u95"),
    "mci_area": ("mci_area", None),
    "bhi": ("bhi", None),
    "length": ("length_mm", None),
    "valid_fraction": ("valid_fraction", None),
}
_NOTE = re.compile(r"([a-z0-9-]+): (.*?)(?: → (.*))?", re.DOTALL)

Name = tuple[str, str]
Json = dict[str, Any]


class NotOurs(ValueError):  # noqa: N818  reads as the message it is
    """A report that this station cannot vouch for."""


def read(dataset: Dataset) -> Json:
    """The part of the JSON contract that `change_of` needs, from a measurement report of a station like this.

    Raises
    ------
    NotOurs
        Another kind of object, somebody else's report, another version of the terms, or a damaged one.
    """
    _refuse_foreign(dataset)
    try:
        return _report(dataset)
    except NotOurs:
        raise
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, StopIteration) as error:
        raise NotOurs(f"a damaged DXR measurement report ({type(error).__name__}: {error})") from error


def _refuse_foreign(dataset: Dataset) -> None:
    if not str(dataset.get("SOPClassUID", "")).startswith(_SR):
        raise NotOurs("no structured report")
    declared = [
        (item.get("CodingSchemeUID"), item.get("CodingSchemeVersion"))
        for item in _sequence(dataset, "CodingSchemeIdentificationSequence")
    ]
    if _name(dataset) != _REPORT or SCHEME_UID not in [uid for uid, _ in declared]:
        raise NotOurs("a structured report without this station's terms")
    if (SCHEME_UID, SCHEME_VERSION) not in declared:
        raise NotOurs(f"a DXR report with other terms than version {SCHEME_VERSION}; update the station")


def _report(dataset: Dataset) -> Json:
    groups = list(_children(_only(dataset, _MEASUREMENTS), _GROUP))
    sides = {_SIDES[_value(_only(_only(group, _SITE), _LATERALITY))] for group in groups}
    if len(sides) != 1:
        raise NotOurs(f"a DXR report of sides {sorted(sides)}")
    hands = [group for group in groups if _bone(group) is None]
    if len(hands) != 1:
        raise NotOurs(f"a DXR report with {len(hands)} results of the hand")
    texts = _only(dataset, _QUALITATIVE)
    bones = {number: _numbers(g, _BONE_KEYS) for g in groups if (number := _bone(g)) is not None}
    if len(bones) != len(groups) - 1:
        raise NotOurs("a DXR report with one metacarpal twice")
    return {
        "status": "measured",
        "source": str(dataset.SOPInstanceUID),
        "side": sides.pop(),
        "scale": _text(texts, "scale"),
        "reasons": [_reason(str(note.TextValue)) for note in _children(texts, _private(term("note")))],
        "dxr": _dxr(hands[0], texts) | {"bones": bones},
        "visit": _visit(dataset),
    }


def _dxr(hand: Dataset, texts: Dataset) -> Json:
    name, version = (str(_only(hand, code).TextValue) for code in _ALGORITHM)
    found = dict.fromkeys(key for pair in _HAND_KEYS.values() for key in pair if key) | _numbers(
        hand, _HAND_KEYS
    )
    constant = None
    if found["bmd_g_cm2"] is not None:
        bmd = _only(hand, _private(term("bmd")))
        constant = _number(_only(bmd, _private(term("constant"))), term("constant"))
    return found | {
        "algorithm": f"{name}@{version}",
        "roi_mode": _text(texts, "roi_mode"),
        "bmd_constant_g_cm3": constant,
        "bmd_constant_source": _text(texts, "constant_source"),
        "bmd_status": _text(texts, "constant_status"),
        "porosity_measured": _text(texts, "porosity_measured") == "yes",
        "reference": _text(texts, "reference"),
        "reference_status": _text(texts, "reference_status"),
    }


def _visit(dataset: Dataset) -> Json:
    group = _sequence(_only(dataset, _LIBRARY), "ContentSequence")[0]
    image = _sequence(group, "ContentSequence")[0]
    taken = str(_only(image, _TAKEN).Date)
    return {
        "taken": f"{taken[:4]}-{taken[4:6]}-{taken[6:8]}",
        "detector_type": _text(image, "detector_type"),
        "detector_serial": _text(image, "detector_serial"),
    }


def _numbers(group: Dataset, keys: Mapping[str, tuple[str, str | None]]) -> Json:
    """Every quantity that has a key in the report, and its half width where it has one."""
    found: Json = {}
    for entry in TERMS:
        if entry.key not in keys:
            continue
        measured = _at_most_one(group, _public(entry))
        if measured is None:
            continue
        key, u95_key = keys[entry.key]
        found[key] = _number(measured, entry)
        spread = _at_most_one(measured, _UPPER)
        if u95_key is not None and spread is not None:
            found[u95_key] = _number(spread, entry)
    return found


def _number(item: Dataset, entry: Term) -> float:
    """The exact binary where it agrees with the decimal string, in the unit that the term has."""
    measured = item.MeasuredValueSequence[0]
    unit = measured.MeasurementUnitsCodeSequence[0]
    if (str(unit.CodeValue), str(unit.CodingSchemeDesignator)) != (entry.unit, "UCUM"):
        raise NotOurs(f"{entry.meaning} in '{unit.CodeValue}', not in '{entry.unit}'")
    text = float(measured.NumericValue)
    value = float(measured.get("FloatingPointValue", text))
    if not isfinite(value) or abs(value - text) > 1e-6 * max(abs(text), 1e-3):
        raise NotOurs(f"{entry.meaning} is {text:g} as text and {value:g} as number")
    return value


def _bone(group: Dataset) -> str | None:
    """Number of the metacarpal, None for the hand as a whole."""
    which = _at_most_one(_only(group, _SITE), _WHICH)
    return None if which is None else _BONES[_value(which)]


def _reason(text: str) -> Json:
    found = _NOTE.fullmatch(text)
    if found is None:
        return {"id": "note", "message": text, "remedy": ""}
    return {"id": found[1], "message": found[2], "remedy": found[3] or ""}


def _text(item: Dataset, key: str) -> str | None:
    found = _at_most_one(item, _private(term(key)))
    return None if found is None else str(found.TextValue)


def _only(item: Dataset, code: Name) -> Dataset:
    found = _at_most_one(item, code)
    if found is None:
        raise NotOurs(f"a DXR report without {code[0]} of {code[1]}")
    return found


def _at_most_one(item: Dataset, code: Name) -> Dataset | None:
    found = list(_children(item, code))
    if len(found) > 1:
        raise NotOurs(f"a DXR report with {len(found)} times {code[0]} of {code[1]}")
    return found[0] if found else None


def _children(item: Dataset, code: Name) -> Iterator[Dataset]:
    return (child for child in _sequence(item, "ContentSequence") if _name(child) == code)


def _sequence(item: Dataset, keyword: str) -> list[Dataset]:
    return list(item.get(keyword) or ())


def _name(item: Dataset) -> Name | None:
    named = _sequence(item, "ConceptNameCodeSequence")
    return _code(named[0]) if named else None


def _value(item: Dataset) -> Name:
    return _code(item.ConceptCodeSequence[0])


def _code(item: Dataset) -> Name:
    return str(item.get("CodeValue", "")), str(item.get("CodingSchemeDesignator", ""))


def _public(entry: Term) -> Name:
    return _private(entry) if entry.public is None else (entry.public.value, entry.public.scheme)


def _private(entry: Term) -> Name:
    return entry.value, SCHEME
