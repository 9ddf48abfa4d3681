"""GenTL over the producer in the genicam wheel: no trigger nodes and 8 bit, so free-run must be asked for."""

import sys
import time

import numpy as np
import pytest
from detector_rigs import viky

from drivers.gentl_detector import GentlDetector
from station.clock import RealClock
from station.devices import BadSettings, DetectorState, NotConnected, Room

FREE_RUN = {"trigger": "free-run", "pixel_format": "Mono8", "spacing_mm": 0.2}


@pytest.fixture
def make():
    made: list[GentlDetector] = []

    def detector(**settings):
        made.append(GentlDetector({"producer": viky(), **settings}, Room(RealClock())))
        return made[-1]

    yield detector
    for each in made:
        each.close()


def reach(detector, state, seconds=15.0):
    until_s = time.monotonic() + seconds
    while detector.status().state is not state:
        assert time.monotonic() < until_s, detector.status()
        time.sleep(0.002)


def test_a_free_running_device_says_so_and_no_length_can_come_from_its_frame(make):
    detector = make(**FREE_RUN)
    detector.connect()
    assert "free-running" in detector.info().model
    assert detector.info().bits == 8
    detector.arm("1", 15_000)
    reach(detector, DetectorState.READY)
    detector.read_out()
    reach(detector, DetectorState.FRAME_HELD)
    frame = detector.fetch()
    assert (frame.shape, frame.pixels.dtype, frame.saturation) == ((400, 400), np.uint16, 255)
    assert not frame.scale_known
    assert "not bound to the exposure" in frame.history[-1]
    assert len(np.unique(frame.pixels)) > 1


def test_a_device_is_chosen_by_id_or_serial_number_and_its_size_can_be_set(make):
    detector = make(**FREE_RUN, device="VikyTL_DEV_blue", rows=200, columns=320, rotate=90)
    detector.connect()
    info = detector.info()
    assert (info.serial, info.rows, info.columns) == ("2", 320, 200)


def test_a_producer_serves_one_driver_at_a_time(make):
    red, green = make(**FREE_RUN, device="VikyTL_DEV_red"), make(**FREE_RUN, device="VikyTL_DEV_green")
    red.connect()
    with pytest.raises(NotConnected, match="another program"):
        green.connect()
    red.close()
    green.connect()
    green.arm("1", 15_000)
    reach(green, DetectorState.READY)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pixel_format": "Mono8", "spacing_mm": 0.2}, "cannot be triggered"),
        ({**FREE_RUN, "device": "VikyTL_DEV_gold"}, "the producer sees VikyTL_DEV_red"),
        ({**FREE_RUN, "producer": "/nowhere.cti"}, "there is no producer"),
    ],
)
def test_what_cannot_be_used_is_said_at_connecting(make, settings, said):
    with pytest.raises(NotConnected, match=said):
        make(**settings).connect()


@pytest.mark.parametrize("package", ["genicam", "harvesters"])
def test_a_missing_package_names_the_extra_that_brings_it(make, monkeypatch, package):
    detector = make(**FREE_RUN)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NotConnected, match="extra `gentl`"):
        detector.connect()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"spacing_mm": 0.2}, "producer"),
        ({"producer": "a.cti"}, "spacing_mm"),
        ({"producer": "a.cti", "spacing_mm": 0.2, "trigger": "sometimes"}, "software, free-run"),
        ({"producer": "a.cti", "spacing_mm": 0.2, "pixel_format": "RGB8"}, "Mono16"),
        ({"producer": "a.cti", "spacing_mm": 0.2, "free_run": True}, "unknown free_run"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(BadSettings, match=said):
        GentlDetector(settings, Room(RealClock()))
