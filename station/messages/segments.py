r"""Segments of HL7 v2.5.1 from plain values: escapes, names, times, numbers.

Why the `hl7` library and not `hl7apy`: hl7apy takes text such as ``\F\`` for an escape that is there already
and so sends a separator that the text never had, cannot write a line break, and refuses a PDF beyond 64 KiB
when it is strict. The tests let its strict profile judge every message.

=========  ===================================================================
character  as
=========  ===================================================================
| ^ & ~ \  ``\F\ \S\ \T\ \R\ \E\``
line end   ``\.br\``
controls   ``\Xhh\``, among them MLLP's own frame bytes: text never carries them
others     themselves, UTF-8 (MSH-18)
=========  ===================================================================
"""

import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from decimal import Decimal
from hashlib import sha256
from math import isfinite
from typing import cast

import hl7

_ESCAPED = {"|": "F", "^": "S", "&": "T", "~": "R", "\\": "E"}
_SPECIAL = re.compile(r"\r\n|[|^&~\\\x00-\x1f\x7f]")
_HEAD = re.compile(r"MSH([^\w\s])([^\w\s]{4})#?\1")  # v2.7 adds a truncation character
_NM_CHARACTERS = 16  # HL7 v2.5.1 2A.47
_PERSON_COMPONENTS = 5  # PS3.5 6.2.1
_REPRESENTATIONS = "AIP"  # alphabetic, ideographic, phonetic: table 0465 in the order of DICOM's groups


def escape(text: str) -> str:
    """Text as it stands inside a field; nothing in it separates anything."""
    return _SPECIAL.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character in {"\r\n", "\r", "\n"}:
        return "\\.br\\"
    return f"\\{_ESCAPED.get(character) or f'X{ord(character):02X}'}\\"


def composite(*components: str) -> str:
    """Components of a field, escaped; empty ones at the end are left out."""
    return "^".join(escape(component) for component in components).rstrip("^")


def segment(name: str, fields: Mapping[int, str]) -> hl7.Segment:
    """A segment of fields that are escaped already, by their number in the standard."""
    values = [fields.get(number, "") for number in range(1, max(fields) + 1)]
    return hl7.Segment("|", [hl7.Field("", [name]), *(hl7.Field("", [value]) for value in values)])


def parsed(text: str) -> hl7.Message:
    """A message from anywhere, whatever its line ends. Raises `ValueError` for what is none."""
    lines = "\r".join(line for line in text.replace("\n", "\r").split("\r") if line.strip())
    head = _HEAD.match(lines)
    if head is None or len({head[1], *head[2]}) != 5:  # the library asserts it
        raise ValueError("an HL7 message begins with MSH and five different separators")
    try:
        return cast("hl7.Message", hl7.parse(lines + "\r"))
    except (hl7.HL7Exception, IndexError) as error:
        raise ValueError(f"not an HL7 message: {error}") from error


def number(value: float) -> str:
    """An NM of seven significant digits, without an exponent, which NM does not know.

    Raises
    ------
    ValueError
        What is no number, or needs more than the 16 characters of NM; never rounded to fit.
    """
    if not isfinite(value) or abs(value) >= 10**_NM_CHARACTERS:
        raise ValueError(f"{value} is no number that a message can carry; withhold the quantity")
    rounded = round(Decimal(f"{value:.7g}"), 12)
    text = f"{rounded:f}".rstrip("0").rstrip(".") if rounded else "0"
    if len(text) > _NM_CHARACTERS:
        raise ValueError(f"{value} needs more than the {_NM_CHARACTERS} characters of an HL7 number")
    return text


def moment(at: datetime, zone: tzinfo | None) -> str:
    """A TS in seconds in the exam's zone. Raises `ValueError` without zones: it could mean another hour."""
    if at.tzinfo is None or zone is None:
        raise ValueError(f"{at} or the exam's opening time has no time zone")
    return f"{at.astimezone(zone):%Y%m%d%H%M%S%z}"[:19]


def shortened(uid: str, characters: int) -> str:
    """An identifier of that length which depends on the UID alone; 80 bits in the 20 of a control ID."""
    return sha256(uid.encode()).hexdigest()[:characters].upper()


def patient_names(name: str) -> str:
    """XPN of a DICOM person name: its groups repeat, and prefix and suffix change places."""
    groups = zip(name.split("="), _REPRESENTATIONS, strict=False)
    written = [composite(*_parts(group), "", "L", kind) for group, kind in groups if group.strip("^ ")]
    return "~".join(written) or composite("", "", "", "", "", "", "U")  # name type: unspecified


def clinician(name: str) -> str:
    """XCN of a DICOM person name without an identifier: nobody told the station one."""
    groups = [group for group in name.split("=") if group.strip("^ ")]
    return composite("", *_parts(groups[0])) if groups else ""


def _parts(group: str) -> tuple[str, str, str, str, str]:
    """Family, given, middle, suffix, prefix: HL7's order; DICOM has the prefix first."""
    parts = [part.strip() for part in group.split("^")]
    parts += [""] * (_PERSON_COMPONENTS - len(parts))
    family, given, middle, prefix, *suffixes = parts  # more than five are against the rules, and kept
    return family, given, middle, " ".join(suffix for suffix in suffixes if suffix), prefix
