"""What a broken line may do at every step of an exposure: never a dose unrecorded, never a second one."""

import shutil

import pytest
import wired
from wired import Wired

from station.assembly import assemble
from station.calibrate import calibrate
from station.config import load_room
from station.devices import EndOfExposure
from station.operate import Operator
from station.states import State

PANEL = {"rows": 240, "columns": 200, "spacing_mm": 0.25, "arming_s": 0.03, "reading_s": 0.03}
DETECTOR = {"driver": "sim-detector", "settings": PANEL}
STEPS = [State.POSITIONING, State.PREPARING, State.READY, State.EXPOSING]
LINE_ILLS = ["silent", "babble", "garbage", "split", "damaged", "late", "unplugged"]
TOLD_AS = {"generator": "the generator", "io": "room", "dap": "dose meter"}


@pytest.fixture(scope="session")
def maps(tmp_path_factory):
    """The little panel's calibration, made once."""
    folder = tmp_path_factory.mktemp("maps")
    room = load_room("sim")
    detector = room.devices.detector.model_copy(update={"settings": PANEL})
    devices = room.devices.model_copy(update={"detector": detector})
    controller = assemble(room.model_copy(update={"devices": devices}), {}, folder, real_time=False)
    controller.start()
    calibrate(Operator(controller, lambda _: None))
    controller.close()
    controller.parts.journal.close()
    return folder / "calibration"


@pytest.fixture
def station(tmp_path, maps, monkeypatch, job_for):
    shutil.copytree(maps, tmp_path / "calibration")
    station = wired.make(tmp_path, DETECTOR, monkeypatch)
    station.controller.start()
    station.open(job_for(station.operator))
    yield station
    wired.stop(station)


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


def settle(station: Wired, step: State) -> None:
    """Go on as people would who notice nothing, until the station rests."""
    order = [State.POSITIONING, State.PREPARING, State.READY, State.EXPOSING]
    rest = {State.POSITIONING, State.REVIEW, State.EXPOSED_NO_IMAGE, State.FAULT}
    station.step_until(lambda: False, 0.4)
    if station.state in order[1:] and step is not State.EXPOSING:
        station.press(wired.SwitchStage.EXPOSE)
    station.step_until(lambda: station.state in rest, 5.0)


def check_dose(station: Wired) -> None:
    """What the world has seen is on disk and in the journal, at least in full."""
    record = station.record()
    assert station.exposures <= 1, "a second exposure"
    assert len([e for e in station.journal() if e.name == "expose" and e.kind == "device"]) <= 1
    if station.mas == 0:
        return
    assert record is not None, "a dose without a record"
    (exposure,) = record.exposures
    assert exposure.delivered is not None, "a dose without a record"
    assert exposure.delivered.mas >= 0.97 * station.mas
    assert "delivered" in [entry.name for entry in station.journal()]


def findings(station: Wired) -> list[str]:
    return [finding.message for finding in station.controller.snapshot.view.readiness.blocking]


@pytest.mark.hazard("unintended-exposure")
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("ill", LINE_ILLS)
def test_whatever_the_generator_line_does_no_dose_goes_unrecorded_and_the_station_goes_on(station, ill, step):
    station.bring_to(step)
    afflict(station, "generator", ill)
    settle(station, step)
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


@pytest.mark.hazard("bystander-exposed")
@pytest.mark.parametrize("step", STEPS)
def test_contacts_that_fall_silent_stop_the_preparation_or_end_the_exposure(station, step):
    station.bring_to(step)
    afflict(station, "io", "silent")
    settle(station, step)
    check_dose(station)
    if step is not State.EXPOSING:
        assert station.exposures == 0
        assert station.state is State.POSITIONING
        blocking = {finding.id for finding in station.controller.snapshot.view.readiness.blocking}
        assert blocking & {"room-io-silent", "door-open"}
    cure(station, "io", "silent")
    station.exposures = 0
    station.expose_again()


@pytest.mark.parametrize("step", [State.READY, State.EXPOSING])
def test_a_silent_dose_meter_costs_its_reading_and_nothing_else(station, step):
    station.bring_to(step)
    afflict(station, "dap", "silent")
    settle(station, step)
    check_dose(station)
    assert station.state is State.REVIEW
    assert station.record().exposures[-1].delivered.end is EndOfExposure.NORMAL
    cure(station, "dap", "silent")
