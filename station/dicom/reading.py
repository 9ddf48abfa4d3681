"""Attributes of datasets that somebody else made: read without trust, in any character set.

pydicom converts on access, warns, and replaces what it cannot decode. Identity must not be replaced: here
bytes are decoded strictly, and what cannot be read is `Unreadable`.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, time
from functools import cache
from typing import Any

from pydicom import Dataset
from pydicom.charset import CODES_TO_ENCODINGS, default_encoding, python_encoding
from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.dataelem import DataElement
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag

_ESCAPED = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")
# Delimiters after which the first character set is in force again, PS3.5 6.1.2.5.3
_RESETS = re.compile(rb"[\\\r\n\t\f]")
_NAME_RESETS = re.compile(rb"[\\^=\r\n\t\f]")
_BINARY = ("FL", "FD", "SL", "SS", "US", "UL", "SV", "UV", "OB", "OD", "OF", "OL", "OV", "OW", "AT")
_SEQUENCES = ("SQ", "UN", None)  # UN over wires that do not know the tag, none where types are implicit
_UNDECLARED = "ascii"
_DATE = re.compile(r"(\d{4})([.-]?)(\d{2})\2(\d{2})")  # with dots before 1993, PS3.5 table 6.2-1
_TIME = re.compile(r"(\d{2}):?(?:(\d{2}):?(?:(\d{2})(?:\.\d{1,6})?)?)?")

# What pydicom raises for elements that are not what they claim to be
_BROKEN = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    UserWarning,  # where warnings are made errors
    ValueError,
    struct.error,
)


class Unreadable(ValueError):  # noqa: N818  reads as the message it is
    """An attribute is there, and its value is not what it must be."""


@dataclass(frozen=True, slots=True)
class Level:
    """A dataset, or an item of a sequence in it, with the character sets in force there."""

    dataset: Dataset
    encodings: tuple[str, ...] = (_UNDECLARED,)

    @staticmethod
    def of(dataset: Dataset, outer: Sequence[str] = (_UNDECLARED,)) -> "Level":
        """With the dataset's own character sets, or those around it. Raises `Unreadable`."""
        names = _bytes_or_text(dataset, _tag("SpecificCharacterSet"))
        if isinstance(names, bytes):
            names = names.decode("ascii", "replace")
        if not names.strip(" \0"):
            return Level(dataset, tuple(outer))
        return Level(dataset, tuple(_codec(name.strip(" \0")) for name in names.split("\\")))

    def text(self, keyword: str) -> str:
        """The value without padding, "" where there is none. Raises `Unreadable`."""
        tag = _tag(keyword)
        value = _bytes_or_text(self.dataset, tag)
        if isinstance(value, bytes):
            value = _decoded(value, self.encodings, _NAME_RESETS if _type(tag) == "PN" else _RESETS)
        return value.strip(" \0")

    def undeclared(self, keyword: str) -> bool:
        """Whether the value could only be read as UTF-8 although no character set was declared."""
        value = _bytes_or_text(self.dataset, _tag(keyword))
        if self.encodings[0] != _UNDECLARED or not isinstance(value, bytes):
            return False
        return not value.isascii() and b"\x1b" not in value

    def items(self, keyword: str) -> Iterator["Level"]:
        """Of a sequence; nothing where there is none. Raises `Unreadable`."""
        tag = _tag(keyword)
        if tag not in self.dataset:
            return
        if self.dataset.get_item(tag).VR not in _SEQUENCES:
            raise Unreadable(f"{keyword} is no sequence")
        try:
            value: Any = self.dataset[tag].value
        except _BROKEN as error:
            raise Unreadable(f"{keyword} is no sequence") from error
        if not isinstance(value, DicomSequence):
            if value:
                raise Unreadable(f"{keyword} is no sequence")
            return
        for item in value:
            yield Level.of(item, self.encodings)


def day_of(text: str) -> date | None:
    """A DA value; None for an empty one. Raises `Unreadable`."""
    if not text:
        return None
    match = _DATE.fullmatch(text)
    try:
        if match:
            return date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        pass
    raise Unreadable(f"'{text[:20]}' is no date")


def time_of(text: str) -> time | None:
    """A TM value, to the second; None for an empty one. Raises `Unreadable`."""
    if not text:
        return None
    match = _TIME.fullmatch(text)
    try:
        if match:
            return time(int(match[1]), int(match[2] or 0), min(int(match[3] or 0), 59))
    except ValueError:
        pass
    raise Unreadable(f"'{text[:20]}' is no time")


@cache
def _tag(keyword: str) -> BaseTag:
    return BaseTag(keyword_dict[keyword])


@cache
def _type(tag: BaseTag) -> str:
    return dictionary_VR(tag)


def _bytes_or_text(dataset: Dataset, tag: BaseTag) -> bytes | str:
    """The value as it came over the wire, or as text where it was made here."""
    if tag not in dataset:
        return ""
    element: Any = dataset.get_item(tag)
    if element.VR in _BINARY:
        raise Unreadable(f"is of type {element.VR}, not text")
    value: Any = element.value
    if value is None:
        return ""
    if isinstance(value, bytes) and not isinstance(element, DataElement):
        return value
    if isinstance(value, DicomSequence | bytes):
        raise Unreadable("is no text")
    parts: Any = value if isinstance(value, MultiValue | list | tuple) else [value]
    return "\\".join(str(part) for part in parts)


def _codec(name: str) -> str:
    """Python's codec for a defined term, spelled as people spell it."""
    if not name or name in {"ISO_IR 6", "ISO 2022 IR 6"}:
        return _UNDECLARED
    if name in python_encoding:
        return python_encoding[name]
    number = re.fullmatch(r"ISO[ _-]?(2022)?[ _-]?IR[ _-]?(\d+)", name, re.IGNORECASE)
    spelled = f"{'ISO 2022 IR' if number[1] else 'ISO_IR'} {number[2]}" if number else ""
    if spelled and spelled in python_encoding:
        return python_encoding[spelled]
    if name.upper().replace("-", "") == "UTF8":
        return "UTF8"
    raise Unreadable(f"Specific Character Set '{name[:20]}' is unknown")


def _decoded(value: bytes, encodings: Sequence[str], resets: re.Pattern[bytes]) -> str:
    try:
        if b"\x1b" not in value:
            if encodings[0] == _UNDECLARED:
                return value.decode("utf-8")  # ASCII, or the only set whose bytes prove themselves
            return value.decode(encodings[0])
        return "".join(_fragment(part, encodings, resets) for part in _ESCAPED.findall(value))
    except UnicodeError as error:
        raise Unreadable("does not fit its Specific Character Set") from error


def _fragment(part: bytes, encodings: Sequence[str], resets: re.Pattern[bytes]) -> str:
    """Text up to the next escape sequence."""
    if not part.startswith(b"\x1b"):
        return part.decode(encodings[0])
    length = 4 if part.startswith((b"\x1b$(", b"\x1b$)")) else 3
    codec = CODES_TO_ENCODINGS.get(part[:length])
    if codec is None:
        raise Unreadable("has an unknown escape sequence")
    if codec.startswith("iso2022"):
        return part.decode(codec)  # Python knows these escape sequences itself
    body = part[length:]
    reset = resets.search(body)
    end = reset.start() if reset else len(body)
    codec = _UNDECLARED if codec == default_encoding else codec
    return body[:end].decode(codec) + body[end:].decode(encodings[0])
