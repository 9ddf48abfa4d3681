"""Contradictions in what is about to be written: a validator checks grammar, this checks meaning.

dciodvfy does not notice View Position AP beside View Code PA, FOOT beside the anatomic region hand, a
laterality U, or EI, EIT and DI that do not belong together. One function per
subject, all are run.
"""

from collections.abc import Iterable, Sequence
from math import isclose, log10

from pydicom.dataset import Dataset

from station.dicom.image import REGION_CODES, VIEW_CODES
from station.exam import Exam
from station.result import Reason

SIDE_CODES = {"7771000": "L", "24028007": "R"}  # SCT left, right
PROCEDURE_CODES = ("0749T", "0750T")

_DI_TOLERANCE = 0.02  # DI is written with two decimals
_RELATIVE_TOLERANCE = 1e-4  # of spacings and magnification, written with seven digits
_REMEDY = "do not send; correct the exam or report the fault"
_PIXEL_MEANING = {"FOR PROCESSING": ("LIN", 1), "FOR PRESENTATION": ("LOG", -1)}


def problems(images: Sequence[Dataset], exam: Exam) -> tuple[Reason, ...]:
    """What contradicts the exam or itself in these objects; empty if nothing does."""
    found: list[Reason] = []
    for image in images:
        checks = (_identity, _side, _patient_view, _exposure_index, _geometry, _codes, _pixel_meaning)
        for check in checks:
            found += [Reason(f"dicom-{name}", message, _REMEDY) for name, message in check(image, exam)]
    found += [Reason("dicom-pair", message, _REMEDY) for message in _links(images)]
    return tuple(found)


def _identity(image: Dataset, exam: Exam) -> Iterable[tuple[str, str]]:
    item = exam.item
    for keyword, expected in (
        ("PatientID", item.patient.id),
        ("PatientName", item.patient.name),
        ("StudyInstanceUID", item.study_instance_uid),
        ("AccessionNumber", item.accession_number),
    ):
        if str(image.get(keyword, "")) != expected:
            yield "identity", f"{keyword} is not the exam's"


def _side(image: Dataset, exam: Exam) -> Iterable[tuple[str, str]]:
    side = exam.item.side
    for keyword in ("ImageLaterality", "Laterality"):
        value = image.get(keyword)
        if (value is not None or keyword == "ImageLaterality") and value != side.value:
            yield "side", f"{keyword} is '{value}', the exam is of the {side.word} hand"
    for region in image.get("AnatomicRegionSequence", []):
        for modifier in region.get("AnatomicRegionModifierSequence", []):
            if SIDE_CODES.get(modifier.CodeValue, side.value) != side.value:
                yield (
                    "side",
                    f"the anatomic region says '{modifier.CodeMeaning}', the exam is of the {side.word} hand",
                )
    other = "right" if side.word == "left" else "left"
    if other in str(image.get("SeriesDescription", "")).lower().replace(",", " ").split():
        yield "side", f"the series description says {other}, the exam is of the {side.word} hand"


def _patient_view(image: Dataset, _exam: Exam) -> Iterable[tuple[str, str]]:
    for name, text, sequence, table in (
        ("view", "ViewPosition", "ViewCodeSequence", VIEW_CODES),
        ("body-part", "BodyPartExamined", "AnatomicRegionSequence", REGION_CODES),
    ):
        value = image.get(text)
        codes = [item.CodeValue for item in image.get(sequence, [])]
        if value not in table or codes != [table[value][0]]:
            yield name, f"{text} '{value}' and {sequence} {codes} do not say the same"


def _exposure_index(image: Dataset, _exam: Exam) -> Iterable[tuple[str, str]]:
    values = [image.get(k) for k in ("ExposureIndex", "TargetExposureIndex", "DeviationIndex")]
    given = [float(v) for v in values if v is not None]
    if not given:
        return
    if len(given) < len(values) or given[0] <= 0 or given[1] <= 0:
        yield "exposure-index", "exposure index, target and deviation must be given together and positive"
    elif abs(given[2] - 10 * log10(given[0] / given[1])) > _DI_TOLERANCE:
        yield (
            "exposure-index",
            f"deviation index {given[2]:g} does not follow from {given[0]:g} / {given[1]:g}",
        )


def _geometry(image: Dataset, _exam: Exam) -> Iterable[tuple[str, str]]:
    imager, object_plane = image.get("ImagerPixelSpacing"), image.get("PixelSpacing")
    magnification = image.get("EstimatedRadiographicMagnificationFactor")
    sid_mm, sod_mm = image.get("DistanceSourceToDetector"), image.get("DistanceSourceToPatient")
    if imager is None or len(imager) != 2:
        yield "spacing", "the spacing at the detector is missing"
        return
    if (object_plane is None) != (magnification is None):
        yield "spacing", "corrected pixel spacing and magnification must be given together"
    elif object_plane is not None and magnification is not None:
        if not sid_mm or not sod_mm:
            yield "spacing", "a magnification is given without the distances it comes from"
        elif not isclose(float(sid_mm) / float(sod_mm), float(magnification), rel_tol=_RELATIVE_TOLERANCE):
            yield (
                "spacing",
                f"magnification {float(magnification):g} is not {float(sid_mm):g} / {float(sod_mm):g}",
            )
        if image.get("PixelSpacingCalibrationType") != "GEOMETRY":
            yield "spacing", "pixel spacing is given without saying that it was corrected by geometry"
        for at_detector, at_object in zip(imager, object_plane, strict=True):
            if not isclose(
                float(at_object) * float(magnification), float(at_detector), rel_tol=_RELATIVE_TOLERANCE
            ):
                yield (
                    "spacing",
                    f"{float(at_object):g} mm × {float(magnification):g} is not {float(at_detector):g} mm",
                )
                break


def _codes(image: Dataset, _exam: Exam) -> Iterable[tuple[str, str]]:
    for sequence in ("ProcedureCodeSequence", "PerformedProtocolCodeSequence"):
        for item in image.get(sequence, []):
            scheme, value = item.get("CodingSchemeDesignator"), item.get("CodeValue")
            if scheme != "C4" or value not in PROCEDURE_CODES:
                yield (
                    "code",
                    f"{sequence} holds ({value}, {scheme}); allowed are {', '.join(PROCEDURE_CODES)} of C4",
                )
    procedure, performed = (
        [item.get("CodeValue") for item in image.get(sequence, [])]
        for sequence in ("ProcedureCodeSequence", "PerformedProtocolCodeSequence")
    )
    if procedure != performed:
        yield "code", f"procedure code {procedure} and performed protocol code {performed} differ"


def _pixel_meaning(image: Dataset, _exam: Exam) -> Iterable[tuple[str, str]]:
    intent = image.get("PresentationIntentType")
    meaning = (image.get("PixelIntensityRelationship"), image.get("PixelIntensityRelationshipSign"))
    if _PIXEL_MEANING.get(str(intent)) != meaning:
        yield "pixels", f"a {intent} image of this station cannot be {meaning[0]} with sign {meaning[1]}"
    if (
        image.get("PhotometricInterpretation") != "MONOCHROME2"
        or image.get("PresentationLUTShape") != "IDENTITY"
    ):
        yield "pixels", "photometric interpretation must be MONOCHROME2 with presentation LUT shape IDENTITY"
    if ("WindowCenter" in image) != (intent == "FOR PRESENTATION"):
        yield "pixels", "a window belongs to the image for presentation, and only there"


def _links(images: Sequence[Dataset]) -> Iterable[str]:
    """What must be equal in all images of one exposure, and references that lead nowhere."""
    for keyword in ("IrradiationEventUID", "Rows", "Columns", "DetectorID", "KVP"):
        if len({str(image.get(keyword)) for image in images}) > 1:
            yield f"the images of one exposure differ in {keyword}"
    known = {image.SOPInstanceUID for image in images}
    for image in images:
        for source in image.get("SourceImageSequence", []):
            if source.ReferencedSOPInstanceUID not in known:
                yield "the source image is not one of the images"
    if len(known) < len(images):
        yield "two images have the same SOP Instance UID"
