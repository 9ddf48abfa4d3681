"""The simulated room's contacts and lamps, and the person in it: presses the switch, lays a hand."""

from collections.abc import Mapping
from typing import Any

from simulators import person
from simulators.faults import FaultName
from simulators.world import World
from station.devices import Lamp, NotConnected, Room, RoomInputs, SwitchStage
from station.settings import Settings


class SimulatedRoomIo:
    """Satisfies `station.devices.RoomIo` and `station.devices.Attendant`."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        Settings("sim-io", settings).only()
        self._world = World.of(room)
        self._connected = False
        self._known = RoomInputs(SwitchStage.RELEASED, None, None, room.clock.now())

    # --- contacts and lamps ---

    def connect(self) -> None:
        self._connected = True

    def close(self) -> None:
        self._connected = False

    def inputs(self) -> RoomInputs:
        with self._world.synced():
            if not self._connected or self._world.faults.lasting(FaultName.IO_SILENT):
                # A contact that cannot be read is unknown; of the switch, released is the safe reading.
                self._known = RoomInputs(SwitchStage.RELEASED, None, None, self._known.at)
            else:
                self._known = RoomInputs(
                    self._world.switch,
                    self._world.door_closed,
                    self._world.emergency_stop_released,
                    self._world.clock.now(),
                )
            return self._known

    def show(self, lamp: Lamp) -> None:
        if not self._connected:
            raise NotConnected("the room's contacts are not connected; connect first")
        self._world.show(lamp)

    # --- the attendant ---

    def press(self, stage: SwitchStage) -> None:
        """Move the hand switch to that stage and hold it there."""
        self._world.press(stage)

    def place_hand(self) -> None:
        """Lay the hand on the panel, collimated to the view's light field."""
        self._world.place_hand()

    def clear_panel(self) -> None:
        """Take the hand away and open the collimator over the whole panel, as a flat field needs."""
        self._world.clear_panel()

    def moves(self) -> tuple[str, ...]:
        """What the person can be told now."""
        return person.moves(self._world)

    def move(self, what: str) -> None:
        """Do it. Raises `BadSettings` for what is not among the moves."""
        person.move(self._world, what)

    def set_door(self, closed: bool) -> None:
        """Open or close the door."""
        self._world.set_door(closed)

    def set_emergency_stop(self, released: bool) -> None:
        """Press or release the emergency stop."""
        self._world.set_emergency_stop(released)
