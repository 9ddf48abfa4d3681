"""Stations on wires, calibrated, with an exam open and ready to be prepared."""

import shutil

import pytest
import wired
from detector_rigs import only_gige_camera_here
from hospital_rooms import Beside, file_of

from drivers.aravis import Aravis
from simulators.pacs import Hospital as SimulatedHospital
from simulators.pacs import Setup
from station.assembly import assemble
from station.calibrate import calibrate
from station.config import load_room
from station.devices import NotConnected
from station.operate import Operator

PANEL = {"rows": 240, "columns": 200, "spacing_mm": 0.25}
QUICK = {"arming_s": 0.03, "reading_s": 0.03}
GIGE_SERIAL = "XRAY-01"  # as the hosted camera calls itself


def make_maps(folder, **settings):
    """A little panel's calibration."""
    room = load_room("sim")
    detector = room.devices.detector.model_copy(update={"settings": PANEL | settings})
    devices = room.devices.model_copy(update={"detector": detector})
    controller = assemble(room.model_copy(update={"devices": devices}), {}, folder, real_time=False)
    controller.start()
    calibrate(Operator(controller, lambda _: None))
    controller.close()
    controller.parts.journal.close()
    return folder / "calibration"


@pytest.fixture(scope="session")
def maps(tmp_path_factory):
    return make_maps(tmp_path_factory.mktemp("maps"))


@pytest.fixture(scope="session")
def gige_maps(tmp_path_factory):
    return make_maps(tmp_path_factory.mktemp("maps"), serial=GIGE_SERIAL)


@pytest.fixture
def station(tmp_path, maps, monkeypatch, job_for):
    """Generator, contacts and dose meter on wires, the detector a simulated one."""
    shutil.copytree(maps, tmp_path / "calibration")
    detector = {"driver": "sim-detector", "settings": PANEL | QUICK}
    yield from running(tmp_path, detector, monkeypatch, job_for)


@pytest.fixture
def gige_station(tmp_path, gige_maps, monkeypatch, job_for):
    """All of it on wires, the detector over GigE Vision."""
    try:
        Aravis("")
    except NotConnected as error:
        pytest.skip(str(error))
    unlock = only_gige_camera_here()
    shutil.copytree(gige_maps, tmp_path / "calibration")
    detector = {"driver": "genicam", "settings": PANEL}
    try:
        for made in running(tmp_path, detector, monkeypatch, job_for):
            yield made
            camera = made.room.served["detector"]
            if camera._camera is None:
                camera.start()  # a driver that hangs on to a dead camera would meet the next test's
    finally:
        unlock()


def running(folder, detector, monkeypatch, job_for):
    made = wired.make(folder, detector, monkeypatch)
    try:
        made.controller.start()
        made.open(job_for(made.operator))
        yield made
    finally:
        wired.stop(made)


# --- beside a hospital ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def big_calibration(tmp_path_factory):
    """Of the whole panel, on which bones are measured."""
    folder = tmp_path_factory.mktemp("big")
    controller = assemble(load_room("sim"), {}, folder, real_time=False)
    controller.start()
    calibrate(Operator(controller, lambda _: None))
    controller.close()
    controller.parts.journal.close()
    return folder / "calibration"


@pytest.fixture
def peers():
    with SimulatedHospital(Setup(commitment="same")) as hospital:
        yield hospital


@pytest.fixture
def beside(tmp_path, small_room, calibration, peers):
    """A coarse panel, quick: no bone is measured on it."""
    return Beside(tmp_path, small_room, calibration, peers, file_of(peers))
