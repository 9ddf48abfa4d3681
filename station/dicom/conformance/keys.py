"""What becomes of each return key of the worklist query, found out with matches that have it or lack it."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from io import BytesIO

from pydicom import dcmread, dcmwrite
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from station.dicom import worklist
from station.dicom.modules import coded
from station.dicom.scheduled import rows_of
from station.hospital import Worklist
from station.orders import DXR, Row

_RIS = Worklist(host="ris", port=104, ae_title="RIS")
_NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
_VALUES = {
    "AccessionNumber": "ACC-1",
    "ReferringPhysicianName": "Test^Person",
    "PatientName": "Tést^Pérson",
    "PatientID": "P-1",
    "PatientBirthDate": "19610504",
    "PatientSex": "F",
    "StudyInstanceUID": "2.25.21",
    "TimezoneOffsetFromUTC": "+0100",
    "RequestedProcedureDescription": "a procedure",
    "RequestedProcedureID": "RP-1",
    "ReasonForTheRequestedProcedure": "a reason",
    "ScheduledProcedureStepStartDate": "20260302",
    "ScheduledProcedureStepStartTime": "101500",
    "ScheduledProcedureStepDescription": "a step",
    "ScheduledProcedureStepID": "SPS-1",
    "ScheduledStationAETitle": "DXR1",
    "Modality": "DX",
    "SpecificCharacterSet": "ISO_IR 192",
}
_STEP = "ScheduledProcedureStepSequence"
_PROCEDURE = ("ScheduledProtocolCodeSequence", "RequestedProcedureCodeSequence")
_SIDE = ("Laterality", "ImageLaterality", "AnatomicRegionSequence")


def key_lines() -> Iterator[list[str]]:
    """Attribute, tag, VR, matching, and what becomes of it."""
    asked = worklist.keys(_RIS.model_copy(update={"scheduled_ae_title": "DXR1"}), _NOW.date())
    yield from _lines(asked, worklist.keys(_RIS, _NOW.date()), ())


def _lines(asked: Dataset, wider: Dataset, path: tuple[str, ...]) -> Iterator[list[str]]:
    for element in asked:
        keyword = element.keyword
        tag = f"({element.tag.group:04X},{element.tag.element:04X})"
        name = "> " * len(path) + element.name
        judged = path in {(), (_STEP,)} and keyword != _STEP
        matching = "" if element.VR == "SQ" else _matching(element, wider[keyword].value)
        yield [name, tag, element.VR, matching, _becomes(keyword, path) if judged else ""]
        if element.VR == "SQ":
            yield from _lines(element.value[0], wider[keyword].value[0], (*path, keyword))


def _matching(element: DataElement, wider: str) -> str:
    if not element.value:
        return "return only"
    if element.VR == "DA" and "-" in str(element.value):
        return "range"
    return "single value" if wider else "single value where configured"


def _becomes(keyword: str, path: tuple[str, ...]) -> str:
    """Found out by leaving it away, and where that says nothing by giving it alone of its like."""
    every = {*_VALUES, *_PROCEDURE, *_SIDE}
    whole, without = _row(every), _row(every - {keyword})
    if without.item is None:
        return "required: without it the row is shown and cannot be used"
    if without != whole:
        return "used where given"
    for like, what in ((_PROCEDURE, "procedure"), (_SIDE, "side")):
        if keyword in like and _row(every - {*like} | {keyword}).item is not None:
            return f"read for the {what}; one place is needed"
    return "matched by the RIS" if path else "not used"


def _row(keywords: AbstractSet[str]) -> Row:
    """The row of a match that says these, as it comes over the wire."""
    match, step = Dataset(), Dataset()
    asked = worklist.keys(_RIS, _NOW.date())
    for keyword in keywords:
        home = match if keyword in asked else step
        if keyword in _PROCEDURE:
            setattr(home, keyword, Items([coded(DXR, "C4", "a text")]))
        elif keyword == "AnatomicRegionSequence":
            region = coded("85562004", "SCT", "Hand")
            region.AnatomicRegionModifierSequence = Items([coded("7771000", "SCT", "Left")])
            setattr(home, keyword, Items([region]))
        else:
            setattr(home, keyword, "L" if keyword in _SIDE else _VALUES[keyword])
    match.ScheduledProcedureStepSequence = Items([step])
    return next(rows_of(_over_the_wire(match), {}, _NOW))


def _over_the_wire(match: Dataset) -> Dataset:
    """Encoded in UTF-8, whatever it says of that."""
    declared = "SpecificCharacterSet" in match
    step = match.ScheduledProcedureStepSequence[0]
    whole = Dataset()
    whole.update(match)
    whole.SpecificCharacterSet = "ISO_IR 192"
    whole.ScheduledProcedureStepSequence = Items([step])
    file = BytesIO()
    dcmwrite(file, whole, implicit_vr=False, little_endian=True)
    read = dcmread(BytesIO(file.getvalue()), force=True)
    if not declared:
        del read.SpecificCharacterSet
    return read
