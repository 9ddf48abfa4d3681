"""What of a charge reaches the outbox, through results, charge and bundle."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from message_samples import OPERATOR, PHYSICIAN

from station.clock import RealClock
from station.dispatch import Dispatch
from station.hospital import Endpoint, Hospital, Messages
from station.issue import Issued
from station.outbox.job import Kind
from station.outbox.queue import Outbox
from station.spool import Spool


@pytest.fixture
def told(tmp_path: Path, make_study, due):
    """Makes exams known to the hospital and gives back their jobs' contents by kind."""
    receiver = Endpoint(host="127.0.0.1", port=1, plain=True)
    messages = Messages(results=receiver, charges=receiver, fhir=tmp_path / "fhir")
    hospital = Hospital(name="test", ae_title="DXR1", messages=messages)
    spool, outbox = Spool(tmp_path / "spool"), Outbox(tmp_path, RealClock())
    dispatch = Dispatch(hospital, outbox, spool, make_study().equipment)
    page = tmp_path / "report.pdf"
    page.write_bytes(b"%PDF-1.7")

    def tell(study, charge=due):
        dispatch.finished(Issued(study, charge, (), page))
        found = {kind: [] for kind in Kind}
        for job in outbox.jobs():
            found[job.kind].append(outbox.path(job).read_bytes().decode())
        return found

    tell.dispatch = dispatch
    return tell


def charged(bundles):
    return sum(
        "ChargeItem" in {e["resource"]["resourceType"] for e in json.loads(b)["entry"]} for b in bundles
    )


@pytest.mark.hazard("false-billing")
def test_an_order_is_charged_once_whichever_of_its_exams_is_released_first(told, make_study):
    first = make_study()
    told(first)
    found = told(make_study(exam=replace(first.exam, uid="2.25.99")))
    assert len(found[Kind.CHARGE]) == 1
    assert charged(found[Kind.BUNDLE]) == 1
    assert len(found[Kind.RESULTS]) == 2


@pytest.mark.hazard("false-billing")
def test_a_physicians_later_release_tells_the_final_result_and_no_second_charge(told, make_study, due):
    told(make_study(release=OPERATOR))
    found = told(make_study(release=PHYSICIAN), replace(due, release=PHYSICIAN))
    assert len(found[Kind.CHARGE]) == 1
    assert len(found[Kind.RESULTS]) == len(found[Kind.BUNDLE]) == 2
    assert {"|P|", "|F|"} == {f"|{hl7_status(one)}|" for one in found[Kind.RESULTS]}


@pytest.mark.hazard("false-billing")
def test_what_nobody_released_and_what_has_no_order_is_told_without_a_charge(told, make_study, due):
    told(make_study(), replace(due, release=None))
    found = told(make_study(item={"requested_procedure_id": ""}), replace(due, ordered=False))
    assert found[Kind.CHARGE] == []
    assert charged(found[Kind.BUNDLE]) == 0


def test_told_again_after_a_crash_the_jobs_are_the_same(told, make_study):
    assert told(make_study()) == told(make_study())


@pytest.mark.hazard("false-billing")
def test_joined_to_its_order_before_anything_left_an_exam_is_charged_there_alone(told, make_study):
    study = make_study()
    told(study)
    assert told.dispatch.withdrawn(study.exam)
    found = told(make_study(item={"accession_number": "ACC-10"}))
    (charge,) = found[Kind.CHARGE]
    assert "ACC-10" in charge
    assert "ACC-9" not in charge
    late = replace(study.exam, uid="2.25.99")
    assert not told.dispatch.already_charged(late)


def hl7_status(message):
    return next(line.split("|")[25] for line in message.split("\r") if line.startswith("OBR|"))
