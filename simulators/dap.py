"""A simulated dose-area product meter: a chamber under the collimator.

Kerma times field area does not depend on distance, so it is taken at the panel: the tube's output there times
the light field. The chamber's calibration is off by up to 3 %, seeded.
"""

from collections.abc import Mapping
from typing import Any

from simulators.faults import FaultName
from simulators.world import Radiation, World, kerma_ugy
from station.devices import CommunicationLost, NotConnected, Room
from station.settings import Settings

_CALIBRATION_ERROR = 0.03  # largest relative one, memory
_RESOLUTION_UGYM2 = 0.001
_MM2_PER_M2 = 1e6


class SimulatedDapMeter:
    """Satisfies `station.devices.DapMeter`."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        Settings("sim-dap", settings).only()
        self._world = World.of(room)
        self._factor = 1 + self._world.rng("dap").uniform(-1, 1) * _CALIBRATION_ERROR
        self._connected = False
        self._sum_ugym2 = 0.0
        self._world.on_radiation(self._collect)

    def connect(self) -> None:
        self._connected = True

    def close(self) -> None:
        self._connected = False

    def reset(self) -> None:
        with self._world.synced():
            self._refuse_dead_line()
            self._sum_ugym2 = 0.0

    def read_ugym2(self) -> float:
        with self._world.synced():
            self._refuse_dead_line()
            return round(round(self._sum_ugym2 / _RESOLUTION_UGYM2) * _RESOLUTION_UGYM2, 6)

    def _refuse_dead_line(self) -> None:
        if not self._connected:
            raise NotConnected("the dose meter is not connected; connect first")
        if self._world.faults.lasting(FaultName.DAP_SILENT):
            raise CommunicationLost("the dose meter does not answer; check its line and connect again")

    def _collect(self, radiation: Radiation) -> None:
        rows_mm, columns_mm = radiation.field_mm
        kerma = kerma_ugy(radiation.kvp, radiation.mas, self._world.settings.sid_mm)
        self._sum_ugym2 += self._factor * kerma * rows_mm * columns_mm / _MM2_PER_M2
