"""Images per second of `analyse` on one and on two processes; the aim is a gain of 1.8 on two idle cores.

Measured on simulated hands of 2400 x 3000, after a first run that warms the disk's cache. Beside it stands
what the machine allows: two interpreters that know nothing of each other, each with all images, against one
alone, and the processor time of an image in either case, which other work hardly changes. Where that other
work takes the second core away, the table is printed and nothing is judged.
"""

import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from simulators.phantom import HandPhantom
from simulators.spec import HandSpec, Panel, Pose
from station.batch import Plan, prepared
from station.existing import Request

IMAGES = 16
ROUNDS = 2
IDLE = 1.7  # gain of independent processes from which a machine counts as idle
COMMAND = Path(sys.executable).with_name("dxr-station")

ALONE = """
import sys, time
from pathlib import Path
from station.batch import Plan, prepared
from station.existing import Request
plan = Plan((Path(sys.argv[1]),), Request.of("hand-dxr"))
with prepared(plan) as work:
    next(work.reports)
print("ready", flush=True)
sys.stdin.readline()
started, used = time.perf_counter(), time.process_time()
with prepared(plan) as work:
    count = sum(1 for _ in work.reports)
print(count / (time.perf_counter() - started), (time.process_time() - used) / count * 1e3)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("many")
    panel = Panel(3000, 2400, 0.1)
    signal = HandPhantom(HandSpec.parse("t=1.6,w=8.2"), Pose.parse("side=L")).relative_signal(panel, 50, 1000)
    values = -np.log(cv2.GaussianBlur(signal, (0, 0), 1.0))
    rng = np.random.default_rng(1)
    for number in range(IMAGES):
        noisy = np.clip(values * 15000 + rng.normal(0, 150, values.shape), 0, 65535).astype(np.uint16)
        cv2.imwrite(str(root / f"{number}.png"), noisy)
    return root


def rate(folder, jobs):
    """Images per second, with the start of the processes but not of their server."""
    plan = Plan((folder,), Request.of("hand-dxr"), jobs)
    started = time.perf_counter()
    with prepared(plan) as work:
        measured = sum(report["status"] == "measured" for report in work.reports)
    assert measured == IMAGES
    return IMAGES / (time.perf_counter() - started)


def independent(folder, count):
    """Images per second of some interpreters together, and the processor time of an image in ms."""
    command = [sys.executable, "-c", ALONE, str(folder)]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    found = [tuple(map(float, child.communicate()[0].split())) for child in children]
    return sum(rate for rate, _ in found), max(used for _, used in found)


def commanded(folder, jobs):
    """Images per second of the command, with everything."""
    started = time.perf_counter()
    command = [COMMAND, "analyse", folder, "--json", "--jobs", str(jobs)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return IMAGES / (time.perf_counter() - started)


def test_two_processes_are_faster_than_one(folder, capsys):
    rate(folder, 2)
    ways = {"processes running": rate, "with the command's start": commanded}
    best = {(name, count): 0.0 for name in ways for count in (1, 2)}
    alone, both = (0.0, 0.0), (0.0, 0.0)
    for number in range(3 * ROUNDS):
        best = {(name, n): max(found, ways[name](folder, n)) for (name, n), found in best.items()}
        alone, both = max(alone, independent(folder, 1)), max(both, independent(folder, 2))
        rows = {name: (best[name, 1], best[name, 2]) for name in ways} | {"independent": (alone[0], both[0])}
        gains = {name: two / one for name, (one, two) in rows.items()}
        shares = gains["independent"] < IDLE or gains["processes running"] > 0.85 * gains["independent"]
        if number + 1 >= ROUNDS and shares:  # else a neighbour of this machine may have been busy: once more
            break
    with capsys.disabled():
        print(f"\nimages/s of {IMAGES} images   one core  two cores  gain (aim 1.8)")
        for name, (one, two) in rows.items():
            print(f"{name:<25} {one:8.2f} {two:10.2f} {gains[name]:6.2f}")
        print(f"processor time of an image {alone[1]:.0f} ms alone, {both[1]:.0f} ms beside another")
    assert min(rate for row in rows.values() for rate in row) > 0
    assert shares
