"""Exams, exposures and objects that performed procedure steps are made from."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import strategies as st
from pydicom.dataset import Dataset

from station.devices import Delivered, EndOfExposure, Technique
from station.exam import Coded, Exam, Exposure, Patient, Release, Sex, Side, WorklistItem
from station.protocols import load_protocol
from station.study import Equipment, Study

OPENED_AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
PROTOCOL = load_protocol()
CHARGE = PROTOCOL.codes.acquired_for_dxr
EQUIPMENT = Equipment("Example site", "DXR1")
RELEASE = Release("Test^Physician", OPENED_AT + timedelta(minutes=4), physician=True)

texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="\\^="), max_size=12
)
patients = st.builds(
    Patient,
    id=st.from_regex(r"[A-Z0-9]{1,12}", fullmatch=True),
    name=st.builds(lambda family, given: f"{family}^{given}", texts, texts),
    birth_date=st.none() | st.dates(date(1930, 1, 1), date(2004, 1, 1)),
    sex=st.none() | st.sampled_from(Sex),
)
scheduled = st.builds(
    WorklistItem,
    accession_number=st.from_regex(r"[A-Z0-9]{1,16}", fullmatch=True),
    patient=patients,
    side=st.sampled_from(Side),
    procedure_code=st.just("0750T"),
    study_instance_uid=st.just("2.25.11"),
    requested_procedure_id=st.just("RP-1"),
    scheduled_step_id=st.just("SP-1"),
    procedure=texts,
    step=texts,
    codes=st.just(())
    | st.just((Coded("DXRL", "99SITE", "DXR left hand"), Coded("X" * 20, "99SITE", "long"))),
    requested_study_uid=st.sampled_from(["", "2.25.77"]),
)
emergencies = st.builds(
    WorklistItem,
    accession_number=st.just(""),
    patient=patients,
    side=st.sampled_from(Side),
    procedure_code=st.just("0750T"),
    study_instance_uid=st.just("2.25.11"),
)
exams = st.builds(
    Exam,
    uid=st.just("2.25.10"),
    item=scheduled | emergencies,
    protocol=st.just(PROTOCOL.id),
    opened_at=st.just(OPENED_AT),
    hand_size=st.just("medium"),
)
deliveries = st.none() | st.builds(
    Delivered,
    kvp=st.floats(40, 70),
    ma=st.floats(10, 200),
    ms=st.floats(1, 50),
    mas=st.floats(0.1, 5),
    end=st.sampled_from(EndOfExposure),
)
some_exposures = st.lists(st.tuples(deliveries, st.none() | st.floats(0, 20)), min_size=1, max_size=4).map(
    lambda many: tuple(
        Exposure(f"2.25.2{n}", n, Technique(50, 100, 10), OPENED_AT, 1000.0, delivered, dap)
        for n, (delivered, dap) in enumerate(many, 1)
    )
)


def study_of(exam, exposures, release=None, code=None):
    made_at = OPENED_AT + timedelta(minutes=5, microseconds=120)
    return Study(exam, EQUIPMENT, PROTOCOL, "SN-1", made_at, exposures, {}, {}, code=code, release=release)


def made(exam, series, instance, *, image):
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1" if image else "1.2.840.10008.5.1.4.1.1.88.67"
    dataset.SOPInstanceUID = instance
    dataset.SeriesInstanceUID = series
    dataset.StudyInstanceUID = exam.item.study_instance_uid
    if image:
        dataset.Rows = 10
    return dataset


def objects_of(exam):
    return [
        made(exam, "2.25.31", "2.25.311", image=True),
        made(exam, "2.25.32", "2.25.321", image=True),
        made(exam, "2.25.33", "2.25.331", image=False),
        made(exam, "2.25.31", "2.25.312", image=True),
    ]


def an_exam():
    patient = Patient("P1", "Łukasiewicz^Zoë", date(1961, 5, 4), Sex.FEMALE)
    item = WorklistItem("ACC1", patient, Side.LEFT, "0750T", "2.25.11", "RP-1", "SP-1", step="Hand PA left")
    return Exam("2.25.10", item, PROTOCOL.id, OPENED_AT, "medium")


def an_exposure():
    delivered = Delivered(50.2, 99.6, 10.04, 1.0, EndOfExposure.NORMAL)
    return Exposure("2.25.12", 1, Technique(50, 100, 10), OPENED_AT, 1000.0, delivered, 2.4, image=True)
