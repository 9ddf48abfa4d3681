"""A panel's source that does as its orders say, in whatever process it is made."""

import os
import time

import numpy as np

from drivers.panel_source import Lost, PanelFacts
from station.devices import CommunicationLost, DetectorInfo, DeviceFault

INFO = DetectorInfo("Scripted panel", "T1", 300, 400, (0.1, 0.1), 16, 1000)


class ScriptedSource:
    """`orders` maps a method to what goes wrong in it."""

    def __init__(self, orders: dict[str, str]) -> None:
        self._orders = orders
        self._count = 0
        self._arrived = print

    def _obey(self, method: str) -> None:
        order = self._orders.get(method, "")
        if order == "hang":
            time.sleep(60)
        elif order == "die":
            os._exit(1)
        elif order == "lost":
            raise CommunicationLost("the line is dead")
        elif order == "fault":
            raise DeviceFault("7", "E7", "the panel is hot", "Let it cool")
        elif order == "mistake":
            raise KeyError(method)
        elif order == "hold the lock":
            hold_the_lock(1.5)

    def open(self) -> PanelFacts:
        self._obey("open")
        return PanelFacts(INFO, "Scripted", 65535)

    def start(self, arrived):
        self._obey("start")
        self._arrived = arrived

    def trigger(self):
        self._obey("trigger")
        self._count += 1
        torn = self._orders.get("trigger") == "tear"
        pixels = np.full((INFO.rows, INFO.columns), self._count, np.uint16)
        self._arrived(Lost("torn") if torn else pixels)

    def stop(self):
        self._obey("stop")

    def poll(self):
        self._obey("poll")
        return 30.0

    def close(self):
        self._obey("close")


def hold_the_lock(seconds: float) -> None:
    """As a binding does that waits without letting other threads run."""
    import ctypes

    libc = ctypes.PyDLL(None)
    libc.usleep(int(1e6 * seconds))
