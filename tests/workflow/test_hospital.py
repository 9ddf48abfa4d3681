"""From the worklist to the archive: what a hospital receives of an exam."""

import shutil
import subprocess
from dataclasses import replace

import pydicom
import pytest
from hospital_rooms import (
    Beside,
    accept,
    all_done,
    delivering,
    expose,
    file_of,
    heads,
    job_of,
    objects,
    one_step,
    ordered,
    retake,
    until,
)

from simulators.pacs import Hospital as SimulatedHospital
from simulators.pacs import Setup
from station import amend
from station.assembly import books_of
from station.clock import RealClock
from station.config import load_room
from station.exam import Release, new_uid
from station.states import State as At
from station.states import Trigger

KINDS = {"for-processing.dcm", "for-presentation.dcm", "edges.dcm", "dose.dcm", "report.dcm"}


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


def test_the_next_visit_finds_the_first(whole):
    beside, exam = whole
    with beside.station(seed=7) as (operator, liaison):
        again = job_of(
            operator.controller, replace(exam.item, study_instance_uid=new_uid(), accession_number="A1b")
        )
        operator.controller.parts.spool.open(again.exam)
        operator.controller.parts.dispatch.started(again.exam)
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
    with delivering(books, beside) as liaison:
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
        operator.wait(lambda s: s.state is At.POSITIONING, "positioning")
        until(liaison, all_done)
        assert one_step(beside.peers).PerformedProcedureStepStatus == "IN PROGRESS"
        operator.controller.submit(Trigger.CANCEL_EXAM, reason="110505")
        operator.wait(lambda s: s.state is At.STANDBY, "standby")
        until(liaison, lambda jobs: len(jobs) == 2 and all_done(jobs))
    step = one_step(beside.peers)
    (why,) = step.PerformedProcedureStepDiscontinuationReasonCodeSequence
    assert (step.PerformedProcedureStepStatus, why.CodeValue) == ("DISCONTINUED", "110505")
    assert beside.peers.received == {}


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


@pytest.mark.skipif(shutil.which("pdfinfo") is None, reason="poppler-utils is not installed")
@pytest.mark.parametrize(("paper", "size"), [("a4", "595.276 x 841.89"), ("us-letter", "612 x 792")])
def test_the_report_is_on_the_paper_that_the_room_file_names(beside, paper, size):
    site = beside.room.site.model_copy(update={"paper": paper})
    room = replace(beside, room=beside.room.model_copy(update={"site": site}))
    with room.station(delivering=False) as (operator, _):
        exam = expose(operator, ordered(beside))
        accept(operator)
    report = beside.folder / "spool" / exam.uid / "report.pdf"
    assert (
        f"{size} pts"
        in subprocess.run(["pdfinfo", report], capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.hazard("dose-unrecorded")
def test_an_exam_given_up_after_an_exposure_leaves_its_dose(beside):
    with beside.station() as (operator, liaison):
        exam = expose(operator, ordered(beside))
        operator.controller.submit(Trigger.REJECT, reason="111209", by="operator")
        operator.wait(lambda s: s.state is At.POSITIONING, "positioning")
        operator.controller.submit(Trigger.CANCEL_EXAM, reason="110513")
        operator.wait(lambda s: s.state is At.STANDBY, "standby")
        until(liaison, all_done)
    (dose,) = objects(beside, exam)
    assert beside.peers.received == {str(dose.SOPInstanceUID): 1}
    assert one_step(beside.peers).PerformedProcedureStepStatus == "DISCONTINUED"
