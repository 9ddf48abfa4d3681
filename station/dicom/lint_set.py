"""What objects of one study say about each other: sides, persons, references, numbers, dose, charge."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from math import isclose

from pydicom.dataset import Dataset

from station.dicom.lint_measurements import ours, shafts
from station.dicom.lint_object import CLOCK_SET, PROCEDURE_CODES, said
from station.dicom.lint_seen import (
    IMAGES,
    Seen,
    below,
    children,
    name_of,
    number_of,
    of_others,
    parsed,
    value_of,
)

SetFindings = Iterator[tuple[Seen, str, str]]  # the object, name of the check, and what is wrong

_EVIDENCE = "CurrentRequestedProcedureEvidenceSequence"
_SAME = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber")
_SAME_STUDY = ("StudyDate", "StudyTime", "StudyID")
_SAME_EXPOSURE = (
    *("IrradiationEventUID", "AcquisitionDate", "AcquisitionTime", "AcquisitionNumber", "DetectorID"),
    *("Rows", "Columns", "PatientOrientation", "KVP", "ExposureInuAs", "ImageAndFluoroscopyAreaDoseProduct"),
)
_EVENT, _EVENT_UID, _STARTED = ("113706", "DCM"), ("113769", "DCM"), ("111526", "DCM")
_REJECTED, _QUALITY = ("130503", "DCM"), ("113001", "DCM")
_NO = ("373067005", "SCT")
_DGYCM2_PER_GYM2 = 1e5
# Concept of the dose report -> attribute of the image, and the factor from the one's unit to the other's
_DOSE = {
    ("113733", "DCM"): ("KVP", 1.0),
    ("113736", "DCM"): ("ExposureInuAs", 1.0),
    ("113845", "DCM"): ("ExposureIndex", 1.0),
    ("113847", "DCM"): ("DeviationIndex", 1.0),
    ("122130", "DCM"): ("ImageAndFluoroscopyAreaDoseProduct", _DGYCM2_PER_GYM2),
}
# The same of the measurement report's image library
_LIBRARY = {
    ("110910", "DCM"): ("Rows", None),
    ("110911", "DCM"): ("Columns", None),
    ("111026", "DCM"): ("ImagerPixelSpacing", 1),
    ("111066", "DCM"): ("ImagerPixelSpacing", 0),
}
_TAKEN = ("126201", "DCM")
_WRITTEN = 1e-3  # relative: numbers written with rounding in the one and the other
_DI_WRITTEN = 0.011  # DI is written with two decimals
_SECOND = 1.0


# What the presentation state writes beside a bone, and how exactly
_BONE_LABEL = re.compile(r"Metacarpal (\d): ([^\r\n]*)")
_NUMBER_LABEL = re.compile(r"\b(T|W|MCI) (\d+\.\d+)")
_HALF_STEP = {"T": 0.00501, "W": 0.00501, "MCI": 0.000501}  # mm, mm and 1


@dataclass(frozen=True, slots=True)
class _Study:
    """The objects, and those by their UID."""

    objects: Sequence[Seen]
    by_uid: Mapping[str, Seen]
    slack: timedelta  # by which times of one study may be out of order

    def of(self, *kinds: str) -> list[Seen]:
        return [seen for seen in self.objects if seen.kind in kinds]


def contradictions(objects: Sequence[Seen], *, of_exam: bool) -> SetFindings:
    """What objects of one study contradict in each other.

    Parameters
    ----------
    of_exam : bool
        Each was compared with its exam, so what all must share is known; and with an image among them they
        are all of it, so every reference leads to one of them.
    """
    slack = CLOCK_SET if of_exam else timedelta(0)
    study = _Study(objects, {str(seen.get("SOPInstanceUID")): seen for seen in reversed(objects)}, slack)
    for check in _CHECKS if of_exam else (*_SHARED, *_CHECKS):
        yield from check(study)
    if of_exam and study.of(*IMAGES):
        yield from _dangling(study)


def _sides(study: _Study) -> SetFindings:
    letters = [(seen, letter, where) for seen in study.objects for letter, where in said(seen)]
    counted = Counter(letter for _, letter, _ in letters)
    if len(counted) > 1:
        usual, _ = counted.most_common(1)[0]
        for seen, letter, where in letters:
            if letter != usual:
                yield seen, "side", f"{where} says '{letter}', most of the study says '{usual}'"


def _persons(study: _Study) -> SetFindings:
    for names, what in ((_SAME, "identity"), (_SAME_STUDY, "date"), (("TimezoneOffsetFromUTC",), "timezone")):
        for keyword in names:
            values = Counter(str(seen.dataset.get(keyword, "")) for seen in study.objects)
            if len(values) > 1:
                usual, _ = values.most_common(1)[0]
                for seen in study.objects:
                    if str(seen.dataset.get(keyword, "")) != usual:
                        yield seen, what, f"{keyword} is not that of the study's other objects"


def _uids(study: _Study) -> SetFindings:
    for seen in study.objects:
        if study.by_uid[str(seen.get("SOPInstanceUID"))] is not seen:
            yield seen, "uid", "two objects have the same SOP Instance UID"
    for one, other in combinations(study.objects, 2):
        if one.get("SeriesInstanceUID") == other.get("SeriesInstanceUID") and one.kind != other.kind:
            yield other, "uid", f"one series holds a {one.kind or 'thing'} and a {other.kind or 'thing'}"


def _charges(study: _Study) -> SetFindings:
    """One exam has one code; never both."""
    charged = [
        (seen, value)
        for seen in study.objects
        for path, _, (value, scheme) in seen.codes
        if (scheme == "C4" and value in PROCEDURE_CODES) and not of_others(path)
    ]
    counted = Counter(code for _, code in charged)
    for seen, code in charged if len(counted) > 1 else ():
        usual, _ = counted.most_common(1)[0]
        if code != usual:
            yield seen, "code", f"{code} here, {usual} in most of the study"


def _exposures(study: _Study) -> SetFindings:
    """An image and the one it was derived from are of one exposure."""
    for seen in study.of(*IMAGES):
        for item in seen.dataset.get("SourceImageSequence") or ():
            source = study.by_uid.get(str(item.get("ReferencedSOPInstanceUID")))
            for keyword in _SAME_EXPOSURE if source is not None else ():
                if source and str(source.dataset.get(keyword)) != str(seen.dataset.get(keyword)):
                    yield seen, "pair", f"an image and its source differ in {keyword}"


def _references(study: _Study) -> SetFindings:
    """What is referenced is in the same study, of the class and series it is said to be, and in evidence."""
    for seen in study.objects:
        evidence = {
            str(i.get("ReferencedSOPInstanceUID")) for path, i in seen.references if path[0] == _EVIDENCE
        }
        for path, item in seen.items:
            if path == (_EVIDENCE,) and item.get("StudyInstanceUID") != seen.get("StudyInstanceUID"):
                yield seen, "reference", "the evidence is of another study"
        for path, item in seen.references:
            uid = str(item.get("ReferencedSOPInstanceUID"))
            if path[0] == "ContentSequence" and uid not in evidence:
                yield seen, "reference", "the content refers to an object that the evidence does not list"
            target = study.by_uid.get(uid)
            if target and item.get("ReferencedSOPClassUID") != target.get("SOPClassUID"):
                yield seen, "reference", f"the {target.kind} is referred to as of another SOP class"
        for path, item in seen.items:
            if path[-1:] == ("ReferencedSeriesSequence",) and not of_others(path):
                yield from _series(study, seen, item)


def _series(study: _Study, seen: Seen, series: Dataset) -> SetFindings:
    for keyword in ("ReferencedSOPSequence", "ReferencedInstanceSequence", "ReferencedImageSequence"):
        for item in series.get(keyword) or ():
            target = study.by_uid.get(str(item.get("ReferencedSOPInstanceUID")))
            if target and target.get("SeriesInstanceUID") != series.get("SeriesInstanceUID"):
                yield seen, "reference", f"the {target.kind} is referred to in another series"


def _dangling(study: _Study) -> SetFindings:
    """References that do not say their study lead to an object of the set."""
    for seen in study.objects:
        for path, item in seen.references:
            known = str(item.get("ReferencedSOPInstanceUID")) in study.by_uid
            if not known and path[0] not in {_EVIDENCE, "ContentSequence"}:
                yield seen, "reference", f"{path[-1]} leads to an object that is not there"


def _order(study: _Study) -> SetFindings:
    """Nothing is made of an image before it was taken."""
    taken = {uid: seen.moment("Acquisition") for uid, seen in study.by_uid.items() if seen.kind in IMAGES}
    for seen in study.objects:
        made_at = seen.moment("PresentationCreation") or seen.moment("Content")
        for _, item in seen.references:
            acquired = taken.get(str(item.get("ReferencedSOPInstanceUID")))
            if made_at and acquired and made_at < acquired - study.slack:
                yield seen, "date", f"made at {made_at} of an image taken at {acquired}"
                break


def _doses(study: _Study) -> SetFindings:
    """The dose report knows every image's irradiation event, and says the same of it."""
    for report in study.of("dose report"):
        events = {
            str(item.get("UID")): event
            for event in below(report.dataset, _EVENT)
            for item in children(event, _EVENT_UID)
        }
        for image in study.of(*IMAGES):
            event = events.get(str(image.get("IrradiationEventUID")))
            if event is None:
                yield report, "dose", "the dose report does not know the irradiation event of an image"
            else:
                yield from ((report, "dose", message) for message in _differences(event, image))


def _differences(event: Dataset, image: Seen) -> Iterator[str]:
    for code, (keyword, factor) in _DOSE.items():
        said_here = next((number_of(item) for item in children(event, code)), None)
        own = image.number(keyword)
        if (said_here is None) != (own is None) and code != ("113733", "DCM") and keyword != "ExposureInuAs":
            yield f"{keyword} is known to the image or to the dose report alone"
        elif said_here and own is not None:
            slack = _DI_WRITTEN if keyword == "DeviationIndex" else 1e-9
            if not isclose(said_here[0] * factor, own, rel_tol=_WRITTEN, abs_tol=slack):
                yield f"{keyword} is {own:g} in the image, {said_here[0] * factor:g} in the dose report"
    started = next((parsed(str(i.get("DateTime")), image.zone) for i in children(event, _STARTED)), None)
    acquired = image.moment("Acquisition")
    if started and acquired and abs((started - acquired).total_seconds()) > _SECOND:
        yield f"the irradiation began at {started}, the acquisition at {acquired}"


def _library(study: _Study) -> SetFindings:
    """What a measurement report says of its image is what the image says."""
    for report in study.of("measurement report"):
        for path, item in report.items:
            references = item.get("ReferencedSOPSequence") or ()
            if path[:1] != ("ContentSequence",) or not references:
                continue
            image = study.by_uid.get(str(references[0].get("ReferencedSOPInstanceUID")))
            if image is None:
                continue
            for code, (keyword, index) in _LIBRARY.items():
                own = image.get(keyword)
                own = own if index is None or own is None else own[index]
                for found in children(item, code):
                    number = number_of(found)
                    if number and own is not None and not isclose(number[0], float(own), rel_tol=_WRITTEN):
                        yield report, "number", f"{keyword} of the image is not {number[0]:g}"
            for found in children(item, _TAKEN):
                if str(found.get("Date")) != str(image.get("AcquisitionDate")):
                    yield report, "date", "the report's acquisition date is not its image's"


def _rejections(study: _Study) -> SetFindings:
    """An image that a note rejects is a rejected event of the dose report."""
    for note in study.of("rejection note"):
        if name_of(note.dataset) != _QUALITY:
            continue
        refused = {str(item.get("ReferencedSOPInstanceUID")) for _, item in note.references}
        events = {str(study.by_uid[uid].get("IrradiationEventUID")) for uid in refused if uid in study.by_uid}
        for report in study.of("dose report"):
            for event in below(report.dataset, _EVENT):
                uids = {str(item.get("UID")) for item in children(event, _EVENT_UID)}
                kept = [value_of(item) for item in children(event, _REJECTED)] in ([], [_NO])
                if uids & events and kept:
                    yield report, "rejection", "an image was rejected, the dose report says it was kept"


def _standing(study: _Study) -> SetFindings:
    """Report and page were released together or not at all; earlier versions aside."""
    documents = study.of("measurement report", "report page")
    replaced = {
        str(item.get("ReferencedSOPInstanceUID"))
        for seen in documents
        for path, item in seen.items
        if path[:1] == ("PredecessorDocumentsSequence",)
    }
    newest = [seen for seen in documents if str(seen.get("SOPInstanceUID")) not in replaced]
    if len({seen.get("VerificationFlag") for seen in newest}) > 1:
        yield newest[-1], "standing", "one of report and page is released, the other is not"


def _labels(study: _Study) -> SetFindings:
    """The numbers that are drawn beside the bones are the report's."""
    reported = [shafts(report) for report in study.of("measurement report") if ours(report)]
    for state in study.of("presentation state"):
        for _, element in state.elements:
            if element.keyword != "UnformattedTextValue":
                continue
            for number, words in _BONE_LABEL.findall(str(element.value)):
                for bone in (each.get(number, {}) for each in reported):
                    for name, text in _NUMBER_LABEL.findall(words):
                        own = bone.get(name)
                        if own is None or abs(own - float(text)) > _HALF_STEP[name]:
                            yield state, "number", f"metacarpal {number} is labelled {name} {text}, not {own}"


def _areas(study: _Study) -> SetFindings:
    """A presentation state shows the whole of its image."""
    for state in study.of("presentation state"):
        for path, item in state.items:
            if path != ("DisplayedAreaSelectionSequence",):
                continue
            corner = item.get("DisplayedAreaBottomRightHandCorner")
            for reference in item.get("ReferencedImageSequence") or _shown(state):
                image = study.by_uid.get(str(reference.get("ReferencedSOPInstanceUID")))
                if image and corner and [*corner] != [image.get("Columns"), image.get("Rows")]:
                    yield state, "graphics", "the shown area is not the whole image"


def _shown(state: Seen) -> Iterator[Dataset]:
    return (
        item for path, item in state.items if path == ("ReferencedSeriesSequence", "ReferencedImageSequence")
    )


_SHARED: tuple[Callable[[_Study], SetFindings], ...] = (_sides, _persons)
_CHECKS: tuple[Callable[[_Study], SetFindings], ...] = (
    _uids,
    _charges,
    _exposures,
    _references,
    _order,
    _doses,
    _library,
    _rejections,
    _standing,
    _labels,
    _areas,
)
