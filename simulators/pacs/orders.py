"""The worklist: seeded orders, matching as in PS3.4 C.2.2.2, and rows with the defects that real ones have.

| accession | order | the side is said by |
|---|---|---|
| A1 | left hand, 0750T | protocol context of the code, and the description |
| A2 | right hand, 0750T | the description only |
| A3 | left hand, site's own code DXRL | the code's meaning, and the description |
| A4 | left hand, Japanese name (ISO 2022 IR 87) | description |
| A5 | right hand, Cyrillic name (ISO_IR 144) | description |
| A6 | left hand, without Study Instance UID: cannot be used | description |
| B00001 … | as many as asked for, left and right in turn | description |
"""

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from fnmatch import fnmatchcase
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from simulators.pacs.ills import Ills

WORDS = {"L": "left", "R": "right", "": ""}
_SIDE_CODES = {"L": ("7771000", "Left"), "R": ("24028007", "Right")}
_JAPANESE = ["", "ISO 2022 IR 87"]
_CYRILLIC = "ISO_IR 144"
_FIRST_AT = time(8, 0)
_EVERY = timedelta(minutes=1)
_DXR = (("0750T", "C4", "Hand view made for DXR bone density"),)
_CHARACTER_SET = 0x00080005


@dataclass(frozen=True, slots=True)
class Order:
    """One scheduled step."""

    accession: str
    patient_id: str
    name: str
    side: str = "L"
    birth_date: str = "19610504"
    sex: str = "F"
    codes: tuple[tuple[str, str, str], ...] = _DXR
    side_in_code: bool = False
    character_set: Any = "ISO_IR 192"
    study_uid: str = ""  # empty: made from the accession number
    without_study_uid: bool = False
    procedure: str = ""  # its description; empty: DXR of that hand
    at: time | None = None  # of today; None: a minute after the order before it


def seeded(rows: int = 0) -> tuple[Order, ...]:
    """The table's orders and so many more."""
    left = ("DXRL", "99SITE", "DXR left hand")
    named = (
        Order("A1", "P-1", "Test^Person", side_in_code=True),
        Order("A2", "P-2", "Demo^Patient", side="R", sex="M"),
        Order("A3", "P-3", "Test^Person", codes=(left,)),
        Order("A4", "P-4", "Tesuto^Kanja=試験^患者=しけん^かんじゃ", character_set=_JAPANESE),
        Order("A5", "P-5", "Тест^Пациент", side="R", character_set=_CYRILLIC),
        Order("A6", "P-6", "Demo^Patient", without_study_uid=True),
    )
    more = (
        Order(f"B{n:05d}", f"P-B{n:05d}", "Demo^Patient", side="LR"[n % 2], character_set="ISO_IR 100")
        for n in range(1, rows + 1)
    )
    return (*named, *more)


class Worklist:
    """Today's orders."""

    def __init__(self, orders: Iterable[Order], seed: int, ills: Ills, today: date | None = None) -> None:
        self.orders = tuple(orders)
        self._seed = seed
        self._ills = ills
        self._today = today
        self._made: tuple[Any, tuple[Dataset, ...]] = (None, ())  # making thousands of rows takes seconds

    def study_uid(self, order: Order) -> str:
        """Same seed, same order, same UID."""
        digest = hashlib.sha256(f"{self._seed}/{order.accession}".encode()).digest()
        return order.study_uid or f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"

    def find(self, query: Dataset, ae_title: str) -> Iterator[Dataset]:
        """The rows that match, each with what was asked for."""
        day = self._today or date.today()  # noqa: DTZ011  local, as DICOM's
        orders = self.orders
        for order, row in zip(orders, self._rows(orders, day, ae_title), strict=True):
            if matches(query, row):
                yield self._spoilt(answer(query, row), order)

    def _rows(self, orders: tuple[Order, ...], day: date, ae_title: str) -> tuple[Dataset, ...]:
        """Those of last time, unless something has changed."""
        key = (orders, day, ae_title, tuple(self._ills.now().items()))
        if self._made[0] != key:
            begins = datetime.combine(day, _FIRST_AT)
            rows = (
                self._row(
                    order, datetime.combine(day, order.at) if order.at else begins + n * _EVERY, ae_title
                )
                for n, order in enumerate(orders)
            )
            self._made = (key, tuple(rows))
        return self._made[1]

    def _row(self, order: Order, at: datetime, ae_title: str) -> Dataset:
        row = Dataset()
        row.SpecificCharacterSet = order.character_set
        row.PatientName, row.PatientID = order.name, order.patient_id
        row.PatientBirthDate, row.PatientSex = order.birth_date, order.sex
        row.AccessionNumber = order.accession
        row.ReferringPhysicianName = "Test^Referrer"
        row.ReferencedStudySequence = Items()
        row.ReferencedPatientSequence = Items()
        row.RequestedProcedureID = f"RP-{order.accession}"
        row.ReasonForTheRequestedProcedure = "Bone density"
        if not order.without_study_uid:
            row.StudyInstanceUID = self.study_uid(order)
        side = "" if self._ills.has("row-without-side", order.accession) else order.side
        row.RequestedProcedureDescription = order.procedure or f"DXR {WORDS[side]} hand".replace("  ", " ")
        codes = [_code(order, code, side) for code in order.codes]
        row.RequestedProcedureCodeSequence = Items([_plain(code) for code in codes])
        if self._ills.has("row-contradicts-side", order.accession):
            _say_side(codes[0], "R" if order.side == "L" else "L")
        row.ScheduledProcedureStepSequence = Items([_step(order, at, ae_title, codes, side)])
        return row

    def _spoilt(self, row: Dataset, order: Order) -> Dataset:
        if self._ills.has("row-without-study-uid", order.accession) and "StudyInstanceUID" in row:
            del row.StudyInstanceUID
        if self._ills.has("row-nested-wrongly", order.accession) and row.get(
            "ScheduledProcedureStepSequence"
        ):
            step = row.ScheduledProcedureStepSequence[0]
            del row.ScheduledProcedureStepSequence
            row.update(step)
        return row


def _step(order: Order, at: datetime, ae_title: str, codes: Sequence[Dataset], side: str) -> Dataset:
    step = Dataset()
    step.Modality = "DX"
    step.ScheduledStationAETitle = ae_title
    step.ScheduledStationName = ae_title
    step.ScheduledProcedureStepStartDate = f"{at:%Y%m%d}"
    step.ScheduledProcedureStepStartTime = f"{at:%H%M%S}"
    step.ScheduledPerformingPhysicianName = ""
    step.ScheduledProcedureStepDescription = order.procedure or f"Hand PA {WORDS[side]}".strip()
    step.ScheduledProcedureStepID = f"SP-{order.accession}"
    step.ScheduledProtocolCodeSequence = Items(codes)
    return step


def _code(order: Order, code: tuple[str, str, str], side: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    if not side:
        for word in ("left ", "right "):
            item.CodeMeaning = str(item.CodeMeaning).replace(word, "")
    elif order.side_in_code:
        _say_side(item, side)
    return item


def _plain(code: Dataset) -> Dataset:
    """Without the protocol context, which only a scheduled protocol code has."""
    item = deepcopy(code)
    if "ProtocolContextSequence" in item:
        del item.ProtocolContextSequence
    return item


def _say_side(code: Dataset, side: str) -> None:
    """Laterality as a content item of the protocol context (PS3.3 table 10-16 within C.4.10)."""
    value, meaning = _SIDE_CODES[side]
    concept, laterality = Dataset(), Dataset()
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = "272741003", "SCT", "Laterality"
    laterality.CodeValue, laterality.CodingSchemeDesignator, laterality.CodeMeaning = value, "SCT", meaning
    context = Dataset()
    context.ValueType = "CODE"
    context.ConceptNameCodeSequence = Items([concept])
    context.ConceptCodeSequence = Items([laterality])
    code.ProtocolContextSequence = Items([context])


def matches(query: Dataset, row: Dataset) -> bool:
    """Universal, single value, list of UIDs, wild card, range and sequence matching."""
    return all(_match(element, row) for element in query if element.tag != _CHARACTER_SET)


def _match(element: DataElement, row: Dataset) -> bool:
    if element.VR == "SQ":
        wanted = element.value[0] if element.value else Dataset()
        return _universal(wanted) or any(
            matches(wanted, item) for item in row.get(element.tag, _NOTHING).value or ()
        )
    asked = [str(value) for value in _values(element)]
    if not any(asked):
        return True
    found = [str(value) for value in _values(row[element.tag])] if element.tag in row else []
    return any(_equal(element.VR, one, value) for one in asked for value in found)


def _universal(keys: Dataset) -> bool:
    """Whether nothing is asked but to be told the values: that matches a row without the sequence too."""
    return all(
        all(_universal(item) for item in key.value or ())
        if key.VR == "SQ"
        else not any(map(str, _values(key)))
        for key in keys
    )


_NOTHING = DataElement(0x00080000, "UL", None)


def _values(element: DataElement) -> list[Any]:
    if element.value is None:
        return []
    return list(element.value) if element.VM > 1 else [element.value]


def _equal(vr: str, asked: str, found: str) -> bool:
    if vr in {"DA", "TM", "DT"} and "-" in asked:
        first, last = asked.split("-", 1)
        return (not first or found >= first) and (not last or found[: len(last)] <= last)
    if vr == "PN":
        asked, found = asked.casefold(), found.casefold()
    if vr not in {"UI", "DA", "TM", "DT", "IS", "DS", "US"} and ("*" in asked or "?" in asked):
        return fnmatchcase(found, asked.replace("[", "[[]"))
    return asked == found


def answer(query: Dataset, row: Dataset) -> Dataset:
    """The row's values of what was asked for, empty where it has none."""
    found = Dataset()
    if _CHARACTER_SET in row:
        found[_CHARACTER_SET] = row[_CHARACTER_SET]
    for element in query:
        tag = element.tag
        if tag == _CHARACTER_SET:
            continue
        if tag not in row:
            found.add(DataElement(tag, element.VR, Items() if element.VR == "SQ" else None))
        elif element.VR == "SQ" and element.value and len(element.value[0]):
            wanted = element.value[0]
            found.add(DataElement(tag, "SQ", Items([answer(wanted, item) for item in row[tag].value])))
        else:
            found[tag] = row[tag]
    return found
