"""The dose meters there are, each with the simulator it is tested on: one row per driver and wire."""

import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivers.ptw_dap import PtwDiamentor
from simulators.dap import SimulatedDapMeter
from simulators.faults import FaultName
from simulators.wire.line import End, Face, Line, PtyEnd
from simulators.wire.ptw import DiamentorFace
from simulators.world import Radiation, World, kerma_ugy
from station.clock import Clock, RealClock, VirtualClock
from station.devices import DapMeter, Room

CHAMBER = 0.03  # largest relative error of a simulated chamber


def on_pty(folder: Path) -> End:
    return PtyEnd(folder / "line")


@dataclass(frozen=True, slots=True)
class Row:
    """One driver on one wire."""

    name: str  # the entry point
    driver: Callable[[Mapping[str, Any], Room], DapMeter]
    face: Callable[[Mapping[str, Any], Room], Face] | None = None
    end: Callable[[Path], End] = on_pty
    settings: Mapping[str, Any] = field(default_factory=dict)
    digit_ugym2: float = 0.01  # what it resolves


QUICK = {"answer_within_s": 0.4}
ROWS = (
    Row("sim-dap", SimulatedDapMeter, digit_ugym2=0.001),
    Row("ptw-diamentor", PtwDiamentor, DiamentorFace, on_pty, QUICK),
)


class DapRig:
    """A dose meter in a room with a tube, and whatever a test may do to it."""

    def __init__(self, row: Row, folder: Path) -> None:
        self.row = row
        self.clock: Clock = RealClock() if row.face else VirtualClock()
        room = Room(self.clock)
        self.world = World.of(room)
        self.truth_ugym2 = 0.0
        self.world.on_radiation(self._absorb)
        self.line = Line(row.face({}, room), row.end(folder)) if row.face else None
        settings = dict(row.settings)
        if self.line:
            self.line.start()
            settings["url"] = self.line.url
        self.meter = row.driver(settings, room)

    def _absorb(self, radiation: Radiation) -> None:
        rows_mm, columns_mm = radiation.field_mm
        kerma = kerma_ugy(radiation.kvp, radiation.mas, self.world.settings.sid_mm)
        self.truth_ugym2 += kerma * rows_mm * columns_mm / 1e6

    def radiate(self, mas: float = 1.6) -> float:
        """The dose-area product of it, µGy·m²."""
        before = self.truth_ugym2
        with self.world.synced():
            self.world.beam_on(50, 100)
            self.world.tick(mas / 100)
            self.world.beam_off()
        return self.truth_ugym2 - before

    def pass_until(self, claim: Callable[[], Any], seconds: float = 5.0) -> None:
        until = time.monotonic() + seconds
        while not claim():
            assert time.monotonic() < until, "it never came to pass"
            time.sleep(0.005)

    @contextmanager
    def silent(self):
        """It answers nothing for a while."""
        if self.line is None:
            self.world.faults.add(FaultName.DAP_SILENT)
        else:
            self.line.spoil("silent")
        try:
            yield
        finally:
            self.world.faults.clear(FaultName.DAP_SILENT)
            if self.line:
                self.line.mend()

    def close(self) -> None:
        self.meter.close()
        if self.line:
            self.line.stop()
