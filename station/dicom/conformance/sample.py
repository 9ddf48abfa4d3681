"""A made-up exam in variants, so that what the objects say can be read off the objects themselves.

| variant | answers |
|---|---|
| all, `BARE` and `SPARSE` above all | whether an attribute is always there, and always has a value |
| those of `COMPARED` | whether a value comes from a source: what was changed there changes it |

Everything of one source is changed at once, to values that nothing else has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from station.devices import Delivered, EndOfExposure, FocalSpot, Technique
from station.dicom import document, dose, image, measurements, mpps, presentation_state, rejection
from station.dicom.conformance.result import least, measured
from station.exam import Coded, Exam, Exposure, Patient, Rejection, Release, Sex, Side, WorklistItem
from station.frame import Frame, Signal, Stage
from station.protocols import load_protocol
from station.study import Equipment, Study

_OPENED_AT = datetime(2026, 3, 2, 14, 5, 0, 250000, UTC)
FULL, BARE = "FULL", "BARE"
COMPARED = (  # source, and two variants that differ in nothing else
    ("MWL", FULL, "FULL, other order"),
    ("CONFIG", FULL, "FULL, other site"),
    ("USER", FULL, "FULL, other decisions"),
    ("AUTO", FULL, "FULL, other devices"),
    ("AUTO", BARE, "BARE, other devices"),
)
_HOUR = timedelta(hours=1)
_OTHER_ZONE = datetime(2026, 3, 5, 16, 12, 7, 100000, timezone(_HOUR))


@dataclass(frozen=True, slots=True)
class Shown:
    """The rendered frame with its window."""

    frame: Frame
    window_center: float
    window_width: float


@dataclass(frozen=True, slots=True)
class Line:
    """An outline of the analysis."""

    label: str
    kind: str
    points_px: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Index:
    """An exposure index."""

    ei: float
    target: float
    di: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One variant: the study, and what the objects take besides."""

    study: Study
    serial: str = "PANEL-1"
    spacing_mm: float = 0.1
    scale_known: bool = True
    calibrated: bool = True
    window: tuple[float, float] = (1200.0, 2100.0)
    ae_title: str = "DXR1"
    history: str = "offset, gain, defects corrected"
    shape: tuple[int, int] = (48, 36)
    page: bytes = b"%PDF-1.7\n"
    outline: tuple[tuple[float, float], ...] = ((5.0, 5.0), (30.0, 20.0))
    given_up_for: str = "110501"  # of CID 9301
    takes_back: Coded = rejection.QUALITY  # what the note says


def _exposure(number: int, opened_at: datetime = _OPENED_AT, *, shift: float = 1.0) -> Exposure:
    delivered = Delivered(50.2 * shift, 99.6 * shift, 16.04 * shift, 1.6 * shift, EndOfExposure.NORMAL)
    return Exposure(
        f"2.25.{11 * shift:.0f}{number}",
        number,
        Technique(50, 100, 16),
        opened_at + timedelta(minutes=2 * number * shift),
        1000.0,
        delivered,
        2.4 * shift,
        image=True,
    )


def _full() -> Sample:
    """Everything is known: a rejected image and an accepted one, measured and released by a physician."""
    protocol = load_protocol()
    item = WorklistItem(
        "ACC-1",
        Patient("P-1", "Test^Person", date(1961, 5, 4), Sex.FEMALE),
        Side.LEFT,
        protocol.codes.acquired_for_dxr.value,
        "2.25.21",
        "RP-1",
        "SPS-1",
        "Test^Person",
        "a reason",
        "a procedure",
        "a step",
        (Coded("DXRL", "99SITE", "a site's code"),),
        "2.25.22",
    )
    study = Study(
        exam=Exam("2.25.20", item, protocol.id, _OPENED_AT, "medium"),
        equipment=Equipment("Site", "DXR1", "Maker", "Model", "1", "1.0", (0.6, 1.2)),
        protocol=protocol,
        detector_serial="PANEL-1",
        made_at=_OPENED_AT + _HOUR,
        exposures=(_exposure(1), _exposure(2)),
        rejections={1: Rejection("111209", "Test^Person")},
        indices={1: Index(900.0, 1400.0, -1.92), 2: Index(900.0, 1400.0, -1.92)},
        result=measured(),
        calibrated_at=_OPENED_AT - timedelta(days=2),
        code=protocol.codes.acquired_for_dxr,
        release=Release("Test^Person", _OPENED_AT + 2 * _HOUR, physician=True),
    )
    return Sample(study)


def _bare(full: Sample) -> Sample:
    """As little as an exam can have: an emergency, a silent generator, no dose meter, nothing released."""
    study = full.study
    item = WorklistItem("", Patient("P-1", "Test^Person", None, None), Side.LEFT, "0750T", "2.25.21")
    result = least()
    exposures = tuple(replace(exposure, delivered=None, dap_ugym2=None) for exposure in study.exposures)
    bare = replace(
        study,
        exam=replace(study.exam, item=item),
        equipment=Equipment("", "", model="", software_version="1.0"),
        exposures=exposures,
        indices={},
        result=result,
        calibrated_at=None,
        code=None,
        release=None,
    )
    return Sample(bare, scale_known=False, calibrated=False, takes_back=rejection.WRONG_ORDER)


def _sparse(full: Sample) -> Sample:
    """An order that says no more than it must, and a release of the charge alone."""
    patient = Patient("P-1", "Test^Person", None, None)
    item = WorklistItem("ACC-1", patient, Side.LEFT, "0750T", "2.25.21", "RP-1", "SPS-1")
    study = full.study
    release = Release("Test^Person", study.made_at, physician=False)
    return replace(full, study=replace(study, exam=replace(study.exam, item=item), release=release))


def _order(full: Sample) -> Sample:
    item = full.study.exam.item
    other = WorklistItem(
        "ACC-2",
        Patient("P-2", "Test^Person^B", date(1950, 1, 2), Sex.MALE),
        Side.RIGHT,
        item.procedure_code,
        "2.25.31",
        "RP-2",
        "SPS-2",
        "Test^Person^B",
        "another reason",
        "another procedure",
        "another step",
        (Coded("DXRR", "99OTHER", "another code"),),
        "2.25.32",
    )
    result = replace(measured(), side=Side.RIGHT)
    return replace(full, study=replace(full.study, exam=replace(full.study.exam, item=other), result=result))


def _config(full: Sample) -> Sample:
    study = full.study
    equipment = Equipment(
        "Other site", "DXR2", "Other", "Other model", "2", "1.0", (0.7, 1.3), "MOLYBDENUM", "FIXED"
    )
    geometry = study.protocol.geometry.model_copy(update={"oid_mm": 20.0, "field_mm": (3.0, 2.0)})
    code = study.protocol.codes.acquired_for_dxr.model_copy(update={"meaning": "another text"})
    protocol = study.protocol.model_copy(
        update={"name": "other", "title": "Other title", "geometry": geometry}
    )
    indices = {number: Index(index.ei, 1000.0, index.di) for number, index in study.indices.items()}
    exposures = tuple(
        replace(
            exposure,
            requested=replace(exposure.requested, focal_spot=FocalSpot.LARGE),
            sid_mm=1100.0,
        )
        for exposure in study.exposures
    )
    result = replace(
        measured(),
        bmd_status="site",
        bmd_constant_g_cm3=1.25,
        bmd_constant_source="another source",
        reference="other@2",
        reference_status="site",
        roi_mode="scaled",
    )
    changed = replace(
        study,
        exam=replace(study.exam, protocol=protocol.id),
        result=result,
        equipment=equipment,
        protocol=protocol,
        code=code,
        indices=indices,
        exposures=exposures,
    )
    return replace(full, study=changed, ae_title="DXR2")


def _auto(full: Sample) -> Sample:
    study = full.study
    delivered = Delivered(55.0, 120.0, 40.0, 4.8, EndOfExposure.ABORTED)
    exposures = tuple(
        replace(_exposure(number, _OTHER_ZONE, shift=1.2), delivered=delivered) for number in (2, 3, 4)
    )
    rejection_before = study.rejections[1]
    result = replace(measured(1.1), algorithm="other@4", scale="relative", porosity_measured=True)
    changed = replace(
        study,
        exam=replace(study.exam, uid="2.25.40", opened_at=_OTHER_ZONE),
        made_at=study.made_at + timedelta(days=4, minutes=3),
        exposures=exposures,
        rejections={2: rejection_before, 3: rejection_before},
        detector_serial="PANEL-2",
        indices={number: Index(1000.0, 1400.0, -1.46) for number in (2, 3, 4)},
        result=result,
        calibrated_at=_OPENED_AT - timedelta(days=1, minutes=4),
        equipment=replace(study.equipment, software_version="2.0"),
        release=Release("Test^Person", study.made_at + timedelta(days=5, minutes=1), physician=True),
    )
    return replace(
        full,
        study=changed,
        serial="PANEL-2",
        spacing_mm=0.12,
        window=(1300.0, 2200.0),
        history="other corrections",
        shape=(60, 48),
        page=b"%PDF-1.7\nother\n",
        outline=((6.0, 6.0), (31.0, 21.0), (40.0, 5.0)),
    )


def _user(full: Sample) -> Sample:
    study = full.study
    release = Release("Test^Person^C", study.made_at + 2 * _HOUR, physician=True)
    changed = replace(study, rejections={1: Rejection("111210", "Test^Person^C")}, release=release)
    return replace(full, study=changed, given_up_for="110505")


def variants() -> Mapping[str, Sample]:
    """`FULL`, `BARE`, `SPARSE`, and those that are compared with them."""
    full = _full()
    devices = _auto(full)
    changed = (_order(full), _config(full), _user(full), devices, _bare(devices))
    return {FULL: full, BARE: _bare(full), "SPARSE": _sparse(full)} | {
        name: sample for (_, _, name), sample in zip(COMPARED, changed, strict=True)
    }


Objects = Mapping[str, Dataset]


def objects(sample: Sample) -> Objects:
    """Every object of the exam, by the name of its IOD."""
    study = sample.study
    *refused, pair = (_pair(sample, exposure) for exposure in study.exposures)
    outlines = [
        Line(kind, kind, np.array(sample.outline))
        for kind in presentation_state.LAYERS
        if kind not in {"label", "side"}
    ]
    report = measurements.build(study, pair[0])
    images = [one for both in (*refused, pair) for one in both]
    made = {
        "Digital X-Ray Image - For Presentation": pair[1],
        "Digital X-Ray Image - For Processing": pair[0],
        "Grayscale Softcopy Presentation State": presentation_state.build(study, pair[1], outlines),
        "Comprehensive SR": report,
        "Encapsulated PDF": document.build(study, sample.page, [*pair, report]),
        "X-Ray Radiation Dose SR": dose.build(study, images),
    }
    refused_images = images[:-2]
    taken_back = refused_images if sample.takes_back == rejection.QUALITY else list(made.values())
    return {**made, "Key Object Selection Document": _note(sample, taken_back)}


def steps(sample: Sample, made: Sequence[Dataset]) -> Objects:
    """The three messages of the performed procedure step; `made` are the objects of the exam."""
    study = sample.study
    charge = study.code if study.release else None
    end = (study.exam, sample.given_up_for, study.made_at, study.exposures)
    return {
        "N-CREATE": mpps.created(study.exam, study.equipment, sample.ae_title),
        "N-SET completed": mpps.completed(study, made, charge=charge),
        "N-SET discontinued": mpps.discontinued(*end, () if study.code is None else made[:1]),
    }


def _note(sample: Sample, refused: Sequence[Dataset]) -> Dataset:
    why = None
    if sample.takes_back == rejection.QUALITY:
        rejected = next(iter(sample.study.rejections.values()))
        why = Coded(rejected.code, "DCM", rejected.meaning)
    return rejection.build(sample.study, refused, sample.takes_back, why)


def _pair(sample: Sample, exposure: Exposure) -> tuple[Dataset, Dataset]:
    study, (rows, columns) = sample.study, sample.shape
    linear = Frame(
        np.arange(rows * columns, dtype=np.uint16).reshape(sample.shape),
        Stage.FOR_PROCESSING,
        Signal.DOSE,
        (sample.spacing_mm, sample.spacing_mm),
        sample.serial,
        sample.scale_known,
        history=(sample.history,),
    )
    seen = (Stage.FOR_PRESENTATION, Signal.ATTENUATION, (sample.history, "log"))
    shown = replace(linear, stage=seen[0], signal=seen[1], history=seen[2])
    context = image.Context(
        study.equipment,
        study.protocol,
        study.indices.get(exposure.number),
        study.calibrated_at if sample.calibrated else None,
        study.code,
    )
    return image.build_pair(study.exam, exposure, linear, Shown(shown, *sample.window), context)
