"""GigE Vision over real loopback: our hosted camera with the world's frames, and Debian's fake camera."""

import ctypes
import os
import shutil
import subprocess
import time
from ctypes import byref

import numpy as np
import pytest
from detector_rigs import only_gige_camera_here

from drivers.aravis import Aravis
from drivers.genicam_detector import GenicamDetector
from simulators.wire.gige import GigeFace
from simulators.world import World
from station.clock import RealClock
from station.devices import (
    BadSettings,
    CommunicationLost,
    DetectorState,
    DeviceRefused,
    NotConnected,
    Room,
)

IDLE, READY, UNKNOWN = DetectorState.IDLE, DetectorState.READY, DetectorState.UNKNOWN
FRAME_HELD, READING = DetectorState.FRAME_HELD, DetectorState.READING
SMALL = {"rows": 400, "columns": 320, "spacing_mm": 0.25, "start_timeout_s": 20}
TRIGGER_MODE, TRIGGER_SOURCE, PRIVILEGE = 0x300, 0x304, 0xA00  # registers of the fake camera


@pytest.fixture
def machine():
    """The one GigE Vision port of this machine."""
    try:
        Aravis("")
    except NotConnected as error:
        pytest.skip(str(error))
    unlock = only_gige_camera_here()
    yield
    unlock()


class Bench:
    """A hosted camera and a driver on it."""

    def __init__(self, **settings):
        self.room = Room(RealClock(), {"hand_present": False})
        self.world = World.of(self.room)
        self.face = GigeFace(SMALL, self.room)
        self.face.start()
        self.made: list[np.ndarray] = []  # what the model gave, frame by frame
        fetch = self.face.model.fetch
        self.face.model.fetch = lambda: self._note(fetch())
        self.detector = GenicamDetector({**self.face.config(), "frame_timeout_s": 1, **settings}, self.room)

    def _note(self, frame):
        self.made.append(frame.pixels)
        return frame

    def reach(self, *states, seconds=15.0):
        until_s = time.monotonic() + seconds
        while self.detector.status().state not in states:
            assert time.monotonic() < until_s, (self.detector.status(), self.face.problem)
            time.sleep(0.001)

    def to_ready(self, uid):
        self.detector.arm(uid, 15_000)
        self.reach(READY)

    def expose(self, uid):
        self.to_ready(uid)
        with self.world.synced():
            self.world.beam_on(55, 20)
            self.world.tick(0.01)
            self.world.beam_off()
        self.detector.read_out()
        self.reach(FRAME_HELD)
        return self.detector.fetch()

    def register(self, address, value=None):
        library, inner = self.face._library, None
        inner = library.arv_gv_fake_camera_get_fake_camera(self.face._camera)
        if value is not None:
            library.arv_fake_camera_write_register(inner, address, value)
        answer = ctypes.c_uint32()
        library.arv_fake_camera_read_register(inner, address, byref(answer))
        return answer.value

    def close(self):
        self.detector.close()
        self.face.stop()


@pytest.fixture
def bench(machine):  # noqa: ARG001  its port, not its value
    benches: list[Bench] = []

    def make(**settings):
        benches.append(Bench(**settings))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


# --- frames ---------------------------------------------------------------------------------------------


def test_a_frame_is_the_panels_bit_for_bit(bench):
    bench = bench()
    bench.detector.connect()
    for uid in ("1", "2"):
        frame = bench.expose(uid)
        assert np.array_equal(frame.pixels, bench.made[-1])
        assert np.median(frame.pixels) > 5000
    assert (frame.serial, frame.detector_type) == ("XRAY-01", "Aravis Fake")
    assert bench.face.problem == ""


def test_a_region_turned_and_mirrored_is_seen_from_the_tube(bench):
    bench = bench(rows=200, columns=160, rotate=90, mirror=True)
    bench.detector.connect()
    info = bench.detector.info()
    assert (info.rows, info.columns) == (160, 200)
    frame = bench.expose("1")
    assert np.array_equal(frame.pixels, np.rot90(bench.made[-1][:200, :160], -1)[:, ::-1])
    assert frame.history == ("turned 90 degrees clockwise", "mirrored left to right")


def test_a_frame_with_lost_packets_is_never_used_and_the_next_one_is_whole(bench):
    bench = bench()
    bench.detector.connect()
    for number in range(3):
        bench.to_ready(f"1.{number}")
        bench.face.lose_packets(0.3)
        bench.detector.read_out()
        bench.reach(IDLE)
        for ask in (bench.detector.fetch, lambda uid=f"1.{number}": bench.detector.recover(uid)):
            with pytest.raises(CommunicationLost, match="lost"):
                ask()
        bench.face.lose_packets(0.0)
    assert np.array_equal(bench.expose("2").pixels, bench.made[-1])


def test_an_incomplete_clearing_frame_is_triggered_again(bench):
    bench = bench()
    bench.detector.connect()
    bench.face.lose_packets(0.3)
    bench.detector.arm("1", 15_000)
    while len(bench.made) < 2:
        time.sleep(0.001)
    bench.face.lose_packets(0.0)
    bench.reach(READY)


def test_a_stream_of_lost_clearing_frames_ends_arming_with_the_reason(bench):
    bench = bench()
    bench.detector.connect()
    bench.face.lose_packets(0.3)
    bench.detector.arm("1", 15_000)
    bench.reach(IDLE)
    with pytest.raises(DeviceRefused, match="incomplete"):
        bench.detector.read_out()


def test_the_frame_of_an_aborted_window_is_not_taken_for_the_next(bench):
    bench = bench()
    bench.detector.connect()
    bench.to_ready("1")
    bench.detector.abort()
    frame = bench.expose("2")
    assert np.array_equal(frame.pixels, bench.made[-1])


# --- control --------------------------------------------------------------------------------------------


def test_triggers_are_set_whatever_another_client_left_behind(bench):
    bench = bench()
    bench.register(TRIGGER_MODE, 0)
    bench.register(TRIGGER_SOURCE, 0)
    bench.detector.connect()
    assert (bench.register(TRIGGER_MODE), bench.register(TRIGGER_SOURCE)) == (1, 1)
    bench.expose("1")


def test_a_camera_that_lost_its_controller_is_taken_again_but_its_open_window_is_lost(bench):
    bench = bench()
    bench.detector.connect()
    bench.to_ready("1")
    bench.register(PRIVILEGE, 0)  # as after a restart of the camera
    bench.reach(UNKNOWN, IDLE)
    bench.reach(IDLE)
    with pytest.raises(CommunicationLost, match="restarted or taken over"):
        bench.detector.recover("1")
    bench.expose("2")


def test_a_region_the_camera_does_not_have_is_refused(bench):
    bench = bench(rows=4000)
    with pytest.raises(NotConnected, match="sensor has 400 x 320"):
        bench.detector.connect()


@pytest.mark.usefixtures("machine")
def test_no_camera_and_no_library_are_said():
    room = Room(RealClock())
    with pytest.raises(NotConnected, match="power, cable"):
        GenicamDetector({"spacing_mm": 0.1, "address": "127.0.0.1"}, room).connect()
    with pytest.raises(NotConnected, match="install libaravis"):
        GenicamDetector({"spacing_mm": 0.1, "library": "/nowhere.so"}, room).connect()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "spacing_mm is missing"),
        ({"spacing_mm": 2}, "0.02 to 1"),
        ({"spacing_mm": 0.1, "pixel_format": "Mono8"}, "Mono16, Mono14, Mono12"),
        ({"spacing_mm": 0.1, "rotate": 45}, "0, 90, 180 and 270"),
        ({"spacing_mm": 0.1, "colour": 1}, "unknown colour"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(BadSettings, match=said):
        GenicamDetector(settings, Room(RealClock()))


# --- another maker's camera -----------------------------------------------------------------------------


@pytest.fixture
def fake_camera(machine):  # noqa: ARG001  its port, not its value
    """Debian's fake camera as a process of its own."""
    program = os.environ.get("DXR_FAKE_GIGE_CAMERA") or shutil.which("arv-fake-gv-camera-0.8")
    if program is None:
        pytest.skip("arv-fake-gv-camera-0.8 (aravis-tools) is neither on PATH nor in DXR_FAKE_GIGE_CAMERA")
    running: list[subprocess.Popen[bytes]] = []

    def start(*options):
        command = [program, "-i", "127.0.0.1", "-s", "GVDR01", *options]
        # If these tests are ended from outside it lives on: then it must not keep their output open.
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def connected(**settings):
    detector = GenicamDetector(
        {"spacing_mm": 0.1, "frame_timeout_s": 2, "address": "127.0.0.1", **settings}, Room(RealClock())
    )
    until_s = time.monotonic() + 10
    while True:
        try:
            detector.connect()
        except NotConnected:  # the process is starting
            assert time.monotonic() < until_s
            time.sleep(0.05)
        else:
            return detector


def reach(detector, *states, seconds=15.0):
    until_s = time.monotonic() + seconds
    while detector.status().state not in states:
        assert time.monotonic() < until_s, detector.status()
        time.sleep(0.001)


def test_debians_fake_camera_gives_whole_frames_and_its_death_is_noticed(fake_camera):
    process = fake_camera()
    detector = connected()
    assert (detector.info().serial, detector.info().rows) == ("GVDR01", 2048)
    detector.arm("1", 15_000)
    reach(detector, READY)
    detector.read_out()
    reach(detector, FRAME_HELD)
    frame = detector.fetch()
    assert frame.pixels.max() > 60_000
    detector.arm("2", 15_000)
    reach(detector, READY)
    process.kill()
    process.wait()
    reach(detector, UNKNOWN)
    with pytest.raises(CommunicationLost, match="power and cable"):
        detector.read_out()
    with pytest.raises(CommunicationLost, match="lost"):
        detector.recover("2")
    assert np.array_equal(detector.recover("1").pixels, frame.pixels)
    fake_camera()
    reach(detector, IDLE)
    detector.close()


def test_debians_fake_camera_losing_packets_never_gives_a_frame(fake_camera):
    fake_camera("-r", "20")
    detector = connected(rows=512, columns=512)
    detector.arm("1", 15_000)
    reach(detector, IDLE)
    with pytest.raises(DeviceRefused, match="incomplete"):
        detector.read_out()
    with pytest.raises(DeviceRefused):
        detector.fetch()
    detector.close()
