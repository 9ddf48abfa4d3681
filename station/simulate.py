"""A simulated room, one device of it, or a hospital, as a process of its own on real wires.

Who simulates is found by entry point (`dxr_station.simulators`): the station imports no simulator. The room's
devices are those of a room file, at the addresses written in it, so the same file connects a station to it.
A hospital has its own file, `config/hospital-example.yaml` unless its ports are to be free ones.
"""

import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Protocol

import yaml

from station.clock import RealClock
from station.config import RoomFile
from station.devices import BadSettings, Room
from station.hospital import Hospital

SIMULATOR_GROUP = "dxr_station.simulators"
_LOOPBACK = "127.0.0.1"


class Simulated(Protocol):
    """Whatever is served until it is stopped, and told what to do."""

    def start(self, *, follow_lamps: bool) -> None: ...
    def stop(self) -> None: ...
    def obey(self, order: str) -> str: ...


class SimulatedRoom(Simulated, Protocol):
    """What the entry point `room` makes of a room file's devices."""

    def devices(self) -> dict[str, dict[str, Any]]: ...


class SimulatedHospital(Simulated, Protocol):
    """What the entry point `pacs` makes."""

    def config(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be simulated."""

    name: str  # `room`, one device's simulator, or `pacs`
    tcp: str  # HOST:PORT of the one device; empty: any that is free
    pty: str  # or the path of its serial line
    free_addresses: bool  # not the room file's
    follow_lamps: bool  # the person exposes by the lamps
    certificates: str = ""  # folder of a hospital's PEM files; empty: without TLS


def find(wish: Wish, file: RoomFile, simulation: Mapping[str, Any]) -> tuple[Simulated, Callable[[], str]]:
    """The wish, not yet started, and what makes the file that connects to it. Raises `BadSettings`."""
    if wish.name == "pacs":
        hospital = make_hospital(wish, simulation)
        return hospital, lambda: hospital_file(hospital)
    room = make(wish, file, simulation)
    return room, lambda: room_file(file, room)


def make(wish: Wish, file: RoomFile, simulation: Mapping[str, Any]) -> SimulatedRoom:
    """Make it, not yet started. Raises `BadSettings`."""
    kind: Any = _entry_point("room")
    if wish.name == "room":
        entries = file.devices.model_dump(exclude_none=True)
        devices = kind.anywhere(entries) if wish.free_addresses else entries
    else:
        devices = kind.alone(wish.name, wish.tcp, wish.pty)
    return kind(devices, Room(RealClock(), simulation))


def make_hospital(wish: Wish, simulation: Mapping[str, Any]) -> SimulatedHospital:
    """Make it, not yet started. Raises `BadSettings`."""
    unknown = sorted(set(simulation) - {"seed", "faults"})
    if unknown:
        raise BadSettings(f"a hospital has no {', '.join(unknown)}; there are --seed and --fault")
    make: Any = _entry_point("pacs")
    return make(certificates=wish.certificates, free_ports=wish.free_addresses, **simulation)


def hospital_file(hospital: SimulatedHospital) -> str:
    """The hospital file, as YAML, that connects a station to it."""
    return yaml.safe_dump(hospital.config(), sort_keys=False)


def room_file(file: RoomFile, room: SimulatedRoom) -> str:
    """The room file, as YAML, that connects a station to it."""
    devices = room.devices()
    given = file.model_dump(mode="json", exclude_defaults=True)
    whole = devices.keys() >= {"generator", "detector", "io"}
    return yaml.safe_dump({**given, "devices": devices} if whole else {"devices": devices}, sort_keys=False)


def serve(room: Simulated, seconds: float | None, say: Callable[[str], None]) -> None:
    """Obey what is typed until it ends, or for so long; orders that cannot be obeyed are answered."""
    orders: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read_orders, args=(orders,), name="orders", daemon=True).start()
    until_s = None if seconds is None else time.monotonic() + seconds
    while (left_s := 3600.0 if until_s is None else until_s - time.monotonic()) > 0:
        try:
            order = orders.get(timeout=left_s)
        except queue.Empty:
            continue
        if order is None:
            if until_s is None:
                return
            time.sleep(max(until_s - time.monotonic(), 0))
        elif order:
            try:
                say(room.obey(order))
            except BadSettings as error:
                say(str(error))


@contextmanager
def running(room: Simulated, *, follow_lamps: bool) -> Generator[None]:
    """Started, and ended whatever happens."""
    room.start(follow_lamps=follow_lamps)
    try:
        yield
    finally:
        room.stop()


@contextmanager
def demo_hospital() -> Generator[Hospital]:
    """A hospital with a day's orders in this process, on free ports of loopback, and gone at the end.

    Gives the file that connects a station to it. Raises `BadSettings` where no port can be had.
    """
    made: Any = _entry_point("pacs")
    hospital: SimulatedHospital = made(free_ports=True, demonstration=True)
    with running(hospital, follow_lamps=False):
        title = hospital.config()["ae_title"]
        hospital.obey(f"station {title} {_LOOPBACK}:{_free_port()}")  # several stations may run beside
        yield Hospital.model_validate(hospital.config())


def _free_port() -> int:
    """For the station's own listener: free now, and asked for only a moment later."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _entry_point(name: str) -> Any:
    points = [point for point in entry_points(group=SIMULATOR_GROUP) if point.name == name]
    if not points:
        raise BadSettings(f"the simulator '{name}' is not installed; install this package again")
    return points[0].load()


def _read_orders(orders: "queue.SimpleQueue[str | None]") -> None:
    for line in sys.stdin:
        orders.put(line.strip())
    orders.put(None)
