"""From the second stage of the switch on: every dose recorded, no frame lost, no second exposure."""

from concurrent.futures import Future
from dataclasses import replace

import pytest

from station.devices import (
    Aborted,
    DetectorState,
    DeviceRefused,
    EndOfExposure,
    SwitchStage,
    Technique,
)
from station.operate import Stuck
from station.states import State, Trigger

# --- exposure and image ------------------------------------------------------------------------------------


def test_a_switch_released_early_keeps_the_partial_frame_and_its_dose(make_station, job_for):
    operator = make_station("switch-released-after:4")
    job = job_for(operator)
    snapshot = operator.expose(job)
    (exposure,) = snapshot.exposures
    assert snapshot.state is State.REVIEW
    assert exposure.delivered.end is EndOfExposure.RELEASED
    assert exposure.delivered.ms == pytest.approx(4, abs=0.2)
    assert exposure.dap_ugym2 > 0
    assert exposure.image


@pytest.mark.hazard("bystander-exposed")
@pytest.mark.parametrize(
    ("changed", "end"),
    [
        ({"switch": SwitchStage.RELEASED}, EndOfExposure.RELEASED),
        ({"door_closed": False}, EndOfExposure.ABORTED),
        ({"emergency_stop_released": None}, EndOfExposure.ABORTED),
    ],
)
def test_a_generator_that_does_not_see_the_room_itself_is_told_to_end(
    make_station, job_for, mocker, changed, end
):
    operator = make_station()
    job = job_for(operator)
    operator.to_ready(type(job)(job.exam, Technique(50, 10, 1000)))
    operator.press(SwitchStage.EXPOSE)
    operator.wait(lambda s: s.state is State.EXPOSING, "exposing")
    io = operator.controller.parts.equipment.io
    seen = io.inputs
    mocker.patch.object(io, "inputs", side_effect=lambda: replace(seen(), **changed))
    snapshot = operator.wait(lambda s: s.state is State.REVIEW, "the partial frame")
    assert snapshot.exposures[0].delivered.end is end
    assert snapshot.exposures[0].delivered.ms < 200


@pytest.mark.hazard("exposure-without-image")
@pytest.mark.parametrize(
    "fault",
    [
        "detector-silent-after-exposure:30",
        "detector-line-cut:during-fetch",
        "detector-line-cut:after-exposure",
    ],
)
def test_a_detector_that_falls_silent_after_exposure_gives_its_frame_later(make_station, job_for, fault):
    operator = make_station(fault)
    states = []
    operator.controller.listeners.append(lambda s: states.append(s.state))
    operator.expose(job_for(operator))
    snapshot = operator.wait(lambda s: s.state is State.REVIEW, "recovery", 60)
    assert State.EXPOSED_NO_IMAGE in states
    assert (snapshot.exposures[0].image, snapshot.exposures[0].recovered) == (True, True)
    assert snapshot.exposures[0].delivered.end is EndOfExposure.NORMAL


@pytest.mark.hazard("double-exposure")
def test_an_exposure_without_image_blocks_the_next_until_a_person_accounts_for_it(make_station, job_for):
    operator = make_station("detector-silent-after-exposure:600")
    operator.expose(job_for(operator))
    assert operator.controller.snapshot.state is State.EXPOSED_NO_IMAGE
    operator.press(SwitchStage.EXPOSE)
    operator.controller.submit(Trigger.ACKNOWLEDGE, reason="", by="operator")
    operator.pass_time(3)
    assert operator.controller.snapshot.state is State.EXPOSED_NO_IMAGE
    assert operator.exposures() == 1
    operator.controller.submit(Trigger.ACKNOWLEDGE, reason="panel dead, dose recorded", by="operator")
    operator.pass_time(0.1)
    assert operator.controller.snapshot.state is State.POSITIONING


@pytest.mark.hazard("image-lost")
def test_a_disk_that_fills_up_during_the_exposure_loses_nothing(make_station, job_for, mocker):
    operator = make_station()
    write = mocker.patch("station.spool.Spool.write_raw", side_effect=_full_then(operator))
    operator.expose(job_for(operator))
    snapshot = operator.wait(lambda s: s.state is State.REVIEW, "recovery", 30)
    assert write.call_count == 3
    assert snapshot.exposures[0].recovered


def _full_then(operator):
    from station.spool import Spool, SpoolError

    real, calls = Spool.write_raw, []

    def write(exam, exposure, frame):
        calls.append(exam)
        if len(calls) < 3:
            raise SpoolError("disk full")
        return real(operator.controller.parts.spool, exam, exposure, frame)

    return write


@pytest.mark.hazard("image-lost")
def test_a_full_disk_is_noticed_before_the_exposure(make_station, job_for, mocker):
    operator = make_station()
    mocker.patch("station.spool.Spool.free_bytes", return_value=10_000_000)
    with pytest.raises(Stuck) as stuck:
        operator.expose(job_for(operator))
    assert [finding.id for finding in stuck.value.findings] == ["disk-full"]
    assert operator.exposures() == 0


@pytest.mark.parametrize("fault", ["generator-fault-during-exposure", "generator-silent-during-exposure"])
def test_a_generator_that_fails_during_the_exposure_still_leaves_a_frame_and_a_dose(
    make_station, job_for, fault
):
    operator = make_station(fault)
    snapshot = operator.expose(job_for(operator))
    assert snapshot.state is State.REVIEW
    (exposure,) = snapshot.exposures
    assert exposure.image
    assert exposure.delivered.end in {EndOfExposure.FAULT, EndOfExposure.UNKNOWN}
    assert exposure.delivered.mas > 0


@pytest.mark.parametrize("fault", ["door-opens-during-exposure", "emergency-stop-during-exposure"])
def test_an_opened_room_ends_the_exposure(make_station, job_for, fault):
    operator = make_station(fault)
    job = job_for(operator)
    snapshot = operator.expose(type(job)(job.exam, Technique(50, 10, 1000)))
    assert snapshot.exposures[0].delivered.ms < 500


@pytest.mark.parametrize("refusal", [DeviceRefused("not now"), Aborted("overtaken")])
def test_a_generator_that_refuses_to_expose_is_not_asked_again(make_station, job_for, mocker, refusal):
    operator = make_station()
    job = job_for(operator)
    operator.to_ready(job)
    expose = mocker.patch.object(operator.controller.parts.equipment.generator, "expose", side_effect=refusal)
    operator.press(SwitchStage.EXPOSE)
    operator.pass_time(2)
    assert expose.call_count == 1
    assert operator.controller.snapshot.state is State.POSITIONING
    (exposure,) = operator.controller.snapshot.exposures
    assert (exposure.delivered.end, exposure.delivered.mas) == (EndOfExposure.NOT_STARTED, 0)
    assert operator.controller.parts.equipment.detector.status().state is DetectorState.IDLE


def test_a_rejected_exposure_keeps_its_dose_and_the_retake_is_number_two(make_station, job_for):
    operator = make_station()
    operator.expose(job_for(operator))
    operator.wait(lambda s: s.outcome is not None, "analysis")
    operator.controller.submit(Trigger.REJECT, reason="111210", by="operator")
    operator.wait(lambda s: s.view.readiness is not None and s.view.readiness.ready, "readiness")
    operator.press(SwitchStage.EXPOSE)
    snapshot = operator.wait(lambda s: s.outcome is not None, "the second analysis")
    assert [e.number for e in snapshot.exposures] == [1, 2]
    assert all(e.delivered.mas > 0.9 for e in snapshot.exposures)
    assert len({e.uid for e in snapshot.exposures}) == 2


def test_a_late_result_of_a_rejected_exposure_never_stands_for_the_retake(make_station, job_for):
    operator = make_station()
    operator.expose(job_for(operator))
    first = operator.wait(lambda s: s.outcome is not None, "analysis")
    operator.controller.submit(Trigger.REJECT, reason="111210", by="operator")
    operator.wait(lambda s: s.view.readiness is not None and s.view.readiness.ready, "readiness")
    operator.press(SwitchStage.EXPOSE)
    second = operator.wait(lambda s: s.outcome is not None, "the second analysis")
    late: Future = Future()
    late.set_result(first.outcome)
    operator.controller.processed(first.exposures[0].uid, late)
    operator.pass_time(0.1)
    assert operator.controller.snapshot.outcome is second.outcome


def test_a_rejection_needs_a_reason(make_station, job_for):
    operator = make_station()
    operator.expose(job_for(operator))
    operator.wait(lambda s: s.outcome is not None, "analysis")
    operator.controller.submit(Trigger.REJECT, by="operator")
    operator.pass_time(0.1)
    assert operator.controller.snapshot.state is State.REVIEW
