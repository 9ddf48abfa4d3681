"""A detector on a small panel in a room of its own, with a slab for a hand."""

import numpy as np
import pytest

from simulators.detector import SimulatedDetector
from simulators.world import World
from station.clock import VirtualClock
from station.devices import DetectorState, Room

KVP = 50
SMALL = {"rows": 400, "columns": 320}
OPEN_MM = (430, 430)


class Slab:
    """Half of the panel (larger columns) behind a slab that passes a tenth."""

    side = "R"

    def __init__(self, scale_known=True):
        self.scale_known = scale_known

    def relative_signal(self, panel, kvp, sid_mm):
        del kvp, sid_mm
        picture = np.ones((panel.rows, panel.columns), np.float32)
        picture[:, panel.columns // 2 :] = 0.1
        return picture

    def silhouette(self, panel):
        return np.zeros((panel.rows, panel.columns), np.bool_)


class Rig:
    def __init__(self, faults=(), settings=SMALL, **simulation):
        self.clock = VirtualClock()
        self.room = Room(self.clock, {"faults": list(faults), "field_mm": list(OPEN_MM), **simulation})
        self.world = World.of(self.room)
        self.detector = SimulatedDetector(settings, self.room)
        self.detector.connect()

    @property
    def state(self):
        return self.detector.status().state

    def shoot(self, mas):
        with self.world.synced():
            self.world.beam_on(KVP, 100)
        self.clock.sleep(mas / 100)
        with self.world.synced():
            self.world.beam_off()

    def integrate(self, uid, mas=0.0):
        self.detector.arm(uid, 2000)
        self.clock.sleep(0.4)
        assert self.state is DetectorState.READY
        if mas:
            self.shoot(mas)

    def hold(self, uid, mas=0.0):
        self.integrate(uid, mas)
        self.detector.read_out()
        self.clock.sleep(1)
        assert self.state is DetectorState.FRAME_HELD

    def frame(self, uid, mas=0.0):
        self.hold(uid, mas)
        return self.detector.fetch()


@pytest.fixture
def slab():
    return Slab


@pytest.fixture
def small():
    return SMALL


@pytest.fixture
def rigged(monkeypatch):
    monkeypatch.setattr("simulators.world.scene_from", lambda _: Slab())
    monkeypatch.setattr("simulators.detector.scene_from", lambda _: Slab(scale_known=False))
    return Rig
