"""What several variants of a dataset have in common: presence, source and fixed values, item by item.

Presence and source are those of PS3.2: how often an attribute is there and has a value, over all items of all
variants in which it could be; and the sources that change the values where nothing else was changed.
A code sequence is a value of its own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from station.dicom.conformance.sample import COMPARED

_SHOWN = 64  # characters of a fixed value


@dataclass(frozen=True, slots=True)
class Key:
    """An attribute or a content item, as it is shown."""

    name: str
    kind: str  # VR, or value type
    tag: str = ""


@dataclass(slots=True)
class Said:
    """What one item says of a key: values, and what is nested below."""

    values: list[str] = field(default_factory=list)  # "" for one that is there and empty
    below: list[Dataset] = field(default_factory=list)
    unit: str = ""

    @property
    def full(self) -> bool:
        """Whether there is a value or an item."""
        return any(self.values) or any(len(item) for item in self.below)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table."""

    depth: int
    key: Key
    presence: str
    source: str  # empty for what only holds others
    values: tuple[str, ...]  # those that are fixed, and units


Look = Callable[[Dataset], dict[Key, Said]]
Groups = Mapping[str, Sequence[Dataset]]  # items by variant


def rows(groups: Groups, look: Look, depth: int = 0) -> Iterator[Row]:
    """Everything that is said in any variant, with what is nested below it."""
    said = {name: [look(item) for item in items] for name, items in groups.items()}
    for key in _keys(said):
        found = {name: [one.get(key) for one in items] for name, items in said.items()}
        everywhere = [one for items in found.values() for one in items]
        below = {
            name: [item for one in items if one is not None for item in one.below]
            for name, items in found.items()
        }
        there = [one for one in everywhere if one is not None]
        source = _source(found) if any(one.values for one in there) or not any(below.values()) else ""
        values = [value for one in there for value in one.values if value and source == "FIXED"]
        units = [f"in {one.unit}" for one in there if one.unit]
        yield Row(depth, key, _presence(everywhere), source, tuple(dict.fromkeys([*units, *values])))
        yield from rows(below, look, depth + 1)


def _keys(said: Mapping[str, Sequence[dict[Key, Said]]]) -> list[Key]:
    """In the order of the full variant; attributes by tag."""
    keys = dict.fromkeys(key for items in said.values() for one in items for key in one)
    return sorted(keys, key=lambda key: key.tag)


def _presence(found: Sequence[Said | None]) -> str:
    there = [one for one in found if one is not None]
    full = [one for one in there if one.full]
    if len(there) == len(found):
        return "ALWAYS" if len(full) == len(there) else "VNAP" if full else "EMPTY"
    return "ANAP" if len(full) == len(there) else "ANAPCV" if full else "ANAPEV"


def _source(found: Mapping[str, Sequence[Said | None]]) -> str:
    def values(name: str) -> set[tuple[str, ...]]:
        return {tuple(one.values) for one in found.get(name, ()) if one is not None}

    changed = dict.fromkeys(source for source, base, other in COMPARED if values(base) != values(other))
    has_value = any(any(one.values) for items in found.values() for one in items if one is not None)
    return ", ".join(changed) or ("FIXED" if has_value else "-")


# --- attributes --------------------------------------------------------------------------------------


def attributes(item: Dataset) -> dict[Key, Said]:
    """Every attribute but the content of documents."""
    found: dict[Key, Said] = {}
    for element in item:
        if element.keyword == "ContentSequence":
            continue
        tag = f"({element.tag.group:04X},{element.tag.element:04X})"
        said = found.setdefault(Key(element.name, element.VR, tag), Said())
        if element.VR != "SQ":
            said.values.append(_text(element))
        for child in element.value if element.VR == "SQ" else ():
            code = code_of(child)
            said.values += [code] if code else []
            rest = Dataset() if code else child
            for nested in child if code else ():
                if nested.VR == "SQ":
                    rest.add(nested)
            said.below.append(rest)
    return found


def code_of(item: Dataset) -> str:
    """A coded item as text, empty for any other."""
    value = item.get("CodeValue") or item.get("LongCodeValue")
    return f'({value}, {item.CodingSchemeDesignator}, "{item.CodeMeaning}")' if value else ""


def _text(element: DataElement) -> str:
    value: Any = element.value
    if isinstance(value, bytes):
        return f"{len(value)} bytes" if value else ""
    if value is None or element.VM == 0:
        return ""
    return "\\".join(map(str, value)) if element.VM > 1 else str(value)


# --- content of documents ----------------------------------------------------------------------------


def content(item: Dataset) -> dict[Key, Said]:
    """The content items below an item."""
    found: dict[Key, Said] = {}
    for child in item.get("ContentSequence", ()):
        unit, values = _value(child)
        name = code_of(child.ConceptNameCodeSequence[0]) if "ConceptNameCodeSequence" in child else "no name"
        key = Key(f"{child.RelationshipType} {name}", str(child.ValueType))
        said = found.setdefault(key, Said())
        said.unit = unit or said.unit
        said.values += values
        said.below.append(child)
    return found


def _value(item: Dataset) -> tuple[str, list[str]]:
    """Unit and value of a content item."""
    kind = str(item.ValueType)
    if kind == "NUM":
        measured = item.MeasuredValueSequence
        if not measured:
            return "", [""]
        return str(measured[0].MeasurementUnitsCodeSequence[0].CodeValue), [str(measured[0].NumericValue)]
    if kind == "CODE":
        return "", [code_of(item.ConceptCodeSequence[0])]
    if kind in {"IMAGE", "COMPOSITE"}:
        return "", [str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)]
    keyword = {"TEXT": "TextValue", "UIDREF": "UID", "DATETIME": "DateTime", "DATE": "Date"}
    keyword |= {"PNAME": "PersonName"}
    if kind == "CONTAINER":
        return "", []
    return "", [str(item.get(keyword[kind], ""))]


# --- Markdown ----------------------------------------------------------------------------------------


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table; the bar that separates columns is written as an entity where a value has one."""
    ruler = ["---"] * len(head)
    cells = [[cell.replace("|", "&#124;") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in [list(head), ruler, *cells])


def attribute_lines(found: Sequence[Row]) -> list[list[str]]:
    """Attribute, tag, VR, presence, source, value."""
    return [
        ["> " * row.depth + row.key.name, row.key.tag, row.key.kind, row.presence, row.source, shown(row)]
        for row in found
    ]


def content_lines(found: Sequence[Row]) -> list[list[str]]:
    """Content item, value type, presence, source, value."""
    return [
        ["> " * row.depth + row.key.name, row.key.kind, row.presence, row.source, shown(row)] for row in found
    ]


def shown(row: Row) -> str:
    """Fixed values, shortened to what fits a table."""
    texts = [one if len(one) <= _SHOWN else f"{one[:_SHOWN]}…" for one in row.values]
    return "; ".join(f"`{text}`" for text in texts)
