"""The room contacts there are, each with the simulator it is tested on: one row per driver and wire."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from drivers.modbus_io import ModbusIo
from simulators.faults import FaultName
from simulators.io import SimulatedRoomIo
from simulators.wire.modbus import ModbusFace
from simulators.world import World
from station.clock import Clock, RealClock, VirtualClock
from station.devices import Room, RoomIo


class Fact(StrEnum):
    """What a test may need; a row says which are true of it."""

    SIMULATED = "its switch, door and lamps belong to a world that a test can watch and work"
    LINE = "it is spoken to over a line, so that nobody may be there to answer"


@dataclass(frozen=True, slots=True)
class Row:
    """One driver on one wire."""

    name: str
    driver: Callable[[Mapping[str, Any], Room], RoomIo]
    facts: frozenset[Fact] = frozenset({Fact.SIMULATED, Fact.LINE})
    clock: Callable[[], Clock] = RealClock
    face: Callable[[Room], ModbusFace] | None = None


ROWS = (
    Row("sim-io", SimulatedRoomIo, frozenset({Fact.SIMULATED}), VirtualClock),
    Row("modbus-io-tcp", ModbusIo, face=ModbusFace),
    Row("modbus-io-rtu", ModbusIo, face=lambda room: ModbusFace(room, rtu=True)),
)


class IoRig:
    """A room's contacts, and whatever a test may do to them."""

    def __init__(self, io: RoomIo, clock: Clock) -> None:
        self.io, self.clock = io, clock

    def pass_until(self, claim: Callable[[], Any], seconds: float = 5.0) -> None:
        """Let time pass until it is so."""
        until_s = self.clock.now() + seconds
        while not claim():
            assert self.clock.now() < until_s, f"it never came to pass; {self.io.inputs()}"
            self.clock.sleep(0.002)

    def close(self) -> None:
        self.io.close()


class SimulatedIoRig(IoRig):
    """One whose room is a world."""

    def __init__(self, row: Row) -> None:
        self.room = Room(row.clock())
        self.world = World.of(self.room)
        self._face = row.face(self.room) if row.face else None
        settings: Mapping[str, Any] = {}
        if self._face:
            self._face.start()
            settings = {**self._face.config(), "timeout_ms": 150}  # patient, for busy machines
        super().__init__(row.driver(settings, self.room), self.room.clock)

    def silence(self) -> None:
        """Nothing answers any more."""
        self.world.faults.add(FaultName.IO_SILENT)

    def mend(self) -> None:
        self.world.faults.clear(FaultName.IO_SILENT)

    def close(self) -> None:
        super().close()
        if self._face:
            self._face.unplug()
