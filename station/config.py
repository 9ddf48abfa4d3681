"""The room file: which driver serves which device, and the room's limits.

Simulation is not a mode: a room whose devices name simulated drivers is a simulated room. The `simulation`
section is handed to drivers as it is; the station never looks into it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from station.clock import Clock, RealClock, VirtualClock
from station.devices import Attendant, Camera, DapMeter, Detector, Generator, Room, RoomIo
from station.protocols import TechniqueSetting
from station.registry import make_device
from station.yaml_file import BadFile, Strict, read, shipped

Positive = Annotated[float, Field(gt=0)]


class DeviceEntry(Strict):
    """One device: the driver's entry point name and the settings handed to it."""

    driver: str
    settings: dict[str, Any] = {}


class Devices(Strict):
    """A room's devices; without a camera the operator confirms a list, without DAP the dose is unknown."""

    generator: DeviceEntry
    detector: DeviceEntry
    io: DeviceEntry
    camera: DeviceEntry | None = None
    dap: DeviceEntry | None = None


class Site(Strict):
    """Who made the image."""

    institution: str
    station_name: Annotated[str, Field(max_length=16)]
    manufacturer: str
    model: str
    serial: str
    focal_spot_mm: tuple[Positive, Positive]  # nominal, small and large
    paper: Literal["a4", "us-letter"] = "a4"  # of the report


class Limits(Strict):
    """Readiness limits of this room."""

    status_age_s: Positive = 0.5  # older is unknown, and unknown is not ready
    heat_percent: Positive = 80
    disk_reserve_mb: Positive = 500
    arm_token_s: Annotated[float, Field(gt=0, le=10)] = 10
    prepare_timeout_s: Positive = 15
    exposure_margin_s: Positive = 2
    readout_timeout_s: Positive = 10


class CalibrationRun(Strict):
    """How dark, flat and defect maps are made, and how long they hold."""

    darks: Annotated[int, Field(ge=4)] = 4
    flats: Annotated[int, Field(ge=4)] = 4
    flat_technique: TechniqueSetting
    flat_kerma_ugy: Positive  # detector air kerma of one such flat, measured with a dosimeter
    max_age_days: Positive
    at_start_if_missing: bool = False  # only sensible where the panel is known to be clear


class RoomFile(Strict):
    """A whole station."""

    name: str
    site: Site
    clock: Literal["real", "virtual"] = "real"
    protocol: str = "hand-dxr"
    hospital: str | None = None  # a shipped name or a file; without it nobody is told
    devices: Devices
    limits: Limits = Limits()
    calibration: CalibrationRun
    simulation: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Equipment:
    """The devices of a room, made but not yet connected."""

    generator: Generator
    detector: Detector
    io: RoomIo
    camera: Camera | None
    dap: DapMeter | None

    @property
    def attendant(self) -> Attendant | None:
        """Somebody software can direct, in rooms that have one."""
        return self.io if isinstance(self.io, Attendant) else None


def load_room(name_or_path: str = "sim") -> RoomFile:
    """A shipped room by name, or a file by path. Raises `BadFile`."""
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = shipped("config", f"{name_or_path}.yaml")
    return read(path, RoomFile)


def build(room: RoomFile, simulation: Mapping[str, Any], *, real_time: bool) -> tuple[Equipment, Clock]:
    """Make the room's devices.

    `simulation` is laid over the file's section. Raises `UnknownDriver`, `BadSettings` or `BadFile`.
    """
    clock: Clock = VirtualClock() if room.clock == "virtual" and not real_time else RealClock()
    if simulation and not room.simulation:
        raise BadFile(
            f"room '{room.name}' simulates nothing, so {', '.join(simulation)} cannot be set; leave it out"
        )
    shared = Room(clock, {**room.simulation, **simulation})

    def make(entry: DeviceEntry | None) -> Any:
        return make_device(entry.driver, entry.settings, shared) if entry else None

    devices = room.devices
    equipment = Equipment(
        make(devices.generator),
        make(devices.detector),
        make(devices.io),
        make(devices.camera),
        make(devices.dap),
    )
    if isinstance(clock, VirtualClock) and equipment.attendant is None:
        raise BadFile(f"room '{room.name}': clock virtual is for simulated rooms; set clock: real")
    return equipment, clock
