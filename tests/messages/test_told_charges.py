"""What of a charge reaches the outbox, through results, charge and bundle."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fhir.resources.R4B.bundle import Bundle
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from message_samples import OPERATOR, PHYSICIAN

from station.clock import RealClock
from station.dispatch import Dispatch
from station.hospital import Endpoint, Hospital, Messages
from station.issue import Issued
from station.messages import withdrawal
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


@pytest.mark.hazard("false-billing")
@pytest.mark.hazard("wrong-patient")
def test_sent_under_a_wrong_order_results_are_taken_back_and_the_charge_is_credited_before_the_next(
    told, make_study
):
    study = make_study()
    told(study)
    dispatch, at = told.dispatch, study.made_at + timedelta(days=1)
    dispatch.outbox.failed([job.id for job in dispatch.outbox.jobs()], ("nobody knows", "look"))
    assert not dispatch.withdrawn(study.exam)
    for _ in range(2):  # after a crash it is said again
        dispatch.take_back(study.exam, "ACC-10", at)
    right = replace(make_study(item={"accession_number": "ACC-10"}).exam, revision=1)
    found = told(make_study(exam=right))
    sent, credit, again = found[Kind.CHARGE]
    assert [(ft1(one)[6], ft1(one)[23]) for one in (sent, credit, again)] == [
        ("CG", "ACC-9"), ("CD", "ACC-9"), ("CG", "ACC-10"),
    ]  # fmt: skip
    assert ft1(sent)[2] == ft1(credit)[2] != ft1(again)[2]
    wrong, withdrawn, anew = found[Kind.RESULTS]
    assert set(statuses(withdrawn)) == {"W"}
    assert set(statuses(wrong)) == set(statuses(anew)) == {"P"}
    _, mistaken, _ = (json.loads(one) for one in found[Kind.BUNDLE])
    stated = {e["resource"].get("status") for e in mistaken["entry"]}
    assert stated == {"entered-in-error", None}
    charges = [job for job in dispatch.outbox.jobs() if job.kind is Kind.CHARGE]
    assert [job.after for job in charges] == ["", charges[0].id, charges[1].id]
    assert not dispatch.already_charged(replace(study.exam, uid="2.25.99")), "its own exam may be charged"


def test_what_takes_back_differs_from_what_was_sent_in_nothing_but_status_and_time(told, make_study):
    study = make_study()
    found, at = told(study), study.made_at + timedelta(days=1)
    for kind, reverse, changed in (
        (Kind.CHARGE, withdrawal.charge, {("MSH", 7), ("MSH", 10), ("EVN", 2), ("FT1", 5), ("FT1", 6)}),
        (Kind.RESULTS, withdrawal.results, {("MSH", 7), ("MSH", 10), ("OBR", 22), ("OBR", 25), ("OBX", 11)}),
    ):
        (sent,) = found[kind]
        back = reverse(sent, at)
        parse_message(back, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True).validate()
        pairs = zip(sent.split("\r"), back.split("\r"), strict=True)
        fields = ((a[:3], n, x, y) for a, b in pairs for n, (x, y) in numbered(a, b))
        assert {(name, n) for name, n, x, y in fields if x != y} == changed
        assert reverse(sent, at + timedelta(days=1)).split("|")[9] == back.split("|")[9]
    (sent,) = found[Kind.BUNDLE]
    Bundle.model_validate(json.loads(withdrawal.bundle(sent, at)))


def numbered(one, other):
    """Fields by their number in the standard; MSH-1 is the separator."""
    first = 1 if one.startswith("MSH") else 0
    return enumerate(zip(one.split("|"), other.split("|"), strict=True), first)


def ft1(message):
    return next(line.split("|") for line in message.split("\r") if line.startswith("FT1|"))


def statuses(message):
    return [line.split("|")[11] for line in message.split("\r") if line.startswith("OBX|")]


def hl7_status(message):
    return next(line.split("|")[25] for line in message.split("\r") if line.startswith("OBR|"))


def test_whose_earlier_visits_nobody_looks_for_is_not_remembered(told, make_study):
    told.dispatch.started(make_study().exam)
    assert told.dispatch.opened.empty()
