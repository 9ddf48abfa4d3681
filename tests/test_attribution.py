"""Who acts, and for which exam: no decision reaches another person's exam, and every one has its author."""

import pytest

from station.devices import EndOfExposure, GeneratorState, SwitchStage, Technique
from station.positioning import CHECKLIST, confirmed
from station.states import State, Trigger

ANOTHER = "2.25.1"


@pytest.fixture
def without_camera(small_room):
    devices = small_room.devices.model_copy(update={"camera": None})
    return small_room.model_copy(update={"devices": devices})


def last(operator, kind):
    """The newest row of a kind."""
    return [e for e in operator.controller.parts.journal.entries() if e.kind == kind][-1]


def rows(operator, name):
    return [e for e in operator.controller.parts.journal.entries() if e.name == name]


def blocking(operator):
    readiness = operator.controller.snapshot.view.readiness
    return {f.id for f in readiness.blocking} if readiness else set()


def ready(operator, job):
    operator.controller.submit(Trigger.OPEN_EXAM, job=job)
    operator.wait(lambda s: s.view.readiness is not None and s.view.readiness.ready, "readiness")


# --- which exam is meant --------------------------------------------------------------------------------


@pytest.mark.hazard("wrong-patient")
@pytest.mark.parametrize(
    ("trigger", "detail"), [(Trigger.ACCEPT, {}), (Trigger.REJECT, {"reason": "111209"})]
)
def test_a_decision_about_another_exam_changes_nothing_and_is_journalled(
    make_station, job_for, trigger, detail
):
    operator = make_station()
    job = job_for(operator)
    operator.expose(job)
    operator.wait(lambda s: s.outcome is not None, "analysis")
    operator.controller.submit(trigger, exam=ANOTHER, by="tester", role="technologist", **detail)
    operator.pass_time(0.1)
    snapshot = operator.controller.snapshot
    assert (snapshot.state, snapshot.job) == (State.REVIEW, job)
    assert snapshot.message.startswith("meant for another exam: nothing was done")
    refusal = last(operator, "refusal")
    assert (refusal.name, refusal.exam, refusal.detail["meant"]) == (trigger, job.exam.uid, ANOTHER)
    assert (refusal.detail["by"], refusal.detail["role"]) == ("tester", "technologist")
    spool = operator.controller.parts.spool
    assert spool.record(spool.folder(job.exam)).decision is None
    operator.controller.submit(trigger, exam=job.exam.uid, by="tester", **detail)
    operator.wait(lambda s: s.state is not State.REVIEW, "the decision about the right one")
    assert spool.record(spool.folder(job.exam)).decisions[1].by == "tester"


@pytest.mark.hazard("wrong-patient")
def test_a_cancellation_that_comes_after_its_exam_was_closed_does_not_touch_the_next(make_station, job_for):
    operator = make_station()
    first, second = job_for(operator), job_for(operator)
    operator.controller.submit(Trigger.OPEN_EXAM, job=first)
    operator.controller.submit(Trigger.CANCEL_EXAM, exam=first.exam.uid)
    operator.controller.submit(Trigger.OPEN_EXAM, job=second)
    operator.controller.submit(Trigger.CANCEL_EXAM, exam=first.exam.uid)
    operator.pass_time(0.1)
    assert operator.controller.snapshot.state is State.POSITIONING
    assert operator.controller.snapshot.job == second


@pytest.mark.hazard("wrong-patient")
def test_a_trigger_for_an_exam_where_none_is_open_is_refused(make_station):
    operator = make_station()
    operator.controller.submit(Trigger.CANCEL_EXAM, exam=ANOTHER)
    operator.pass_time(0.1)
    assert operator.controller.snapshot.state is State.STANDBY
    assert last(operator, "refusal").detail["meant"] == ANOTHER


@pytest.mark.hazard("wrong-patient")
def test_a_positioning_list_that_was_signed_for_another_exam_confirms_nothing(
    make_station, job_for, without_camera
):
    operator = make_station(room=without_camera)
    controller = operator.controller
    job = job_for(operator)
    controller.submit(Trigger.OPEN_EXAM, job=job)
    signed = confirmed([name for name, _ in CHECKLIST], "tester", controller.parts.clock.now())
    controller.confirm_positioning(signed, ANOTHER)
    operator.pass_time(2)
    assert blocking(operator) == {"positioning-unknown"}
    assert last(operator, "refusal").detail["by"] == "tester"
    controller.confirm_positioning(signed, job.exam.uid)
    operator.pass_time(0.1)
    assert blocking(operator) == set()


# --- a locked station -----------------------------------------------------------------------------------


@pytest.mark.hazard("wrong-patient")
def test_a_locked_station_prepares_nothing_until_somebody_signs_in(make_station, job_for):
    operator = make_station()
    ready(operator, job_for(operator))
    operator.controller.lock()
    operator.press(SwitchStage.EXPOSE)
    operator.pass_time(3)
    assert operator.controller.snapshot.state is State.POSITIONING
    assert operator.controller.snapshot.signed_in is None
    assert blocking(operator) == {"station-locked"}
    operator.controller.sign_in("tester", "technologist")
    operator.press(SwitchStage.RELEASED)
    operator.pass_time(0.5)
    assert blocking(operator) == set()
    assert operator.exposures() == 0


@pytest.mark.hazard("wrong-patient")
def test_locking_takes_a_permission_back(make_station, job_for):
    operator = make_station()
    operator.to_ready(job_for(operator))
    operator.controller.lock()
    operator.press(SwitchStage.EXPOSE)
    operator.pass_time(1)
    assert operator.controller.snapshot.state is State.POSITIONING
    assert operator.exposures() == 0


def test_locking_never_ends_an_exposure_that_runs(make_station, job_for):
    operator = make_station()
    job = job_for(operator)
    operator.to_ready(type(job)(job.exam, Technique(50, 10, 1000)))
    operator.press(SwitchStage.EXPOSE)
    operator.wait(lambda s: s.state is State.EXPOSING, "exposing")
    operator.controller.lock()
    snapshot = operator.wait(lambda s: s.state is State.REVIEW, "the frame")
    assert snapshot.exposures[-1].delivered.end is EndOfExposure.NORMAL


def test_commands_without_a_screen_are_never_locked(make_station):
    assert make_station().controller.snapshot.signed_in is not None


# --- who did it -----------------------------------------------------------------------------------------


def test_every_row_of_an_exam_names_who_was_signed_in_the_exposure_too(make_station, job_for):
    operator = make_station()
    operator.controller.sign_in("op1", "technologist")
    operator.expose(job_for(operator))
    after = [e for e in operator.controller.parts.journal.entries() if e.number >= number_of(operator)]
    assert {"open_exam", "expose", "delivered", "frame_stored"} <= {e.name for e in after}
    assert {(e.detail["operator"], e.detail["role"]) for e in after} == {("op1", "technologist")}
    assert rows(operator, "open_exam")[-1].detail["by"] == "op1"


def number_of(operator):
    return rows(operator, "signed-in")[-1].number


def test_what_a_person_asked_before_leaving_stays_theirs(make_station, job_for):
    operator = make_station()
    operator.controller.sign_in("op1", "technologist")
    operator.controller.submit(Trigger.OPEN_EXAM, job=job_for(operator))
    operator.controller.lock()
    operator.controller.sign_in("op2", "physician")
    operator.pass_time(0.1)
    assert rows(operator, "open_exam")[-1].detail["by"] == "op1"
    assert "by" not in rows(operator, "locked")[-1].detail
    assert rows(operator, "signed-in")[-1].detail["operator"] == "op2"


def test_a_decision_without_a_name_is_of_who_is_signed_in(make_station, job_for):
    operator = make_station()
    job = job_for(operator)
    operator.controller.sign_in("op1", "technologist")
    operator.expose(job)
    operator.wait(lambda s: s.outcome is not None, "analysis")
    operator.controller.submit(Trigger.ACCEPT)
    operator.wait(lambda s: s.state is State.STANDBY, "standby")
    spool = operator.controller.parts.spool
    assert spool.record(spool.folder(job.exam)).decision.by == "op1"


def test_somebody_elses_name_does_not_get_the_role_of_who_is_signed_in(make_station):
    operator = make_station()
    operator.controller.sign_in("op1", "physician")
    operator.controller.submit(Trigger.ENTER_SERVICE, by="op2")
    operator.pass_time(0.1)
    detail = rows(operator, "enter_service")[-1].detail
    assert (detail["by"], detail["operator"]) == ("op2", "op1")
    assert "role" not in detail


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Trigger.OPEN_EXAM, Trigger.CANCEL_EXAM),
        (Trigger.ENTER_SERVICE, Trigger.LEAVE_SERVICE),
    ],
)
def test_every_trigger_of_people_keeps_name_and_role(make_station, job_for, first, second):
    operator = make_station()
    job = {"job": job_for(operator)} if first is Trigger.OPEN_EXAM else {}
    operator.controller.submit(first, by="tester", role="service", **job)
    operator.controller.submit(second, by="tester", role="service")
    operator.pass_time(0.1)
    for trigger in (first, second):
        detail = rows(operator, trigger)[-1].detail
        assert (detail["by"], detail["role"]) == ("tester", "service")


def test_clearing_a_fault_names_who_did_it(make_station, mocker):
    operator = make_station()
    mocker.patch.object(operator.controller.conduct, "look", side_effect=ZeroDivisionError("bug"))
    operator.controller.step()
    mocker.stopall()
    operator.controller.submit(Trigger.CLEAR_FAULT, by="tester", role="service")
    operator.pass_time(0.1)
    assert rows(operator, "clear_fault")[-1].detail["by"] == "tester"
    assert operator.controller.snapshot.state is State.STANDBY


def test_an_abort_names_who_asked_also_where_there_was_nothing_to_end(make_station, job_for):
    operator = make_station()
    operator.controller.abort(by="tester", role="technologist")
    operator.pass_time(0.1)
    detail = rows(operator, "abort-requested")[-1].detail
    assert (detail["by"], detail["role"]) == ("tester", "technologist")
    operator.to_ready(job_for(operator))
    operator.controller.abort(by="tester", role="technologist")
    operator.pass_time(0.1)
    assert operator.controller.parts.equipment.generator.status().state is GeneratorState.STANDBY
    assert rows(operator, "abort")[-1].detail["by"] == "tester"


# --- the picture ------------------------------------------------------------------------------------------


def test_the_snapshot_holds_the_picture_that_positioning_was_judged_on(make_station, job_for):
    operator = make_station()
    assert operator.controller.snapshot.view.picture is None
    ready(operator, job_for(operator))
    view = operator.controller.snapshot.view
    assert view.picture.pixels.ndim == 3
    assert view.picture.at == view.positioning.at
    operator.press(SwitchStage.PREPARE)
    operator.wait(lambda s: s.state is State.READY, "ready")
    assert operator.controller.snapshot.view.picture is not None
    operator.press(SwitchStage.EXPOSE)
    operator.wait(lambda s: s.state is State.REVIEW, "the frame")
    assert operator.controller.snapshot.view.picture is None  # nobody looks for a hand any more


def test_a_room_without_a_camera_has_no_picture(make_station, job_for, without_camera):
    operator = make_station(room=without_camera)
    operator.controller.submit(Trigger.OPEN_EXAM, job=job_for(operator))
    operator.pass_time(0.5)
    assert operator.controller.snapshot.view.picture is None


def test_a_camera_that_fails_shows_nothing_old(make_station, job_for, mocker):
    operator = make_station()
    ready(operator, job_for(operator))
    camera = operator.controller.parts.equipment.camera
    mocker.patch.object(camera, "view", return_value=None)
    operator.pass_time(0.1)
    assert operator.controller.snapshot.view.picture is None
