"""Checks of an image: view, body part, exposure index, geometry, procedure, meaning of the pixels."""

from math import isclose, log10

from station.dicom.image import REGION_CODES, VIEW_CODES
from station.dicom.lint.every import PROCEDURE_CODES, Findings
from station.dicom.lint.seen import Seen, code_of
from station.exam import Exam

_DI_TOLERANCE = 0.02  # DI is written with two decimals
_RELATIVE_TOLERANCE = 1e-4  # of spacings and magnification, written with seven digits
_PIXEL_MEANING = {"FOR PROCESSING": ("LIN", 1), "FOR PRESENTATION": ("LOG", -1)}
_INTENTS = {"image for processing": "FOR PROCESSING", "image": "FOR PRESENTATION"}


def laterality(seen: Seen, _exam: Exam | None) -> Findings:
    """A hand has one side."""
    value = seen.get("ImageLaterality")
    if value not in {"L", "R"}:
        yield "side", f"Image Laterality is '{value}'; a hand is L or R"


def patient_view(seen: Seen, _exam: Exam | None) -> Findings:
    """Text and code of view and body part say the same, of those the station has."""
    for name, text, sequence, table in (
        ("view", "ViewPosition", "ViewCodeSequence", VIEW_CODES),
        ("body-part", "BodyPartExamined", "AnatomicRegionSequence", REGION_CODES),
    ):
        value = seen.get(text)
        codes = [code_of(item)[0] for item in seen.dataset.get(sequence) or ()]
        if value not in table or codes != [table[value][0]]:
            yield name, f"{text} '{value}' and {sequence} {codes} do not say the same"


def exposure_index(seen: Seen, _exam: Exam | None) -> Findings:
    """DI = 10 log10(EI / EIT), and all three or none."""
    keywords = ("ExposureIndex", "TargetExposureIndex", "DeviationIndex")
    values = [seen.number(keyword) for keyword in keywords]
    if all(seen.get(keyword) is None for keyword in keywords):
        return
    ei, target, di = values
    if ei is None or target is None or di is None or ei <= 0 or target <= 0:
        yield "exposure-index", "exposure index, target and deviation must be given together and positive"
    elif abs(di - 10 * log10(ei / target)) > _DI_TOLERANCE:
        yield "exposure-index", f"deviation index {di:g} does not follow from {ei:g} / {target:g}"


def geometry(seen: Seen, _exam: Exam | None) -> Findings:
    """Spacing at the detector, and where the scale is known spacing at the object that follows from it."""
    imager = _pair(seen, "ImagerPixelSpacing")
    magnification = seen.number("EstimatedRadiographicMagnificationFactor")
    sid_mm, sod_mm = seen.number("DistanceSourceToDetector"), seen.number("DistanceSourceToPatient")
    if imager is None:
        yield "spacing", "the spacing at the detector is missing"
    elif (seen.get("PixelSpacing") is None) != (magnification is None):
        yield "spacing", "corrected pixel spacing and magnification must be given together"
    elif magnification is not None:
        if not sid_mm or not sod_mm:
            yield "spacing", "a magnification is given without the distances it comes from"
        elif not isclose(sid_mm / sod_mm, magnification, rel_tol=_RELATIVE_TOLERANCE):
            yield "spacing", f"magnification {magnification:g} is not {sid_mm:g} / {sod_mm:g}"
        if seen.get("PixelSpacingCalibrationType") != "GEOMETRY":
            yield "spacing", "pixel spacing is given without saying that it was corrected by geometry"
        at_object = _pair(seen, "PixelSpacing") or (0.0, 0.0)
        if not all(
            isclose(own * magnification, at_detector, rel_tol=_RELATIVE_TOLERANCE)
            for own, at_detector in zip(at_object, imager, strict=True)
        ):
            yield "spacing", f"{at_object} mm × {magnification:g} is not {imager} mm"


def _pair(seen: Seen, keyword: str) -> tuple[float, float] | None:
    try:
        row, column = (float(value) for value in seen.get(keyword) or ())
    except (TypeError, ValueError):
        return None
    return row, column


def procedure(seen: Seen, _exam: Exam | None) -> Findings:
    """Procedure and performed protocol are the code that billing decided, and the same."""
    procedure, performed = (
        [code_of(item) for item in seen.dataset.get(name) or ()]
        for name in ("ProcedureCodeSequence", "PerformedProtocolCodeSequence")
    )
    allowed = [[], *([(code, "C4")] for code in PROCEDURE_CODES)]
    if procedure not in allowed or performed not in allowed or procedure != performed:
        yield "code", f"procedure {procedure} and performed protocol {performed}: one code of C4, or none"


def pixel_meaning(seen: Seen, _exam: Exam | None) -> Findings:
    """Linear and dark bone for machines, logarithmic and bright bone for the eye."""
    intent = str(seen.get("PresentationIntentType"))
    meaning = (seen.get("PixelIntensityRelationship"), seen.get("PixelIntensityRelationshipSign"))
    if intent != _INTENTS.get(seen.kind):
        yield "pixels", f"the SOP class is of an {seen.kind}, the intent '{intent}'"
    elif _PIXEL_MEANING[intent] != meaning:
        yield "pixels", f"a {intent} image of this station cannot be {meaning[0]} with sign {meaning[1]}"
    if (
        seen.get("PhotometricInterpretation") != "MONOCHROME2"
        or seen.get("PresentationLUTShape") != "IDENTITY"
    ):
        yield "pixels", "photometric interpretation must be MONOCHROME2 with presentation LUT shape IDENTITY"
    if ("WindowCenter" in seen.dataset) != (intent == "FOR PRESENTATION"):
        yield "pixels", "a window belongs to the image for presentation, and only there"


IMAGE = (laterality, patient_view, exposure_index, geometry, procedure, pixel_meaning)
