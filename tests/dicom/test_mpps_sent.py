"""Performed procedure steps sent to a RIS that answers, refuses, breaks off or is not there."""

import pytest
from mpps_exams import CHARGE, EQUIPMENT, OPENED_AT, RELEASE, an_exam, an_exposure, objects_of, study_of

from simulators.pacs import Hospital as SimulatedHospital
from station.dicom import mpps
from station.dicom.association import NetworkError, NotSupported, PeerRefused, PeerSilent, Unreachable
from station.hospital import Hospital


@pytest.fixture
def exam():
    return an_exam()


@pytest.fixture
def exposure():
    return an_exposure()


@pytest.fixture
def peer():
    with SimulatedHospital() as hospital:
        yield hospital


@pytest.fixture
def hospital(peer):
    quick = {"connect_s": 5, "answer_s": 2, "network_s": 10}
    return Hospital.model_validate({**peer.config(), "timeouts": quick})


def sent(hospital, exam, exposure, tmp_path):
    """The exam's whole step as files, sent."""
    study = study_of(exam, (exposure,), RELEASE, CHARGE)
    for action, dataset in (
        ("create", mpps.created(exam, EQUIPMENT, hospital.ae_title)),
        ("set", mpps.completed(study, objects_of(exam), charge=CHARGE)),
    ):
        mpps.write(dataset, tmp_path / action)
        mpps.send(hospital, action, *mpps.read(tmp_path / action))


def test_a_step_reaches_the_ris_with_names_and_charge_and_a_repeat_does_no_harm(
    exam, exposure, peer, hospital, tmp_path
):
    sent(hospital, exam, exposure, tmp_path)
    sent(hospital, exam, exposure, tmp_path)
    step = peer.steps[mpps.uid(exam)]
    assert step.history == ["N-CREATE IN PROGRESS", "N-SET COMPLETED"]
    assert step.attributes.PatientName == "Łukasiewicz^Zoë"
    assert [c.CodeValue for c in step.attributes.BillingProcedureStepSequence] == ["0750T"]
    assert [text[:5] for text in peer.complaints] == ["0111H", "0110H"]


def test_an_answer_that_was_lost_is_made_good_by_sending_again(exam, exposure, peer, hospital):
    first = mpps.created(exam, EQUIPMENT, hospital.ae_title)
    last = mpps.completed(study_of(exam, (exposure,)), objects_of(exam))
    for action, dataset in (("create", first), ("set", last)):
        peer.spoil("mpps-lose-answer")
        with pytest.raises(PeerSilent) as trouble:
            mpps.send(hospital, action, mpps.uid(exam), dataset)
        assert trouble.value.again
        peer.heal()
        mpps.send(hospital, action, mpps.uid(exam), dataset)
    assert peer.steps[mpps.uid(exam)].history == ["N-CREATE IN PROGRESS", "N-SET COMPLETED"]


def test_a_peer_that_cannot_be_looked_at_leaves_a_repeated_end_to_a_person(
    exam, exposure, peer, hospital, tmp_path
):
    peer.spoil("refuse-class", mpps.STEP_RETRIEVE)
    sent(hospital, exam, exposure, tmp_path)
    with pytest.raises(PeerRefused, match="compare it there with the exam") as refusal:
        mpps.send(hospital, "set", *mpps.read(tmp_path / "set"))
    assert not refusal.value.again


def test_a_ris_without_performed_steps_is_named_so(exam, peer, hospital):
    peer.spoil("refuse-class", mpps.STEP)
    with pytest.raises(NotSupported, match="takes no performed procedure steps") as refusal:
        mpps.send(hospital, "create", mpps.uid(exam), mpps.created(exam, EQUIPMENT, "DXR1"))
    assert not refusal.value.again


def test_a_final_set_that_differs_from_what_the_ris_has_is_refused_for_good(
    exam, exposure, peer, hospital, tmp_path
):
    sent(hospital, exam, exposure, tmp_path)
    with pytest.raises(PeerRefused, match="has closed this step itself") as refusal:
        mpps.send(hospital, "set", mpps.uid(exam), mpps.discontinued(exam, "110513", OPENED_AT))
    assert (refusal.value.status, refusal.value.again) == (0x0110, False)
    assert peer.steps[mpps.uid(exam)].status == "COMPLETED"


def test_a_refused_attribute_is_named(exam, hospital):
    mpps.send(hospital, "create", mpps.uid(exam), mpps.created(exam, EQUIPMENT, "DXR1"))
    last = mpps.discontinued(exam, "110513", OPENED_AT)
    last.PatientID = "P2"
    with pytest.raises(PeerRefused, match="0105H, no such attribute: PatientID"):
        mpps.send(hospital, "set", mpps.uid(exam), last)


def test_a_set_before_its_create_is_refused_and_says_what_is_missing(exam, hospital):
    with pytest.raises(PeerRefused, match="must be created first") as refusal:
        mpps.send(hospital, "set", mpps.uid(exam), mpps.discontinued(exam, "110513", OPENED_AT))
    assert not refusal.value.again


@pytest.mark.parametrize(
    ("status", "again"), [("0110", True), ("0213", True), ("0106", False), ("0124", False)]
)
def test_a_refusing_ris_is_asked_again_only_where_it_may_change_its_mind(exam, peer, hospital, status, again):
    peer.spoil("mpps-refused", status)
    step = mpps.created(exam, EQUIPMENT, hospital.ae_title)
    with pytest.raises(PeerRefused) as refusal:
        mpps.send(hospital, "create", mpps.uid(exam), step)
    assert (refusal.value.status, refusal.value.again) == (int(status, 16), again)
    peer.heal()
    mpps.send(hospital, "create", mpps.uid(exam), step)
    assert peer.steps[mpps.uid(exam)].status == "IN PROGRESS"


@pytest.mark.parametrize(
    ("ill", "error"), [("down", Unreachable), ("silent", PeerSilent), ("reject", NetworkError)]
)
def test_a_ris_that_is_not_there_is_a_reason_to_try_again(exam, peer, hospital, ill, error):
    peer.spoil(ill, "ris")
    with pytest.raises(error) as trouble:
        mpps.send(hospital, "create", mpps.uid(exam), mpps.created(exam, EQUIPMENT, hospital.ae_title))
    assert trouble.value.again


def test_a_hospital_without_mpps_is_told_so(exam, hospital):
    without = hospital.model_copy(update={"mpps": None})
    with pytest.raises(ValueError, match="has no mpps"):
        mpps.send(without, "create", mpps.uid(exam), mpps.created(exam, EQUIPMENT, "DXR1"))
