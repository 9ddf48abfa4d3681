"""The worklist against dcmtk's and Orthanc's servers, and against matches that no server should send."""

import socket
from datetime import date, datetime, timedelta, timezone

import pytest
from peers import free_port, process, scripted
from pydicom import Dataset
from worklist_rigs import STUDY_UID, hospital, match, orthanc, ris, wlmscpfs, write_worklist_files

from station.dicom import worklist
from station.dicom.association import AssociationRefused, NotSupported, PeerSilent
from station.dicom.worklist import Cache, Endless, query
from station.exam import Coded, Sex, Side

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=timezone(timedelta(hours=1)))


def foreign_names() -> list[Dataset]:
    japanese = match(
        SpecificCharacterSet=["", "ISO 2022 IR 87"],
        PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
        AccessionNumber="J",
    )
    cyrillic = match(SpecificCharacterSet="ISO_IR 144", PatientName="Люкceмбypг", AccessionNumber="C")
    utf8 = match(PatientName="Łukasiewicz^Zoë=王^小东", AccessionNumber="U")
    return [japanese, cyrillic, utf8]


def names(site) -> dict[str, str]:
    answer = query(site, NOW)
    assert not answer.unusable
    return {one.item.accession_number: one.item.patient.name for one in answer.usable}


NAMES = {"J": "Yamada^Tarou=山田^太郎=やまだ^たろう", "C": "Люкceмбypг", "U": "Łukasiewicz^Zoë=王^小东"}


def test_names_survive_from_dcmtk_in_every_character_set(tmp_path):
    with wlmscpfs(tmp_path, foreign_names()) as port:
        assert names(hospital(port)) == NAMES


def test_names_survive_from_orthanc_in_every_character_set(tmp_path):
    write_worklist_files(tmp_path / "wl", foreign_names())
    lists = {"Enable": True, "Database": str(tmp_path / "wl")}
    with orthanc(tmp_path, Worklists=lists) as (port, _):
        assert names(hospital(port)) == NAMES


def test_a_row_from_dcmtk_is_an_order_with_everything_in_it(tmp_path):
    with wlmscpfs(tmp_path, [match(ReasonForTheRequestedProcedure="fall")]) as port:
        answer = query(hospital(port), NOW)
    (one,) = answer.rows
    assert one.problems == ()
    assert one.scheduled_at == datetime(2026, 3, 2, 9, 30).astimezone()
    item = one.item
    assert (item.accession_number, item.side, item.procedure_code) == ("ACC1", Side.LEFT, "0750T")
    assert (item.patient.birth_date, item.patient.sex) == (date(1961, 5, 4), Sex.FEMALE)
    assert (item.study_instance_uid, item.requested_procedure_id) == (STUDY_UID, "RP1")
    assert (item.scheduled_step_id, item.referring_physician, item.reason) == ("SPS1", "Okafor^Ada", "fall")
    assert item.codes == (Coded("0750T", "C4", "Hand view for DXR"),)


def test_only_the_days_around_today_and_the_modality_are_asked_for(tmp_path):
    days = [match(step_ScheduledProcedureStepStartDate=f"202603{day:02}", AccessionNumber=str(day)) for day in
            (1, 2, 3, 5)]  # fmt: skip
    other = match(step_Modality="CT", AccessionNumber="CT")
    with wlmscpfs(tmp_path, [*days, other]) as port:
        answer = query(hospital(port), NOW)
    assert [one.accession_number for one in answer.rows] == ["1", "2", "3"]


def test_a_title_of_the_stations_own_narrows_the_list(tmp_path):
    with wlmscpfs(tmp_path, [match(), match(step_ScheduledStationAETitle="OTHER")]) as port:
        assert len(query(hospital(port, scheduled_ae_title="DXR1"), NOW).rows) == 1
        assert len(query(hospital(port), NOW).rows) == 2


def test_dcmtk_without_that_worklist_refuses_by_name(tmp_path):
    with wlmscpfs(tmp_path, [match()]) as port, pytest.raises(AssociationRefused):
        query(hospital(port, ae_title="NOBODY"), NOW)


def test_an_archive_is_no_worklist(tmp_path):
    port = free_port()
    with process(tmp_path, port, "storescp", str(port)), pytest.raises(NotSupported):
        query(hospital(port), NOW)


def test_a_ris_that_never_answers_is_given_up():
    def say_nothing(connection: socket.socket) -> None:
        while connection.recv(4096):
            pass

    with scripted(say_nothing) as port, pytest.raises(PeerSilent):
        query(hospital(port, answer_s=0.5), NOW)


@pytest.mark.parametrize(("name", "limit"), [("MAX_ROWS", 2), ("LONGEST_S", -1.0)])
def test_a_ris_that_does_not_end_is_left(monkeypatch, name, limit):
    monkeypatch.setattr(worklist, name, limit)
    with ris([match()] * 3) as port, pytest.raises(Endless, match="scheduled_ae_title"):
        query(hospital(port), NOW)


@pytest.mark.parametrize("status", [0xB001, 0x0107])
def test_a_list_that_ends_with_a_warning_is_used_and_says_that_orders_may_be_missing(tmp_path, status):
    with ris([match(), match(AccessionNumber="ACC2")], (status, None)) as port:
        answer = query(hospital(port), NOW)
    assert [row.accession_number for row in answer.usable] == ["ACC1", "ACC2"]
    assert answer.warning is not None
    assert "orders may be missing" in answer.warning.message
    assert f"{status:04X}H" in answer.warning.message
    assert "scheduled_ae_title" in answer.warning.remedy
    cache = Cache(tmp_path / "worklist.json")
    cache.write(answer)
    assert cache.read() == (answer, None)


def test_five_thousand_rows_are_all_there(tmp_path):
    with wlmscpfs(tmp_path, 5000) as port:
        answer = query(hospital(port), NOW)
    assert len({one.item.accession_number for one in answer.usable}) == 5000
