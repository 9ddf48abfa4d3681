"""Content items of the documents that the station writes itself (PS3.3 C.17.3).

| maker | value type | said in |
|---|---|---|
| `container` | CONTAINER | its children |
| `code` | CODE | one coded term |
| `number` | NUM | a value with its UCUM unit; None is *value unknown* (CID 42), never zero |
| `text`, `uid`, `moment` | TEXT, UIDREF, DATETIME | the value itself |
| `image` | IMAGE | an instance that the document lists as its evidence |

Every maker takes the relationship to the parent first, then the name.
"""

from collections.abc import Iterable
from datetime import datetime

from pydicom.dataset import Dataset

from station.dicom.modules import coded, date_time, decimal, items, reference
from station.exam import Coded, Exam

CONTAINS = "CONTAINS"
HAS_CONCEPT_MOD = "HAS CONCEPT MOD"
HAS_OBS_CONTEXT = "HAS OBS CONTEXT"
HAS_PROPERTIES = "HAS PROPERTIES"

_VALUE_UNKNOWN = ("114010", "DCM", "Value unknown")


def dcm(value: str, meaning: str) -> Coded:
    """A term of DICOM's own scheme."""
    return Coded(value, "DCM", meaning)


def sct(value: str, meaning: str) -> Coded:
    """A term of SNOMED CT."""
    return Coded(value, "SCT", meaning)


def container(relationship: str, name: Coded, children: Iterable[Dataset]) -> Dataset:
    """A heading and what is below it; each item of its own."""
    item = _item(relationship, "CONTAINER", name, children)
    item.ContinuityOfContent = "SEPARATE"
    return item


def root(title: Coded, template: str, children: Iterable[Dataset]) -> Dataset:
    """The document's content, to be laid over the object (`Dataset.update`)."""
    content = _item("", "CONTAINER", title, children)
    content.ContinuityOfContent = "SEPARATE"
    identified = Dataset()
    identified.MappingResource = "DCMR"
    identified.TemplateIdentifier = template
    content.ContentTemplateSequence = items(identified)
    return content


def code(relationship: str, name: Coded, value: Coded, *children: Dataset) -> Dataset:
    """A coded statement."""
    item = _item(relationship, "CODE", name, children)
    item.ConceptCodeSequence = items(coded(value.value, value.scheme, value.meaning))
    return item


def number(relationship: str, name: Coded, value: float | None, unit: str) -> Dataset:
    """A quantity in a UCUM unit."""
    item = _item(relationship, "NUM", name)
    if value is None:
        item.MeasuredValueSequence = items()
        item.NumericValueQualifierCodeSequence = items(coded(*_VALUE_UNKNOWN))
        return item
    measured = Dataset()
    measured.NumericValue = decimal(value)
    measured.MeasurementUnitsCodeSequence = items(coded(unit, "UCUM", "no units" if unit == "1" else unit))
    item.MeasuredValueSequence = items(measured)
    return item


def text(relationship: str, name: Coded, value: str, *children: Dataset) -> Dataset:
    """Words."""
    item = _item(relationship, "TEXT", name, children)
    item.TextValue = value
    return item


def person(relationship: str, name: Coded, value: str) -> Dataset:
    """Somebody's name."""
    item = _item(relationship, "PNAME", name)
    item.PersonName = value
    return item


def uid(relationship: str, name: Coded, value: str) -> Dataset:
    """An identifier."""
    item = _item(relationship, "UIDREF", name)
    item.UID = value
    return item


def moment(relationship: str, name: Coded, value: datetime, exam: Exam) -> Dataset:
    """A time in the exam's zone, which the object declares.

    Not written behind it too: dcmtk 3.6.7 takes a right +0000 for an error, and then reads none of the tree.
    """
    item = _item(relationship, "DATETIME", name)
    day, time = date_time(value, exam)
    item.DateTime = f"{day}{time}"
    return item


def image(relationship: str, dataset: Dataset, name: Coded | None = None) -> Dataset:
    """A reference to an image."""
    item = _item(relationship, "IMAGE", name)
    item.ReferencedSOPSequence = items(reference(dataset))
    return item


def composite(relationship: str, dataset: Dataset, name: Coded | None = None) -> Dataset:
    """A reference to an object that is no image."""
    item = image(relationship, dataset, name)
    item.ValueType = "COMPOSITE"
    return item


def _item(relationship: str, kind: str, name: Coded | None, children: Iterable[Dataset] = ()) -> Dataset:
    item = Dataset()
    if relationship:
        item.RelationshipType = relationship
    item.ValueType = kind
    if name is not None:
        item.ConceptNameCodeSequence = items(coded(name.value, name.scheme, name.meaning))
    below = list(children)
    if below:
        item.ContentSequence = items(*below)
    return item
