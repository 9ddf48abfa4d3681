"""From the worklist to the archive: what a hospital receives of an exam, and when not all goes well."""

from dataclasses import replace
from datetime import timedelta

import pydicom
import pytest
from hospital_rooms import Beside, accept, expose, heads, job_of, retake, until

from simulators.pacs import Hospital as SimulatedHospital
from simulators.pacs import Setup
from station import amend, delivery
from station.assembly import books_of
from station.clock import RealClock
from station.config import load_room
from station.exam import Release, Side, new_uid
from station.hospital import Hospital
from station.liaison import worklist_now
from station.orders import emergency, select
from station.outbox.job import Kind, State
from station.states import Trigger

KINDS = {"for-processing.dcm", "for-presentation.dcm", "edges.dcm", "dose.dcm", "report.dcm"}


@pytest.fixture(scope="session")
def big_calibration(tmp_path_factory):
    """Of the whole panel, on which bones are measured."""
    from station.assembly import assemble
    from station.calibrate import calibrate
    from station.operate import Operator

    folder = tmp_path_factory.mktemp("big")
    controller = assemble(load_room("sim"), {}, folder, real_time=False)
    controller.start()
    calibrate(Operator(controller, lambda _: None))
    controller.close()
    controller.parts.journal.close()
    return folder / "calibration"


@pytest.fixture
def peers():
    with SimulatedHospital(Setup(commitment="same")) as hospital:
        yield hospital


@pytest.fixture
def beside(tmp_path, small_room, calibration, peers):
    """A coarse panel, quick: no bone is measured on it."""
    return Beside(tmp_path, small_room, calibration, peers, file_of(peers))


def file_of(peers):
    config = peers.config()
    hospital = Hospital.model_validate(config)
    return hospital.model_copy(update={"port": None})  # commitments come on the same association or later


def ordered(beside, accession="A1"):
    answer, why = worklist_now(beside.hospital, beside.folder)
    assert not why
    row = select(answer.rows, accession)
    assert row.item is not None, row
    return row.item


def all_done(jobs):
    return bool(jobs) and all(job.state is State.COMMITTED for job in jobs)


def one_step(peers):
    (step,) = peers.steps.values()
    return step.attributes


# --- a measured exam, from its order on the worklist to everything committed -----------------------------


@pytest.fixture(scope="session")
def whole(tmp_path_factory, big_calibration):
    """One measured exam whose charge was released at once, and the next visit of the same person."""
    with SimulatedHospital(Setup(commitment="same")) as peers:
        folder = tmp_path_factory.mktemp("whole")
        beside = Beside(folder, load_room("sim"), big_calibration, peers, file_of(peers))
        beside = beside.changed(
            messages=beside.hospital.messages.model_copy(update={"fhir": folder / "fhir"})
        )
        with beside.station() as (operator, liaison):
            exam = expose(operator, ordered(beside))
            accept(operator, released_by="Test^Person")
            until(liaison, all_done)
        yield beside, exam


def objects(beside, exam):
    return heads(beside.folder / "spool" / exam.uid)


def test_every_object_arrives_once_and_is_committed(whole):
    beside, exam = whole
    made = {str(head.SOPInstanceUID) for head in objects(beside, exam)}
    assert len(made) == 6
    assert beside.peers.received == dict.fromkeys(made, 1)
    assert beside.peers.kept.keys() == made


def test_the_archive_has_them_all_in_the_ordered_study(whole):
    beside, exam = whole
    for head in objects(beside, exam):
        assert (head.StudyInstanceUID, head.AccessionNumber, head.PatientID) == (
            exam.item.study_instance_uid,
            "A1",
            "P-1",
        )
        assert head.SOPInstanceUID.startswith("2.25.")


@pytest.mark.hazard("false-billing")
def test_a_released_measurement_is_charged_to_the_ris_and_to_billing(whole):
    beside, _ = whole
    step = one_step(beside.peers)
    assert step.PerformedProcedureStepStatus == "COMPLETED"
    (billed,) = step.BillingProcedureStepSequence
    assert (billed.CodeValue, billed.CodingSchemeDesignator) == ("0750T", "C4")
    (charge,) = [text for text in beside.peers.messages if "DFT^P03" in text]
    assert "0750T^Hand view made for DXR bone density^C4" in charge


def test_results_with_the_page_and_a_fhir_bundle_go_out_too(whole):
    beside, _ = whole
    (results,) = [text for text in beside.peers.messages if "ORU^R01" in text]
    assert "JVBERi0" in results  # a PDF in base64
    (bundle,) = (beside.folder / "fhir").glob("*.json")
    assert '"DiagnosticReport"' in bundle.read_text()


def test_the_step_names_every_object_by_its_series(whole):
    beside, exam = whole
    step = one_step(beside.peers)
    named = {
        item.ReferencedSOPInstanceUID
        for series in step.PerformedSeriesSequence
        for kind in ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
        for item in series[kind]
    }
    assert named == {str(head.SOPInstanceUID) for head in objects(beside, exam)}


def test_the_next_visit_finds_the_first_and_says_the_change(whole):
    beside, exam = whole
    with beside.station(seed=7) as (operator, liaison):
        again = job_of(
            operator.controller, replace(exam.item, study_instance_uid=new_uid(), accession_number="A1b")
        )
        operator.controller.parts.dispatch.opened.put(again.exam)
        operator.controller.parts.spool.open(again.exam)
        until(liaison, lambda _: bool(operator.controller.parts.dispatch.earlier(again.exam)))
        (earlier,) = operator.controller.parts.dispatch.earlier(again.exam)
        operator.controller.parts.spool.close(again.exam, "tested")
    assert earlier["dxr"]["bmd_g_cm2"] == pytest.approx(0.549, abs=0.02)
    assert earlier["side"] == "L"


def test_a_physician_makes_the_report_final_and_nothing_else_is_sent_anew(whole):
    beside, exam = whole
    books = books_of(beside.room, beside.folder, beside.hospital)
    before = dict(beside.peers.received)
    issued = amend.release(books, exam.uid, Release("Test^Physician", RealClock().wall(), physician=True))
    assert {path.name for path in issued.objects} >= {"measurements-released.dcm", "report-released.dcm"}
    with Liaison_of(books, beside) as liaison:
        until(liaison, all_done)
    new = beside.peers.received.keys() - before.keys()
    assert len(new) == 2
    assert all(beside.peers.received[uid] == 1 for uid in before)
    assert not beside.peers.archive.changed()
    assert len([text for text in beside.peers.messages if "DFT^P03" in text]) == 1
    with pytest.raises(amend.NotPossible, match="released already"):
        amend.release(books, exam.uid, Release("Test^Person", RealClock().wall()))
    released = pydicom.dcmread(
        next(path for path in issued.objects if path.name == "measurements-released.dcm")
    )
    assert released.VerificationFlag == "VERIFIED"


def Liaison_of(books, beside):  # noqa: N802  reads as what it makes
    from station.liaison import Liaison

    return Liaison(beside.hospital, books.dispatch.outbox, beside.folder, lambda _: None).running()


# --- without a measurement ----------------------------------------------------------------------------


@pytest.mark.hazard("false-billing")
def test_a_refused_analysis_is_told_and_never_charged(beside):
    with beside.station() as (operator, liaison):
        exam = expose(operator, ordered(beside))
        accept(operator, released_by="Test^Person")
        until(liaison, all_done)
    step = one_step(beside.peers)
    assert step.PerformedProcedureStepStatus == "COMPLETED"
    assert not step.BillingProcedureStepSequence
    assert not [text for text in beside.peers.messages if "DFT^P03" in text]
    assert {head.filename.rsplit("/", 1)[1] for head in objects(beside, exam)} == KINDS


def test_the_ris_hears_of_an_exam_when_it_opens(beside):
    with beside.station() as (operator, liaison):
        operator.controller.submit(Trigger.OPEN_EXAM, job=job_of(operator.controller, ordered(beside)))
        operator.wait(lambda s: s.state is State_of("positioning"), "positioning")
        until(liaison, all_done)
        assert one_step(beside.peers).PerformedProcedureStepStatus == "IN PROGRESS"
        operator.controller.submit(Trigger.CANCEL_EXAM, reason="110505")
        operator.wait(lambda s: s.state is State_of("standby"), "standby")
        until(liaison, lambda jobs: len(jobs) == 2 and all_done(jobs))
    step = one_step(beside.peers)
    (why,) = step.PerformedProcedureStepDiscontinuationReasonCodeSequence
    assert (step.PerformedProcedureStepStatus, why.CodeValue) == ("DISCONTINUED", "110505")
    assert beside.peers.received == {}


def State_of(name):  # noqa: N802  the station's, not a job's
    from station.states import State as StationState

    return StationState(name)


@pytest.mark.hazard("dose-unrecorded")
def test_a_rejected_exposure_counts_in_the_dose_and_stays_here(beside):
    with beside.station() as (operator, liaison):
        exam = expose(operator, ordered(beside))
        retake(operator, "111210")
        accept(operator)
        until(liaison, all_done)
    folder = beside.folder / "spool" / exam.uid
    (dose,) = heads(folder, "dose.dcm")
    assert str(dose).count("Irradiation Event X-Ray Data") == 2
    assert one_step(beside.peers).TotalNumberOfExposures == 2
    aside = {str(head.SOPInstanceUID) for head in heads(folder / "exposure-1")}
    assert len(aside) == 3
    assert not aside & beside.peers.received.keys()


def test_an_archive_that_wants_rejected_images_gets_them_with_their_note(beside):
    wanting = beside.archived(rejected=True)
    with wanting.station() as (operator, liaison):
        exam = expose(operator, ordered(beside))
        retake(operator, "111209")
        accept(operator)
        until(liaison, all_done)
    aside = heads(beside.folder / "spool" / exam.uid / "exposure-1")
    assert {str(head.SOPInstanceUID) for head in aside} <= beside.peers.received.keys()
    (note,) = [head for head in aside if head.Modality == "KO"]
    assert "Rejected for Quality Reasons" in str(note)


@pytest.mark.hazard("dose-unrecorded")
def test_an_exam_given_up_after_an_exposure_leaves_its_dose(beside):
    with beside.station() as (operator, liaison):
        exam = expose(operator, ordered(beside))
        operator.controller.submit(Trigger.REJECT, reason="111209", by="operator")
        operator.wait(lambda s: s.state is State_of("positioning"), "positioning")
        operator.controller.submit(Trigger.CANCEL_EXAM, reason="110513")
        operator.wait(lambda s: s.state is State_of("standby"), "standby")
        until(liaison, all_done)
    (dose,) = objects(beside, exam)
    assert beside.peers.received == {str(dose.SOPInstanceUID): 1}
    assert one_step(beside.peers).PerformedProcedureStepStatus == "DISCONTINUED"


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
    assert len(beside.peers.received) == len(KINDS)
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
    assert len(beside.peers.received) == len(KINDS)
    assert beside.peers.steps == {}


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
    with Liaison_of(books, beside) as liaison:
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
    with Liaison_of(books, beside) as liaison:
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


@pytest.mark.hazard("wrong-side")
def test_an_order_for_the_other_hand_cannot_be_joined(beside):
    with beside.station(delivering=False) as (operator, _):
        exam = expose(operator, emergency_item())
        accept(operator)
    books = books_of(beside.room, beside.folder, beside.hospital)
    with pytest.raises(amend.NotPossible, match="right hand"):
        amend.reconcile(books, exam.uid, ordered(beside, "A2"), RealClock().wall())
    assert {head.PatientID for head in objects(beside, exam)} != {"P-2"}
