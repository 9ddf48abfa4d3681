"""The doctor names the one hop that is wrong, and tries nothing behind it."""

import io
from datetime import UTC, datetime

import pytest
import requests
from certificates import certificates
from peers import HERE, free_port, process, scripted, serving
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    DigitalXRayImageStorageForPresentation,
    ModalityWorklistInformationFind,
    Verification,
)
from worklist_rigs import match, orthanc, ris, wlmscpfs

from station.doctor import Hop, as_json, examine_peers, examine_study, examine_worklist, lines
from station.hospital import Archive, Endpoint, Hospital, Messages, Peer, Timeouts, Worklist
from station.outbox.job import Job, Kind, State

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DX = DigitalXRayImageStorageForPresentation
WAITS = Timeouts(connect_s=5, answer_s=5, network_s=10)


def site(port: int = 1, **worklist) -> Hospital:
    keys = {"host": HERE, "port": port, "plain": True, "ae_title": "RIS"} | worklist
    tls = keys.pop("tls", None)
    return Hospital(name="Test", ae_title="DXR1", timeouts=WAITS, tls=tls, worklist=Worklist(**keys))


def wrong(hops: list[Hop]) -> str:
    """The name of the hop that is wrong; nothing behind it may have been tried."""
    names = [hop.name.split(": ", 1)[1] for hop in hops]
    at = next(number for number, hop in enumerate(hops) if hop.ok is False)
    assert hops[at].remedy
    assert all(hop.ok in {True, None} for hop in hops[:at])
    assert [hop.finding for hop in hops[at + 1 :]] == ["not tried"] * (len(hops) - at - 1)
    return names[at]


def test_a_worklist_that_works_is_right_in_every_hop(tmp_path):
    with wlmscpfs(tmp_path, [match()]) as port:
        hops = examine_worklist(site(port), NOW)
    assert [hop.ok for hop in hops] == [True] * 10
    assert hops[-1].finding == "1 can be used"


def test_no_worklist_in_the_file_is_the_first_hop():
    assert wrong(examine_worklist(Hospital(name="Test", ae_title="DXR1"), NOW)) == "hospital file"


def test_a_host_without_address_is_found():
    assert wrong(examine_worklist(site(host="no-such-host.invalid"), NOW)) == "address"


def test_a_dead_port_is_found():
    assert wrong(examine_worklist(site(free_port()), NOW)) == "port"


def test_a_peer_of_another_authority_is_found(tmp_path):
    server, _, other = certificates(tmp_path / "trust")
    port = free_port()
    secured = ["+tls", str(server.key), str(server.certificate), "+cf", str(server.authorities)]
    with process(tmp_path, port, "storescp", *secured, str(port)):
        assert wrong(examine_worklist(site(port, plain=False, tls=other), NOW)) == "TLS"


def test_what_is_no_dicom_port_is_found():
    def speak_something_else(connection) -> None:
        connection.recv(10)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with scripted(speak_something_else) as port:
        assert wrong(examine_worklist(site(port), NOW)) == "association"


def test_a_title_that_the_peer_does_not_know_is_found():
    entity = AE("RIS")
    entity.require_calling_aet = ["OTHER"]
    entity.add_supported_context(ModalityWorklistInformationFind)
    with serving(entity) as port:
        hops = examine_worklist(site(port), NOW)
    assert wrong(hops) == "AE titles"
    assert any("DXR1" in hop.remedy for hop in hops)


@pytest.mark.parametrize("echo", [True, False])
def test_a_peer_without_worklist_is_found(echo):
    entity = AE("RIS")
    entity.add_supported_context(Verification if echo else DX)
    with serving(entity) as port:
        assert wrong(examine_worklist(site(port), NOW)) == "presentation contexts"


def test_a_failing_echo_is_found():
    entity = AE("RIS")
    entity.add_supported_context(Verification)
    entity.add_supported_context(ModalityWorklistInformationFind)
    with serving(entity, (evt.EVT_C_ECHO, lambda _: 0x0122)) as port:
        assert wrong(examine_worklist(site(port), NOW)) == "C-ECHO"


def test_a_peer_without_echo_is_examined_further():
    entity = AE("RIS")
    entity.add_supported_context(ModalityWorklistInformationFind)
    with serving(entity, (evt.EVT_C_FIND, lambda _: iter([(0xFF00, match())]))) as port:
        hops = examine_worklist(site(port), NOW)
    assert [hop.ok for hop in hops[-3:]] == [None, True, True]


def test_a_refused_query_is_found():
    entity = AE("RIS")
    entity.add_supported_context(ModalityWorklistInformationFind)
    with serving(entity, (evt.EVT_C_FIND, lambda _: iter([(0xA900, None)]))) as port:
        assert wrong(examine_worklist(site(port), NOW)) == "query"


def test_the_key_that_hides_every_row_is_named(tmp_path):
    with wlmscpfs(tmp_path, [match(step_Modality="CR"), match(step_Modality="CR")]) as port:
        hops = examine_worklist(site(port), NOW)
    assert wrong(hops) == "query"
    (hop,) = [hop for hop in hops if hop.ok is False]
    assert "'modality: DX' hides 2" in hop.remedy


def test_rows_that_nobody_can_use_are_found_with_their_reason(tmp_path):
    without_code = {"RequestedProcedureCodeSequence": None, "step_ScheduledProtocolCodeSequence": None}
    with wlmscpfs(tmp_path, [match(**without_code)]) as port:
        hops = examine_worklist(site(port), NOW)
    assert wrong(hops) == "rows"
    assert "RequestedProcedureCodeSequence has a code" in hops[-1].finding


def test_a_list_that_the_ris_cuts_off_is_found():
    with ris([match()], (0xB001, None)) as port:
        hops = examine_worklist(site(port), NOW)
    assert wrong(hops) == "rows"
    assert "B001H" in hops[-1].finding


# --- a study -----------------------------------------------------------------------------------------

STUDY, OBJECT = "2.25.1", "2.25.3"


def job(state: State = State.COMMITTED, name: str = OBJECT, **more) -> Job:
    return Job(Kind.OBJECT, "2.25.10", "pacs", name, "x.dcm", str(DX), state=state, **more)


def hospital(archive_port: int, *, commitment: bool = False, **more) -> Hospital:
    pacs = Archive(host=HERE, port=archive_port, plain=True, ae_title="ORTHANC", commitment=commitment)
    return Hospital(name="Test", ae_title="DXR1", timeouts=WAITS, archives={"pacs": pacs}, **more)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """An Orthanc with one object of the study; gives its DICOM port."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = DX, OBJECT
    image.StudyInstanceUID, image.SeriesInstanceUID, image.PatientID = STUDY, "2.25.2", "P1"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    dcmwrite(file, image, enforce_file_format=True)
    with orthanc(tmp_path_factory.mktemp("orthanc"), StorageCommitmentReportsSize=10) as (dicom, http):
        address = f"http://{HERE}:{http}/instances"
        assert requests.post(address, data=file.getvalue(), timeout=10).status_code == 200
        yield dicom


def test_a_study_that_is_there_is_right_in_every_hop(kept):
    hops = examine_study(hospital(kept), STUDY, [job()])
    assert [hop.ok for hop in hops] == [True] * len(hops)
    assert hops[-2].finding == "all 1 objects are there"


def test_an_exam_without_objects_is_found_before_the_network(kept):
    (hop,) = examine_study(hospital(kept), STUDY, [])
    assert (hop.ok, "lint" in hop.remedy) == (False, True)


def test_a_parked_object_is_found_with_its_error_and_the_archive_is_looked_at_all_the_same(kept):
    parked = job(State.PARKED, "2.25.4", error="class not supported", remedy="enable it")
    hops = examine_study(hospital(kept), STUDY, [job(), parked])
    assert [hop.name for hop in hops if hop.ok is False] == [
        "archive pacs: outbox",
        "archive pacs: C-FIND study",
    ]
    assert "class not supported" in hops[0].finding
    assert parked.id in hops[0].remedy


def test_a_waiting_object_says_what_keeps_it():
    waiting = job(State.PENDING, error="nobody listens", remedy="start it")
    hops = examine_study(hospital(free_port()), STUDY, [waiting])
    assert [hop.name for hop in hops if hop.ok is False] == ["archive pacs: outbox", "archive pacs: port"]
    assert hops[-1].finding == "not tried"


def test_an_object_that_the_archive_took_and_lost_is_found(kept):
    hops = examine_study(hospital(kept), STUDY, [job(), job(State.STORED, "2.25.5")])
    assert wrong(hops) == "C-FIND study"
    assert "2.25.5" in next(hop for hop in hops if hop.ok is False).finding


def test_a_commitment_that_nobody_can_deliver_is_found(kept):
    asked = job(State.STORED, asked_at=NOW)
    hops = examine_study(hospital(kept, commitment=True, port=free_port(), bind=HERE), STUDY, [asked])
    assert wrong(hops) == "commitment"
    assert "is the station running" in hops[-1].remedy
    assert (
        "give the station a port" in examine_study(hospital(kept, commitment=True), STUDY, [asked])[-1].remedy
    )


def test_a_commitment_that_was_not_asked_for_is_found(kept):
    assert wrong(examine_study(hospital(kept, commitment=True), STUDY, [job(State.STORED)])) == "commitment"


def test_two_archives_are_examined_each_for_itself(kept):
    both = hospital(kept)
    dead = Archive(host=HERE, port=free_port(), plain=True, ae_title="OLD", commitment=False)
    both = both.model_copy(update={"archives": {**both.archives, "old": dead}})
    other = Job(Kind.OBJECT, "2.25.10", "old", OBJECT, "x.dcm", str(DX), state=State.COMMITTED)
    hops = examine_study(both, STUDY, [job(), other])
    assert [hop.name for hop in hops if hop.ok is False] == ["archive old: port"]


# --- everybody ---------------------------------------------------------------------------------------


def test_every_peer_of_the_file_is_tried(kept):
    def listen(connection) -> None:
        connection.recv(10)

    everybody = hospital(kept, mpps=Peer(host=HERE, port=kept, plain=True, ae_title="RIS"))
    with scripted(listen) as port:
        told = Messages(
            results=Endpoint(host=HERE, port=port, plain=True),
            charges=Endpoint(host=HERE, port=free_port(), plain=True),
        )
        hops = examine_peers(everybody.model_copy(update={"messages": told}))
    bad = [hop.name for hop in hops if hop.ok is False]
    assert bad == ["mpps: presentation contexts", "charges: port"]
    assert {hop.name.split(":")[0] for hop in hops} == {"archive pacs", "mpps", "results", "charges"}


def test_a_file_that_names_nobody_says_so():
    (hop,) = examine_peers(Hospital(name="Test", ae_title="DXR1"))
    assert hop.ok is False


def test_people_read_lines_and_machines_json():
    hops = [Hop("a", True, "fine"), Hop("bcd", False, "broken", "mend it"), Hop("e", None, "not tried")]
    assert list(lines(hops)) == [
        "ok    a    fine",
        "WRONG bcd  broken",
        "           -> mend it",
        "-     e    not tried",
    ]
    assert as_json(hops)[1] == {"name": "bcd", "ok": False, "finding": "broken", "remedy": "mend it"}
