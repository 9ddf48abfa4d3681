"""The controller with a whole simulated room behind it: what may never happen, and what must."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from station.devices import (
    CommunicationLost,
    DetectorState,
    EndOfExposure,
    GeneratorState,
    Lamp,
    SwitchStage,
    Technique,
)
from station.exam import Purpose, Side
from station.operate import Stuck
from station.positioning import CHECKLIST, confirmed
from station.states import State, Trigger

# --- the way it should go -----------------------------------------------------------------------------


# The coarse panel of these tests measures no bone, so there is no report of measurements
UNMEASURED = {"for-processing.dcm", "for-presentation.dcm", "edges.dcm", "dose.dcm", "report.dcm"}


def test_an_exam_goes_from_order_to_accepted_with_everything_recorded(make_station, job_for):
    operator = make_station()
    job = job_for(operator)
    operator.expose(job)
    operator.wait(lambda s: s.outcome is not None, "analysis")
    operator.controller.submit(Trigger.ACCEPT, by="operator")
    done = operator.wait(lambda s: s.state is State.STANDBY, "standby")
    spool = operator.controller.parts.spool
    record = spool.record(spool.folder(job.exam))
    assert (record.closed, record.decision.by) == ("accepted", "operator")
    assert record.exposures[0].delivered.end is EndOfExposure.NORMAL
    assert record.exposures[0].delivered.mas == pytest.approx(1.0, rel=0.02)
    assert record.exposures[0].dap_ugym2 == pytest.approx(33.4 * 0.28 * 0.22, rel=0.1)
    assert {path.name for path in done.finished.objects} == UNMEASURED


def test_the_journal_knows_uids_and_no_names(make_station, job_for, tmp_path):
    operator = make_station()
    job = job_for(operator)
    operator.expose(job)
    operator.controller.parts.journal.close()
    text = b"".join(path.read_bytes() for path in tmp_path.glob("journal.db*"))
    assert job.exam.uid.encode() in text
    assert b"Person" not in text
    assert b"1961" not in text


@pytest.mark.hazard("image-lost")
def test_the_raw_frame_is_on_disk_before_anything_is_made_of_it(make_station, job_for, mocker):
    operator = make_station()
    seen = []

    def spy(raw, exam, *_):
        spool = operator.controller.parts.spool
        seen.append(
            np.array_equal(spool.raw(exam, spool.record(spool.folder(exam)).exposures[-1]).pixels, raw.pixels)
        )
        raise RuntimeError("stop here")

    mocker.patch("station.conduct.process", side_effect=spy)
    operator.expose(job_for(operator))
    assert seen == [True]


def test_the_lamp_shows_ready_radiation_and_its_end(make_station, job_for, mocker):
    operator = make_station()
    shown = mocker.spy(operator.controller.parts.equipment.io, "show")
    operator.expose(job_for(operator))
    lamps = [call.args[0] for call in shown.call_args_list]
    assert lamps[lamps.index(Lamp.READY) :] == [Lamp.READY, Lamp.XRAY_ON, Lamp.END_OF_EXPOSURE]


def test_without_a_camera_the_operators_list_stands_in_and_is_recorded(make_station, job_for, small_room):
    devices = small_room.devices.model_copy(update={"camera": None})
    operator = make_station(room=small_room.model_copy(update={"devices": devices}))
    controller = operator.controller
    controller.submit(Trigger.OPEN_EXAM, job=job_for(operator))
    operator.pass_time(2)
    assert [f.id for f in controller.snapshot.view.readiness.findings] == ["positioning-unknown"]
    controller.confirm_positioning(
        confirmed([i for i, _ in CHECKLIST], "operator", controller.parts.clock.now())
    )
    operator.pass_time(0.1)
    assert controller.snapshot.view.readiness.ready
    assert "positioning-confirmed" in operator.journal("device")


# --- no exposure without readiness ----------------------------------------------------------------------


@pytest.mark.hazard("unintended-exposure")
def test_a_switch_that_is_pressed_before_the_exam_opens_prepares_nothing(make_station, job_for):
    operator = make_station()
    operator.press(SwitchStage.EXPOSE)
    operator.controller.submit(Trigger.OPEN_EXAM, job=job_for(operator))
    operator.pass_time(5)
    assert operator.controller.snapshot.state is State.POSITIONING
    assert operator.exposures() == 0


@pytest.mark.hazard("unintended-exposure")
def test_a_pressed_switch_must_be_let_go_first_even_where_everything_is_ready_at_once(make_station, job_for):
    operator = make_station()
    job = job_for(operator)
    flat = type(job)(replace(job.exam, purpose=Purpose.CALIBRATION), job.technique)
    operator.press(SwitchStage.EXPOSE)
    operator.controller.submit(Trigger.OPEN_EXAM, job=flat)
    operator.pass_time(3)
    assert operator.controller.snapshot.view.readiness.ready
    assert operator.controller.snapshot.state is State.POSITIONING


@pytest.mark.hazard("bystander-exposed")
def test_a_door_that_opens_in_ready_takes_the_permission_back(make_station, job_for):
    operator = make_station()
    operator.to_ready(job_for(operator))
    operator.controller.parts.equipment.io.set_door(False)
    operator.pass_time(0.1)
    assert operator.controller.snapshot.state is State.POSITIONING
    assert operator.exposures() == 0


@pytest.mark.hazard("unintended-exposure")
def test_pressing_before_everything_is_ready_is_refused_and_journalled(make_station, job_for):
    operator = make_station(door_closed=False)
    operator.controller.submit(Trigger.OPEN_EXAM, job=job_for(operator))
    operator.pass_time(2)
    operator.press(SwitchStage.EXPOSE)
    operator.pass_time(3)
    assert operator.controller.snapshot.state is State.POSITIONING
    assert operator.journal("refusal") == ["prepare"]
    assert operator.exposures() == 0


@pytest.mark.hazard("unintended-exposure")
def test_full_press_at_once_still_goes_through_every_check(make_station, job_for):
    operator = make_station()
    operator.controller.submit(Trigger.OPEN_EXAM, job=job_for(operator))
    operator.wait(lambda s: s.view.readiness is not None and s.view.readiness.ready, "readiness")
    operator.press(SwitchStage.EXPOSE)
    operator.wait(lambda s: s.state is State.REVIEW, "review")
    operator.press(SwitchStage.RELEASED)
    triggers = operator.journal("trigger")
    assert triggers[triggers.index("open_exam", -6) :][:4] == [
        "open_exam",
        "prepare",
        "devices_ready",
        "expose",
    ]


@pytest.mark.hazard("bystander-exposed")
def test_a_door_that_opens_during_preparation_ends_it(make_station, job_for):
    operator = make_station("door-opens-during-prepare")
    with pytest.raises(Stuck):
        operator.to_ready(job_for(operator))
    assert operator.controller.snapshot.state is State.POSITIONING
    assert operator.exposures() == 0


@pytest.mark.hazard("unintended-exposure")
def test_readiness_that_is_not_used_in_time_expires(make_station, job_for):
    operator = make_station()
    operator.to_ready(job_for(operator))
    operator.pass_time(10.1)
    assert operator.controller.snapshot.state is State.POSITIONING
    operator.press(SwitchStage.EXPOSE)
    operator.pass_time(1)
    assert operator.exposures() == 0


@pytest.mark.hazard("double-exposure")
def test_a_switch_that_stays_pressed_makes_one_exposure_only(make_station, job_for):
    operator = make_station()
    operator.to_ready(job_for(operator))
    operator.press(SwitchStage.EXPOSE)
    operator.wait(lambda s: s.outcome is not None, "analysis")
    operator.controller.submit(Trigger.REJECT, reason="111209", by="operator")
    operator.pass_time(5)
    assert operator.controller.snapshot.state is State.POSITIONING
    assert operator.exposures() == 1


@pytest.mark.hazard("wrong-side")
def test_the_other_hand_on_the_panel_blocks(make_station, job_for):
    operator = make_station()
    operator.controller.submit(Trigger.OPEN_EXAM, job=job_for(operator, side=Side.RIGHT))
    operator.pass_time(2)
    assert "wrong-side" in [f.id for f in operator.controller.snapshot.view.readiness.findings]


@pytest.mark.hazard("bad-geometry")
@pytest.mark.parametrize(
    ("simulation", "finding"),
    [
        ({"hand_present": False}, "no-hand"),
        ({"second_hand": True}, "two-hands"),
        ({"pose": "shift=0:90"}, "outside-field"),
        ({"pose": "shift=95:0"}, "outside-field"),
        ({"motion_mm": 8, "motion_until_s": 3600}, "hand-moving"),
    ],
)
def test_a_hand_that_is_not_there_whole_single_and_still_is_not_exposed(
    make_station, job_for, simulation, finding
):
    operator = make_station(**simulation)
    with pytest.raises(Stuck) as stuck:
        operator.expose(job_for(operator))
    assert finding in [f.id for f in stuck.value.findings]
    assert operator.exposures() == 0


@pytest.mark.hazard("bad-geometry")
def test_a_frozen_camera_is_not_a_still_hand(make_station, job_for):
    operator = make_station("camera-frozen")
    with pytest.raises(Stuck) as stuck:
        operator.expose(job_for(operator))
    assert {f.id for f in stuck.value.findings} & {"camera-no-picture", "positioning-stale"}


@pytest.mark.hazard("wrong-exposure")
def test_a_technique_out_of_range_is_refused_not_clipped_and_loads_nothing(make_station, job_for):
    operator = make_station()
    job = job_for(operator)
    too_much = type(job)(job.exam, Technique(50, 5000, 10))
    operator.controller.submit(Trigger.OPEN_EXAM, job=too_much)
    operator.pass_time(2)
    finding = next(
        f for f in operator.controller.snapshot.view.readiness.findings if f.id == "technique-refused"
    )
    assert "5000 mA asked" in finding.message
    assert operator.controller.snapshot.view.read_back is None


# --- abort -----------------------------------------------------------------------------------------------


@pytest.mark.hazard("unintended-exposure")
def test_an_abort_in_ready_voids_the_token_even_with_the_switch_pressed(make_station, job_for):
    operator = make_station()
    operator.to_ready(job_for(operator))
    operator.press(SwitchStage.EXPOSE)
    operator.controller.abort()
    assert operator.controller.parts.equipment.generator.status().state is GeneratorState.STANDBY
    operator.pass_time(3)
    assert operator.controller.snapshot.state is State.POSITIONING
    assert operator.exposures() == 0


@pytest.mark.hazard("unintended-exposure")
def test_a_fault_disarms_the_detector_also_where_the_generator_cannot_be_told(make_station, job_for, mocker):
    operator = make_station()
    operator.to_ready(job_for(operator))
    controller = operator.controller
    equipment, conduct = controller.parts.equipment, controller.conduct
    mocker.patch.object(equipment.generator, "abort", side_effect=CommunicationLost("no line"))
    mocker.patch.object(conduct, "wait", side_effect=RuntimeError("a mistake"))
    controller.step()
    assert controller.snapshot.state is State.FAULT
    assert "a mistake; the abort was not confirmed: no line" in controller.snapshot.message
    assert equipment.detector.status().state is DetectorState.IDLE
    assert not conduct.armed()


@pytest.mark.hazard("unintended-exposure")
def test_an_abort_reaches_the_generator_while_the_controllers_thread_is_busy(make_station, job_for, mocker):
    operator = make_station()
    operator.to_ready(job_for(operator))
    entered, leave = threading.Event(), threading.Event()
    expose = mocker.spy(operator.controller.parts.equipment.generator, "expose")
    look = operator.controller.conduct.lookout.look

    def busy(**arguments):
        entered.set()
        leave.wait(5)
        return look(**arguments)

    mocker.patch.object(operator.controller.conduct.lookout, "look", side_effect=busy)
    operator.press(SwitchStage.EXPOSE)
    stepping = threading.Thread(target=operator.controller.step, daemon=True)
    stepping.start()
    assert entered.wait(5)
    started = time.monotonic()
    operator.controller.abort()
    state = operator.controller.parts.equipment.generator.status().state
    took_s = time.monotonic() - started
    leave.set()
    stepping.join(5)
    assert state is GeneratorState.STANDBY
    assert took_s < 1  # it did not wait for the thread
    assert expose.call_count == 0
    assert operator.exposures() == 0


def test_an_abort_during_the_exposure_ends_it_and_still_reads_the_frame(make_station, job_for):
    operator = make_station()
    job = job_for(operator)
    longer = type(job)(job.exam, Technique(50, 10, 1000))
    operator.to_ready(longer)
    operator.press(SwitchStage.EXPOSE)
    operator.wait(lambda s: s.state is State.EXPOSING, "exposing")
    operator.pass_time(0.2)
    operator.controller.abort()
    snapshot = operator.wait(lambda s: s.state is State.REVIEW, "the partial frame")
    delivered = snapshot.exposures[-1].delivered
    assert delivered.end is EndOfExposure.ABORTED
    assert 0 < delivered.ms < 400
    assert snapshot.exposures[-1].image


def test_an_abort_where_there_is_nothing_to_abort_changes_nothing(make_station):
    operator = make_station()
    operator.controller.abort()
    operator.pass_time(0.1)
    assert operator.controller.snapshot.state is State.STANDBY
