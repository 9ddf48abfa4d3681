"""An object as the lint sees it: walked once, with its kind, its items, values and codes at hand."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

# SOP class -> what it is called, and its modality
KINDS = {
    "1.2.840.10008.5.1.4.1.1.1.1.1": ("image for processing", "DX"),
    "1.2.840.10008.5.1.4.1.1.1.1": ("image", "DX"),
    "1.2.840.10008.5.1.4.1.1.11.1": ("presentation state", "PR"),
    "1.2.840.10008.5.1.4.1.1.88.22": ("measurement report", "SR"),
    "1.2.840.10008.5.1.4.1.1.88.33": ("measurement report", "SR"),
    "1.2.840.10008.5.1.4.1.1.88.34": ("measurement report", "SR"),
    "1.2.840.10008.5.1.4.1.1.104.1": ("report page", "DOC"),
    "1.2.840.10008.5.1.4.1.1.88.67": ("dose report", "SR"),
    "1.2.840.10008.5.1.4.1.1.88.59": ("rejection note", "KO"),
}
IMAGES = frozenset({"image for processing", "image"})
# Within these sequences another system speaks: the order, the step, an earlier version
_OF_OTHERS = frozenset(
    {
        "RequestAttributesSequence",
        "ReferencedRequestSequence",
        "ReferencedPerformedProcedureStepSequence",
        "ReferencedStudySequence",
        "ReferencedPatientSequence",
        "PredecessorDocumentsSequence",
        "ScheduledProcedureStepSequence",
    }
)

Path = tuple[str, ...]  # keywords of the sequences that lead to an item
Name = tuple[str, str]  # code value and scheme


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One object, equal to itself alone; the lists hold what nested items have too."""

    dataset: Dataset
    kind: str  # of KINDS, or empty
    items: list[tuple[Path, Dataset]]
    elements: list[tuple[Path, DataElement]]
    codes: list[tuple[Path, Dataset, Name]]  # every coded item
    references: list[tuple[Path, Dataset]]  # every item that names another object, but others' words

    def get(self, keyword: str) -> Any:
        """A top level value, None if absent or empty."""
        value = self.dataset.get(keyword)
        return None if value in ("", None) else value

    def number(self, keyword: str) -> float | None:
        """A top level value as a number, None if absent, empty or none."""
        return as_float(self.get(keyword))

    def moment(self, what: str) -> datetime | None:
        """Date and time of e.g. `Acquisition`, in the object's zone or UTC; None if not given whole."""
        day, time = self.get(f"{what}Date"), self.get(f"{what}Time")
        return parsed(f"{day}{time}", self.zone) if day and time else None

    @property
    def zone(self) -> timezone | None:
        """The declared offset; None if there is none that can be read."""
        try:
            return as_zone(str(self.get("TimezoneOffsetFromUTC")))
        except ValueError:
            return None


def see(dataset: Dataset) -> Seen:
    """Walk an object once."""
    kind, _ = KINDS.get(str(dataset.get("SOPClassUID", "")), ("", ""))
    seen = Seen(dataset, kind, [], [], [], [])
    _walk(seen, dataset, ())
    return seen


def _walk(seen: Seen, item: Dataset, path: Path) -> None:
    seen.items.append((path, item))
    keywords: set[str] = set()
    for element in item:
        keyword = element.keyword
        keywords.add(keyword)
        if element.VR == "SQ":
            for child in element.value or ():
                _walk(seen, child, (*path, keyword or str(element.tag)))
        else:
            seen.elements.append((path, element))
    if "CodeValue" in keywords or "LongCodeValue" in keywords:
        seen.codes.append((path, item, code_of(item)))
    if path and "ReferencedSOPInstanceUID" in keywords and not of_others(path):
        seen.references.append((path, item))


def of_others(path: Path) -> bool:
    """Whether an item repeats what another system said."""
    return not _OF_OTHERS.isdisjoint(path)


def code_of(item: Dataset) -> Name:
    """Value and scheme of a coded item."""
    value = item.get("CodeValue") or item.get("LongCodeValue") or ""
    return str(value), str(item.get("CodingSchemeDesignator", ""))


def name_of(item: Dataset) -> Name | None:
    """The concept name of a content item."""
    named = item.get("ConceptNameCodeSequence") or ()
    return code_of(named[0]) if named else None


def children(item: Dataset, code: Name) -> list[Dataset]:
    """Content items of that name right below."""
    return [child for child in item.get("ContentSequence") or () if name_of(child) == code]


def below(item: Dataset, code: Name) -> Iterator[Dataset]:
    """Content items of that name at any depth."""
    for child in item.get("ContentSequence") or ():
        if name_of(child) == code:
            yield child
        yield from below(child, code)


def value_of(item: Dataset) -> Name | None:
    """The coded value of a content item."""
    found = item.get("ConceptCodeSequence") or ()
    return code_of(found[0]) if found else None


def number_of(item: Dataset | None) -> tuple[float, str] | None:
    """Number and UCUM unit of a content item."""
    measured = item.get("MeasuredValueSequence") if item is not None else None
    value = as_float(measured[0].get("NumericValue")) if measured else None
    if not measured or value is None:
        return None
    units = measured[0].get("MeasurementUnitsCodeSequence") or ()
    return value, code_of(units[0])[0] if units else ""


def as_float(value: Any) -> float | None:
    """A number, or None."""
    try:
        return None if value in ("", None) else float(value)
    except (TypeError, ValueError):
        return None


def as_zone(text: str) -> timezone:
    """A zone from `+HHMM`. Raises ValueError."""
    if len(text) != 5 or text[0] not in "+-" or not text[1:].isdigit():
        raise ValueError(f"'{text}' is no offset from UTC; +HHMM or -HHMM is")
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[3:]))
    return timezone(-offset if text[0] == "-" else offset)


def parsed(text: str, zone: timezone | None) -> datetime | None:
    """A DA with TM, or a DT with or without its own offset; None if it is neither."""
    text = text.strip()
    try:
        if len(text) > 5 and text[-5] in "+-":
            text, zone = text[:-5], as_zone(text[-5:])
        form = "%Y%m%d%H%M%S.%f" if "." in text else "%Y%m%d%H%M%S"[: 2 * (len(text) // 2 - 1)]
        naive = datetime.strptime(text, form)  # noqa: DTZ007  the zone stands elsewhere
    except ValueError:
        return None
    return naive.replace(tzinfo=zone or UTC)
