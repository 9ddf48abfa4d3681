"""Faults and restarts: whatever dies, the station comes up disarmed and loses nothing."""

from dataclasses import replace

import pytest

from station.config import RoomFile
from station.devices import (
    EndOfExposure,
    GeneratorState,
    SwitchStage,
)
from station.states import State, Trigger

# --- faults and restarts -----------------------------------------------------------------------------------


def test_an_internal_error_becomes_a_fault_with_its_trace_and_the_exam_goes_on_disarmed(
    make_station, job_for, mocker
):
    operator = make_station()
    operator.to_ready(job_for(operator))
    mocker.patch.object(operator.controller.conduct, "while_ready", side_effect=ZeroDivisionError("bug"))
    operator.press(SwitchStage.RELEASED)
    operator.controller.step()
    assert operator.controller.snapshot.state is State.FAULT
    assert "ZeroDivisionError" in list(operator.controller.parts.journal.entries())[-1].detail["trace"]
    mocker.stopall()
    operator.controller.submit(Trigger.CLEAR_FAULT)
    operator.pass_time(0.1)
    assert operator.controller.snapshot.state is State.POSITIONING
    assert operator.controller.parts.equipment.generator.status().state is GeneratorState.STANDBY


@pytest.mark.hazard("unintended-exposure")
def test_a_restart_while_ready_comes_up_disarmed_with_the_exam_abandoned(make_station, job_for):
    first = make_station()
    first.to_ready(job_for(first))
    second = make_station()
    second.pass_time(1)
    assert second.controller.snapshot.state is State.STANDBY
    assert second.controller.parts.equipment.generator.status().state is GeneratorState.STANDBY
    assert "abandoned" in second.journal("device")


@pytest.mark.hazard("image-lost")
def test_a_restart_after_the_frame_was_stored_finishes_the_exam_from_the_spool(make_station, job_for):
    first = make_station()
    job = job_for(first)
    first.expose(job)  # and the process dies in REVIEW
    second = make_station()
    snapshot = second.wait(lambda s: s.outcome is not None, "analysis")
    assert (snapshot.state, snapshot.job.exam) == (State.REVIEW, job.exam)
    second.controller.submit(Trigger.ACCEPT, by="operator")
    done = second.wait(lambda s: s.state is State.STANDBY, "standby")
    assert len(done.finished.objects) == 5  # all but the report of measurements: too coarse a panel


@pytest.mark.hazard("image-lost")
def test_a_restart_finds_a_frame_whose_record_was_not_written_in_time(make_station, job_for):
    first = make_station()
    job = job_for(first)
    snapshot = first.expose(job)
    first.controller.parts.spool.write_exposure(job.exam, replace(snapshot.exposures[0], image=False))
    second = make_station()
    assert second.controller.snapshot.state is State.REVIEW
    assert second.controller.snapshot.exposures[0].image


@pytest.mark.hazard("exposure-without-image")
def test_a_restart_between_exposure_and_frame_looks_into_the_detectors_memory(
    make_station, job_for, small_room: RoomFile, tmp_path
):
    room = _with_lasting_memory(small_room, tmp_path)
    first = make_station(room=room)
    job = job_for(first)
    first.to_ready(job)
    first.press(SwitchStage.EXPOSE)
    first.wait(lambda s: s.state is State.READOUT, "readout")
    first.controller.parts.clock.sleep(2)  # the panel has read, the process dies without fetching
    first.controller.parts.equipment.detector.status()
    second = make_station(room=room)
    assert second.controller.snapshot.state is State.EXPOSED_NO_IMAGE
    snapshot = second.wait(lambda s: s.state is State.REVIEW, "recovery", 30)
    assert snapshot.exposures[0].recovered
    assert snapshot.exposures[0].delivered.end is EndOfExposure.NORMAL


@pytest.mark.hazard("exposure-without-image")
def test_a_restart_in_the_middle_of_the_exposure_counts_the_dose_in_full(make_station, job_for):
    first = make_station()
    job = job_for(first)
    first.to_ready(job)
    first.press(SwitchStage.EXPOSE)
    first.wait(lambda s: s.state is State.EXPOSING, "exposing")  # and the process dies
    second = make_station()
    assert second.controller.snapshot.state is State.EXPOSED_NO_IMAGE
    second.pass_time(3)
    (exposure,) = second.controller.snapshot.exposures
    assert (exposure.delivered.end, exposure.delivered.mas) == (EndOfExposure.UNKNOWN, pytest.approx(1.0))


def _with_lasting_memory(room: RoomFile, folder) -> RoomFile:
    detector = room.devices.detector
    settings = {**detector.settings, "memory_folder": str(folder / "panel")}
    devices = room.devices.model_copy(update={"detector": detector.model_copy(update={"settings": settings})})
    return room.model_copy(update={"devices": devices})


def test_hardware_triggers_cannot_be_submitted_by_people(make_station):
    operator = make_station()
    with pytest.raises(ValueError, match="comes from the hardware"):
        operator.controller.submit(Trigger.EXPOSE)
