"""The detectors there are, each with the simulator it is tested on: one row per driver."""

import atexit
import fcntl
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.aravis import Aravis
from drivers.genicam_detector import GenicamDetector
from drivers.gentl_detector import GentlDetector
from drivers.varex_detector import VarexDetector
from simulators.detector import SimulatedDetector
from simulators.wire.gige import GigeFace
from simulators.wire.xisl import XislFace, build
from simulators.world import World
from station.devices import Detector, DetectorState, NotConnected, Room
from station.frame import Frame

SMALL = {"rows": 400, "columns": 320, "spacing_mm": 0.25}
PULSE_MAS = 0.2  # well below saturation


class Fact(StrEnum):
    """What a test may need; a row says which are true of it."""

    SIMULATED = "a world's radiation falls on it"
    LINE = "its line can fall silent and come back"


@dataclass(slots=True)
class Made:
    """A detector with its simulator."""

    detector: Detector
    stop: Callable[[], None] = lambda: None
    silence: Callable[[], None] = lambda: None
    mend: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Row:
    """One driver on one simulator."""

    name: str
    make: Callable[[Room, Path], Made]
    facts: frozenset[Fact] = frozenset()


def sim(room: Room, folder: Path) -> Made:
    quick = {"arming_s": 0.02, "reading_s": 0.05, "memory_folder": str(folder / "memory")}
    return Made(SimulatedDetector({**SMALL, **quick}, room))


def genicam(room: Room, _: Path) -> Made:
    """The hosted camera; one at a time on a machine, for its port is fixed."""
    try:
        Aravis("")
    except NotConnected as error:
        pytest.skip(str(error))
    unlock = only_gige_camera_here()
    face = GigeFace({**SMALL, "start_timeout_s": 20}, room)
    try:
        face.start()
    except NotConnected:
        unlock()
        raise

    def stop() -> None:
        face.stop()
        unlock()

    return Made(GenicamDetector(face.config(), room), stop, silence=face.stop, mend=face.start)


def gentl(room: Room, _: Path) -> Made:
    settings = {"trigger": "free-run", "pixel_format": "Mono8", "spacing_mm": 0.2}
    return Made(GentlDetector({"producer": viky(), **settings}, room))


def viky() -> str:
    """The GenTL producer that the genicam package brings to test with."""
    spec = find_spec("genicam")
    if spec is None or spec.origin is None or find_spec("harvesters") is None:
        pytest.skip("harvesters and genicam are not installed (extra gentl)")
    return str(Path(spec.origin).with_name("viky.cti"))


def only_gige_camera_here(deadline_s: float = 300) -> Callable[[], None]:
    """Waits until no other test of this machine hosts a GigE camera; call the answer at the end."""
    file = os.open(Path(tempfile.gettempdir()) / "gige-camera-of-tests.lock", os.O_CREAT | os.O_RDWR, 0o666)
    until_s = time.monotonic() + deadline_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            assert time.monotonic() < until_s, "another test keeps its GigE camera for ever"
            time.sleep(0.05)
        else:
            return lambda: os.close(file)


def varex(room: Room, folder: Path) -> Made:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: the stand-in for the XISL library cannot be built")
    shutil.copy(built(), folder)  # each copy is another panel
    face = XislFace({"folder": str(folder), **SMALL}, room)
    face.start()
    detector = VarexDetector(face.config(), room)
    return Made(detector, face.stop, silence=face.unplug, mend=lambda: face.unplug(0))


@cache
def built() -> Path:
    """The stand-in for the XISL library, compiled once."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return build(folder)


ROWS = (
    Row("sim-detector", sim, frozenset({Fact.SIMULATED})),
    Row("genicam", genicam, frozenset({Fact.SIMULATED, Fact.LINE})),
    Row("gentl", gentl),
    Row("varex-xisl", varex, frozenset({Fact.SIMULATED, Fact.LINE})),
)


class DetectorRig:
    """A detector, and whatever a test may do to it."""

    def __init__(self, made: Made, world: World | None = None) -> None:
        self.made, self.detector = made, made.detector
        self._world = world
        self._threads = set(threading.enumerate())

    @property
    def state(self) -> DetectorState:
        return self.detector.status().state

    def wait_until(self, claim: Callable[[], Any], seconds: float = 15.0) -> None:
        """The deadline is generous, nothing is timed by it."""
        deadline = time.monotonic() + seconds
        while not claim():
            assert time.monotonic() < deadline, f"it never came to pass; {self.detector.status()}"
            time.sleep(0.002)

    def reach(self, state: DetectorState) -> None:
        self.wait_until(lambda: self.state is state)

    def to_ready(self, uid: str, window_ms: float = 15_000) -> None:
        self.detector.arm(uid, window_ms)
        self.reach(DetectorState.READY)

    def expose(self, uid: str, mas: float = 0.0) -> Frame:
        """A whole window with that much radiation in it."""
        self.to_ready(uid)
        if mas:
            self.radiate(mas)
        self.detector.read_out()
        self.reach(DetectorState.FRAME_HELD)
        return self.detector.fetch()

    def radiate(self, mas: float) -> None:
        """That much at once: the world's time runs ahead of the clock."""
        assert self._world is not None
        with self._world.synced():
            self._world.beam_on(55, 1000 * mas / 10)
            self._world.tick(0.01)
            self._world.beam_off()

    def own_threads(self) -> list[str]:
        """Python's threads that came with the detector and are still there; a library's are dummies to it."""
        dummies = threading._DummyThread
        there = [thread for thread in threading.enumerate() if not isinstance(thread, dummies)]
        return [thread.name for thread in there if thread not in self._threads]

    def close(self) -> None:
        with suppress(Exception):
            self.detector.close()
        self.made.stop()


def all_threads() -> int:
    """Of this process, those of libraries too."""
    return len(list(Path("/proc/self/task").iterdir()))


def level(frame: Frame) -> float:
    """What most of the panel says."""
    return float(np.median(frame.pixels))
