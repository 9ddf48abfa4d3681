"""What a broken line may do at every step of an exposure: never a dose unrecorded, never a second one."""

import pytest
import wired
from wired import Wired, check_dose, findings

from station.devices import EndOfExposure
from station.states import State, Trigger

STEPS = [State.POSITIONING, State.PREPARING, State.READY, State.EXPOSING]
LINE_ILLS = ["silent", "babble", "garbage", "split", "merged", "damaged", "late", "unplugged"]


def afflict(station: Wired, device: str, ill: str) -> None:
    served = station.room.served[device]
    if ill == "unplugged" or device == "io":
        served.stop()
    else:
        served.line.spoil(ill, 1.5)


def cure(station: Wired, device: str, ill: str) -> None:
    served = station.room.served[device]
    if ill == "unplugged" or device == "io":
        served.start()
    else:
        served.line.mend()
    if ill == "late":
        station.step_until(lambda: False, 1.6)  # until what was held back has come


@pytest.mark.hazard("unintended-exposure")
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("ill", LINE_ILLS)
def test_whatever_the_generator_line_does_no_dose_goes_unrecorded_and_the_station_goes_on(station, ill, step):
    station.bring_to(step)
    afflict(station, "generator", ill)
    wired.settle(station, step)
    check_dose(station)
    if station.state is State.FAULT:
        assert "generator" in station.controller.snapshot.message
    if station.state is State.POSITIONING and ill in {"silent", "unplugged", "babble"}:
        assert station.step_until(lambda: "the generator does not answer" in findings(station)), station
    cure(station, "generator", ill)
    station.exposures = 0
    station.expose_again()
    assert station.exposures == 1
    assert station.record().exposures[-1].delivered.end is EndOfExposure.NORMAL


def test_a_technique_that_a_silent_generator_did_not_take_is_set_once_it_answers(station, job_for):
    station.controller.submit(Trigger.CANCEL_EXAM, by="tester")
    station.reach(State.STANDBY)
    afflict(station, "generator", "silent")
    station.controller.submit(Trigger.OPEN_EXAM, job=job_for(station.operator))
    station.reach(State.POSITIONING)
    assert station.step_until(lambda: "the generator does not answer" in findings(station)), findings(station)
    cure(station, "generator", "silent")
    station.position()
    station.expose_again()
    assert station.exposures == 1


@pytest.mark.hazard("bystander-exposed")
@pytest.mark.parametrize("step", STEPS)
def test_contacts_that_fall_silent_stop_the_preparation_or_end_the_exposure(station, step):
    station.bring_to(step)
    afflict(station, "io", "silent")
    wired.settle(station, step)
    check_dose(station)
    if step is not State.EXPOSING:
        assert station.exposures == 0
        assert station.state is State.POSITIONING
        words = ("the door is open", "contacts do not answer")
        assert station.step_until(lambda: any(word in text for text in findings(station) for word in words))
    cure(station, "io", "silent")
    station.exposures = 0
    station.expose_again()


@pytest.mark.parametrize("step", [State.READY, State.EXPOSING])
def test_a_silent_dose_meter_costs_its_reading_and_nothing_else(station, step):
    station.bring_to(step)
    afflict(station, "dap", "silent")
    wired.settle(station, step)
    check_dose(station)
    assert station.state is State.REVIEW
    assert station.record().exposures[-1].delivered.end is EndOfExposure.NORMAL
    cure(station, "dap", "silent")
