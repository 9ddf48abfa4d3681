"""The person in a simulated room whose devices are on wires: works the hand switch by what is heard and seen.

Knows only what a person knows: the lamps, and the sound of the rotor. Told to (`obey`) by whoever runs the
room, or by itself again and again (`follow_lamps`), as a technologist exposes: first stage, the lamp READY,
second stage, held until the lamp says that the exposure has ended.
"""

import threading
import time
from collections.abc import Callable

from simulators import person
from simulators.world import World
from station.devices import BadSettings, Lamp, SwitchStage

_LOOK_S = 0.005
_ROTOR_WITHIN_S = 0.8  # nothing heard by then: the station was not ready, try again
_READY_WITHIN_S = 20.0
_END_WITHIN_S = 30.0
_REST_S = 0.3  # between two presses
HELP = """\
place · clear             lay the hand on the panel · take it away and open the collimator
prepare · expose · release  press the hand switch to that stage and hold it · let it go
lay the left hand, lay the right hand, take the hand away
shoot                     one exposure: prepare, wait for READY, expose, wait for its end, release
door open|closed          stop pressed|released (the emergency stop)
fault NAME[:ARGUMENT]     a fault of the simulated devices
spoil DEVICE ILL [N]      an ill of a line · mend: no line is ill
"""


class Attendant:
    """On one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def follow_lamps(self) -> None:
        """Begin to expose whenever the station lets one, in a thread."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._follow, name="attendant", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the switch is let go."""
        self._stop.set()
        if self._thread:
            self._thread.join(5)
        self._world.press(SwitchStage.RELEASED)

    def obey(self, order: str) -> str:
        """Do as told. Raises `BadSettings` with what can be asked for."""
        world = self._world
        orders: dict[str, Callable[[], object]] = {
            "place": world.place_hand,
            "clear": world.clear_panel,
            "prepare": lambda: world.press(SwitchStage.PREPARE),
            "expose": lambda: world.press(SwitchStage.EXPOSE),
            "release": lambda: world.press(SwitchStage.RELEASED),
            "shoot": self.shoot,
            "door open": lambda: world.set_door(False),
            "door closed": lambda: world.set_door(True),
            "stop pressed": lambda: world.set_emergency_stop(False),
            "stop released": lambda: world.set_emergency_stop(True),
        }
        word, _, argument = order.partition(" ")
        if word == "fault" and argument:
            world.faults.add(argument)
        elif order in orders:
            orders[order]()
        elif order in person.moves(world):
            person.move(world, order)
        else:
            raise BadSettings(f"'{order}' cannot be done here; there is:\n{HELP}")
        return f"done: {order}"

    def shoot(self) -> bool:
        """One exposure by the lamps; False if the station did not let one."""
        self._world.press(SwitchStage.RELEASED)
        self._pause(_REST_S)
        self._world.press(SwitchStage.PREPARE)
        try:
            # a monoblock has no rotor: then READY is the first that shows
            if not self._until(lambda: self._world.rotor_spins or self._ready(), _ROTOR_WITHIN_S):
                return False
            self._until(lambda: self._ready() or not self._world.rotor_spins, _READY_WITHIN_S)
            if not self._ready():
                return False
            self._world.press(SwitchStage.EXPOSE)
            return self._until(lambda: self._lamp() in {Lamp.END_OF_EXPOSURE, Lamp.OFF}, _END_WITHIN_S)
        finally:
            self._world.press(SwitchStage.RELEASED)

    def _follow(self) -> None:
        while not self._stop.is_set():
            self.shoot()

    def _lamp(self) -> Lamp:
        self._world.sync()
        return self._world.lamps[-1][1] if self._world.lamps else Lamp.OFF

    def _ready(self) -> bool:
        return self._lamp() is Lamp.READY

    def _until(self, claim: Callable[[], bool], seconds: float) -> bool:
        until_s = time.monotonic() + seconds
        while not self._stop.is_set() and time.monotonic() < until_s:
            if claim():
                return True
            self._pause(_LOOK_S)
        return False

    def _pause(self, seconds: float) -> None:
        self._stop.wait(seconds)
