"""Device contracts: what the station may ask of hardware.

Contracts are `typing.Protocol`s: a driver imports its status types and errors from here and nothing else.

Rules every driver keeps (tests/conformance proves them):

- a command starts an action and returns as soon as the device has taken it, within 50 ms on a line that is
  well; progress is seen in `status()`. On a bad line it gives up within a deadline (`CommunicationLost`);
- `status()` never blocks: it returns the last known status with the clock time of the last contact (`at`);
- `abort()` may be called from any thread at any time, returns within 50 ms and wins over a command in
  flight, also over one that finishes late; it never queues;
- out of range is refused (`DeviceRefused`), never clipped; an expose is never retried;
- after construction nothing radiates, after `connect()` a generator is in STANDBY.

Errors::

    DeviceError
    ├── NotConnected            nothing there
    ├── CommunicationLost       silence or nonsense                    (retryable)
    ├── DeviceRefused           its state or range forbids this        (not retryable)
    │   └── Aborted             a command overtaken by abort
    └── DeviceFault             the device reports a fault: code, vendor text, our text, next action
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Protocol, runtime_checkable

from station.clock import Clock
from station.frame import Frame, Pixels

# --- errors ---------------------------------------------------------------------------------------------


class DeviceError(Exception):
    """Anything a device could not do."""


class NotConnected(DeviceError):  # noqa: N818  the names are the design's words
    """Nothing is there."""


class CommunicationLost(DeviceError):  # noqa: N818
    """Silence or nonsense on the line; connecting and reading may be retried."""


class DeviceRefused(DeviceError):  # noqa: N818
    """The device's state or range forbids this; asking again does not help."""


class Aborted(DeviceRefused):
    """A command was overtaken by an abort."""


class DeviceFault(DeviceError):  # noqa: N818
    """The device reports a fault of its own."""

    def __init__(self, code: str, vendor_text: str, our_text: str, next_action: str) -> None:
        super().__init__(f"{our_text} (device code {code}: {vendor_text}). {next_action}")
        self.code = code
        self.next_action = next_action


class BadSettings(ValueError):  # noqa: N818
    """A driver cannot use its settings; the message says what was given and what is allowed."""


# --- generator ------------------------------------------------------------------------------------------


class FocalSpot(StrEnum):
    """The two focal spots of a radiographic tube."""

    SMALL = "small"
    LARGE = "large"


@dataclass(frozen=True, slots=True)
class Technique:
    """A three-point radiographic technique as set on a generator."""

    kvp: float  # kV
    ma: float  # mA
    ms: float  # ms
    focal_spot: FocalSpot = FocalSpot.SMALL

    def __post_init__(self) -> None:
        for name, value in (("kvp", self.kvp), ("ma", self.ma), ("ms", self.ms)):
            if not 0 < value < 1e6:
                raise ValueError(f"technique {name} must be a positive number, got {value}")

    @property
    def mas(self) -> float:
        """Tube current-time product in mAs."""
        return self.ma * self.ms / 1000

    def __str__(self) -> str:
        return f"{self.kvp:g} kV {self.ma:g} mA {self.ms:g} ms ({self.mas:.3g} mAs, {self.focal_spot} focus)"


class EndOfExposure(StrEnum):
    """Why radiation ended."""

    NORMAL = "normal"  # the timer
    RELEASED = "released early"  # hand switch let go
    ABORTED = "aborted"  # by the station
    FAULT = "generator fault"
    NOT_STARTED = "not started"  # the generator refused: no radiation
    UNKNOWN = "unknown"  # the generator fell silent: assume that it was delivered in full


@dataclass(frozen=True, slots=True)
class Delivered:
    """What the generator reports to have delivered, read back after the exposure."""

    kvp: float
    ma: float
    ms: float
    mas: float
    end: EndOfExposure


class GeneratorState(StrEnum):
    """States every generator is mapped to."""

    UNKNOWN = "unknown"
    STANDBY = "standby"
    PREPARING = "preparing"  # rotor and filament
    READY = "ready"
    EXPOSING = "exposing"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class GeneratorStatus:
    """Last known status; `exposures` counts completed exposures since connect and detects a new one."""

    state: GeneratorState
    at: float  # clock time of the last contact, s
    heat_percent: float | None  # of the anode's capacity; None: it guards itself and does not tell
    exposures: int
    last: Delivered | None = None  # of the newest completed exposure
    fault: DeviceFault | None = None


@dataclass(frozen=True, slots=True)
class GeneratorInfo:
    """Identity and range."""

    model: str
    serial: str
    kvp_range: tuple[float, float]
    ma_range: tuple[float, float]
    ms_range: tuple[float, float]
    max_power_kw: float
    own_timer: bool = True  # the device itself ends an exposure; False: only this host does

    def refuse_out_of_range(self, technique: Technique) -> None:
        """Raise `DeviceRefused` naming what was asked and what is allowed."""
        for name, unit, value, (low, high) in (
            ("tube voltage", "kV", technique.kvp, self.kvp_range),
            ("tube current", "mA", technique.ma, self.ma_range),
            ("exposure time", "ms", technique.ms, self.ms_range),
        ):
            if not low <= value <= high:
                raise DeviceRefused(
                    f"{name} {value:g} {unit} asked, {self.model} allows {low:g} to {high:g} {unit}; "
                    "choose a technique in range"
                )
        power_kw = technique.kvp * technique.ma / 1000
        if power_kw > self.max_power_kw:
            raise DeviceRefused(
                f"{power_kw:.3g} kW asked, {self.model} allows {self.max_power_kw:g} kW; "
                "lower the current and lengthen the time"
            )


class Generator(Protocol):
    """An X-ray generator with its tube: STANDBY → PREPARING → READY → EXPOSING → STANDBY."""

    def connect(self) -> None: ...
    def close(self) -> None: ...
    def info(self) -> GeneratorInfo: ...
    def status(self) -> GeneratorStatus: ...

    def load(self, technique: Technique) -> Technique:
        """Set the technique in STANDBY; returns what the device reads back. Refuses out of range."""
        ...

    def prepare(self) -> None:
        """Start rotor and filament; READY follows in `status()`. Refuses unless STANDBY and loaded."""
        ...

    def expose(self) -> None:
        """Start (or, where the switch is wired to the generator, permit) exactly one exposure.

        Refuses unless READY. Never retried by anybody.
        """
        ...

    def release(self) -> None:
        """The hand switch was let go: end radiation and preparation; a partial exposure is reported."""
        ...

    def abort(self) -> None:
        """End radiation and preparation at once; overtakes everything."""
        ...

    def acknowledge(self) -> None:
        """Clear a latched fault whose cause is gone."""
        ...


# --- detector -------------------------------------------------------------------------------------------


class DetectorState(StrEnum):
    """States every detector is mapped to."""

    UNKNOWN = "unknown"
    IDLE = "idle"
    ARMING = "arming"  # clearing the panel
    READY = "ready"  # integrating: an exposure is recorded
    READING = "reading"
    FRAME_HELD = "frame held"  # a frame waits to be fetched
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class DetectorStatus:
    """Last known status."""

    state: DetectorState
    at: float
    temperature_c: float | None  # None: the panel does not tell
    memory_free: int  # frames that still fit into the detector's memory


@dataclass(frozen=True, slots=True)
class DetectorInfo:
    """Identity and geometry."""

    model: str
    serial: str
    rows: int
    columns: int
    spacing_mm: tuple[float, float]
    bits: int
    lsb_per_ugy: float  # nominal response at the calibration quality, for planning only
    longest_window_ms: float = 60_000.0


class Detector(Protocol):
    """A flat panel: IDLE → ARMING → READY → READING → FRAME_HELD → IDLE."""

    def connect(self) -> None: ...
    def close(self) -> None: ...
    def info(self) -> DetectorInfo: ...
    def status(self) -> DetectorStatus: ...

    def arm(self, exposure_uid: str, window_ms: float) -> None:
        """Clear the panel and open an integration window; READY follows in `status()`.

        The frame is kept in the detector's memory under `exposure_uid` until `discard()`.
        """
        ...

    def read_out(self) -> None:
        """End the window now and read the panel; the frame follows as FRAME_HELD."""
        ...

    def fetch(self) -> Frame:
        """The held frame, RAW. Raises `CommunicationLost` if the line is silent, `DeviceRefused` if none."""
        ...

    def recover(self, exposure_uid: str) -> Frame:
        """Read a frame again from the detector's own memory, after a lost transfer or a restart."""
        ...

    def discard(self, exposure_uid: str) -> None:
        """Free the memory of a frame that is safely on disk."""
        ...

    def abort(self) -> None:
        """Close the window without reading.

        The controller never calls it after an expose: a frame that may carry radiation is always read.
        """
        ...


# --- camera, dose meter, room ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CameraView:
    """One camera frame, rectified to the panel plane and seen from the tube."""

    pixels: Pixels  # (rows, columns, 3) uint8, BGR
    at: float  # clock time of the exposure of this frame, s
    mm_per_px: float
    panel_origin_px: tuple[float, float]  # (row, column) of the panel's top left corner
    panel_size_mm: tuple[float, float]  # (rows, columns)


class Camera(Protocol):
    """The positioning camera above the panel."""

    def connect(self) -> None: ...
    def close(self) -> None: ...

    def view(self) -> CameraView | None:
        """The newest frame, None before the first one; never blocks."""
        ...


class DapMeter(Protocol):
    """A dose-area product meter in the beam."""

    def connect(self) -> None: ...
    def close(self) -> None: ...
    def reset(self) -> None: ...

    def read_ugym2(self) -> float:
        """Dose-area product since reset in µGy·m²."""
        ...


class SwitchStage(IntEnum):
    """The two-stage hand switch."""

    RELEASED = 0
    PREPARE = 1
    EXPOSE = 2


@dataclass(frozen=True, slots=True)
class RoomInputs:
    """What the room's contacts say; None is unknown, and unknown is not ready."""

    switch: SwitchStage
    door_closed: bool | None
    emergency_stop_released: bool | None
    at: float


class Lamp(StrEnum):
    """What the room shows and sounds."""

    OFF = "off"
    READY = "ready"
    XRAY_ON = "x-ray on"
    END_OF_EXPOSURE = "end of exposure"


class RoomIo(Protocol):
    """Hand switch, door, emergency stop, lamps and buzzer."""

    def connect(self) -> None: ...
    def close(self) -> None: ...
    def inputs(self) -> RoomInputs: ...
    def show(self, lamp: Lamp) -> None: ...


@runtime_checkable
class Attendant(Protocol):
    """Somebody in the room whom software can direct: works the hand switch, lays a hand, opens the door.

    Only a simulated room has one (its RoomIo); in a real room these are people.
    """

    def press(self, stage: SwitchStage) -> None: ...
    def place_hand(self) -> None: ...
    def clear_panel(self) -> None: ...

    def moves(self) -> tuple[str, ...]: ...  # what can be told now, such as "lay the left hand"
    def move(self, what: str) -> None: ...  # may take a second; `BadSettings` for what is no move


# --- making devices -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Room:
    """What the devices of one room share while they are being made.

    A driver is a callable `driver(settings, room)`. `once` lets simulated devices share one world.
    """

    clock: Clock
    simulation: Mapping[str, Any] = field(default_factory=dict[str, Any])
    _shared: dict[str, Any] = field(default_factory=dict[str, Any])

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """The one object of that name, made at the first call."""
        if name not in self._shared:
            self._shared[name] = make()
        return self._shared[name]
