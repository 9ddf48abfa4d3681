"""The simulated archive against dcmtk and pynetdicom: what it keeps, finds, gives back and commits to."""

import shutil
import subprocess
import threading
from contextlib import contextmanager

import numpy as np
import pydicom
import pytest
from peers import until
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

from simulators.pacs import Hospital, Setup
from simulators.pacs.serving import Entity

DX = "1.2.840.10008.5.1.4.1.1.1.1"
DOSE_REPORT = "1.2.840.10008.5.1.4.1.1.88.67"
PUSH_MODEL, WELL_KNOWN = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
HERE = "127.0.0.1"


def image(number, study="2.25.1", series="2.25.2", sop_class=DX):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, f"2.25.9{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Test^Person", "P1", "DX"
    dataset.AccessionNumber, dataset.StudyDate, dataset.InstanceNumber = "A1", "20260302", number
    dataset.Rows, dataset.Columns, dataset.BitsAllocated = 200, 200, 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 15, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    pixels = np.random.default_rng(number).integers(0, 65535, (200, 200), np.uint16)
    dataset.add_new("PixelData", "OW", pixels.astype("<u2").tobytes())
    return dataset


def answers(association, *datasets):
    """Statuses of C-STORE; None where none came."""
    return [association.send_c_store(dataset).get("Status") for dataset in datasets]


@contextmanager
def joined(hospital, *sop_classes, roles=(), handlers=(), ae_title="DXR1"):
    entity = Entity(ae_title=ae_title)
    entity.acse_timeout = entity.dimse_timeout = 2
    for uid in sop_classes:
        entity.add_requested_context(uid, ["1.2.840.10008.1.2.1"])
    negotiation = []
    for uid in roles:
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid, role.scu_role, role.scp_role = uid, True, True
        negotiation.append(role)
    association = entity.associate(
        HERE, hospital.pacs.port, ae_title="PACS", ext_neg=negotiation or None, evt_handlers=list(handlers)
    )
    assert association.is_established
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def store(hospital, *datasets):
    with joined(hospital, *{dataset.SOPClassUID for dataset in datasets}) as association:
        return answers(association, *datasets)


def dcmtk(program, *arguments, cwd=None):
    place = shutil.which(program)
    if place is None:
        pytest.skip(f"no {program} on this machine")
    done = subprocess.run(
        [place, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def hospital():
    with Hospital() as opened:
        yield opened


@pytest.fixture
def station(hospital):
    """Listens for reports of commitment; gives them."""
    heard = []

    def hear(event):
        information = event.event_information
        heard.append((event.event_type, information))
        return 0x0000, None

    entity = AE(ae_title="DXR1")
    entity.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
    server = entity.start_server((HERE, 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, hear)])
    hospital.know("DXR1", HERE, server.server_address[1])
    yield heard
    server.shutdown()


# --- storage ---------------------------------------------------------------------------------------------


def test_what_storescu_sends_is_kept_as_it_was(hospital, tmp_path):
    path = tmp_path / "image.dcm"
    sent = image(1)
    sent.save_as(path, enforce_file_format=True)
    dcmtk("storescu", "-aec", "PACS", HERE, str(hospital.pacs.port), str(path))
    dcmtk("storescu", "-aec", "PACS", HERE, str(hospital.pacs.port), str(path))
    assert hospital.received == {"2.25.91": 2}
    assert hospital.kept == {"2.25.91": DX}
    assert hospital.archive.changed() == set()
    assert pydicom.dcmread(hospital.archive.path("2.25.91")) == sent


def test_other_content_under_the_same_uid_is_noticed(hospital):
    second = image(1)
    second.PatientID = "P2"
    assert store(hospital, image(1), image(1), second) == [0, 0, 0]
    assert hospital.archive.changed() == {"2.25.91"}


@pytest.mark.parametrize(
    ("ill", "status", "kept"),
    [
        ("out-of-resources", 0xA700, False),
        ("refuse-object", 0xA900, False),
        ("lose", 0x0000, False),
        ("abort-store", None, False),
        ("cut-store", None, False),
        ("lose-answer", None, True),
    ],
)
def test_an_archive_can_fail_in_every_way_and_be_well_again(hospital, ill, status, kept):
    hospital.spoil(ill)
    assert store(hospital, image(1)) == [status]
    assert ("2.25.91" in hospital.kept) is kept
    assert (hospital.archive.accepted() == {"2.25.91": 1}) is (status == 0)
    hospital.heal()
    assert store(hospital, image(1)) == [0]
    assert hospital.kept == {"2.25.91": DX}


def test_a_connection_that_breaks_in_the_middle_leaves_no_half_object(hospital):
    hospital.spoil("cut-store", "30000")  # of 80,000
    assert store(hospital, image(1)) == [None]
    assert hospital.received == {}
    assert hospital.kept == {}
    assert list(hospital.archive.folder.iterdir()) == []


def test_one_sop_class_can_be_refused_while_others_are_taken(hospital):
    hospital.spoil("refuse-class", DOSE_REPORT)
    with joined(hospital, DX, DOSE_REPORT) as association:
        assert [str(context.abstract_syntax) for context in association.accepted_contexts] == [DX]
        assert answers(association, image(1)) == [0]


# --- query and retrieve ----------------------------------------------------------------------------------


@pytest.fixture
def filled(hospital):
    many = [image(1), image(2), image(3, series="2.25.3"), image(4, study="2.25.5", series="2.25.6")]
    assert store(hospital, *many) == [0, 0, 0, 0]
    return hospital


@pytest.mark.parametrize(
    ("level", "keys", "count"),
    [
        ("STUDY", {"PatientID": "P1"}, 2),
        ("STUDY", {"PatientID": "P2"}, 0),
        ("STUDY", {"PatientName": "TEST^*", "StudyDate": "20260301-20260303"}, 2),
        ("STUDY", {"StudyDate": "20260303-"}, 0),
        ("STUDY", {"ModalitiesInStudy": "SR"}, 0),
        ("SERIES", {"StudyInstanceUID": "2.25.1"}, 2),
        ("IMAGE", {"StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.2"}, 2),
    ],
)
def test_findscu_finds_what_matches_at_each_level(filled, level, keys, count):
    asked = {"QueryRetrieveLevel": level, "SOPInstanceUID": "", "NumberOfStudyRelatedInstances": ""} | keys
    options = [part for key, value in asked.items() for part in ("-k", f"{key}={value}")]
    said = dcmtk("findscu", "-S", "-aec", "PACS", HERE, str(filled.pacs.port), *options)
    assert said.count("(Pending)") == count


def test_getscu_and_movescu_get_back_what_was_stored(filled, tmp_path):
    query = [
        "-k",
        "QueryRetrieveLevel=SERIES",
        "-k",
        "StudyInstanceUID=2.25.1",
        "-k",
        "SeriesInstanceUID=2.25.2",
    ]
    port = str(filled.pacs.port)
    got, moved = tmp_path / "got", tmp_path / "moved"
    got.mkdir()
    moved.mkdir()
    dcmtk("getscu", "-S", "-aec", "PACS", "-od", str(got), HERE, port, *query)
    with_port = AE(ae_title="MOVER")
    with_port.add_supported_context(DX)
    arrived = []
    handlers = [(evt.EVT_C_STORE, lambda event: arrived.append(event.dataset) or 0)]
    server = with_port.start_server((HERE, 0), block=False, evt_handlers=handlers)
    try:
        filled.know("MOVER", HERE, server.server_address[1])
        dcmtk("movescu", "-S", "-aet", "MOVER", "-aec", "PACS", "-aem", "MOVER", HERE, port, *query)
    finally:
        server.shutdown()
    assert {pydicom.dcmread(path).InstanceNumber for path in got.iterdir()} == {1, 2}
    assert {dataset.InstanceNumber for dataset in arrived} == {1, 2}


# --- commitment ------------------------------------------------------------------------------------------


def ask(association, *uids, transaction="2.25.700"):
    request = Dataset()
    request.TransactionUID = transaction
    request.ReferencedSOPSequence = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = DX, uid
        request.ReferencedSOPSequence.append(item)
    status, _ = association.send_n_action(request, 1, PUSH_MODEL, WELL_KNOWN)
    return status.get("Status")


def uids_of(sequence):
    return [str(item.ReferencedSOPInstanceUID) for item in sequence]


def test_a_report_comes_on_the_same_association_while_that_lasts(hospital, station):
    hospital.commitment.way = "same"
    store(hospital, image(1))
    here, came = [], threading.Event()

    def hear(event):
        here.append(event.event_information)
        came.set()
        return 0x0000, None

    with joined(
        hospital, PUSH_MODEL, roles=[PUSH_MODEL], handlers=[(evt.EVT_N_EVENT_REPORT, hear)]
    ) as association:
        assert ask(association, "2.25.91") == 0
        assert came.wait(10)
    assert uids_of(here[0].ReferencedSOPSequence) == ["2.25.91"]
    assert until(hospital.commitment.delivered, "report") == [("2.25.700", "same")]
    assert station == []


def test_a_report_for_an_association_that_has_ended_comes_on_a_new_one(hospital, station):
    hospital.commitment.way = "same"
    hospital.spoil("commitment-later", "0.2")
    store(hospital, image(1))
    with joined(hospital, PUSH_MODEL, roles=[PUSH_MODEL]) as association:
        assert ask(association, "2.25.91") == 0
    assert until(hospital.commitment.delivered, "report") == [("2.25.700", "new")]
    assert [event_type for event_type, _ in station] == [1]


def test_a_lost_object_is_reported_with_its_reason(hospital, station):
    store(hospital, image(1), image(2))
    hospital.archive.forget("2.25.92")
    with joined(hospital, PUSH_MODEL) as association:
        assert ask(association, "2.25.91", "2.25.92") == 0
    until(lambda: station, "report")
    event_type, report = station[0]
    assert event_type == 2
    assert uids_of(report.ReferencedSOPSequence) == ["2.25.91"]
    assert [
        (int(item.FailureReason), item.ReferencedSOPInstanceUID) for item in report.FailedSOPSequence
    ] == [(0x0112, "2.25.92")]


def test_commitment_can_be_refused_fail_and_never_come(hospital, station):
    store(hospital, image(1))
    with joined(hospital, PUSH_MODEL) as association:
        hospital.spoil("commitment-refused")
        assert ask(association, "2.25.91", transaction="2.25.701") == 0x0110
        hospital.heal()
        hospital.spoil("commitment-never")
        assert ask(association, "2.25.91", transaction="2.25.702") == 0
        hospital.heal()
        hospital.spoil("commitment-fails")
        assert ask(association, "2.25.91", transaction="2.25.703") == 0
        until(hospital.commitment.delivered, "report")
    assert hospital.commitment.requests() == ["2.25.702", "2.25.703"]
    assert hospital.commitment.delivered() == [("2.25.703", "new")]
    assert [int(item.FailureReason) for item in station[0][1].FailedSOPSequence] == [0x0110]


def test_a_station_that_was_away_gets_its_report_when_it_is_back(hospital):
    store(hospital, image(1))
    with joined(hospital, PUSH_MODEL, ae_title="AWAY") as association:
        assert ask(association, "2.25.91") == 0
    heard = []
    entity = AE(ae_title="AWAY")
    entity.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, lambda event: (heard.append(event.event_type) or 0, None))]
    server = entity.start_server((HERE, 0), block=False, evt_handlers=handlers)
    try:
        hospital.know("AWAY", HERE, server.server_address[1])
        until(lambda: heard, "report")
    finally:
        server.shutdown()
    assert heard == [1]


def test_what_was_kept_is_there_after_the_hospital_was_closed_for_the_night(tmp_path):
    hospital = Hospital(Setup(folder=tmp_path / "archive"))
    with hospital:
        store(hospital, image(1))
        port = hospital.pacs.port
    with hospital:
        assert hospital.pacs.port == port
        assert store(hospital, image(2)) == [0]
    assert set(hospital.kept) == {"2.25.91", "2.25.92"}
    assert sorted(path.name for path in (tmp_path / "archive").iterdir()) == ["2.25.91.dcm", "2.25.92.dcm"]
