"""How long a whole radiograph takes over GigE Vision on loopback, from the trigger to the array."""

import statistics
import time

import numpy as np
import pytest
from detector_rigs import only_gige_camera_here

from drivers.aravis import Aravis
from drivers.genicam_detector import GenicamDetector
from simulators.wire.gige import GigeFace
from station.clock import RealClock
from station.devices import DetectorState, NotConnected, Room

ROWS, COLUMNS = 3000, 2400
AIM_MS = 150.0
REPEATS = 15


@pytest.fixture
def camera():
    """A camera that sends one and the same image: the panel's own time is not what is measured."""
    try:
        Aravis("")
    except NotConnected as error:
        pytest.skip(str(error))
    unlock = only_gige_camera_here()
    room = Room(RealClock(), {"hand_present": False})
    face = GigeFace({"rows": ROWS, "columns": COLUMNS, "start_timeout_s": 60}, room)
    face.start()
    image = (np.arange(ROWS * COLUMNS) % 65521).astype(np.uint16).reshape(ROWS, COLUMNS)
    face._read_out = lambda: image
    detector = GenicamDetector(face.config(), room)
    detector.connect()
    yield detector, image
    detector.close()
    face.stop()
    unlock()


def timed(detector, state):
    began = time.perf_counter()
    while detector.status().state is not state:
        assert time.perf_counter() - began < 10, detector.status()
        time.sleep(0.0005)


def test_from_trigger_to_array(camera):
    detector, image = camera
    armed, taken = [], []
    for number in range(REPEATS):
        began = time.perf_counter()
        detector.arm(str(number), 60_000)
        timed(detector, DetectorState.READY)
        armed.append(1000 * (time.perf_counter() - began))
        began = time.perf_counter()
        detector.read_out()
        timed(detector, DetectorState.FRAME_HELD)
        pixels = detector.fetch().pixels
        taken.append(1000 * (time.perf_counter() - began))
        assert np.array_equal(pixels, image)
        detector.discard(str(number))
    print(f"\n{ROWS} x {COLUMNS} x 16 bit over loopback GigE Vision, {REPEATS} windows, ms")
    print(f"{'':24}{'median':>8}{'worst':>8}")
    for what, times in (("arm to READY", armed), ("read_out to array", taken)):
        print(f"{what:24}{statistics.median(times):8.0f}{max(times):8.0f}")
    assert statistics.median(taken) < AIM_MS
