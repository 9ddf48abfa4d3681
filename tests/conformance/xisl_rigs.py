"""A simulated panel behind its library file, with the driver that loads it."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from drivers.varex_detector import VarexDetector
from simulators.wire.xisl import XislFace
from simulators.world import World
from station.clock import RealClock
from station.devices import DetectorState, Room

READY, HELD, IDLE, UNKNOWN = (
    DetectorState.READY,
    DetectorState.FRAME_HELD,
    DetectorState.IDLE,
    DetectorState.UNKNOWN,
)
CONNECTING = (  # the calls by which a panel with an address is connected
    "Global_Init",
    "GbIF_Init",
    "GetCommChannel",
    "GetHwHeaderInfoEx",
    "SetCallbacksAndMessages",
    "SetCameraMode",
    "SetCameraGain",
    "SetCameraBinningMode",
    "SetCameraTriggerMode",
    "GetConfiguration",
    "DefineDestBuffers",
)
ARMING = ("ResetFrameCnt", "SetReady", "SetFrameSyncMode", "Acquire_Image", "SetFrameSync")
_POLLED = {"GetConnectionStatus", "GetTemperature"}


def wait_until(claim: Callable[[], bool], deadline_s: float = 10.0) -> None:
    """Nothing is timed by it."""
    end = time.monotonic() + deadline_s
    while not claim():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.001)


class XislBench:
    """A room with one panel and its driver."""

    def __init__(self, folder: Path, built: Path, *options: str, **face: Any) -> None:
        folder.mkdir()
        if not options:
            shutil.copy(built, folder)
        room = Room(RealClock(), {"hand_present": False})
        self._world = World.of(room)
        self.face = XislFace({"folder": str(folder), "rows": 80, "columns": 64, **face}, room)
        self.read: list[np.ndarray] = []  # what the model gave for each readout
        readout = self.face._frame
        self.face._frame = lambda: self.read.append(readout()) or self.read[-1]
        self.face.start(*options)
        self._room = room

    def make_driver(self, **settings: Any) -> None:
        """Not connected."""
        self.detector = VarexDetector({**self.face.config(), "frame_timeout_s": 2, **settings}, self._room)

    def to(self, state):
        wait_until(lambda: self.detector.status().state is state)

    def to_ready(self, uid):
        self.detector.arm(uid, 10_000)
        self.to(READY)

    def radiate(self):
        """At once: the world's time runs ahead of the clock."""
        with self._world.synced():
            self._world.beam_on(50, 10)
            self._world.tick(0.02)
            self._world.beam_off()

    def expose(self, uid):
        """A whole window."""
        self.to_ready(uid)
        self.radiate()
        self.detector.read_out()
        self.to(HELD)
        frame = self.detector.fetch()
        self.detector.discard(uid)
        return frame

    def calls(self):
        """Since the last time, without those of polling."""
        return [name for name in self.face.calls() if name not in _POLLED]

    def close(self):
        self.face.hang("")
        self.face.unplug(0)
        self.detector.close()
        self.face.stop()
