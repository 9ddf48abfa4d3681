"""What room contacts and camera cost while nothing happens, and how quickly they tell, as a table.

Processor time is that of the driver's own thread; the simulators answer from others.
"""

import statistics
import threading
import time

import pytest
from camera_rigs import over_http
from io_rigs import ROWS, SimulatedIoRig

from simulators.scene import EmptyScene
from station.devices import Lamp, SwitchStage

NOISE = 3.0  # a busy machine may be that much slower than a quiet one
WINDOW_S, WINDOWS = 0.4, 3
ROUNDS = 9


def cpu_percent(thread_name, doing=None):
    """Of one core, median of some windows."""
    (thread,) = (t for t in threading.enumerate() if t.name == thread_name)
    clock = time.pthread_getcpuclockid(thread.ident)
    shares = []
    for _ in range(WINDOWS):
        used_s, began_s = time.clock_gettime(clock), time.monotonic()
        while time.monotonic() < began_s + WINDOW_S:
            time.sleep(0.01)
            if doing:
                doing()
        shares.append(100 * (time.clock_gettime(clock) - used_s) / (time.monotonic() - began_s))
    return statistics.median(shares)


def delay_ms(act, seen):
    """Median from the act until it is seen."""
    delays = []
    for number in range(ROUNDS):
        time.sleep(0.007 * (number % 4))  # not in step with the polls
        act(number)
        began_s = time.monotonic()
        while not seen(number):
            assert time.monotonic() < began_s + 5
            time.sleep(0.0002)
        delays.append(1000 * (time.monotonic() - began_s))
    return statistics.median(delays)


@pytest.fixture(autouse=True)
def _no_hand(monkeypatch):
    monkeypatch.setattr("simulators.world.scene_from", lambda _: EmptyScene())


@pytest.mark.parametrize("row", [row for row in ROWS if row.face], ids=lambda row: row.name)
def test_contacts_are_cheap_and_quick(row, capsys):
    rig = SimulatedIoRig(row)
    rig.io.connect()
    switch, lamps, world = SwitchStage, (Lamp.READY, Lamp.XRAY_ON), rig.world
    idle = cpu_percent("modbus-io")
    press = delay_ms(
        lambda n: world.press(switch.RELEASED if n % 2 else switch.PREPARE),
        lambda n: rig.io.inputs().switch is (switch.RELEASED if n % 2 else switch.PREPARE),
    )
    lamp = delay_ms(
        lambda n: rig.io.show(lamps[n % 2]), lambda n: world.lamps[-1:] and world.lamps[-1][1] is lamps[n % 2]
    )
    rig.close()
    with capsys.disabled():
        print(
            f"\n{row.name}: idle {idle:.2f} % of a core, switch {press:.1f} ms, lamp {lamp:.1f} ms (medians)"
        )
    assert idle < 2 * NOISE
    assert press < 60 * NOISE  # two polls of 20 ms where it closes, one where it opens
    assert lamp < 20 * NOISE


def test_a_camera_nobody_looks_at_is_cheap(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("drivers.uvc_camera._ASKED_S", 0.3)
    rig = over_http(tmp_path)
    rig.camera.connect()
    time.sleep(0.5)
    idle, watched = cpu_percent("uvc-camera"), cpu_percent("uvc-camera", rig.camera.view)
    rig.close()
    with capsys.disabled():
        print(f"\nuvc-camera-http: idle {idle:.2f} %, watched {watched:.2f} % of a core (medians)")
    assert idle < 1.5 * NOISE
    assert idle < watched
