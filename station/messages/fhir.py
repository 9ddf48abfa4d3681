"""FHIR R4: result and charge as a bundle for a folder.

::

    Bundle (collection)
    ├─ DiagnosticReport   preliminary or final; conclusion in words, the page as PDF
    ├─ Patient · Device
    ├─ Observation        density with T, Z and uncertainty as components
    ├─ Observation        radiogrammetry of the hand, and one of each metacarpal
    └─ ChargeItem         only what is due: released by a person

Order and images are named by their identifiers (accession number, Study Instance UID): they live elsewhere.
No code says low or normal: the band stands in words with its caveats. Every address follows from the exam.

The library has R4B, not R4. Of what R4B changed (subscriptions, evidence, medicinal products and two new data
types: hl7.org/FHIR/r4b-explanation.html, seen) nothing is used here, so the bundle is R4 as well.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import datetime
from math import isfinite
from typing import Any
from uuid import UUID

from station.billing import Charge
from station.codes import SCHEME_URI, SCHEME_VERSION, Quantity, quantities, term
from station.exam import Coded, Patient, Sex, Side
from station.result import DxrResult, Reason, Refused
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

Json = dict[str, Any]

_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
}
_CPT = "http://www.ama-assn.org/go/cpt"
_UCUM = "http://unitsofmeasure.org"
_OF_UIDS = "urn:dicom:uid"
_OF_URIS = "urn:ietf:rfc:3986"
_REPRESENTATION = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
_REPRESENTATIONS = ("ABC", "IDE", "SYL")  # of DICOM's groups: alphabetic, ideographic, phonetic
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_SECTIONS = "http://terminology.hl7.org/CodeSystem/v2-0074"
_IDENTIFIER_TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
_GENDERS = {Sex.FEMALE: "female", Sex.MALE: "male", Sex.OTHER: "other"}
_SIDES = {Side.LEFT: Coded("7771000", "SCT", "Left"), Side.RIGHT: Coded("24028007", "SCT", "Right")}
_HAND = Coded("85562004", "SCT", "Hand")
_METACARPAL = Coded("36455000", "SCT", "Metacarpal")
_REPORT = Coded("18748-4", "LN", "Diagnostic imaging report")
_SCORES = {"t_score", "z_score"}


def load() -> None:
    """Have the library build its models, before an exam waits for it: half a second."""
    from fhir.resources.R4B.bundle import Bundle

    coded: Json = {"status": "final", "code": {"text": "of no meaning"}}
    value: Json = {"valueQuantity": {"value": 1}}
    resources: tuple[Json, ...] = (
        {"resourceType": "Patient"},
        {"resourceType": "Device"},
        {"resourceType": "DiagnosticReport", **coded},
        {"resourceType": "Observation", **coded, **value, "component": [{"code": coded["code"], **value}]},
        {"resourceType": "ChargeItem", **coded, "status": "billable", "subject": {"display": "nobody"}},
    )
    entries = [{"resource": one} for one in resources]
    Bundle.model_validate({"resourceType": "Bundle", "type": "collection", "entry": entries})


def bundle(study: Study, charge: Charge | None = None, pdf: bytes | None = None) -> str:
    """The bundle as JSON; `charge` is what the ledger has granted, and is left out while it is not due.

    Raises
    ------
    ValueError
        Before there is a result, or for what FHIR cannot carry.
    """
    from fhir.resources.R4B.bundle import Bundle

    if study.result is None:
        raise ValueError(f"exam {study.exam.uid} has no result yet; analyse it first")
    observations = dict(_observations(study, study.result))
    resources = {
        "report": _report(study, list(observations), pdf),
        "patient": _patient(study.exam.item.patient),
        "device": _device(study),
        **observations,
    }
    if charge is not None and charge.due:
        resources["charge"] = _charge_item(study, charge)
    whole = {
        "resourceType": "Bundle",
        "identifier": {"system": _OF_URIS, "value": _address(study, "bundle")},
        "type": "collection",
        "timestamp": _at(study, study.made_at),
        "entry": [{"fullUrl": _address(study, name), "resource": one} for name, one in resources.items()],
    }
    return Bundle.model_validate(whole).model_dump_json(indent=1)


def _address(study: Study, name: str) -> str:
    return UUID(int=int(study.exam.uid_for("fhir", name).rpartition(".")[2])).urn


def _to(study: Study, name: str) -> Json:
    return {"reference": _address(study, name)}


def _at(study: Study, at: datetime) -> str:
    """A time in the exam's zone. Raises `ValueError` without zones."""
    zone = study.exam.opened_at.tzinfo
    if at.tzinfo is None or zone is None:
        raise ValueError(f"{at} or the exam's opening time has no time zone")
    return at.astimezone(zone).isoformat(timespec="seconds")


# --- who, with what --------------------------------------------------------------------------------------


def _patient(patient: Patient) -> Json:
    names = [
        _name(group, kind)
        for group, kind in zip(patient.name.split("="), _REPRESENTATIONS, strict=False)
        if group.strip("^ ")
    ]
    found: Json = {
        "resourceType": "Patient",
        "identifier": [{"value": patient.id}] if patient.id.strip() else None,
        "name": names or None,
        "gender": _GENDERS[patient.sex] if patient.sex else "unknown",
        "birthDate": patient.birth_date.isoformat() if patient.birth_date else None,
    }
    return _filled(found)


def _name(group: str, kind: str) -> Json:
    family, given, middle, prefix, *suffixes = [*(part.strip() for part in group.split("^")), "", "", "", ""]
    parts: Json = {
        "extension": [{"url": _REPRESENTATION, "valueCode": kind}],
        "use": "official",
        "family": family,
        "given": [part for part in (given, middle) if part],
        "prefix": [prefix] if prefix else [],
        "suffix": [part for part in suffixes if part],
    }
    return _filled(parts)


def _device(study: Study) -> Json:
    equipment = study.equipment
    return _filled(
        {
            "resourceType": "Device",
            "manufacturer": equipment.manufacturer,
            "serialNumber": equipment.serial,
            "modelNumber": equipment.model,
            "deviceName": [{"name": equipment.station_name, "type": "user-friendly-name"}],
            "version": [{"value": equipment.software_version}],
        }
    )


def _filled(parts: Json) -> Json:
    """Without what is empty or blank, which FHIR forbids."""
    return {
        name: value
        for name, value in parts.items()
        if value not in (None, []) and (not isinstance(value, str) or value.strip())
    }


def _concept(*coded: Coded) -> Json:
    return {"coding": [_coding(one) for one in coded], "text": coded[0].meaning}


def _coding(one: Coded) -> Json:
    system = _SYSTEMS.get(one.scheme)
    ours = {"system": SCHEME_URI, "version": SCHEME_VERSION}
    return {**({"system": system} if system else ours), "code": one.value, "display": one.meaning}


def _hand(study: Study) -> Json:
    """The hand; its side is said in words here and coded in a component."""
    return {**_concept(_HAND), "text": f"{study.exam.item.side.word} hand"}


# --- what was found --------------------------------------------------------------------------------------


def _observations(study: Study, result: DxrResult | Refused) -> Iterator[tuple[str, Json]]:
    if isinstance(result, Refused):
        absent = {"coding": [{"system": _ABSENT, "code": "error"}], "text": _sentences(result.reasons)}
        yield "hand", _observation(study, term("method").coded) | {"dataAbsentReason": absent}
        return
    every = quantities(result)
    of_hand = [one for one in every if one.bone is None]
    density = [one for one in of_hand if one.term.key == "bmd"]
    scores = [one for one in of_hand if one.term.key in _SCORES]
    if density:
        yield "bmd", _density(study, result, density[0], scores)
    rest = [one for one in of_hand if one not in density and one not in scores]
    shared = {"method": {**_concept(term("method").coded), "text": result.algorithm}}
    yield "hand", _observation(study, term("method").coded) | shared | _components(study, rest)
    for bone in result.bones:
        site = term(f"metacarpal_{bone.number}").coded
        where = {**_concept(site, _METACARPAL), "text": f"{site.meaning}, {study.exam.item.side.word} hand"}
        own = _components(study, [one for one in every if one.bone == bone.number])
        yield (
            f"metacarpal-{bone.number}",
            (_observation(study, term("method").coded) | shared | {"bodySite": where} | own),
        )


def _density(study: Study, result: DxrResult, density: Quantity, scores: Sequence[Quantity]) -> Json:
    found = _observation(study, density.term.coded) | _components(study, scores, density)
    found["valueQuantity"] = _quantity(density.term.unit, density.value)
    found["method"] = {**_concept(term("method").coded), "text": result.algorithm}
    compared = [{"text": population(result)}]
    found["referenceRange"] = compared
    for component in found["component"]:
        if component["code"]["coding"][0]["code"] in {one.term.value for one in scores}:
            component["referenceRange"] = compared
    if result.triage is not None:
        found["interpretation"] = [{"text": band(result.triage)}]
    source = f"density constant: {result.bmd_status}; {result.bmd_constant_source or 'source not stated'}"
    risks = [*map(relative_risk, result.hazards), *map(absolute_risk, result.absolute_risks)]
    found["note"] += [{"text": text} for text in (UNCERTAINTY, source, *risks)]
    return found


def _observation(study: Study, what: Coded) -> Json:
    release, item = physician_release(study), study.exam.item
    images = {
        "type": "ImagingStudy",
        "identifier": {"system": _OF_UIDS, "value": f"urn:oid:{item.study_instance_uid}"},
    }
    result = study.result
    notes = result.notes if isinstance(result, DxrResult) else ()
    return {
        "resourceType": "Observation",
        "status": "final" if release else "preliminary",
        "code": _concept(what),
        "subject": _to(study, "patient"),
        "effectiveDateTime": _at(study, study.exposure.started_at),
        "issued": _at(study, release.at if release else study.made_at),
        "bodySite": _hand(study),
        "device": _to(study, "device"),
        "derivedFrom": [images],
        "note": [{"text": text} for text in (standing(study), *map(limitation, notes))],
    }


def _components(study: Study, found: Sequence[Quantity], value: Quantity | None = None) -> Json:
    """Quantities with their uncertainties, that of the observation's own value first; and the side."""
    side = _SIDES[study.exam.item.side]
    parts: list[Json] = []
    if value is not None and value.u95 is not None:
        parts.append(_component(value.term.spread, value.term.unit, value.u95))
    for one in found:
        parts.append(_component(one.term.coded, one.term.unit, one.value))
        if one.u95 is not None:
            parts.append(_component(one.term.spread, one.term.unit, one.u95))
    parts.append({"code": _concept(term("side").coded), "valueCodeableConcept": _concept(side)})
    return {"component": parts}


def _component(what: Coded, unit: str, value: float) -> Json:
    return {"code": _concept(what), "valueQuantity": _quantity(unit, value)}


def _quantity(unit: str, value: float) -> Json:
    if not isfinite(value):
        raise ValueError(f"{value} is no number that a resource can carry; withhold the quantity")
    return {"value": float(f"{value:.7g}"), "unit": unit, "system": _UCUM, "code": unit}


def _sentences(reasons: Sequence[Reason]) -> str:
    return "; ".join(limitation(reason) for reason in reasons)


# --- report and charge -----------------------------------------------------------------------------------


def _report(study: Study, observations: Sequence[str], pdf: bytes | None) -> Json:
    item, release, result = study.exam.item, physician_release(study), study.result
    accession = {"coding": [{"system": _IDENTIFIER_TYPES, "code": "ACSN"}]}
    order = {"type": "ServiceRequest", "identifier": {"type": accession, "value": item.accession_number}}
    study_uid = {"system": _OF_UIDS, "value": f"urn:oid:{item.study_instance_uid}"}
    page = {"contentType": "application/pdf", "data": b64encode(pdf).decode("ascii")} if pdf else None
    said = [standing(study)]
    if isinstance(result, Refused):
        said.append(f"analysis refused: {_sentences(result.reasons)}")
    elif result is not None and result.triage is not None:
        said.append(band(result.triage))
    return _filled(
        {
            "resourceType": "DiagnosticReport",
            "status": "final" if release else "preliminary",
            "basedOn": [order] if item.accession_number.strip() else None,
            "category": [{"coding": [{"system": _SECTIONS, "code": "RAD"}]}],
            "code": _concept(_REPORT, term("report").coded),
            "subject": _to(study, "patient"),
            "effectiveDateTime": _at(study, study.exposure.started_at),
            "issued": _at(study, release.at if release else study.made_at),
            "performer": [{"display": study.equipment.institution}] if study.equipment.institution else None,
            "resultsInterpreter": [{"display": release.by}] if release else None,
            "result": [_to(study, name) for name in observations],
            "imagingStudy": [{"type": "ImagingStudy", "identifier": study_uid}],
            "conclusion": ". ".join(said),
            "presentedForm": [page] if page else None,
        }
    )


def _charge_item(study: Study, charge: Charge) -> Json:
    code, release = charge.code, charge.release
    if code is None or release is None:
        raise ValueError("only a released charge is written")
    return {
        "resourceType": "ChargeItem",
        "identifier": [{"system": _OF_URIS, "value": f"urn:oid:{study.exam.uid_for('message', 'charge')}"}],
        "status": "billable",
        "code": {
            "coding": [{"system": _CPT, "code": code.value, "display": code.meaning}],
            "text": code.meaning,
        },
        "subject": _to(study, "patient"),
        "occurrenceDateTime": _at(study, study.exposure.started_at),
        "quantity": {"value": 1},
        "bodysite": [_hand(study)],
        "enterer": {"display": release.by},
        "enteredDate": _at(study, release.at),
        "service": [_to(study, "report")],
    }
