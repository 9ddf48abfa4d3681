"""What the page says beside the measurement: patient, order, exposure and dose, basis, charge, release."""

from collections.abc import Iterator
from datetime import date, datetime

from station.devices import EndOfExposure
from station.exam import Exposure, Patient, Sex
from station.report.findings import Item, constants, number, short
from station.report.sheet import Sheet
from station.result import DxrResult, Refused

PRELIMINARY = "PRELIMINARY: physician interpretation required"
_SEXES = {Sex.FEMALE: "female", Sex.MALE: "male", Sex.OTHER: "other"}
_UNKNOWN = "unknown"
_GATES_EXPLAINED = 4  # the others are named
_DETAIL_CHARACTERS = 120  # of what a gate found
_HASH_CHARACTERS = 16  # of a calibration's digest; the objects carry all of it


def person_name(group: str) -> str:
    """One component group of a DICOM person name as it is read: family, given, then the rest."""
    family, *others = (part.strip() for part in group.split("^"))
    rest = " ".join(part for part in others if part)
    return ", ".join(part for part in (family, rest) if part)


def name_groups(patient: Patient) -> tuple[str, str]:
    """The alphabetic group and the ideographic one, either may be empty (PS3.5 6.2.1)."""
    groups = [person_name(group) for group in patient.name.split("=")]
    return groups[0], groups[1] if len(groups) > 1 else ""


def patient_facts(sheet: Sheet) -> list[Item]:
    """The identifiers beside the name."""
    patient = sheet.study.exam.item.patient
    taken = _day(sheet)
    return [
        ("Patient ID", patient.id or _UNKNOWN),
        ("Born", _birth(patient.birth_date, taken)),
        ("Sex", _SEXES[patient.sex] if patient.sex else _UNKNOWN),
    ]


def _birth(born: date | None, taken: date) -> str:
    """With the age in completed years."""
    if born is None:
        return _UNKNOWN
    years = taken.year - born.year - ((taken.month, taken.day) < (born.month, born.day))
    return f"{born} ({years} years)"


def order_facts(sheet: Sheet) -> list[Item]:
    """The order in its own words."""
    item = sheet.study.exam.item
    found = [
        ("Accession", item.accession_number or "none (no order)"),
        ("Referred by", person_name(item.referring_physician.split("=")[0])),
        ("Procedure", item.procedure or item.step or item.procedure_code),
        ("Reason", item.reason),
        ("Exam", _time(sheet, sheet.study.exposure.started_at if sheet.study.exposures else None)),
    ]
    return [(label, text) for label, text in found if text]


def hand(sheet: Sheet) -> tuple[str, str]:
    """Which hand, and why this one."""
    study = sheet.study
    side = study.exam.item.side
    notes = study.result.notes if isinstance(study.result, DxrResult) else ()
    if isinstance(study.result, Refused):
        notes = study.result.reasons
    why = "as ordered" if study.exam.item.accession_number else "as chosen at the station, without an order"
    if any(note.id == "side-disagrees" for note in notes):
        return f"{side.word.capitalize()} hand", f"{why}; the image shows the other thumb: check the side"
    if isinstance(study.result, DxrResult):
        return f"{side.word.capitalize()} hand", f"{why}; the thumb in the image agrees"
    return f"{side.word.capitalize()} hand", why


def exposure_facts(sheet: Sheet) -> list[Item]:
    """Technique, geometry, exposure index and dose."""
    study = sheet.study
    found: list[Item] = []
    if study.exposures:
        found += _technique(study.exposure)
    geometry = study.protocol.geometry
    sid = study.exposure.sid_mm if study.exposures else geometry.sid_mm
    enlarged = sid / (sid - geometry.oid_mm)
    found.append(
        ("Geometry", f"SID {sid:g} mm, OID {geometry.oid_mm:g} ± {geometry.oid_u95_mm:g} mm, ×{enlarged:.3f}")
    )
    index = study.indices.get(study.exposure.number) if study.exposures else None
    if index is None:
        found.append(("Exposure index", "not available"))
    else:
        deviation = f"{index.di:+.1f}".replace("-", "\u2212")
        found.append(("Exposure index", f"EI {index.ei:.0f}, target {index.target:g}, DI {deviation}"))
    return [*found, *_dose(sheet)]


def _technique(exposure: Exposure) -> Iterator[Item]:
    asked, given = exposure.requested, exposure.delivered
    if given is None:
        yield ("Technique", f"asked {asked}; what was delivered is not known")
        return
    yield ("Technique", f"{given.kvp:.1f} kV, {given.ma:.1f} mA, {given.ms:.1f} ms, {given.mas:.2f} mAs")
    end = "" if given.end is EndOfExposure.NORMAL else f"; ended: {given.end}"
    yield ("Asked", f"{asked.kvp:g} kV, {asked.mas:.3g} mAs, {asked.focal_spot} focus{end}")


def _dose(sheet: Sheet) -> Iterator[Item]:
    """Of every exposure, also of the rejected ones."""
    study = sheet.study
    fired = [e for e in study.exposures if not (e.delivered and e.delivered.end is EndOfExposure.NOT_STARTED)]
    rejected = [study.rejections[e.number].meaning for e in fired if e.number in study.rejections]
    count = f"{len(fired)} exposure{'' if len(fired) == 1 else 's'}"
    known = [e.dap_ugym2 for e in fired if e.dap_ugym2 is not None]
    least = "at least " if 0 < len(known) < len(fired) else ""
    dose = f"{least}{number(sum(known), 2)} µGy·m²" if known else "not measured"
    yield ("DAP", f"{dose} of {count}" if fired else "no exposure was made here")
    yield ("Rejected", f"{len(rejected)}" + (f" ({'; '.join(dict.fromkeys(rejected))})" if rejected else ""))


def basis_facts(sheet: Sheet) -> list[Item]:
    """Reference, algorithm, constants, calibration: what the numbers stand on."""
    study, result = sheet.study, sheet.study.result
    reference = sheet.reference
    found: list[Item] = []
    if isinstance(result, DxrResult):
        found.append(("Algorithm", f"{result.algorithm}, regions {result.roi_mode}"))
        found += constants(study.protocol.analysis, result)
    found.append(("Reference", f"{reference.id} ({reference.status}: {short(reference.source)})"))
    found.append(("Protocol", study.protocol.id))
    found.append(("Software", f"dxr-station {study.equipment.software_version}"))
    found.append(("Detector", study.detector_serial))
    if sheet.calibration is not None:
        digest = sheet.calibration.sha256.removeprefix("sha256:")[:_HASH_CHARACTERS]
        found.append(("Calibration", f"{_time(sheet, sheet.calibration.made_at)}, sha256 {digest}…"))
    elif study.calibrated_at is not None:
        found.append(("Calibration", _time(sheet, study.calibrated_at)))
    return found


def quality_facts(sheet: Sheet) -> list[Item]:
    """Gates by their answer; failed ones with what was found."""
    by_answer: dict[bool | None, list[str]] = {False: [], True: [], None: []}
    for gate in sheet.gates:
        same = by_answer[gate.passed]
        explained = gate.detail and not gate.passed and len(same) < _GATES_EXPLAINED
        same.append(f"{gate.name} ({short(gate.detail, _DETAIL_CHARACTERS)})" if explained else gate.name)
    words = {False: "Failed", True: "Passed", None: "Not judged"}
    found = [(words[answer], f"{'; '.join(names)}.") for answer, names in by_answer.items() if names]
    return found or [("Gates", "none were given")]


def charge_facts(sheet: Sheet) -> list[Item]:
    """The proposed code with its proof, and who released it."""
    charge = sheet.charge
    if charge is None:
        return [("Charge", "not decided")]
    code = charge.code
    proposed = "none" if code is None else f"{code.value} ({code.scheme}), {code.meaning}"
    met = [condition for condition, answer in charge.proof if answer]
    unmet = [condition for condition, answer in charge.proof if not answer]
    found = [("Proposed code", proposed)]
    if met:
        found.append(("Met", f"{'; '.join(met)}."))
    if unmet:
        found.append(("Not met" if code is None else "Not so, not needed", f"{'; '.join(unmet)}."))
    release = sheet.study.release or charge.release
    told = "not released" if release is None else f"by {person_name(release.by)}, {_time(sheet, release.at)}"
    return [*found, ("Rule", charge.rule), ("Released", told)]


def status(sheet: Sheet) -> tuple[bool, str, str]:
    """Whether the report is final, the banner that says so, and what stands under it."""
    release = sheet.study.release
    if release is None:
        return False, PRELIMINARY, ""
    when = _time(sheet, release.at)
    told = f"Released by {person_name(release.by)} at {when}"
    return (True, told, "") if release.physician else (False, PRELIMINARY, f"{told}, not yet interpreted")


def footer(sheet: Sheet) -> str:
    """What ties the page to its study."""
    study = sheet.study
    return f"Study {study.exam.item.study_instance_uid} · made {_time(sheet, study.made_at)}"


def _day(sheet: Sheet) -> date:
    return sheet.study.exam.opened_at.date()


def _time(sheet: Sheet, moment: datetime | None) -> str:
    """In the station's own zone, which is said."""
    if moment is None:
        return _UNKNOWN
    local = moment.astimezone(sheet.study.exam.opened_at.tzinfo)
    zone = f"{local:%z}"
    return f"{local:%Y-%m-%d %H:%M} {zone[:3]}:{zone[3:]}"
