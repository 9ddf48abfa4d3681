"""The X-Ray Radiation Dose SR of an exam (PS3.3 A.35.8, PS3.16 TID 10001): every irradiation event, once.

::

    113701 X-Ray Radiation Dose Report                                    TID 10001
    ├─ 121058 Procedure reported = Projection X-Ray, with diagnostic intent
    ├─ observer: this station, which irradiates and records               TID 1002
    ├─ 113705 Scope of Accumulation = the performed procedure step (MPPS)
    ├─ 113702 Accumulated X-Ray Dose Data                                 TID 10002, 10007
    ├─ 113706 Irradiation Event X-Ray Data, one for each event            TID 10003, 10003A, B, C
    └─ 113854 Source of Dose Information

Rejected exposures and exposures without an image count. An exposure that was not started is no event. Where
the generator fell silent what was asked for stands for what was delivered, and a comment says so. A dose
that nobody measured, or that a meter read as zero, is a NUM without value, qualified *value unknown*; with
one such event the totals are unknown too, and a comment says what is known of them. Dose at the reference
point needs the field that was really open, which this station does not measure: it is unknown.
"""

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from station.devices import EndOfExposure, FocalSpot
from station.dicom.content import (
    CONTAINS,
    HAS_CONCEPT_MOD,
    HAS_OBS_CONTEXT,
    HAS_PROPERTIES,
    code,
    container,
    dcm,
    image,
    moment,
    number,
    root,
    sct,
    text,
    uid,
)
from station.dicom.document_head import begin_document
from station.dicom.equipment import device_uid
from station.dicom.image import REGION_CODES, VIEW_CODES
from station.dicom.modules import items
from station.exam import Coded, Exposure, Side
from station.study import Study

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.88.67"

_GYM2_PER_UGYM2 = 1e-6
_UAS_PER_MAS = 1000
_UNKNOWN = "unknown"  # the equipment module is the enhanced one (C.7.5.2, type 1)

_YES, _NO = sct("373066001", "Yes"), sct("373067005", "No")
_PLANE = (dcm("113764", "Acquisition Plane"), dcm("113622", "Single Plane"))
_REFERENCE_POINT = (dcm("113780", "Reference Point Definition"), dcm("113941", "In Detector Plane"))
_DISTANCE = dcm("113750", "Distance Source to Detector")
_COMMENT = dcm("121106", "Comment")
_LATERALITY = sct("272741003", "Laterality")
_SIDES = {Side.LEFT: sct("7771000", "Left"), Side.RIGHT: sct("24028007", "Right")}
_ANODES = {  # CID 10016, by DICOM's defined terms of (0018,1191)
    "TUNGSTEN": sct("26194003", "Tungsten"),
    "MOLYBDENUM": sct("71128006", "Molybdenum"),
    "RHODIUM": sct("59801003", "Rhodium"),
}
_GRIDS = {  # CID 10017, by defined terms of (0018,1166)
    "NONE": dcm("111646", "No grid"),
    "FIXED": dcm("111641", "Fixed grid"),
    "FOCUSED": dcm("111642", "Focused grid"),
    "RECIPROCATING": dcm("111643", "Reciprocating grid"),
    "PARALLEL": dcm("111644", "Parallel grid"),
    "CROSSED": dcm("111645", "Crossed grid"),
}


def build(study: Study, images: Sequence[Dataset] = ()) -> Dataset:
    """The dose report of all irradiation events; `images` are those written of them, each beside its event.

    Raises
    ------
    ValueError
        No radiation was released, or an image of another irradiation event.
    """
    events = irradiated(study)
    if not events:
        raise ValueError(
            "no exposure released radiation, so there is no dose to report; write no dose report"
        )
    known = {event.uid for event in events}
    strange = [picture.SOPInstanceUID for picture in images if picture.IrradiationEventUID not in known]
    if strange:
        raise ValueError(f"images {', '.join(strange)} are of no irradiation event of this exam")
    dataset = begin_document(study, SOP_CLASS, "dose", images)
    for keyword in ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber"):
        if not dataset.get(keyword):
            setattr(dataset, keyword, _UNKNOWN)
    dataset.PerformedProcedureCodeSequence = items(*dataset.get("ProcedureCodeSequence", []))
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "UNVERIFIED"
    dataset.update(
        root(dcm("113701", "X-Ray Radiation Dose Report"), "10001", _report(study, events, images))
    )
    return dataset


def irradiated(study: Study) -> tuple[Exposure, ...]:
    """The exposures in which radiation was released, or must be assumed to have been."""
    return tuple(
        exposure
        for exposure in study.exposures
        if exposure.delivered is None or exposure.delivered.end is not EndOfExposure.NOT_STARTED
    )


def _report(study: Study, events: Sequence[Exposure], images: Sequence[Dataset]) -> Iterator[Dataset]:
    exam = study.exam
    intent = code(HAS_CONCEPT_MOD, sct("363703001", "Has Intent"), sct("261004008", "Diagnostic Intent"))
    procedure = dcm("113704", "Projection X-Ray")
    yield code(HAS_CONCEPT_MOD, dcm("121058", "Procedure reported"), procedure, intent)
    integrated = dcm("113958", "Integrated Projection Radiography System")
    yield code(CONTAINS, dcm("122142", "Acquisition Device Type"), integrated)
    yield from _observer(study)
    step = dcm("113016", "Performed Procedure Step")
    step_uid = uid(
        HAS_PROPERTIES, dcm("121126", "Performed Procedure Step SOP Instance UID"), exam.uid_for("mpps")
    )
    yield code(HAS_OBS_CONTEXT, dcm("113705", "Scope of Accumulation"), step, step_uid)
    for value, part in (("113945", "Detector"), ("113943", "Source"), ("113944", "Mechanical")):
        yield code(CONTAINS, dcm(value, f"X-Ray {part} Data Available"), _YES)
    yield container(CONTAINS, dcm("113702", "Accumulated X-Ray Dose Data"), _totals(events))
    for event in events:
        name = dcm("113706", "Irradiation Event X-Ray Data")
        yield container(CONTAINS, name, _event(study, event, images))
    remark = _total_comment(events)
    if remark:
        yield text(CONTAINS, _COMMENT, remark)
    source = dcm("113854", "Source of Dose Information")
    yield code(CONTAINS, source, dcm("113856", "Automated Data Collection"))
    if any(event.dap_ugym2 for event in events):
        yield code(CONTAINS, source, sct("15869005", "Dosimeter"))


def _observer(study: Study) -> Iterator[Dataset]:
    equipment = study.equipment
    yield code(HAS_OBS_CONTEXT, dcm("121005", "Observer Type"), dcm("121007", "Device"))
    yield uid(HAS_OBS_CONTEXT, dcm("121012", "Device Observer UID"), device_uid(equipment))
    for value, what, known in (
        ("121013", "Name", equipment.station_name),
        ("121014", "Manufacturer", equipment.manufacturer),
        ("121015", "Model Name", equipment.model),
        ("121016", "Serial Number", equipment.serial),
    ):
        if known:
            yield text(HAS_OBS_CONTEXT, dcm(value, f"Device Observer {what}"), known)
    role = dcm("113876", "Device Role in Procedure")
    yield code(HAS_OBS_CONTEXT, role, dcm("113859", "Irradiating Device"))
    yield code(HAS_OBS_CONTEXT, role, dcm("121097", "Recording"))


def _totals(events: Sequence[Exposure]) -> Iterator[Dataset]:
    yield code(HAS_CONCEPT_MOD, *_PLANE)
    yield number(CONTAINS, dcm("113722", "Dose Area Product Total"), _total_gym2(events), "Gy.m2")
    yield number(CONTAINS, dcm("113725", "Dose (RP) Total"), None, "Gy")
    yield number(CONTAINS, dcm("113731", "Total Number of Radiographic Frames"), len(events), "1")
    distances_mm = {event.sid_mm for event in events}
    if len(distances_mm) == 1:
        name = dcm("113737", "Distance Source to Reference Point")
        yield number(CONTAINS, name, distances_mm.pop(), "mm")
    yield code(CONTAINS, *_REFERENCE_POINT)


def _total_gym2(events: Sequence[Exposure]) -> float | None:
    """Sum of the dose-area products; unknown as soon as one is."""
    known_ugym2 = [event.dap_ugym2 for event in events if event.dap_ugym2]
    return sum(known_ugym2) * _GYM2_PER_UGYM2 if len(known_ugym2) == len(events) else None


def _total_comment(events: Sequence[Exposure]) -> str:
    known_ugym2 = [event.dap_ugym2 for event in events if event.dap_ugym2]
    if len(known_ugym2) == len(events):
        return ""
    if not known_ugym2:
        return "Dose area product was not measured."
    return (
        f"Dose area product is known of {len(known_ugym2)} of {len(events)} irradiation events: "
        f"the total is at least {sum(known_ugym2):.7g} uGy.m2."
    )


def _event(study: Study, event: Exposure, images: Sequence[Dataset]) -> Iterator[Dataset]:
    side, body_part = study.exam.item.side, study.protocol.body_part
    yield code(HAS_CONCEPT_MOD, *_PLANE)
    yield uid(CONTAINS, dcm("113769", "Irradiation Event UID"), event.uid)
    kind = code(HAS_CONCEPT_MOD, dcm("113606", "Label Type"), dcm("113608", "Acquisition Number"))
    yield text(CONTAINS, dcm("113605", "Irradiation Event Label"), str(event.number), kind)
    yield moment(CONTAINS, dcm("111526", "DateTime Started"), event.started_at, study.exam)
    stationary = dcm("113611", "Stationary Acquisition")
    yield code(CONTAINS, dcm("113721", "Irradiation Event Type"), stationary)
    yield text(CONTAINS, dcm("125203", "Acquisition Protocol"), study.protocol.id)
    for name in (sct("91723000", "Anatomical structure"), dcm("123014", "Target Region")):
        laterality = code(HAS_CONCEPT_MOD, _LATERALITY, _SIDES[side])
        yield code(CONTAINS, name, _named(REGION_CODES[body_part]), laterality)
    yield code(CONTAINS, dcm("111031", "Image View"), _named(VIEW_CODES[study.protocol.view]))
    product = event.dap_ugym2 * _GYM2_PER_UGYM2 if event.dap_ugym2 else None
    yield number(CONTAINS, dcm("122130", "Dose Area Product"), product, "Gy.m2")
    yield from _detector(study, event, images)
    yield from _source(study, event)
    yield number(CONTAINS, _DISTANCE, event.sid_mm, "mm")
    yield from _rejection(study, event)
    remark = _event_comment(event)
    if remark:
        yield text(CONTAINS, _COMMENT, remark)


def _detector(study: Study, event: Exposure, images: Sequence[Dataset]) -> Iterator[Dataset]:
    """TID 10003A."""
    index = study.indices.get(event.number)
    if index is not None:
        for value, name, found in (
            ("113845", "Exposure Index", index.ei),
            ("113846", "Target Exposure Index", index.target),
            ("113847", "Deviation Index", round(index.di, 2)),
        ):
            yield number(CONTAINS, dcm(value, name), found, "1")
    for picture in images:
        if picture.IrradiationEventUID == event.uid:
            yield image(CONTAINS, picture, dcm("113795", "Acquired Image"))


def _source(study: Study, event: Exposure) -> Iterator[Dataset]:
    """TID 10003B. What was asked for stands for what nobody knows; `_event_comment` says so."""
    equipment, given = study.equipment, event.delivered
    technique = event.requested if given is None or given.end is EndOfExposure.UNKNOWN else given
    yield number(CONTAINS, dcm("113738", "Dose (RP)"), None, "Gy")
    yield code(CONTAINS, *_REFERENCE_POINT)
    yield number(CONTAINS, dcm("113768", "Number of Pulses"), 1, "1")
    yield number(CONTAINS, dcm("113733", "KVP"), technique.kvp, "kV")
    yield number(CONTAINS, dcm("113734", "X-Ray Tube Current"), technique.ma, "mA")
    yield number(CONTAINS, dcm("113824", "Exposure Time"), technique.ms, "ms")
    yield number(CONTAINS, dcm("113736", "Exposure"), technique.mas * _UAS_PER_MAS, "uA.s")
    if equipment.focal_spot_mm is not None:
        small_mm, large_mm = equipment.focal_spot_mm
        size_mm = small_mm if event.requested.focal_spot is FocalSpot.SMALL else large_mm
        yield number(CONTAINS, dcm("113766", "Focal Spot Size"), size_mm, "mm")
    if equipment.anode_material in _ANODES:
        yield code(CONTAINS, dcm("111632", "Anode Target Material"), _ANODES[equipment.anode_material])
    if equipment.grid in _GRIDS:
        yield code(CONTAINS, dcm("111635", "X-Ray Grid"), _GRIDS[equipment.grid])


def _rejection(study: Study, event: Exposure) -> Iterator[Dataset]:
    rejection = study.rejections.get(event.number)
    why: tuple[Dataset, ...] = ()
    if rejection is not None:
        name = dcm("130504", "Reason for Rejecting Acquisition")
        why = (code(HAS_PROPERTIES, name, dcm(rejection.code, rejection.meaning)),)
    yield code(CONTAINS, dcm("130503", "Is Rejected Acquisition"), _YES if why else _NO, *why)


def _event_comment(event: Exposure) -> str:
    given = event.delivered
    said: list[str] = []
    if given is None or given.end is EndOfExposure.UNKNOWN:
        said.append(
            "The generator did not report what was delivered: tube voltage, current, time and exposure "
            "are those requested, assumed to have been delivered in full."
        )
    elif given.end is not EndOfExposure.NORMAL:
        said.append(f"End of exposure: {given.end}.")
    if not event.dap_ugym2:
        said.append("Dose area product was not measured.")
    if not event.image:
        said.append("No image was recorded.")
    return " ".join(said)


def _named(term: tuple[str, str, str]) -> Coded:
    return Coded(*term)
