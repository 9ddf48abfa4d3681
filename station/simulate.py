"""A simulated room, or one device of it, as a process of its own on real wires.

Who simulates is found by entry point (`dxr_station.simulators`): the station imports no simulator. The room's
devices are those of a room file, at the addresses written in it, so the same file connects a station to it.
"""

import queue
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

SIMULATOR_GROUP = "dxr_station.simulators"


class SimulatedRoom(Protocol):
    """What the entry point `room` makes of a room file's devices."""

    def start(self, *, follow_lamps: bool) -> None: ...
    def stop(self) -> None: ...
    def devices(self) -> dict[str, dict[str, Any]]: ...
    def obey(self, order: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be simulated."""

    name: str  # `room`, or one device's simulator
    tcp: str  # HOST:PORT of the one device; empty: any that is free
    pty: str  # or the path of its serial line
    free_addresses: bool  # not the room file's
    follow_lamps: bool  # the person exposes by the lamps


def make(wish: Wish, file: RoomFile, simulation: Mapping[str, Any]) -> SimulatedRoom:
    """Make it, not yet started. Raises `BadSettings`."""
    kind: Any = next(point for point in entry_points(group=SIMULATOR_GROUP) if point.name == "room").load()
    if wish.name == "room":
        entries = file.devices.model_dump(exclude_none=True)
        devices = kind.anywhere(entries) if wish.free_addresses else entries
    else:
        devices = kind.alone(wish.name, wish.tcp, wish.pty)
    return kind(devices, Room(RealClock(), simulation))


def room_file(file: RoomFile, room: SimulatedRoom) -> str:
    """The room file, as YAML, that connects a station to it."""
    devices = room.devices()
    given = file.model_dump(mode="json", exclude_defaults=True)
    whole = devices.keys() >= {"generator", "detector", "io"}
    return yaml.safe_dump({**given, "devices": devices} if whole else {"devices": devices}, sort_keys=False)


def serve(room: SimulatedRoom, seconds: float | None, say: Callable[[str], None]) -> None:
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
def running(room: SimulatedRoom, *, follow_lamps: bool) -> Generator[None]:
    """Started, and ended whatever happens."""
    room.start(follow_lamps=follow_lamps)
    try:
        yield
    finally:
        room.stop()


def _read_orders(orders: "queue.SimpleQueue[str | None]") -> None:
    for line in sys.stdin:
        orders.put(line.strip())
    orders.put(None)
