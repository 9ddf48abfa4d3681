"""The measurement report, TID 1500 in a Comprehensive SR, out to the archive; `read` takes it back in.

    Imaging Measurement Report                      126000 DCM
    ├─ language, station (observer), releasing physician, procedure reported
    ├─ Image Library → source image, acquisition date, detector
    ├─ Imaging Measurements
    │  ├─ group "hand": algorithm, method, site Hand with laterality, every quantity of the hand
    │  └─ group "metacarpal 2" …: site Metacarpal with laterality and which one, its quantities
    └─ Qualitative Evaluations: texts, each whole in itself

Quantities carry a public code where one is (Width, Length, Z-score), else one of `station.codes`, whose
scheme the object declares. Uncertainty is CID 225's range above and below, in the value's unit. A density
names its constant, a score its population. Band and hazard ratio are texts with caveats and ranges inside: no
reader can show the one without the other. A value is a decimal string and beside it the exact binary.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from station.codes import SCHEME, SCHEME_NAME, SCHEME_UID, SCHEME_VERSION, Quantity, quantities, term
from station.dicom.earlier import NotOurs as NotOurs  # noqa: PLC0414  re-exported: out and in belong together
from station.dicom.earlier import read as read  # noqa: PLC0414  re-exported: out and in belong together
from station.dicom.equipment import device_uid
from station.dicom.modules import evidence, items, performed_step_reference, referenced_request
from station.dicom.report import begin_report, predecessor
from station.exam import Coded, Side
from station.protocols import Code as ProcedureCode
from station.result import DxrResult
from station.statements import (
    UNCERTAINTY,
    absolute_risk,
    band,
    limitation,
    physician_release,
    population,
    relative_risk,
    standing,
)
from station.study import Study

if TYPE_CHECKING:
    from highdicom import sr
    from pydicom.sr.coding import Code

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.88.33"  # Comprehensive SR
_KIND = "measurements"
_HAND = Coded("85562004", "SCT", "Hand")
_METACARPAL = Coded("36455000", "SCT", "Metacarpal")
_SIDES = {Side.LEFT: Coded("7771000", "SCT", "Left"), Side.RIGHT: Coded("24028007", "SCT", "Right")}
_UPPER = Coded("371886008", "SCT", "+, range of upper measurement uncertainty")  # CID 225
_LOWER = Coded("371885007", "SCT", "-, range of lower measurement uncertainty")
_POPULATION = Coded("121405", "DCM", "Population description")
_ANY_PROCEDURE = Coded("363679005", "SCT", "Imaging procedure")  # CID 100
_LIBRARY, _GROUP = Coded("111028", "DCM", "Image Library"), Coded("126200", "DCM", "Image Library Group")
_SOURCE = Coded("260753009", "SCT", "Source")
_MODALITY, _DX = Coded("121139", "DCM", "Modality"), Coded("DX", "DCM", "Digital Radiography")
_ROWS, _COLUMNS = Coded("110910", "DCM", "Pixel Data Rows"), Coded("110911", "DCM", "Pixel Data Columns")
_HORIZONTAL = Coded("111026", "DCM", "Horizontal Pixel Spacing")
_VERTICAL = Coded("111066", "DCM", "Vertical Pixel Spacing")
_PIXELS, _MM = Coded("{pixels}", "UCUM", "Pixels"), Coded("mm", "UCUM", "mm")
_TO_THE_RIGHT = Coded("111044", "DCM", "Patient Orientation Row")
_DOWN = Coded("111043", "DCM", "Patient Orientation Column")
_TAKEN = Coded("126201", "DCM", "Acquisition Date")
_QUALITATIVE = Coded("C0034375", "UMLS", "Qualitative Evaluations")  # TID 1500
_UNIT_MEANINGS = {"1": "no units", "%": "percent"}


def build(study: Study, image: Dataset) -> Dataset:
    """The report of a measured hand; `image` is the For Processing image that was measured.

    Raises
    ------
    ValueError
        Nothing was measured: there is no report of nothing.
    """
    result = study.result
    if not isinstance(result, DxrResult):
        raise ValueError(  # noqa: TRY004  of what happened in the exam, not of code
            "no measurement report without a measured result; send the report page instead"
        )
    dataset = begin_report(study, _KIND, SOP_CLASS, "SR")
    scheme = Dataset()
    scheme.CodingSchemeDesignator, scheme.CodingSchemeUID = SCHEME, SCHEME_UID
    scheme.CodingSchemeName, scheme.CodingSchemeVersion = SCHEME_NAME, SCHEME_VERSION
    dataset.CodingSchemeIdentificationSequence = items(scheme)
    _document(dataset, study, image)
    for element in _tree(study, result, image):
        dataset.add(element)
    return dataset


def _document(dataset: Dataset, study: Study, image: Dataset) -> None:
    """The SR Document General module (C.17.2)."""
    release = physician_release(study)
    dataset.ReferencedPerformedProcedureStepSequence = items(performed_step_reference(study.exam))
    dataset.CompletionFlag = "COMPLETE"
    dataset.PreliminaryFlag = "PRELIMINARY" if release is None else "FINAL"
    dataset.VerificationFlag = "UNVERIFIED" if release is None else "VERIFIED"
    if release is not None:
        at = release.at.astimezone(study.exam.opened_at.tzinfo)
        observer = Dataset()
        observer.VerifyingObserverName = release.by
        observer.VerifyingOrganization = study.equipment.institution or study.equipment.station_name or "none"
        observer.VerificationDateTime = f"{at:%Y%m%d%H%M%S.%f}"
        observer.VerifyingObserverIdentificationCodeSequence = items()
        dataset.VerifyingObserverSequence = items(observer)
        dataset.PredecessorDocumentsSequence = predecessor(dataset, study, _KIND)
    dataset.ReferencedRequestSequence = items(referenced_request(study.exam))
    dataset.PerformedProcedureCodeSequence = items(*dataset.get("ProcedureCodeSequence", ()))
    dataset.CurrentRequestedProcedureEvidenceSequence = evidence([image])


def _tree(study: Study, result: DxrResult, image: Dataset) -> Dataset:
    from highdicom import sr

    found = quantities(result)
    groups = [_group(study, result, [q for q in found if q.bone is None], None, image)]
    groups += [
        _group(study, result, [q for q in found if q.bone == bone.number], bone.number, image)
        for bone in result.bones
    ]
    report = sr.MeasurementReport(
        _observers(study),
        _code(study.code or _ANY_PROCEDURE),
        groups,
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(
            sr.CodedConcept("en-US", "RFC5646", "English (United States)")
        ),
    )
    root = report[0]
    measured = next(n for n, item in enumerate(root.ContentSequence) if item.name.value == "126010")
    root.ContentSequence.insert(measured, _library(study, image))
    texts = sr.ContainerContentItem(_code(_QUALITATIVE), relationship_type="CONTAINS")
    texts.ContentSequence = sr.ContentSequence(
        [sr.TextContentItem(_own(key), text, "CONTAINS") for key, text in _texts(study, result)]
    )
    root.ContentSequence.append(texts)
    return root


def _observers(study: Study) -> "sr.ObservationContext":
    from highdicom import sr

    equipment, release = study.equipment, physician_release(study)
    device = sr.DeviceObserverIdentifyingAttributes(
        device_uid(equipment),
        equipment.station_name or None,
        equipment.manufacturer or None,
        equipment.model or None,
        equipment.serial or None,
    )
    person = None
    if release is not None:
        person = sr.ObserverContext(
            sr.CodedConcept("121006", "DCM", "Person"),
            sr.PersonObserverIdentifyingAttributes(_person(release.by)),
        )
    return sr.ObservationContext(
        observer_person_context=person,
        observer_device_context=sr.ObserverContext(sr.CodedConcept("121007", "DCM", "Device"), device),
    )


def _person(name: str) -> str:
    """The same name as highdicom takes it: one word alone it holds for a mistake."""
    return name if "^" in name else f"{name}^"


def _library(study: Study, image: Dataset) -> "sr.ContainerContentItem":
    """The source image (TID 1600); when and with what it was taken is what a later report compares.

    highdicom can write it, but holds everything up for 0.3 s to learn from 22 MB of the standard, once a
    process, that such an image has pixels.
    """
    from highdicom import sr

    entry = sr.ImageContentItem(
        _code(_SOURCE), image.SOPClassUID, image.SOPInstanceUID, relationship_type="CONTAINS"
    )
    entry.ContentSequence = sr.ContentSequence(_described(study, image))
    group, library = (
        sr.ContainerContentItem(_code(name), relationship_type="CONTAINS") for name in (_GROUP, _LIBRARY)
    )
    group.ContentSequence = sr.ContentSequence([entry])
    library.ContentSequence = sr.ContentSequence([group])
    return library


def _described(study: Study, image: Dataset) -> "list[sr.ContentItem]":
    """The image's entry in the library (TID 1602, 1603)."""
    from highdicom import sr

    relation = "HAS ACQ CONTEXT"

    def number(name: Coded, value: float, unit: Coded) -> sr.NumContentItem:
        return sr.NumContentItem(_code(name), float(value), _code(unit), None, relation)

    taken = study.exposure.started_at.astimezone(study.exam.opened_at.tzinfo)
    vertical_mm, horizontal_mm = image.ImagerPixelSpacing
    found: list[sr.ContentItem] = [
        sr.CodeContentItem(_code(_MODALITY), _code(_DX), relation),
        number(_ROWS, image.Rows, _PIXELS),
        number(_COLUMNS, image.Columns, _PIXELS),
        sr.TextContentItem(_code(_TO_THE_RIGHT), image.PatientOrientation[0], relation),
        sr.TextContentItem(_code(_DOWN), image.PatientOrientation[1], relation),
        number(_HORIZONTAL, horizontal_mm, _MM),
        number(_VERTICAL, vertical_mm, _MM),
        sr.DateContentItem(_code(_TAKEN), taken.date(), relation),
    ]
    kind = f"{study.equipment.manufacturer} {study.equipment.model}".strip()
    for key, text in (("detector_type", kind), ("detector_serial", study.detector_serial)):
        if text:
            found.append(sr.TextContentItem(_own(key), text, relation))
    return found


def _group(
    study: Study, result: DxrResult, found: list[Quantity], bone: int | None, image: Dataset
) -> "sr.MeasurementsAndQualitativeEvaluations":
    from highdicom import sr

    name, _, version = result.algorithm.partition("@")
    if not (name and version):
        raise ValueError(f"an algorithm must be name@version, got '{result.algorithm}'")
    site, which = (_code(_HAND), None) if bone is None else (_code(_METACARPAL), _own(f"metacarpal_{bone}"))
    label = "hand" if bone is None else f"metacarpal {bone}"
    exposure = str(study.exposure.number)
    return sr.MeasurementsAndQualitativeEvaluations(
        sr.TrackingIdentifier(study.exam.uid_for("tracking", label, exposure), label),
        finding_type=site,
        method=_own("method"),
        algorithm_id=sr.AlgorithmIdentification(
            name, version, (f"protocol {study.exam.protocol}", f"region of interest {result.roi_mode}")
        ),
        finding_sites=[sr.FindingSite(site, _code(_SIDES[result.side]), which)],
        measurements=[_number(quantity, result, image) for quantity in found],
    )


def _number(quantity: Quantity, result: DxrResult, image: Dataset) -> "sr.Measurement":
    from highdicom import sr

    unit = _unit(quantity.term.unit)
    source = sr.SourceImageForMeasurement(image.SOPClassUID, image.SOPInstanceUID)
    measured = sr.Measurement(
        _code(quantity.term.public or quantity.term.coded),
        float(quantity.value),
        unit,
        referenced_images=[source],
    )
    properties = measured[0].ContentSequence
    if quantity.u95 is not None:
        for code in (_UPPER, _LOWER):
            properties.append(
                sr.NumContentItem(_code(code), float(quantity.u95), unit, None, "HAS PROPERTIES")
            )
    if quantity.term.key == "bmd" and result.bmd_constant_g_cm3 is not None:
        constant = term("constant")
        properties.append(
            sr.NumContentItem(
                _code(constant.coded),
                float(result.bmd_constant_g_cm3),
                _unit(constant.unit),
                None,
                "HAS PROPERTIES",
            )
        )
    if quantity.term.key in ("t_score", "z_score"):
        properties.append(sr.TextContentItem(_code(_POPULATION), population(result), "HAS PROPERTIES"))
    return measured


def _texts(study: Study, result: DxrResult) -> Iterator[tuple[str, str]]:
    """Key of the term and text, most important first; nothing about a density that there is not."""
    yield "wording", standing(study)
    yield "uncertainty", UNCERTAINTY
    yield "scale", result.scale
    yield "roi_mode", result.roi_mode
    yield "protocol", study.exam.protocol
    if result.bmd_g_cm2 is not None:
        yield "constant_status", result.bmd_status
        if result.bmd_constant_source:
            yield "constant_source", result.bmd_constant_source
        yield "porosity_measured", "yes" if result.porosity_measured else "no"
        yield "reference", result.reference
        if result.reference_status:
            yield "reference_status", result.reference_status
    if result.triage is not None:
        yield "triage", band(result.triage)
    for hazard in result.hazards:
        yield "hazard", relative_risk(hazard)
    for risk in result.absolute_risks:
        yield "risk", absolute_risk(risk)
    for note in result.notes:
        yield "note", limitation(note)


def _own(key: str) -> "Code":
    return _code(term(key).coded)


def _code(code: Coded | ProcedureCode) -> "Code":
    """A term as highdicom takes it."""
    from pydicom.sr.coding import Code

    return Code(code.value, code.scheme, code.meaning)


def _unit(ucum: str) -> "Code":
    return _code(Coded(ucum, "UCUM", _UNIT_MEANINGS.get(ucum, ucum)))
