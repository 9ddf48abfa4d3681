"""HL7 v2.5.1: what a result and a charge look like to the hospital's systems.

::

    ORU^R01   MSH  PID  ORC  OBR  NTE… (limits)  OBX… (result)  OBX (PDF)
    DFT^P03   MSH  EVN  PID  PV1  FT1

OBX-3 is `station.codes`, OBX-4 says of what: HAND, MC2, MC3, MC4. The uncertainty of a quantity is an OBX of
its own beside it, code with -U95. A refused analysis is reported in words, without any number. Everything is
preliminary (OBR-25 and OBX-11 P) until a physician releases it, then final (F). No flag in OBX-8: a T-score
of DXR is no diagnosis.

Order: OBR-3 and OBR-18 accession number, OBR-19 requested procedure ID, OBR-20 scheduled step ID (as IHE's
scheduled workflow fills them: from memory). The placer's number is not in the worklist item and stays empty.

The same study makes the same message with the same control ID, so a receiver knows a repeat; another content
has another. A charge has one control ID and one transaction ID per exam, whatever it holds.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import datetime

import hl7

from station.billing import Charge
from station.codes import Quantity, quantities, term
from station.exam import Coded, Sex, Side
from station.hospital import Messages
from station.messages.segments import (
    clinician,
    composite,
    escape,
    moment,
    number,
    parsed,
    patient_names,
    segment,
    shortened,
)
from station.result import DxrResult, Refused
from station.statements import limitation, physician_release, population, standing, statements
from station.study import Study

_VERSION = "2.5.1"
_CONTROL_ID_CHARACTERS = 20  # MSH-10
_TRANSACTION_ID_CHARACTERS = 12  # FT1-2
_REFERENCE_CHARACTERS = 60  # OBX-7
_HAND = "HAND"
_SIDES = {Side.LEFT: Coded("7771000", "SCT", "Left"), Side.RIGHT: Coded("24028007", "SCT", "Right")}
_MODIFIERS = {Side.LEFT: "LT", Side.RIGHT: "RT"}  # HCPCS level II, from memory
_REPORT = Coded("18748-4", "LN", "Diagnostic imaging report")
_OF_A_POPULATION = {"bmd", "t_score", "z_score"}


def results(study: Study, messages: Messages, pdf: bytes | None = None) -> str:
    """ORU^R01 of a study's result or refusal, with its report.

    Raises
    ------
    ValueError
        Before there is a result, or for a number or time that HL7 cannot carry.
    """
    if study.result is None:
        raise ValueError(f"exam {study.exam.uid} has no result yet; analyse it first")
    observations = list(_observations(study, study.result))
    if pdf is not None:
        observations.append(_observation("ED", _REPORT, _HAND, _document(pdf)))
    status = "F" if physician_release(study) else "P"
    about = {11: status, 14: _at(study, study.exposure.started_at), 19: _at(study, study.made_at)}
    body = [
        _patient(study),
        segment("ORC", {1: "RE", 3: _filler(study), 12: clinician(study.exam.item.referring_physician)}),
        _request(study, status),
        *_limits(study.result),
        *(segment("OBX", {1: str(place), **one, **about}) for place, one in enumerate(observations, 1)),
    ]
    content = study.exam.uid_for("message", "results", *(str(one) for one in body))
    return _message(_header(study, messages, "ORU^R01^ORU_R01", content), body)


def charge(study: Study, due: Charge, messages: Messages) -> str:
    """DFT^P03 of a charge that the ledger has granted.

    Raises
    ------
    ValueError
        For a charge without code or without a person's release.
    """
    if not due.due or due.code is None or due.release is None:
        raise ValueError(f"only a released charge is sent, this is: {due.text or 'no charge'}")
    item, code = study.exam.item, due.code
    coded = composite(code.value, code.meaning, code.scheme)
    identity = study.exam.uid_for("message", "charge")
    transaction = {
        1: "1",
        2: shortened(identity, _TRANSACTION_ID_CHARACTERS),
        4: _at(study, study.exposure.started_at),
        5: _at(study, due.release.at),
        6: "CG",
        7: coded,
        10: "1",
        21: clinician(item.referring_physician),
        23: _filler(study),
        24: clinician(due.release.by),
        25: coded,
        26: _MODIFIERS[item.side],
    }
    body = [
        segment("EVN", {1: "P03", 2: _at(study, due.release.at)}),
        _patient(study),
        segment("PV1", {1: "1", 2: "U", 8: clinician(item.referring_physician)}),  # class unknown
        segment("FT1", transaction),
    ]
    return _message(_header(study, messages, "DFT^P03^DFT_P03", identity), body)


def control_id(message: str) -> str:
    """MSH-10. Raises `ValueError` for what is no HL7 message."""
    try:
        return str(parsed(message).segment("MSH")[10])
    except IndexError as error:
        raise ValueError("this message has no control ID") from error


def _message(header: hl7.Segment, body: Sequence[hl7.Segment]) -> str:
    return "".join(f"{one}\r" for one in (header, *body))


def _header(study: Study, messages: Messages, kind: str, identity: str) -> hl7.Segment:
    fields = {
        3: escape(study.equipment.station_name),
        4: escape(messages.facility),
        5: escape(messages.receiver),
        6: escape(messages.receiving_facility),
        7: _at(study, study.made_at),
        9: kind,
        10: shortened(identity, _CONTROL_ID_CHARACTERS),
        11: "P",
        12: _VERSION,
        18: "UNICODE UTF-8",
    }
    values = [fields.get(place, "") for place in range(3, max(fields) + 1)]
    # MSH-1 is the separator itself
    return hl7.Segment("|", [hl7.Field("", [value]) for value in ("MSH", "|", "^~\\&", *values)])


def _patient(study: Study) -> hl7.Segment:
    patient = study.exam.item.patient
    fields = {1: "1", 3: composite(patient.id), 5: patient_names(patient.name)}
    if patient.birth_date is not None:
        fields[7] = patient.birth_date.isoformat().replace("-", "")
    known = {Sex.FEMALE: "F", Sex.MALE: "M", Sex.OTHER: "O"}
    return segment("PID", fields | {8: known[patient.sex] if patient.sex else "U"})


def _at(study: Study, at: datetime) -> str:
    return moment(at, study.exam.opened_at.tzinfo)


def _filler(study: Study) -> str:
    """The order's number in the department's system; without an order one of the exam's own."""
    accession = study.exam.item.accession_number
    return composite(accession or shortened(study.exam.uid_for("filler"), _CONTROL_ID_CHARACTERS))


def _request(study: Study, status: str) -> hl7.Segment:
    item, release, ours = study.exam.item, physician_release(study), term("report").coded
    ordered = item.codes[0] if item.codes else None
    what = (ours.value, ours.meaning, ours.scheme)
    if ordered is not None:
        what = (ordered.value, ordered.meaning, ordered.scheme, *what)
    fields = {
        1: "1",
        3: _filler(study),
        4: composite(*what),
        7: _at(study, study.exposure.started_at),
        16: clinician(item.referring_physician),
        18: escape(item.accession_number),
        19: escape(item.requested_procedure_id),
        20: escape(item.scheduled_step_id),
        22: _at(study, release.at if release else study.made_at),
        24: "RAD",
        25: status,
        31: composite("", item.reason),
    }
    if release is not None:  # the name's parts are subcomponents here
        fields[32] = clinician(release.by).replace("^", "&")
    return segment("OBR", fields)


def _limits(result: DxrResult | Refused) -> Iterator[hl7.Segment]:
    notes = result.notes if isinstance(result, DxrResult) else ()
    for place, note in enumerate(notes, 1):
        yield segment("NTE", {1: str(place), 2: "L", 3: escape(limitation(note))})


def _observations(study: Study, result: DxrResult | Refused) -> Iterator[dict[int, str]]:
    side = _SIDES[study.exam.item.side]
    measured = isinstance(result, DxrResult)
    said = "measured" if measured else "refused"
    yield _observation("ST", term("status").coded, _HAND, said)
    yield _observation("CE", term("side").coded, _HAND, composite(side.value, side.meaning, side.scheme))
    if not measured:
        yield _observation("TX", term("wording").coded, _HAND, escape(standing(study)))
        for place, reason in enumerate(result.reasons, 1):
            yield _observation("TX", term("refusal").coded, str(place), escape(limitation(reason)))
        return
    for quantity in quantities(result):
        yield from _quantity(study, result, quantity)
    for place, (key, said) in enumerate(statements(study, result), 1):
        yield _observation("TX", term(key).coded, str(place), escape(said))


def _quantity(study: Study, result: DxrResult, quantity: Quantity) -> Iterator[dict[int, str]]:
    entry = quantity.term
    place = _HAND if quantity.bone is None else f"MC{quantity.bone}"
    common = {
        6: composite(entry.unit, "", "UCUM"),
        17: composite("", result.algorithm),
        18: composite(study.detector_serial),
    }
    compared = _compared(result) if quantity.bone is None and entry.key in _OF_A_POPULATION else {}
    yield _observation("NM", entry.coded, place, number(quantity.value)) | common | compared
    if quantity.u95 is not None:
        yield _observation("NM", entry.spread, place, number(quantity.u95)) | common


def _compared(result: DxrResult) -> dict[int, str]:
    """Whom the number compares with, as far as OBX-7 has room: in full it is a statement of its own."""
    said = [text for text in (population(result), result.reference) if len(text) <= _REFERENCE_CHARACTERS]
    return {7: escape(said[0])} if said else {}


def _observation(kind: str, what: Coded, place: str, value: str) -> dict[int, str]:
    return {2: kind, 3: composite(what.value, what.meaning, what.scheme), 4: place, 5: value}


def _document(pdf: bytes) -> str:
    return composite("", "application", "pdf", "Base64", b64encode(pdf).decode("ascii"))
