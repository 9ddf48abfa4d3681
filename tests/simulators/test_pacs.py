"""The simulated hospital's worklist, messages, ills and terminal, against dcmtk, pynetdicom and openssl."""

import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import ExitStack, contextmanager
from datetime import date
from importlib.metadata import entry_points

import pytest
import yaml
from certificates import authority, signed
from peers import until
from pydicom.dataset import Dataset

from simulators.pacs import Hospital, Setup, at_terminal, seeded
from simulators.pacs.ills import KINDS
from simulators.pacs.serving import Entity
from station import simulate
from station.config import load_room
from station.devices import BadSettings
from station.hospital import load_hospital
from station.yaml_file import shipped

HERE = "127.0.0.1"
WORKLIST = "1.2.840.10008.5.1.4.31"
VERIFICATION = "1.2.840.10008.1.1"
MESSAGE = "MSH|^~\\&|DXR|SITE|RIS|HOSP|20260302093000||ORU^R01^ORU_R01|{}|P|2.5.1\rPID|1||P1||Person^Test\r"


@pytest.fixture
def hospital():
    with Hospital() as opened:
        yield opened


def dcmtk(program, *arguments):
    place = shutil.which(program)
    if place is None:
        pytest.skip(f"no {program} on this machine")
    return subprocess.run(
        [place, *arguments], capture_output=True, text=True, errors="replace", timeout=60, check=False
    )


def associate(port, ae_title="RIS", sop_class=WORKLIST, wait_s=2):
    entity = Entity(ae_title="DXR1")
    entity.acse_timeout = entity.dimse_timeout = wait_s
    entity.add_requested_context(sop_class)
    return entity.associate(HERE, port, ae_title=ae_title)


def rows(hospital, step=None, **keys):
    """The worklist's answers by accession number."""
    query = Dataset()
    for keyword in (
        "PatientName",
        "PatientID",
        "AccessionNumber",
        "StudyInstanceUID",
        "RequestedProcedureDescription",
    ):
        setattr(query, keyword, keys.get(keyword, ""))
    wanted = Dataset()
    names = ("Modality", "ScheduledStationAETitle", "ScheduledProcedureStepStartDate")
    for keyword in (*names, "ScheduledProcedureStepDescription", "ScheduledProtocolCodeSequence"):
        setattr(wanted, keyword, (step or {}).get(keyword))
    query.ScheduledProcedureStepSequence = [wanted]
    association = associate(hospital.ris.port, wait_s=30)
    assert association.is_established
    found = {}
    for status, row in association.send_c_find(query, WORKLIST):
        if status.Status in {0xFF00, 0xFF01}:
            found[row.AccessionNumber] = row
    association.release()
    return found


# --- worklist --------------------------------------------------------------------------------------------


def test_the_worklist_has_every_kind_of_row_in_its_own_character_set(hospital):
    found = rows(hospital)
    assert set(found) == {"A1", "A2", "A3", "A4", "A5", "A6"}
    assert str(found["A4"].PatientName) == "Tesuto^Kanja=試験^患者=しけん^かんじゃ"
    assert str(found["A5"].PatientName) == "Тест^Пациент"
    assert found["A5"].SpecificCharacterSet == "ISO_IR 144"
    assert not found["A6"].StudyInstanceUID
    codes = {
        name: row.ScheduledProcedureStepSequence[0].ScheduledProtocolCodeSequence
        for name, row in found.items()
    }
    assert codes["A3"][0].CodeValue == "DXRL"
    context = codes["A1"][0].ProtocolContextSequence[0]
    assert context.ConceptCodeSequence[0].CodeValue == "7771000"


def test_findscu_sees_the_worklist_and_gets_what_it_asked_for(hospital):
    arguments = (
        "-k",
        "PatientID=P-2",
        "-k",
        "PatientName",
        "-k",
        "ScheduledProcedureStepSequence[0].Modality=DX",
    )
    done = dcmtk("findscu", "-W", "-aec", "RIS", HERE, str(hospital.ris.port), *arguments)
    assert done.returncode == 0
    assert done.stderr.count("(Pending)") == 1
    assert "[Demo^Patient]" in done.stderr
    assert "AccessionNumber" not in done.stderr


def test_rows_are_matched_by_value_wild_card_range_and_within_the_step(hospital):
    today = f"{date.today():%Y%m%d}"  # noqa: DTZ011  as the worklist's
    assert set(rows(hospital, AccessionNumber="A2")) == {"A2"}
    assert set(rows(hospital, PatientName="demo*")) == {"A2", "A6"}
    assert len(rows(hospital, {"ScheduledProcedureStepStartDate": f"{today}-"})) == 6
    assert rows(hospital, {"ScheduledProcedureStepStartDate": "19990101-20000101"}) == {}
    assert rows(hospital, {"Modality": "CT"}) == {}
    assert rows(hospital, {"ScheduledStationAETitle": "OTHER"}) == {}


def test_the_same_seed_gives_the_same_studies():
    def uids(seed):
        with Hospital(Setup(seed=seed)) as opened:
            return [row.get("StudyInstanceUID") for row in rows(opened).values()]

    assert uids(1) == uids(1)
    assert uids(1) != uids(2)


def test_the_worklist_can_be_long():
    with Hospital(Setup(orders=seeded(500))) as opened:
        assert len(rows(opened)) == 506


def test_rows_can_lack_their_study_and_stand_outside_of_their_sequence(hospital):
    hospital.spoil("row-without-study-uid", "A1")
    hospital.spoil("row-nested-wrongly", "A2")
    found = rows(hospital)
    assert "StudyInstanceUID" not in found["A1"]
    assert "StudyInstanceUID" in found["A2"]
    assert "ScheduledProcedureStepSequence" not in found["A2"]
    assert found["A2"].Modality == "DX"
    assert "Modality" not in found["A1"]


def test_rows_can_say_no_side_and_two_sides(hospital):
    hospital.spoil("row-without-side", "A3")
    hospital.spoil("row-contradicts-side", "A2")
    found = rows(hospital)
    step = found["A3"].ScheduledProcedureStepSequence[0]
    said = (step.ScheduledProcedureStepDescription, step.ScheduledProtocolCodeSequence[0].CodeMeaning)
    assert (*said, found["A3"].RequestedProcedureDescription) == ("Hand PA", "DXR hand", "DXR hand")
    step = found["A2"].ScheduledProcedureStepSequence[0]
    assert step.ScheduledProcedureStepDescription == "Hand PA right"
    context = step.ScheduledProtocolCodeSequence[0].ProtocolContextSequence[0]
    assert context.ConceptCodeSequence[0].CodeMeaning == "Left"


# --- connections -----------------------------------------------------------------------------------------


def test_echoscu_is_answered_by_both_and_another_ae_title_is_turned_away(hospital):
    for service, ae_title in ((hospital.ris, "RIS"), (hospital.pacs, "PACS")):
        assert dcmtk("echoscu", "-aec", ae_title, HERE, str(service.port)).returncode == 0
    stranger = dcmtk("echoscu", "-aec", "OTHER", HERE, str(hospital.ris.port))
    assert "Called AE Title Not Recognized" in stranger.stderr


@pytest.mark.parametrize("service", ["", "ris"])
def test_a_port_that_is_down_is_the_same_when_it_is_up_again(hospital, service):
    before = hospital.addresses
    lasting = associate(hospital.ris.port)
    assert lasting.is_established
    hospital.spoil("down", service)
    for name, address in before.items():
        closed = not service or name == service
        with socket.socket() as line:
            assert (line.connect_ex(address) != 0) is closed
    until(lambda: not lasting.is_established, "end of the association")
    hospital.heal()
    assert hospital.addresses == before
    again = associate(hospital.ris.port)
    assert again.is_established
    again.release()


def test_a_rejecting_a_deaf_and_a_silent_peer_differ(hospital):
    hospital.spoil("reject", "ris")
    rejected = associate(hospital.ris.port)
    assert rejected.is_rejected
    archive = associate(hospital.pacs.port, "PACS", VERIFICATION)
    assert archive.send_c_echo().Status == 0
    archive.release()
    hospital.heal()
    hospital.spoil("deaf")
    unheard = associate(hospital.ris.port, wait_s=0.5)
    assert (unheard.is_established, unheard.is_rejected) == (False, False)
    hospital.heal()
    hospital.spoil("silent")
    unanswered = associate(hospital.ris.port, sop_class=VERIFICATION, wait_s=0.5)
    assert unanswered.is_established
    assert "Status" not in unanswered.send_c_echo()


def test_a_slow_peer_answers_in_the_end(hospital):
    hospital.spoil("slow", "0.3")
    association = associate(hospital.ris.port, sop_class=VERIFICATION, wait_s=30)
    assert association.send_c_echo().Status == 0
    association.release()


def test_every_thread_ends_with_the_hospital_whatever_hangs_on_it():
    before = set(threading.enumerate())
    with Hospital() as opened:
        opened.spoil("silent", "ris")
        opened.spoil("deaf", "pacs")
        lines = [socket.create_connection(address) for address in opened.addresses.values()]
        hanging = associate(opened.ris.port, wait_s=30)
        asking = threading.Thread(target=lambda: list(hanging.send_c_find(Dataset(), WORKLIST)))
        asking.start()
    asking.join(10)
    hanging.abort()
    for line in lines:
        line.close()
    assert not asking.is_alive()
    assert [thread for thread in set(threading.enumerate()) - before if thread is not hanging] == []


# --- TLS -------------------------------------------------------------------------------------------------


@contextmanager
def with_certificates(folder):
    ours = authority(folder / "ours")
    made = signed(ours, "hospital")
    for name in ("certificate", "key", "authorities"):
        shutil.copy(getattr(made, name), folder / f"{name}.pem")
    with Hospital(Setup(certificates=folder)) as opened:
        yield opened, signed(ours, "station"), signed(authority(folder / "theirs"), "stranger")


def test_with_certificates_only_those_whom_it_trusts_are_served(tmp_path):
    with with_certificates(tmp_path) as (opened, known, stranger):
        where = ("-aec", "RIS", HERE, str(opened.ris.port))
        cipher = ("+cs", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")
        for tls, good in ((known, True), (stranger, False)):
            shown = ("+tls", str(tls.key), str(tls.certificate), "+cf", str(known.authorities))
            assert (dcmtk("echoscu", *shown, *cipher, *where).returncode == 0) is good
        assert dcmtk("echoscu", *where).returncode != 0
        context = ssl.create_default_context(cafile=str(known.authorities))
        context.load_cert_chain(known.certificate, known.key)
        said = talk(opened.addresses["mllp"], MESSAGE.format("M1"), tls=context)
        assert said[0][1] == "MSA|AA|M1"
        with pytest.raises(OSError, match=r"closed|reset"):
            talk(opened.addresses["mllp"], MESSAGE.format("M2"))
        assert len(opened.messages) == 1
        assert load_from(opened.config(), tmp_path).worklist.plain is False


# --- messages --------------------------------------------------------------------------------------------


def talk(address, *texts, tls=None):
    """Acknowledgements, each as its segments."""
    answered = []
    with ExitStack() as open_lines:
        line = open_lines.enter_context(socket.create_connection(address, timeout=10))
        if tls:
            line = open_lines.enter_context(tls.wrap_socket(line, server_hostname=address[0]))
        for text in texts:
            line.sendall(b"\x0b" + text.encode() + b"\x1c\r")
            read = b""
            while not read.endswith(b"\x1c\r"):
                came = line.recv(4096)
                if not came:
                    raise ConnectionError("the peer closed the connection")
                read += came
            answered.append(read[1:-2].decode().split("\r"))
    return answered


def test_messages_are_acknowledged_and_kept(hospital):
    texts = [MESSAGE.format("M1"), MESSAGE.format("M2"), MESSAGE.format("M1")]
    said = talk(hospital.addresses["mllp"], *texts)
    assert [segments[1] for segments in said] == ["MSA|AA|M1", "MSA|AA|M2", "MSA|AA|M1"]
    assert said[0][0].split("|")[8] == "ACK"
    assert hospital.messages == texts


def test_an_acknowledgement_can_be_lost_of_a_message_that_was_taken(hospital):
    hospital.spoil("ack-lost")
    with pytest.raises(ConnectionError):
        talk(hospital.addresses["mllp"], MESSAGE.format("M1"))
    hospital.heal()
    assert talk(hospital.addresses["mllp"], MESSAGE.format("M1"))[0][1] == "MSA|AA|M1"
    assert hospital.messages == [MESSAGE.format("M1")] * 2


def test_messages_can_be_refused_and_nonsense_is(hospital):
    hospital.spoil("ack-error")
    assert talk(hospital.addresses["mllp"], MESSAGE.format("M1"))[0][1].startswith("MSA|AE|M1")
    hospital.heal()
    hospital.spoil("ack-reject")
    assert talk(hospital.addresses["mllp"], MESSAGE.format("M1"))[0][1].startswith("MSA|AR|M1")
    hospital.heal()
    assert talk(hospital.addresses["mllp"], "good morning")[0][1].startswith("MSA|AE|?")
    assert hospital.messages == []


# --- at the terminal -------------------------------------------------------------------------------------


def load_from(config, folder):
    path = folder / "hospital.yaml"
    path.write_text(yaml.safe_dump(config))
    return load_hospital(str(path))


def test_the_file_it_prints_connects_a_station_to_it(hospital, tmp_path):
    loaded = load_from(hospital.config(), tmp_path)
    assert (loaded.worklist.port, loaded.archives["pacs"].port) == (hospital.ris.port, hospital.pacs.port)
    assert loaded.messages.results.port == hospital.mllp.port


def test_the_shipped_file_is_that_of_the_hospital_at_a_terminal():
    ports = at_terminal().setup.ports
    written = yaml.safe_load(shipped("config", "hospital-example.yaml").read_text(encoding="utf-8"))
    opened = Hospital()
    opened.ris.port, opened.pacs.port, opened.mllp.port = ports.ris, ports.pacs, ports.mllp
    assert written == opened.config()
    assert load_hospital("hospital-example").mpps.ae_title == "RIS"


def test_orders_are_obeyed_and_those_that_cannot_be_are_answered_with_the_list(hospital):
    assert hospital.obey("spoil slow:0.1") == "done: spoil slow:0.1"
    assert "ill: slow 0.1" in hospital.obey("list")
    hospital.obey("heal slow")
    hospital.obey("rows 3")
    assert len(rows(hospital)) == 9
    for wrong in (
        "sing",
        "spoil",
        "heal nothing",
        "commitment never",
        "station A",
        "spoil slow:x",
        "spoil lose:1",
    ):
        with pytest.raises(BadSettings):
            hospital.obey(wrong)
    with pytest.raises(BadSettings) as refusal:
        hospital.obey("?")
    assert [name for name in KINDS if name not in str(refusal.value)] == []


def test_a_port_that_is_taken_is_refused_and_nothing_is_left_open():
    with socket.create_server((HERE, 0)) as taken:
        ports = {"ris": 0, "pacs": taken.getsockname()[1], "mllp": 0}
        opened = Hospital(Setup(ports=type(Setup().ports)(**ports)))
        with pytest.raises(BadSettings, match="is somebody there already"):
            opened.start()
        with socket.socket() as line:
            assert line.connect_ex((HERE, opened.ris.port)) != 0


def test_the_command_serves_a_hospital_with_the_ills_it_was_given():
    if "pacs" not in {point.name for point in entry_points(group=simulate.SIMULATOR_GROUP)}:
        pytest.skip("this package was installed before it could simulate a hospital")
    wish = simulate.Wish("pacs", "", "", free_addresses=True, follow_lamps=False)
    served, text = simulate.find(wish, load_room("sim"), {"faults": ["reject:ris"]})
    with simulate.running(served, follow_lamps=False):
        file = yaml.safe_load(text())
        assert associate(file["worklist"]["port"]).is_rejected
    with pytest.raises(BadSettings, match="a hospital has no phantom"):
        simulate.find(wish, load_room("sim"), {"phantom": "t=1"})
