"""A whole frame through a vendor's library: from the trigger to a frame that can be fetched.

The stand-in library sends black frames at once: this is what the callback, the copy and the hand-over cost.
The least of the rounds is held against the 150 ms that a frame over GigE Vision may take. Run with -s to see
the table.
"""

import shutil
import statistics
import time

import pytest

from drivers.varex_detector import VarexDetector
from simulators.wire.xisl import XislFace
from station.clock import RealClock
from station.devices import DetectorState, Room

ROUNDS = 15
LIMIT_MS = 150.0


@pytest.fixture
def detector(tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: the stand-in for the XISL library cannot be built")
    room = Room(RealClock())
    face = XislFace({"folder": str(tmp_path), "rows": 3000, "columns": 2400, "spacing_mm": 0.1}, room)
    face.start()
    settings = face.config()
    face.stop()  # its model would take half a second for each frame; the library goes on
    detector = VarexDetector(settings, room)
    detector.connect()
    yield detector
    detector.close()


def reach(detector, state):
    deadline = time.monotonic() + 10
    while detector.status().state is not state:
        assert time.monotonic() < deadline
        time.sleep(0.0002)


def test_a_frame_of_2400_x_3000_is_held_well_within_the_time_a_network_takes(detector):
    spans_ms: dict[str, list[float]] = {"arm returns": [], "arm to READY": [], "trigger to held": []}
    for number in range(ROUNDS):
        began = time.perf_counter()
        detector.arm(f"1.{number}", 5000)
        spans_ms["arm returns"].append(1000 * (time.perf_counter() - began))
        reach(detector, DetectorState.READY)
        spans_ms["arm to READY"].append(1000 * (time.perf_counter() - began))
        began = time.perf_counter()
        detector.read_out()
        reach(detector, DetectorState.FRAME_HELD)
        spans_ms["trigger to held"].append(1000 * (time.perf_counter() - began))
        assert detector.fetch().shape == (3000, 2400)
        detector.discard(f"1.{number}")
    print(f"\n{'ms':>20} {'least':>8} {'median':>8} {'most':>8}")
    for name, spans in spans_ms.items():
        print(f"{name:>20} {min(spans):8.1f} {statistics.median(spans):8.1f} {max(spans):8.1f}")
    assert min(spans_ms["trigger to held"]) < LIMIT_MS
