"""An exam beside a hospital when not all goes well: bad networks, late and wrong orders."""

import shutil
from dataclasses import replace
from datetime import timedelta

import pytest
from certificates import authority, signed
from hospital_rooms import (
    Beside,
    accept,
    all_done,
    delivering,
    expose,
    file_of,
    heads,
    objects,
    one_step,
    ordered,
    until,
)
from peers import free_port

from simulators.pacs import Hospital as SimulatedHospital
from simulators.pacs import Setup
from station import amend, delivery
from station.assembly import books_of
from station.clock import RealClock
from station.dicom import lint
from station.exam import Release, Side, new_uid
from station.orders import emergency
from station.outbox.job import Kind, State
from station.result import Reason
from station.states import State as At
from station.states import Trigger

OBJECTS = 5  # of an exam on a panel too coarse to measure


# --- bad networks ---------------------------------------------------------------------------------------


@pytest.mark.hazard("image-lost")
def test_with_the_hospital_down_the_exam_ends_and_all_of_it_goes_out_later(beside):
    item = ordered(beside)
    beside.peers.spoil("down")
    with beside.station() as (operator, _):
        expose(operator, item)
        accept(operator)
    assert beside.peers.received == {}
    beside.peers.heal()
    moved = replace(beside, hospital=file_of(beside.peers))  # the ports are others now
    with moved.station() as (operator, liaison):
        until(liaison, all_done)
    assert set(beside.peers.received.values()) == {1}
    assert len(beside.peers.received) == OBJECTS
    assert one_step(beside.peers).PerformedProcedureStepStatus == "COMPLETED"


def test_a_hospital_that_never_answers_does_not_hold_up_the_exam(beside):
    item = ordered(beside)
    beside.peers.spoil("silent")
    impatient = beside.changed(timeouts=beside.hospital.timeouts.model_copy(update={"answer_s": 2.0}))
    with impatient.station() as (operator, liaison):
        expose(operator, item)
        accept(operator)
        assert not [job for job in liaison.outbox.jobs() if job.state is State.COMMITTED]
        beside.peers.heal()


def test_what_the_archive_lost_is_sent_again_under_the_same_uid(beside):
    beside.peers.spoil("lose")
    with beside.station() as (operator, liaison):
        exam = expose(operator, ordered(beside))
        accept(operator)
        until(liaison, lambda jobs: any(job.lost for job in jobs))
        beside.peers.heal()
        liaison.courier.wake()
        until(liaison, all_done)
    assert beside.peers.kept.keys() == {str(head.SOPInstanceUID) for head in objects(beside, exam)}
    assert not beside.peers.archive.changed()


def test_a_refused_class_is_parked_with_an_alarm_and_the_rest_arrives(beside):
    beside.peers.spoil("refuse-class")
    with beside.station() as (operator, liaison):
        expose(operator, ordered(beside))
        accept(operator)
        settled = {State.COMMITTED, State.PARKED}
        until(liaison, lambda jobs: bool(jobs) and all(job.state in settled for job in jobs))
        (parked,) = liaison.outbox.jobs(state=State.PARKED)
        alarms = [e for e in operator.controller.parts.journal.entries() if e.detail.get("alarm")]
    assert parked.sop_class_uid == "1.2.840.10008.5.1.4.1.1.88.67"
    assert alarms
    shown = delivery.look(beside.folder, "", (), None, 0)
    assert delivery.trouble(shown, asked=False)
    assert parked.name in delivery.text(shown)
    beside.peers.heal()
    shown = delivery.look(beside.folder, "", (parked.id,), beside.hospital, 30)
    assert not delivery.trouble(shown, asked=True)


def test_a_refused_step_stops_nothing_else(beside):
    beside.peers.spoil("mpps-refused", "0110")
    with beside.station() as (operator, liaison):
        expose(operator, ordered(beside))
        accept(operator)
        until(liaison, lambda jobs: all(j.state is State.COMMITTED for j in jobs if j.kind is Kind.OBJECT))
    assert len(beside.peers.received) == OBJECTS
    assert beside.peers.steps == {}


@pytest.mark.hazard("dose-unrecorded")
def test_objects_that_contradict_themselves_stay_here_and_their_dose_goes_out(beside, mocker):
    judge, wrong = lint.problems, Reason("dicom-side", "left and right", "call service")
    mocker.patch.object(lint, "problems", lambda made, exam: (wrong,) if len(made) > 1 else judge(made, exam))
    with beside.station() as (operator, liaison):
        exam = expose(operator, ordered(beside))
        operator.controller.submit(Trigger.ACCEPT, by="operator")
        done = operator.wait(lambda s: s.state is At.STANDBY, "standby")
        until(liaison, all_done)
    assert "left and right" in done.message
    (dose,) = objects(beside, exam)
    assert beside.peers.received == {str(dose.SOPInstanceUID): 1}
    assert one_step(beside.peers).PerformedProcedureStepStatus == "DISCONTINUED"


# --- reconciliation -------------------------------------------------------------------------------------


def emergency_item(name="Emergency^Case"):
    return emergency(name, Side.LEFT, RealClock().wall(), new_uid())


@pytest.mark.hazard("wrong-patient")
def test_an_emergency_joined_to_its_order_before_sending_keeps_every_uid(beside):
    order = ordered(beside)
    with beside.station(delivering=False) as (operator, _):
        exam = expose(operator, emergency_item())
        accept(operator)
    before = {str(head.SOPInstanceUID): head for head in objects(beside, exam)}
    books = books_of(beside.room, beside.folder, beside.hospital)
    amend.reconcile(books, exam.uid, order, RealClock().wall())
    after = {str(head.SOPInstanceUID): head for head in objects(beside, exam)}
    assert before.keys() == after.keys()
    assert {(head.PatientID, head.AccessionNumber) for head in after.values()} == {("P-1", "A1")}
    assert {head.StudyInstanceUID for head in after.values()} == {exam.item.study_instance_uid}
    with delivering(books, beside) as liaison:
        until(liaison, all_done)
    assert beside.peers.received == dict.fromkeys(before, 1)


@pytest.mark.hazard("wrong-patient")
def test_an_exam_sent_under_a_wrong_order_is_withdrawn_by_a_note_and_sent_anew(beside):
    with beside.station() as (operator, liaison):
        exam = expose(operator, ordered(beside, "A3"))
        accept(operator)
        until(liaison, all_done)
    wrong = {str(head.SOPInstanceUID) for head in objects(beside, exam)}
    books = books_of(beside.room, beside.folder, beside.hospital)
    amend.reconcile(books, exam.uid, ordered(beside), RealClock().wall() + timedelta(seconds=1))
    with delivering(books, beside) as liaison:
        until(liaison, all_done)
    folder = beside.folder / "spool" / exam.uid
    (note,) = heads(folder, "withdrawn.dcm")
    (evidence,) = note.CurrentRequestedProcedureEvidenceSequence
    named = {
        i.ReferencedSOPInstanceUID for s in evidence.ReferencedSeriesSequence for i in s.ReferencedSOPSequence
    }
    assert named == wrong
    assert note.PatientID == "P-3"
    right = heads(folder / "revision-1")
    assert {head.PatientID for head in right} == {"P-1"}
    assert not {str(head.SOPInstanceUID) for head in right} & wrong
    assert {str(head.SOPInstanceUID) for head in (*right, note)} | wrong == beside.peers.received.keys()
    assert not beside.peers.archive.changed()
    told = [("|P-3|" in text, "|W|" in text) for text in beside.peers.messages]
    assert sorted(told) == [(False, False), (True, False), (True, True)], "the wrong patient's are taken back"
    assert all(hop.ok for hop in delivery.examined(beside.hospital, beside.folder, exam.uid))


@pytest.mark.hazard("wrong-patient")
def test_where_there_is_no_archive_results_alone_are_taken_back(beside):
    alone = beside.changed(archives={}, priors=None)
    with alone.station() as (operator, liaison):
        exam = expose(operator, ordered(alone, "A3"))
        accept(operator)
        until(liaison, all_done)
    books = books_of(alone.room, alone.folder, alone.hospital)
    amend.reconcile(books, exam.uid, ordered(alone), RealClock().wall())
    with delivering(books, alone) as liaison:
        until(liaison, all_done)
    told = [("|P-3|" in text, "|W|" in text) for text in beside.peers.messages]
    assert sorted(told) == [(False, False), (True, False), (True, True)]


@pytest.mark.hazard("wrong-patient")
@pytest.mark.parametrize("step", ["dispatch.take_back", "spool.reassign", "dispatch.finished"])
def test_a_joining_that_was_cut_off_is_finished_when_it_is_asked_for_again(beside, mocker, step):
    with beside.station() as (operator, liaison):
        exam = expose(operator, ordered(beside, "A3"))
        accept(operator)
        until(liaison, all_done)
    books, order = books_of(beside.room, beside.folder, beside.hospital), ordered(beside)
    part, name = step.split(".")
    cut = mocker.patch.object(getattr(books, part), name, side_effect=OSError("no power"))
    with pytest.raises(OSError, match="no power"):
        amend.reconcile(books, exam.uid, order, RealClock().wall())
    mocker.stop(cut)
    books = books_of(beside.room, beside.folder, beside.hospital)
    amend.reconcile(books, exam.uid, order, RealClock().wall())
    with delivering(books, beside) as liaison:
        until(liaison, all_done)
    told = [("|P-3|" in text, "|W|" in text) for text in beside.peers.messages]
    assert sorted(told) == [(False, False), (True, False), (True, True)]
    right = {str(head.SOPInstanceUID) for head in heads(beside.folder / "spool" / exam.uid / "revision-1")}
    assert right <= beside.peers.received.keys()
    assert set(beside.peers.received.values()) == {1}


@pytest.mark.hazard("wrong-side")
def test_an_order_for_the_other_hand_cannot_be_joined(beside):
    with beside.station(delivering=False) as (operator, _):
        exam = expose(operator, emergency_item())
        accept(operator)
    books = books_of(beside.room, beside.folder, beside.hospital)
    with pytest.raises(amend.NotPossible, match="right hand"):
        amend.reconcile(books, exam.uid, ordered(beside, "A2"), RealClock().wall())
    assert {head.PatientID for head in objects(beside, exam)} != {"P-2"}


def test_a_release_for_the_charge_alone_leaves_every_object_as_it_was_sent(beside):
    with beside.station() as (operator, liaison):
        exam = expose(operator, ordered(beside))
        accept(operator)
        until(liaison, all_done)
    folder = beside.folder / "spool" / exam.uid
    before = {path: path.read_bytes() for path in folder.glob("*.[dp][cd][mf]")}
    books = books_of(beside.room, beside.folder, beside.hospital)
    amend.release(books, exam.uid, Release("Test^Person", RealClock().wall()))
    assert {path: path.read_bytes() for path in folder.glob("*.[dp][cd][mf]")} == before
    assert len(before) == OBJECTS + 1
    assert all_done(books.dispatch.outbox.jobs()), "nothing new to send"


def test_a_release_that_was_cut_off_is_finished_when_it_is_asked_for_again(beside, mocker):
    with beside.station() as (operator, liaison):
        exam = expose(operator, ordered(beside))
        accept(operator)
        until(liaison, all_done)
    books = books_of(beside.room, beside.folder, beside.hospital)
    given = Release("Test^Physician", RealClock().wall(), physician=True)
    cut = mocker.patch.object(books.dispatch, "finished", side_effect=OSError("no power"))
    with pytest.raises(OSError, match="no power"):
        amend.release(books, exam.uid, given)
    mocker.stop(cut)
    amend.release(books, exam.uid, replace(given, by="Other^Physician"))
    new = [job for job in books.dispatch.outbox.jobs(exam.uid) if job.state is State.PENDING]
    assert {job.kind for job in new} == {Kind.OBJECT, Kind.RESULTS}
    with pytest.raises(amend.NotPossible, match=r"released already, by Test\^Physician"):
        amend.release(books, exam.uid, given)


# --- over mutual TLS ------------------------------------------------------------------------------------


@pytest.fixture
def secured(tmp_path, small_room, calibration):
    """Every peer with TLS, and an archive that commits on an association of its own to the station's port."""
    ours = authority(tmp_path / "ours")
    made = signed(ours, "hospital")
    for name in ("certificate", "key", "authorities"):
        shutil.copy(getattr(made, name), tmp_path / f"{name}.pem")
    with SimulatedHospital(Setup(certificates=tmp_path, commitment="new")) as peers:
        port = free_port()
        peers.know("DXR1", "127.0.0.1", port)
        hospital = file_of(peers).model_copy(update={"port": port, "tls": signed(ours, "station")})
        yield Beside(tmp_path / "station", small_room, calibration, peers, hospital)


def test_everything_goes_over_mutual_tls_and_commitment_comes_back_that_way(secured):
    with secured.station() as (operator, liaison):
        exam = expose(operator, ordered(secured))
        accept(operator)
        until(liaison, all_done)
    assert {way for _, way in secured.peers.commitment.delivered()} == {"new"}
    assert secured.peers.kept.keys() == {str(head.SOPInstanceUID) for head in objects(secured, exam)}
    assert one_step(secured.peers).PerformedProcedureStepStatus == "COMPLETED"
    assert len(secured.peers.messages) == 1


def test_a_stranger_s_certificate_leaves_everything_waiting_with_the_reason(secured, tmp_path):
    stranger = secured.changed(tls=signed(authority(tmp_path / "theirs"), "stranger"))
    item = ordered(secured)
    with stranger.station() as (operator, liaison):
        expose(operator, item)
        accept(operator)
        until(liaison, lambda jobs: any(job.error for job in jobs if job.kind is Kind.OBJECT))
        waiting = [job for job in liaison.outbox.jobs() if job.kind is Kind.OBJECT]
    assert {job.state for job in waiting} == {State.PENDING}
    assert any("certificate" in job.error or "authority" in job.remedy for job in waiting)
    assert secured.peers.received == {}
