"""Ten thousand exposures leave nothing behind: no thread, no file handle, no memory; and what idling costs.

`--full` makes 10 000 exposures in simulated time and 300 over wires, and watches an idle room for 20 s.
"""

import os
import subprocess
import sys
import threading
import time
from ctypes.util import find_library
from pathlib import Path

import pytest
import wired
from detector_rigs import only_gige_camera_here

from station.assembly import assemble
from station.case import Job
from station.config import load_room
from station.exam import Exam, Purpose, new_uid
from station.operate import Operator
from station.states import State, Trigger

PANEL = {"rows": 64, "columns": 64, "spacing_mm": 0.25, "arming_s": 0.01, "reading_s": 0.01}
STATION = str(Path(sys.executable).with_name("dxr-station"))
MORE_MB = 8.0  # of memory, over the second half: an exposure that kept its 8 kB frame would cost 40 MB
IDLE_PERCENT = 5.0
NOISE = 3.0  # a shared machine; the aim itself is printed


def resources():
    """Threads, file handles, and memory in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    handles = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  Path.iterdir keeps one open itself
    return threading.active_count(), handles, pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def calibration_job(operator, item):
    parts = operator.controller.parts
    protocol = parts.setting.protocol
    exam = Exam(new_uid(), item, protocol.id, parts.clock.wall(), "medium", Purpose.CALIBRATION)
    return Job(exam, protocol.technique("medium"))


def expose(operator, item):
    """One whole exposure, accepted."""
    operator.expose(calibration_job(operator, item))
    operator.controller.submit(Trigger.ACCEPT, by="endurance")
    operator.wait(lambda s: s.state is State.STANDBY, "standby")


def endure(one, count):
    """Resources in the middle and at the end."""
    for _ in range(count // 2):
        one()
    middle = resources()
    for _ in range(count - count // 2):
        one()
    return middle, resources()


def report(name, count, middle, end):
    kinds = ("threads", "handles", "MB of memory")
    grown = ", ".join(f"{a:.4g} -> {b:.4g} {kind}" for a, b, kind in zip(middle, end, kinds, strict=True))
    print(f"\n{name}: {count} exposures, from the middle to the end: {grown}")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_exposures_in_simulated_time_leave_nothing_behind(tmp_path, item, full, capsys):
    count = 10_000 if full else 60
    room = load_room("sim")
    generator = room.devices.generator.model_copy(update={"settings": {"prepare_s": 0.01}})
    detector = room.devices.detector.model_copy(update={"settings": PANEL})
    devices = room.devices.model_copy(update={"generator": generator, "detector": detector, "camera": None})
    controller = assemble(room.model_copy(update={"devices": devices}), {}, tmp_path, real_time=False)
    controller.start()
    operator = Operator(controller, lambda _: None)
    middle, end = endure(lambda: expose(operator, item), count)
    assert controller.parts.equipment.generator.status().exposures == count
    controller.close()
    controller.parts.journal.close()
    with capsys.disabled():
        report("simulated time", count, middle, end)
    assert end[:2] == middle[:2]
    assert end[2] - middle[2] < MORE_MB


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_exposures_over_wires_leave_nothing_behind(tmp_path, item, full, monkeypatch, capsys):
    count = 300 if full else 10
    station = wired.make(tmp_path, {"driver": "sim-detector", "settings": PANEL}, monkeypatch)
    station.controller.start()
    station.room.attendant.follow_lamps()
    try:
        middle, end = endure(lambda: expose(station.operator, item), count)
    finally:
        wired.stop(station)
    with capsys.disabled():
        report("over wires", count, middle, end)
    assert station.exposures == count
    assert end[:2] == middle[:2]
    assert end[2] - middle[2] < MORE_MB


@pytest.mark.skipif(find_library("aravis-0.8") is None, reason="libaravis-0.8 is not installed")
def test_an_idle_station_on_wires_leaves_the_processor_alone(tmp_path, full, capsys, ends):
    ends.callback(only_gige_camera_here())
    file = tmp_path / "room.yaml"
    command = [STATION, "simulate", "room", "--free-ports", "--write", str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as room:
        while room.stdout.readline().strip():
            pass
        controller = assemble(load_room(str(file)), {}, tmp_path, real_time=True)
        controller.start()
        stop = threading.Event()
        thread = threading.Thread(target=controller.run, args=(stop,), daemon=True)
        thread.start()
        time.sleep(1)
        began, cpu = time.monotonic(), time.process_time()
        time.sleep(20 if full else 4)
        percent = 100 * (time.process_time() - cpu) / (time.monotonic() - began)
        stop.set()
        thread.join()
        controller.close()
        controller.parts.executor.shutdown()
        controller.parts.journal.close()
        room.stdin.close()
        room.wait(20)
    with capsys.disabled():
        print(f"\nidle station, five devices on wires: {percent:.1f} % of a core (aim {IDLE_PERCENT:g} %)")
    assert percent < NOISE * IDLE_PERCENT
