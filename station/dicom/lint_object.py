"""Checks of every object: who, which side, when, UIDs, names, codes and their schemes."""

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta

from pydicom.uid import UID

from station.dicom.lint_seen import KINDS, Seen, of_others, parsed
from station.exam import Exam

Findings = Iterator[tuple[str, str]]  # name of the check, and what is wrong

SIDE_CODES = {
    ("7771000", "SCT"): "L",
    ("24028007", "SCT"): "R",
    ("51440002", "SCT"): "B",
    ("G-A101", "SRT"): "L",
    ("G-A100", "SRT"): "R",
    ("G-A102", "SRT"): "B",
}
PROCEDURE_CODES = ("0749T", "0750T")
_CPT = ("C4", "CPT", "CPT4", "C5")  # designators under which CPT is met
_WORDS = {"left": "L", "right": "R"}
_DESCRIPTIONS = ("SeriesDescription", "ContentDescription", "DocumentTitle", "ImageComments")
_LETTERS = frozenset("LRB")
_IDENTITY = ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber")
_EARLY = timedelta(minutes=1)  # by which clocks of different systems may differ
# A station's clock may be set right within an exam; an image of an irradiated patient is not held back for it
CLOCK_SET = timedelta(days=1)
_LONG_STUDY = timedelta(days=2)  # between the study's opening and an acquisition: more is another day's
_CONTROL = frozenset(map(chr, (*range(32), 127)))  # an ideographic space is none
_PN_GROUP, _PN_GROUPS, _PN_COMPONENTS = 64, 3, 5  # PS3.5 6.2.1.2


def identity(seen: Seen, exam: Exam | None) -> Findings:
    """Who and which study, against the exam."""
    if exam is None:
        return
    item = exam.item
    expected = (item.patient.id, item.patient.name, item.study_instance_uid, item.accession_number)
    for keyword, value in zip(_IDENTITY, expected, strict=True):
        if str(seen.dataset.get(keyword, "")) != value:
            yield "identity", f"{keyword} is not the exam's"


def side(seen: Seen, exam: Exam | None) -> Findings:
    """Every word, letter and code of a side, against the exam."""
    if exam is not None:
        own = exam.item.side
        for letter, where in said(seen):
            if letter != own.value:
                yield "side", f"{where} says '{letter}', the exam is of the {own.word} hand"


def said(seen: Seen) -> Iterator[tuple[str, str]]:
    """Every side that the object says, and where: L, R, B for both, or what else stands there."""
    for keyword in ("ImageLaterality", "Laterality"):
        value = seen.get(keyword)
        if value is not None:
            yield str(value), keyword
    for path, item, code in seen.codes:
        letter = SIDE_CODES.get(code)
        if letter is not None and not of_others(path):
            yield letter, f"a code '{item.get('CodeMeaning', '')}'"
    for keyword in _DESCRIPTIONS:
        text = str(seen.get(keyword) or "").lower()
        for word in re.findall(r"[a-z]+", text):
            if word in _WORDS:
                yield _WORDS[word], f"{keyword} '{word}'"
    for _, element in seen.elements:
        if element.keyword == "UnformattedTextValue" and str(element.value).strip() in _LETTERS:
            yield str(element.value).strip(), "a marker drawn on the image"


def kind(seen: Seen, _exam: Exam | None) -> Findings:
    """The modality is that of the SOP class, and the file's header names the same object."""
    known = KINDS.get(str(seen.dataset.get("SOPClassUID", "")))
    if known is not None and seen.get("Modality") != known[1]:
        yield "modality", f"a {known[0]} has modality {known[1]}, here is '{seen.get('Modality')}'"
    meta = getattr(seen.dataset, "file_meta", None)
    if meta is None:
        return
    for own, header in (
        ("SOPInstanceUID", "MediaStorageSOPInstanceUID"),
        ("SOPClassUID", "MediaStorageSOPClassUID"),
    ):
        if header in meta and str(meta[header].value) != str(seen.dataset.get(own, "")):
            yield "header", f"the file's header names another {own} than the object"


def uids(seen: Seen, _exam: Exam | None) -> Findings:
    """Every UID is one, and study, series and object have their own."""
    for _, element in seen.elements:
        if element.VR == "UI" and element.value:
            values = [element.value] if isinstance(element.value, str) else element.value
            for value in values:
                if not UID(str(value)).is_valid:
                    yield "uid", f"{element.keyword} '{value}' is no UID: digits and dots, at most 64"
    own = [seen.get(f"{level}InstanceUID") for level in ("SOP", "Series", "Study")]
    if None in own:
        yield "uid", "study, series and object must each have a UID"
    elif len(set(own)) < len(own):
        yield "uid", "study, series and object share a UID"


def dates(seen: Seen, exam: Exam | None) -> Findings:
    """Dates that are none, and an order of events that cannot be."""
    for _, element in seen.elements:
        if element.VR == "DA" and element.value and parsed(str(element.value), None) is None:
            yield "date", f"{element.keyword} '{element.value}' is no date"
    study, acquired, content = (seen.moment(what) for what in ("Study", "Acquisition", "Content"))
    slack = timedelta(0) if exam is None else CLOCK_SET
    early = max(_EARLY, slack)
    if study and acquired and not study - early <= acquired <= study + _LONG_STUDY:
        yield "date", f"acquired at {acquired}, in a study opened at {study}"
    if acquired and content and content < acquired - slack:
        yield "date", f"content of {content} from an acquisition at {acquired}"
    if study and content and content < study - early:
        yield "date", f"content of {content} in a study opened at {study}"
    calibrated = seen.get("DateOfLastDetectorCalibration")
    taken = seen.get("AcquisitionDate")
    if calibrated and taken and str(calibrated) > str(taken):
        yield "date", f"the detector was calibrated on {calibrated}, after the acquisition on {taken}"
    yield from _opening(seen, exam)
    yield from _age(seen)


def _opening(seen: Seen, exam: Exam | None) -> Findings:
    """The study begins with the exam; the zone is checked by itself."""
    study = seen.moment("Study")
    if exam is None or study is None:
        return
    if study.replace(tzinfo=None) != exam.opened_at.replace(tzinfo=None):
        yield "date", f"the study began at {study}, the exam at {exam.opened_at}"


def _age(seen: Seen) -> Findings:
    born, on, age = (seen.get(name) for name in ("PatientBirthDate", "StudyDate", "PatientAge"))
    birth, day = (parsed(str(value), None) if value else None for value in (born, on))
    if birth is None or day is None:
        return
    if birth > day:
        yield "date", "the patient is born after the study"
        return
    years = int(str(age)[:-1]) if re.fullmatch(r"[0-9]{3}Y", str(age)) else None
    if years is not None and abs(years - _years(birth.date(), day.date())) > 1:
        yield "date", f"an age of {age} does not follow from the birth date"


def _years(born: date, day: date) -> int:
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def zone(seen: Seen, exam: Exam | None) -> Findings:
    """Times say in which zone they are."""
    given = seen.get("TimezoneOffsetFromUTC")
    if given is not None and seen.zone is None:
        yield "timezone", f"'{given}' is no offset from UTC"
    elif exam is not None and str(given) != f"{exam.opened_at:%z}"[:5]:
        yield "timezone", f"the times' zone is '{given}', the exam's {exam.opened_at:%z}"


def future(seen: Seen, now: datetime) -> Findings:
    """Nothing is made tomorrow."""
    for what in ("Study", "Acquisition", "Content", "PresentationCreation"):
        moment = seen.moment(what)
        if moment is not None and moment > now + _EARLY:
            yield "date", f"{what} date and time {moment} lie in the future"


def names(seen: Seen, _exam: Exam | None) -> Findings:
    """Person names that other systems can read."""
    for _, element in seen.elements:
        if element.VR != "PN" or not element.value:
            continue
        groups = str(element.value).split("=")
        if len(groups) > _PN_GROUPS or any(
            len(group) > _PN_GROUP or group.count("^") >= _PN_COMPONENTS or not _CONTROL.isdisjoint(group)
            for group in groups
        ):
            yield (
                "name",
                f"{element.keyword} is no person name: three groups of 64 characters in five components",
            )


def charset(seen: Seen, _exam: Exam | None) -> Findings:
    """Letters beyond ASCII need a declared character set."""
    if seen.get("SpecificCharacterSet") is None:
        for _, element in seen.elements:
            if element.VR in {"PN", "LO", "SH", "ST", "LT", "UT", "UC"} and not str(element.value).isascii():
                yield (
                    "charset",
                    f"{element.keyword} has letters beyond ASCII and no character set is declared",
                )
                return


def codes(seen: Seen, _exam: Exam | None) -> Findings:
    """Codes are whole, CPT is only what the station may charge, private schemes are declared."""
    declared = {
        item.get("CodingSchemeDesignator")
        for path, item in seen.items
        if path == ("CodingSchemeIdentificationSequence",)
    }
    undeclared: set[str] = set()
    for path, item, (value, scheme) in seen.codes:
        if not scheme or not item.get("CodeMeaning"):
            where = path[-1] if path else "the object itself"
            yield "code", f"code '{value}' in {where} lacks its scheme or meaning"
        elif scheme in _CPT and not of_others(path) and (scheme != "C4" or value not in PROCEDURE_CODES):
            yield "code", f"({value}, {scheme}) is no code of this station; {_allowed()}"
        elif scheme.startswith("99") and scheme not in declared and not of_others(path):
            undeclared.add(scheme)
    for scheme in sorted(undeclared):
        yield "scheme", f"the private coding scheme {scheme} is not declared"


def _allowed() -> str:
    return f"allowed are {', '.join(PROCEDURE_CODES)} of C4"


EVERY = (identity, side, kind, uids, dates, zone, names, charset, codes)
