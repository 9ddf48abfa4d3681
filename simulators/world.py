"""The simulated world: one tube, one room, one hand, one time, shared by all simulated devices of a room.

Time is the room's clock. Nothing runs by itself: every device method first brings the world up to now
(`synced`), and timers fire in order of time on the way, so an event 5 ms into an exposure takes effect at
5 ms whoever asks, whenever. The lock is held for bookkeeping only; images are computed outside it.

Output of the tube: air kerma in µGy = output(kV) in µGy/mAs at 1 m x mAs x (1000/SID)².
"""

import heapq
import math
import threading
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulators import spectrum
from simulators.faults import FaultName, FaultScript, Moment, parse_fault
from simulators.scene import Scene, of_side, scene_from
from station.clock import Clock
from station.devices import Lamp, Room, SwitchStage
from station.settings import Settings

_SCENE_KEYS = ("phantom", "pose", "radiograph", "pixel_spacing_mm")
_OWN_KEYS = (
    "seed",
    "faults",
    "hand_present",
    "second_hand",
    "sid_mm",
    "field_mm",
    "motion_mm",
    "motion_until_s",
    "door_closed",
    "emergency_stop_released",
)
_OPEN_FIELD_MM = (430.0, 430.0)  # collimator fully open, larger than any panel here
_ANODE_CAPACITY_J = 100_000.0  # memory: about 140 kHU, a small rotating anode
_ANODE_COOLING_S = 150.0  # time constant, memory


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """What a room file says under `simulation`."""

    scene: Mapping[str, Any]
    seed: int = 1
    faults: tuple[str, ...] = ()
    hand_present: bool = True
    second_hand: bool = False
    sid_mm: float = 1000.0
    field_mm: tuple[float, float] = (280.0, 220.0)  # rows, columns at the panel, centred
    motion_mm: float = 0.0  # amplitude of the hand's jitter before the camera
    motion_until_s: float = 0.0  # after the world began
    door_closed: bool = True
    emergency_stop_released: bool = True

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> "WorldSettings":
        """Read the mapping; without phantom, pose and radiograph the default phantom lies on the panel."""
        read = Settings("simulation", given)
        read.only(*_SCENE_KEYS, *_OWN_KEYS)
        for text in read.texts("faults"):
            parse_fault(text)
        scene = {key: given[key] for key in _SCENE_KEYS if given.get(key) is not None}
        return cls(
            scene=scene if scene.keys() & {"phantom", "pose", "radiograph"} else {**scene, "phantom": ""},
            seed=read.whole("seed", 1, 0, 2**31),
            faults=read.texts("faults"),
            hand_present=read.flag("hand_present", True),
            second_hand=read.flag("second_hand", False),
            sid_mm=read.number("sid_mm", 1000, 500, 2000),
            field_mm=read.pair("field_mm", (280, 220), 20, 430),
            motion_mm=read.number("motion_mm", 0, 0, 50),
            motion_until_s=read.number("motion_until_s", 0, 0, 3600),
            door_closed=read.flag("door_closed", True),
            emergency_stop_released=read.flag("emergency_stop_released", True),
        )


@dataclass(frozen=True, slots=True)
class Radiation:
    """Radiation over a stretch of time in which nothing changed."""

    kvp: float
    mas: float
    hand: bool  # in the beam
    field_mm: tuple[float, float]  # rows, columns at the panel, centred
    scene: Mapping[str, Any]  # the hand's settings


def kerma_ugy(kvp: float, mas: float, sid_mm: float) -> float:
    """Air kerma at the panel without an object, µGy."""
    return spectrum.air_kerma(kvp) * mas * (1000.0 / sid_mm) ** 2


def _made(settings: Mapping[str, Any]) -> tuple[Mapping[str, Any], Scene]:
    return settings, scene_from(settings)


class World:
    """One simulated room; see the module."""

    def __init__(self, settings: WorldSettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.faults = FaultScript(settings.faults)
        self.scene: Scene = scene_from(settings.scene)
        self.scene_settings = settings.scene
        self.hand_present = settings.hand_present
        self.laid_s = -math.inf  # when the hand was last laid down before everybody's eyes
        self.field_mm = settings.field_mm
        self.switch = SwitchStage.RELEASED
        self.door_closed = settings.door_closed
        self.emergency_stop_released = settings.emergency_stop_released
        self.lamps: list[tuple[float, Lamp]] = []
        self.began_s = clock.now()
        self._now_s = self.began_s
        self._lock = threading.RLock()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._live: set[int] = set()
        self._last_timer = 0
        self._ticking = False
        self.rotor_spins = False  # anybody in the room hears it
        self._beam: tuple[float, float] | None = None  # kV, mA
        self._heat_j = 0.0
        self._absorbers: list[Callable[[Radiation], None]] = []
        self._watchers: list[Callable[[], None]] = []
        self._painters: list[Callable[[Scene], None]] = []
        self._other: tuple[Mapping[str, Any], Scene] | None = None  # the hand that lay there before

    @classmethod
    def of(cls, room: Room) -> "World":
        """The one world of a room, made from `room.simulation` at the first call."""
        world = room.once("world", lambda: cls(WorldSettings.parse(room.simulation), room.clock))
        if not isinstance(world, cls):
            raise TypeError(
                f"the room's 'world' is a {type(world).__name__}; that name is the simulators' own"
            )
        return world

    # --- time ---

    @contextmanager
    def synced(self) -> Generator[float]:
        """Bring the world up to the clock and hold it there; gives the time in s."""
        with self._lock:
            self.sync()
            yield self._now_s

    def sync(self) -> None:
        """Catch up with the clock; does nothing if the world was ticked past it.

        Nor does it from within a timer: what a timer does happens at the timer's time.
        """
        with self._lock:
            if not self._ticking:
                self.tick(max(self.clock.now() - self._now_s, 0.0))

    def tick(self, dt_s: float) -> None:
        """Let `dt_s` seconds pass, split at every timer that falls into them."""
        if not 0 <= dt_s < math.inf:
            raise ValueError(f"time passes forwards: dt must be 0 s or more, got {dt_s}")
        with self._lock:
            until_s = self._now_s + dt_s
            self._ticking = True
            try:
                self._fire_until(until_s)
            finally:
                self._ticking = False
            self._pass(until_s)

    def _fire_until(self, until_s: float) -> None:
        while self._timers and self._timers[0][0] <= until_s:
            due_s, number, action = heapq.heappop(self._timers)
            if number in self._live:
                self._live.discard(number)
                self._pass(due_s)
                action()

    @property
    def now_s(self) -> float:
        """World time, same origin as the clock."""
        return self._now_s

    def after(self, seconds: float, action: Callable[[], None]) -> int:
        """Call `action` once that much later; returns a number to cancel it by."""
        with self._lock:
            self._last_timer += 1
            heapq.heappush(self._timers, (self._now_s + seconds, self._last_timer, action))
            self._live.add(self._last_timer)
            return self._last_timer

    def cancel(self, number: int | None) -> None:
        """Forget a timer; none and one that has fired are fine."""
        with self._lock:
            self._live.discard(number or 0)

    def _pass(self, until_s: float) -> None:
        passed_s = until_s - self._now_s
        self._now_s = max(until_s, self._now_s)
        if passed_s <= 0:
            return
        self._heat_j *= math.exp(-passed_s / _ANODE_COOLING_S)
        if self._beam:
            kvp, ma = self._beam
            self._heat_j += kvp * ma * passed_s
            radiation = Radiation(kvp, ma * passed_s, self.hand_present, self.field_mm, self.scene_settings)
            for absorb in self._absorbers:
                absorb(radiation)

    # --- tube ---

    @property
    def beam_is_on(self) -> bool:
        """True while radiation leaves the tube."""
        return self._beam is not None

    @property
    def beam(self) -> tuple[float, float]:
        """Tube voltage in kV and current in mA now; zeros without radiation."""
        return self._beam or (0.0, 0.0)

    @property
    def heat_percent(self) -> float:
        """Anode heat in % of its capacity."""
        return 100 * self._heat_j / _ANODE_CAPACITY_J

    def heat_after_percent(self, kvp: float, mas: float) -> float:
        """Anode heat there would be after such an exposure."""
        return self.heat_percent + 100 * kvp * mas / _ANODE_CAPACITY_J

    def beam_on(self, kvp: float, ma: float) -> None:
        """Start radiation; faults that wait for an exposure start their time."""
        self._beam = (kvp, ma)
        for name in (
            FaultName.SWITCH_RELEASED,
            FaultName.DOOR_OPENS_IN_EXPOSURE,
            FaultName.EMERGENCY_STOP,
        ):
            self._strike(name, Moment.EXPOSURE)

    def beam_off(self) -> None:
        """End radiation."""
        self._beam = None
        self._changed()

    def rotor_starts(self) -> None:
        """Preparation begins; faults that wait for it start their time."""
        self.rotor_spins = True
        self._strike(FaultName.DOOR_OPENS_IN_PREPARE, Moment.PREPARE)

    def rotor_stops(self) -> None:
        """Preparation and exposure are over."""
        self.rotor_spins = False

    def on_radiation(self, absorb: Callable[[Radiation], None]) -> None:
        """Call `absorb` for every stretch of radiation."""
        self._absorbers.append(absorb)

    # --- room ---

    @property
    def interlock_closed(self) -> bool:
        """The hard-wired chain: door closed and emergency stop released."""
        return self.door_closed and self.emergency_stop_released

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` after the switch, the door, the emergency stop or the beam changed."""
        self._watchers.append(changed)

    def press(self, stage: SwitchStage) -> None:
        """Move the hand switch now."""
        with self.synced():
            self.switch = stage
            self._changed()

    def set_door(self, closed: bool) -> None:
        """Open or close the door now."""
        with self.synced():
            self.door_closed = closed
            self._changed()

    def set_emergency_stop(self, released: bool) -> None:
        """Press or release the emergency stop now."""
        with self.synced():
            self.emergency_stop_released = released
            self._changed()

    def place_hand(self) -> None:
        """Lay the hand on the panel and collimate to it."""
        with self.synced():
            self.hand_present = True
            self.field_mm = self.settings.field_mm

    def lay_hand(self, side: str) -> None:
        """Lay the person's hand of that side (`"L"`, `"R"`) in place of what lies there.

        What it looks like takes up to a second to compute; that is the caller's time, nobody else waits.

        Raises
        ------
        BadSettings
            There is no such hand, as behind a radiograph of the other one.
        """
        known = [(self.scene_settings, self.scene), *([self._other] if self._other else [])]
        kept = next((one for one in known if one[1].side == side), None)
        settings, scene = kept or _made(of_side(self.scene_settings, side))
        for paint in self._painters:
            paint(scene)
        with self.synced() as now_s:
            if scene is not self.scene:
                self._other = (self.scene_settings, self.scene)
                self.scene_settings, self.scene = settings, scene
            self.hand_present, self.laid_s = True, now_s
            self.field_mm = self.settings.field_mm

    def scene_of(self, settings: Mapping[str, Any]) -> Scene | None:
        """The scene made from these settings, if it lies here or did before."""
        with self._lock:
            if settings == self.scene_settings:
                return self.scene
            return self._other[1] if self._other and settings == self._other[0] else None

    def paint(self, painter: Callable[[Scene], None]) -> None:
        """Call `painter` with every scene before it takes its place, outside the lock."""
        self._painters.append(painter)

    def take_hand_away(self) -> None:
        """Nothing lies on the panel; the light field stays."""
        with self.synced():
            self.hand_present = False

    def clear_panel(self) -> None:
        """Take the hand away and open the collimator, as a flat field needs."""
        with self.synced():
            self.hand_present = False
            self.field_mm = _OPEN_FIELD_MM

    def show(self, lamp: Lamp) -> None:
        """Record what the room shows."""
        with self.synced() as now_s:
            self.lamps.append((now_s, lamp))

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator of random numbers for one purpose only, so that the order of calls does not matter."""
        return np.random.default_rng([self.settings.seed, zlib.crc32(purpose.encode())])

    def _changed(self) -> None:
        for changed in self._watchers:
            changed()

    def _strike(self, name: FaultName, moment: Moment) -> None:
        fault = self.faults.take(name, moment)
        if fault is None:
            return
        actions: dict[FaultName, Callable[[], None]] = {
            FaultName.SWITCH_RELEASED: lambda: self.press(SwitchStage.RELEASED),
            FaultName.DOOR_OPENS_IN_PREPARE: lambda: self.set_door(False),
            FaultName.DOOR_OPENS_IN_EXPOSURE: lambda: self.set_door(False),
            FaultName.EMERGENCY_STOP: lambda: self.set_emergency_stop(False),
        }
        self.after(fault.value / 1000, actions[name])
