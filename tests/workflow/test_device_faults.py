"""What generators, detectors and people may do at every step of an exposure, over wires."""

import pytest
import wired
from wired import check_dose, findings

from station.devices import DeviceFault, EndOfExposure, SwitchStage
from station.readiness import Severity
from station.states import State

ARC = DeviceFault("E12", "TUBE ARC", "the tube arced", "Acknowledge")
BEFORE = [State.POSITIONING, State.PREPARING, State.READY]


def generator(station):
    return station.room.served["generator"].face.model


@pytest.mark.hazard("unintended-exposure")
@pytest.mark.parametrize("step", BEFORE)
def test_a_generator_fault_before_radiation_stops_everything_until_acknowledged(station, step):
    station.bring_to(step)
    with station.room.world.synced():
        generator(station)._fail(ARC)
    wired.settle(station, step)
    assert (station.exposures, station.mas) == (0, 0.0)
    told = [station.controller.snapshot.message, *findings(station)]
    assert any("generator reports a fault" in text and "cknowledge" in text for text in told), told
    station.controller.parts.equipment.generator.acknowledge()
    station.expose_again()
    assert station.exposures == 1


@pytest.mark.hazard("dose-unrecorded")
def test_a_generator_fault_in_the_exposure_ends_it_and_its_dose_is_on_record(station):
    station.room.world.faults.add("generator-fault-during-exposure:4")
    station.bring_to(State.EXPOSING)
    wired.settle(station, State.EXPOSING)
    check_dose(station)
    delivered = station.record().exposures[-1].delivered
    assert delivered.end is EndOfExposure.FAULT
    assert 0 < delivered.mas < 0.6
    station.controller.parts.equipment.generator.acknowledge()
    station.exposures = 0
    station.expose_again()


def test_a_hot_tube_blocks_the_next_exposure_and_says_so(station):
    with station.room.world.synced():
        station.room.world._heat_j = 85_000.0
    assert station.step_until(lambda: any("let the tube cool" in r for r in remedies(station)))
    station.press(SwitchStage.PREPARE)
    station.step_until(lambda: False, 0.5)
    assert (station.state, station.exposures) == (State.POSITIONING, 0)


def remedies(station):
    findings = station.controller.snapshot.view.readiness.findings
    return [finding.remedy for finding in findings if finding.severity is Severity.BLOCKS]


@pytest.mark.hazard("bystander-exposed")
@pytest.mark.parametrize("step", BEFORE)
def test_a_door_opened_before_radiation_ends_the_preparation(station, step):
    station.bring_to(step)
    station.room.world.set_door(False)
    wired.settle(station, step)
    assert (station.exposures, station.mas) == (0, 0.0)
    assert station.state in {State.POSITIONING, State.FAULT}
    told = [station.controller.snapshot.message, *findings(station)]
    assert any("door" in text for text in told), told
    station.room.world.set_door(True)
    station.step_until(lambda: False, 0.2)
    station.controller.parts.equipment.generator.acknowledge()
    station.expose_again()


@pytest.mark.hazard("bystander-exposed")
@pytest.mark.parametrize("what", ["door-opens-during-exposure:4", "emergency-stop-during-exposure:4"])
def test_an_interlock_opened_in_the_exposure_ends_it_at_once_and_its_dose_is_on_record(station, what):
    station.room.world.faults.add(what)
    station.bring_to(State.EXPOSING)
    wired.settle(station, State.EXPOSING)
    check_dose(station)
    delivered = station.record().exposures[-1].delivered
    assert delivered.end is EndOfExposure.FAULT
    assert delivered.mas == pytest.approx(0.4, abs=0.15)


@pytest.mark.hazard("dose-unrecorded")
@pytest.mark.parametrize("ms", [0, 1, 2.5, 5, 8, 9.9])
def test_a_switch_released_at_any_millisecond_leaves_one_recorded_exposure(station, ms):
    station.room.world.faults.add(f"switch-released-after:{ms}")
    station.bring_to(State.EXPOSING)
    wired.settle(station, State.EXPOSING)
    check_dose(station)
    assert station.state is State.REVIEW
    delivered = station.record().exposures[-1].delivered
    assert delivered.ms == pytest.approx(ms, abs=0.3)
    early = ms < 9
    assert delivered.end is (EndOfExposure.RELEASED if early else EndOfExposure.NORMAL)


@pytest.mark.hazard("unintended-exposure")
@pytest.mark.parametrize("step", [State.PREPARING, State.READY])
def test_a_switch_released_before_radiation_leaves_no_exposure(station, step):
    station.bring_to(step)
    station.press(SwitchStage.RELEASED)
    station.reach(State.POSITIONING)
    assert (station.exposures, station.mas) == (0, 0.0)
    station.expose_again()


# --- the detector, over GigE Vision -----------------------------------------------------------------------


@pytest.mark.hazard("exposure-without-image")
@pytest.mark.parametrize("step", BEFORE)
def test_a_camera_that_is_gone_before_radiation_lets_none_out(gige_station, step):
    station = gige_station
    station.bring_to(step)
    station.room.served["detector"].stop()
    assert station.step_until(lambda: station.state in {State.POSITIONING, State.FAULT}, 15.0)
    assert station.step_until(lambda: any("detector" in text for text in told(station)), 15.0), told(station)
    station.press(SwitchStage.EXPOSE)
    station.step_until(lambda: False, 0.3)
    assert (station.exposures, station.mas) == (0, 0.0)


def told(station):
    return [station.controller.snapshot.message, *findings(station)]


@pytest.mark.hazard("exposure-without-image")
def test_a_camera_that_dies_with_the_frame_leaves_a_dose_on_record_and_blocks_a_second_exposure(gige_station):
    station = gige_station
    station.bring_to(State.READY)
    station.press(SwitchStage.EXPOSE)
    assert station.step_until(lambda: station.exposures == 1)
    station.room.served["detector"].stop()
    assert station.step_until(lambda: station.state is State.EXPOSED_NO_IMAGE, 15.0), station.state
    check_dose(station)
    assert station.record().exposures[-1].image is False
    assert station.step_until(lambda: "no image" in station.controller.snapshot.message, 15.0)
    station.room.served["detector"].start()
    station.exposures = 0
    station.press(SwitchStage.RELEASED)
    station.step_until(lambda: False, 0.3)
    station.press(SwitchStage.EXPOSE)
    station.step_until(lambda: False, 0.5)
    assert station.exposures == 0, "a second exposure before the first was accounted for"


@pytest.mark.hazard("exposure-without-image")
@pytest.mark.parametrize("lost", [0.5, 1.0], ids=["incomplete", "never comes"])
def test_a_frame_that_lost_packets_is_never_used(gige_station, lost):
    station = gige_station
    station.bring_to(State.READY)
    station.room.served["detector"].lose_packets(lost)
    station.press(SwitchStage.EXPOSE)
    assert station.step_until(lambda: station.state is State.EXPOSED_NO_IMAGE, 15.0), station.state
    station.room.served["detector"].lose_packets(0.0)
    check_dose(station)
    assert station.record().exposures[-1].image is False
    station.exposures = 0
    station.expose_again()
    assert station.exposures == 1
