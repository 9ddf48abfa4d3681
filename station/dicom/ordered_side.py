"""Which hand an order is for. All places are read; two sides, or none, and there is no guess.

::

    (0020,0062) (0020,0060)     image laterality, laterality
    (0040,0008) > (0040,0440)   protocol context: Left, Right
    modifiers                   of procedure codes and of the anatomic region: Left, Right
    (0032,1064) (0040,0008)     a code that the hospital file maps to one hand; CPT modifiers as 0750T-LT or
                                0750T RT, or as a code LT or RT; words in code meanings
    (0040,0007) (0032,1060)     words left, right, LT, RT, (L), (R) in the descriptions

The reason for the order is not looked at: a fracture of the right hand is why the left one is ordered. Being
right-handed is no side.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from station.dicom.reading import Level, Unreadable
from station.exam import Coded, Side
from station.orders import DXR
from station.result import Reason

CPT = ("C4", "CPT", "CPT4", "CPT-4")  # designators in use for CPT; C4 is DICOM's
MODIFIED = re.compile(rf"({DXR}|0749T)[ ,:._-]*(LT|RT|50)?", re.IGNORECASE)
_HCPCS = (*CPT, "HCPCS", "HCPT")
_LATERALITY = {"L": "L", "R": "R", "B": "LR"}
_MODIFIERS = {"LT": "L", "RT": "R", "50": "LR"}  # of CPT and HCPCS; 50 is bilateral
_TERMS = {  # SCT, and its ancestor SRT
    "7771000": "L", "G-A101": "L",
    "24028007": "R", "G-A100": "R",
    "51440002": "LR", "G-A102": "LR",
}  # fmt: skip
_SITE = {"dxr-left": "L", "dxr-right": "R"}
_WORDS = re.compile(
    r"(?<![^\W\d_])(?:(left|lt)|(right|rt)|(bilateral|both))(?![^\W\d_])|\((?:(l)|(r))\)", re.IGNORECASE
)
_HANDED = re.compile(
    r"\b(left|right|lt|rt)[ -]*(hand(ed(ness)?)?[ -]*)?(handed(ness)?|dominant|dominance)\b", re.IGNORECASE
)
_PROCEDURES = ("ScheduledProtocolCodeSequence", "RequestedProcedureCodeSequence")
_REGION = "AnatomicRegionSequence"
_INSIDE = ("ProtocolContextSequence", "ContentItemModifierSequence", "AnatomicRegionModifierSequence")


def side_of(
    order: Level, step: Level, site: Mapping[str, str], codes: Sequence[Coded], descriptions: Sequence[str]
) -> Side | Reason:
    """The one side that all places agree on, or why there is none; never raises."""
    found: dict[str, list[str]] = {"L": [], "R": []}
    try:
        evidence = [*_attributes(order, step), *_codes(codes, site)]
    except Unreadable as error:
        return Reason("unreadable", f"the side {error}", "have the RIS send it as DICOM says")
    evidence += [(f"'{text}'", _words(text)) for text in (*descriptions, *(code.meaning for code in codes))]
    for place, letters in evidence:
        for letter in letters:
            if place not in found[letter]:
                found[letter].append(place)
    if found["L"] and found["R"]:
        message = f"left by {', '.join(found['L'])}; right by {', '.join(found['R'])}"
        remedy = "have the order corrected in the RIS: one hand per order"
        return Reason("side-contradictory", message, remedy)
    for letter in ("L", "R"):
        if found[letter]:
            return Side(letter)
    message = "no side: neither laterality, nor a code or modifier, nor left or right in a description"
    return Reason("side-missing", message, "have the RIS send the side; until then open it as a typed order")


def _attributes(order: Level, step: Level) -> Iterator[tuple[str, str]]:
    for level in (order, step):
        for keyword in ("ImageLaterality", "Laterality"):
            yield keyword, _LATERALITY.get(level.text(keyword).upper(), "")
        for sequence in (*_PROCEDURES, _REGION):
            for item in level.items(sequence):
                yield from _modifiers(item)
        yield from _modifiers(level)


def _modifiers(item: Level) -> Iterator[tuple[str, str]]:
    """Left and Right as modifier or context of an item, one level deep, as value or as coded value."""
    for keyword in _INSIDE:
        for inner in item.items(keyword):
            for term in (inner, *inner.items("ConceptCodeSequence")):
                yield keyword, _TERMS.get(term.text("CodeValue"), "")


def _codes(codes: Sequence[Coded], site: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for code in codes:
        name = f"code {code.value}"
        yield name, _SITE.get(site.get(f"{code.scheme}:{code.value}", ""), "")
        if code.scheme.upper() not in _HCPCS:
            continue
        modified = MODIFIED.fullmatch(code.value)
        yield name, _MODIFIERS.get(((modified[2] if modified else code.value) or "").upper(), "")


def _words(text: str) -> str:
    """Letters of the sides that are named."""
    letters = ""
    for left, right, both, in_left, in_right in _WORDS.findall(_HANDED.sub(" ", text)):
        letters += "LR" if both else "L" * bool(left or in_left) + "R" * bool(right or in_right)
    return letters
