"""Checks of the other documents: report page, rejection note, presentation state, dose report."""

from math import isclose, log10

from pydicom.dataset import Dataset

from station.dicom.image import FOR_PRESENTATION
from station.dicom.lint.every import Findings
from station.dicom.lint.seen import Seen, below, children, name_of, number_of, value_of
from station.exam import REJECTION_REASONS, Exam

_EVENT, _EVENT_UID = ("113706", "DCM"), ("113769", "DCM")
_DAP, _DAP_TOTAL = ("122130", "DCM"), ("113722", "DCM")
_TARGET, _LATERALITY = ("123014", "DCM"), ("272741003", "SCT")
_INDEX = (("113845", "DCM"), ("113846", "DCM"), ("113847", "DCM"))  # EI, target, DI
_REJECTED, _WHY = ("130503", "DCM"), ("130504", "DCM")
_YES = ("373066001", "SCT")
_QUALITY = ("113001", "DCM")
_NOTES = {_QUALITY, ("113037", "DCM"), ("113038", "DCM"), ("113039", "DCM")}
_TITLE_MODIFIER = ("113011", "DCM")
_DI_TOLERANCE = 0.02  # DI is written with two decimals
_TOTAL_TOLERANCE = 1e-4  # of sums of numbers written with seven digits
_HEADER = b"%PDF-"


def page(seen: Seen, _exam: Exam | None) -> Findings:
    """The bytes are the PDF that the attributes promise."""
    data = bytes(seen.dataset.get("EncapsulatedDocument") or b"")
    if seen.get("MIMETypeOfEncapsulatedDocument") != "application/pdf" or not data.startswith(_HEADER):
        yield "document", "the encapsulated document is no PDF, or is not said to be one"
    length = seen.get("EncapsulatedDocumentLength")
    if length is not None and int(length) not in {len(data), len(data) - 1}:
        yield "document", f"the document has {len(data)} bytes, {length} are said"
    if seen.get("BurnedInAnnotation") != "YES":
        yield "document", "a report page shows who the patient is: Burned In Annotation is YES"
    if not seen.get("DocumentTitle"):
        yield "document", "the report page has no title"


def note(seen: Seen, _exam: Exam | None) -> Findings:
    """A note says what is taken back and why, in the codes that archives act on."""
    title = name_of(seen.dataset)
    reasons = [value_of(item) for item in children(seen.dataset, _TITLE_MODIFIER)]
    if title not in _NOTES:
        yield "rejection", f"{title} is no title that takes objects back"
    elif title == _QUALITY and [code for code, _ in filter(None, reasons) if code in REJECTION_REASONS] == []:
        yield "rejection", "rejected for quality without a reason of CID 7011"
    if not seen.dataset.get("CurrentRequestedProcedureEvidenceSequence"):
        yield "rejection", "a note that names no objects"


def state(seen: Seen, _exam: Exam | None) -> Findings:
    """Drawn inside the picture that is shown, and said of which side."""
    if seen.get("Laterality") is None:
        yield "side", "a presentation state of a hand says its Laterality"
    areas = [item for path, item in seen.items if path == ("DisplayedAreaSelectionSequence",)]
    corner = areas[0].get("DisplayedAreaBottomRightHandCorner") if areas else None
    if corner is None or len(corner) != 2:
        yield "graphics", "the area that is shown is not given"
        return
    for path, item in seen.items:
        if path[-1:] == ("GraphicObjectSequence",) and item.get("GraphicAnnotationUnits") == "PIXEL":
            data = [float(value) for value in item.get("GraphicData") or ()]
            points = zip(data[::2], data[1::2], strict=True) if len(data) % 2 == 0 else [(-1.0, -1.0)]
            if any(not (0 <= x <= corner[0] + 1 and 0 <= y <= corner[1] + 1) for x, y in points):
                yield "graphics", "a line is drawn outside of the image"
                break
    shown = [
        item.get("ReferencedSOPClassUID")
        for path, item in seen.items
        if path == ("ReferencedSeriesSequence", "ReferencedImageSequence")
    ]
    if shown != [FOR_PRESENTATION]:
        yield "reference", "a presentation state belongs to one image for presentation"


def dose(seen: Seen, _exam: Exam | None) -> Findings:
    """Every event once, whole, and the total the sum of them."""
    events = list(below(seen.dataset, _EVENT))
    uids = [str(item.get("UID", "")) for event in events for item in children(event, _EVENT_UID)]
    if not events or len(uids) != len(events) or len(set(uids)) < len(uids):
        yield "dose", "every irradiation event has its own UID, and there is at least one"
    for event in events:
        yield from _event(event)
    products = [_number(event, _DAP) for event in events]
    known = [product for product in products if product is not None]
    totals = [number_of(item) for item in below(seen.dataset, _DAP_TOTAL)]
    total = totals[0][0] if totals and totals[0] else None
    if total is None:
        if known and len(known) == len(products):
            yield "dose", "the dose-area product of every event is known and their total is not given"
    elif len(known) == len(products) and not isclose(total, sum(known), rel_tol=_TOTAL_TOLERANCE):
        yield "dose", f"a total of {total:g} Gy·m² is not the sum of the events, {sum(known):g}"
    elif len(known) < len(products):
        yield "dose", "a total is given although the dose of an event is unknown"


def _event(event: Dataset) -> Findings:
    ei, target, di = (_number(event, code) for code in _INDEX)
    if ei is not None or di is not None:
        if ei is None or target is None or di is None or ei <= 0 or target <= 0:
            yield "exposure-index", "exposure index, target and deviation must be given together and positive"
        elif abs(di - 10 * log10(ei / target)) > _DI_TOLERANCE:
            yield "exposure-index", f"deviation index {di:g} does not follow from {ei:g} / {target:g}"
    rejected = [value_of(item) for item in children(event, _REJECTED)]
    if rejected == [_YES] and not any(children(item, _WHY) for item in children(event, _REJECTED)):
        yield "rejection", "a rejected irradiation event without its reason"
    if not any(children(item, _LATERALITY) for item in children(event, _TARGET)):
        yield "side", "an irradiation event does not say the side of its target"
    product = _number(event, _DAP)
    if product is not None and product <= 0:
        yield "dose", f"a dose-area product of {product:g}; an unknown one is left out, never zero"


def _number(event: Dataset, code: tuple[str, str]) -> float | None:
    found = [number_of(item) for item in children(event, code)]
    return found[0][0] if found and found[0] else None


DOCUMENTS = {
    "report page": (page,),
    "rejection note": (note,),
    "presentation state": (state,),
    "dose report": (dose,),
}
