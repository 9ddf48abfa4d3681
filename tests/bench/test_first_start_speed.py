"""What a first start of the simulated station costs: a hospital at hand, and the panel's calibration."""

import subprocess
import sys
import time
from statistics import median

from station.assembly import assemble
from station.calibrate import calibrate
from station.config import load_room
from station.operate import Operator

OPENS_S, CALIBRATES_S = 1.0, 8.0  # aims
SLACK = 5  # a loaded machine
_START = """
import time
began = time.perf_counter()
from station.simulate import demo_hospital
with demo_hospital():
    print(time.perf_counter() - began)
"""


def test_a_hospital_is_at_hand_soon_in_a_fresh_process():
    took_s = [
        float(subprocess.run([sys.executable, "-c", _START], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    print(f"\n| hospital in a fresh process, imports included | {median(took_s):.2f} s |")
    assert median(took_s) < SLACK * OPENS_S


def test_the_default_room_is_calibrated_in_real_time_before_anybody_is_tired_of_it(tmp_path):
    controller = assemble(load_room("sim"), {}, tmp_path, real_time=True)
    controller.start()
    began = time.perf_counter()
    calibrate(Operator(controller, lambda _: None))
    took_s = time.perf_counter() - began
    controller.close()
    controller.parts.executor.shutdown()
    controller.parts.journal.close()
    print(f"\n| calibration in real time, 4 darks and 4 flats | {took_s:.1f} s |")
    assert took_s < SLACK * CALIBRATES_S
