"""The positioning cameras there are, each with the simulator it is tested on: one row per driver and wire."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import cv2

from drivers.uvc_camera import UvcCamera
from simulators.camera import SimulatedCamera
from simulators.faults import FaultName
from simulators.wire.camera import CameraFace
from simulators.world import World
from station.clock import Clock, RealClock, VirtualClock
from station.devices import Camera, CameraView, Room


class Fact(StrEnum):
    """What a test may need; a row says which are true of it."""

    LIVE = "it shows a world that a test can change"
    LINE = "it is reached over a line that can be cut"


@dataclass(frozen=True, slots=True)
class Row:
    """One driver on one wire."""

    name: str
    make: Callable[[Path], "SimulatedCameraRig"]
    facts: frozenset[Fact] = frozenset()


class CameraRig:
    """A camera, and whatever a test may do to it."""

    def __init__(self, camera: Camera, clock: Clock) -> None:
        self.camera, self.clock = camera, clock

    def pass_until(self, claim: Callable[[], Any], seconds: float = 15.0) -> Any:
        """Let time pass until it is so; gives what came."""
        until_s = self.clock.now() + seconds
        while not (came := claim()):
            assert self.clock.now() < until_s, "it never came to pass"
            self.clock.sleep(0.005)
        return came

    def close(self) -> None:
        self.camera.close()


class SimulatedCameraRig(CameraRig):
    """One that shows a world."""

    def __init__(self, camera: Camera, room: Room, face: CameraFace | None = None) -> None:
        super().__init__(camera, room.clock)
        self.world, self._face = World.of(room), face

    def freeze(self) -> None:
        self.world.faults.add(FaultName.CAMERA_FROZEN)

    def thaw(self) -> None:
        self.world.faults.clear(FaultName.CAMERA_FROZEN)

    def silence(self) -> None:
        """The line stays, nothing comes."""
        self._face.silent = True

    def cut(self) -> None:
        """The line is gone."""
        self._face.stop()

    def mend(self) -> None:
        if self._face.silent:
            self._face.silent = False
        else:
            self._face.start()

    def close(self) -> None:
        super().close()
        if self._face:
            self._face.stop()


def simulated(_: Path) -> SimulatedCameraRig:
    room = Room(VirtualClock())
    return SimulatedCameraRig(SimulatedCamera({}, room), room)


def over_http(_: Path) -> SimulatedCameraRig:
    room = Room(RealClock())
    face = CameraFace(room)
    face.start()
    return SimulatedCameraRig(UvcCamera({**face.config(), "open_timeout_s": 1}, room), room, face)


def from_file(folder: Path) -> SimulatedCameraRig:
    room = Room(RealClock())
    path = folder / "clip.avi"
    first = record(path, frames=5)
    return SimulatedCameraRig(UvcCamera(settings_for(path, first), room), room)


def record(path: Path, frames: int, **simulation: Any) -> CameraView:
    """Write the simulated camera's pictures to a file, ten a second; gives the first."""
    room = Room(VirtualClock(), simulation)
    camera = SimulatedCamera({}, room)
    camera.connect()
    views = []
    for _ in range(frames):
        room.clock.sleep(0.1)
        views.append(camera.view())
    rows, columns = views[0].pixels.shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (columns, rows))
    assert writer.isOpened()
    for view in views:
        writer.write(view.pixels)
    writer.release()
    return views[0]


def settings_for(source: Path | str, view: CameraView) -> dict[str, Any]:
    """Of a camera that looks straight down as this view does."""
    return {
        "source": str(source),
        "panel_size_mm": view.panel_size_mm,
        "mm_per_px": view.mm_per_px,
        "panel_origin_px": view.panel_origin_px,
    }


ROWS = (
    Row("sim-camera", simulated, frozenset({Fact.LIVE})),
    Row("uvc-camera-http", over_http, frozenset({Fact.LIVE, Fact.LINE})),
    Row("uvc-camera-file", from_file),
)
