"""Simulated devices that run as a process of their own, each at the address that a driver's settings name.

A maker is given the settings that a room file hands to the driver, so that one file describes both sides:
the address, and what the device is (its ranges, its size).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from simulators.attendant import HELP, Attendant
from simulators.wire.camera import CameraFace
from simulators.wire.gige import GigeFace
from simulators.wire.line import End, Face, Line, PtyEnd, TcpEnd
from simulators.wire.modbus import ModbusFace
from simulators.wire.ptw import DiamentorFace
from simulators.wire.r2cp import R2cpFace
from simulators.wire.spellman import SpellmanFace
from simulators.wire.vj import VjFace
from simulators.world import World
from station.devices import BadSettings, Room

_GENERATOR_RANGES = ("kvp_range", "ma_range", "ms_range", "max_power_kw", "serial")
_PANEL = ("rows", "columns", "spacing_mm", "serial", "address")


class Served(Protocol):
    """One simulated device on its wire."""

    def start(self) -> None: ...
    def stop(self) -> None: ...

    def config(self) -> dict[str, Any]:
        """What the driver needs to connect to it, once started."""
        ...


class OnLine:
    """A face on a serial or TCP line."""

    def __init__(self, face: Face, settings: Mapping[str, Any]) -> None:
        self.face = face
        self.line = Line(face, end_of(str(settings.get("url", ""))))

    def start(self) -> None:
        self.line.start()

    def stop(self) -> None:
        self.line.stop()

    def config(self) -> dict[str, Any]:
        return {"url": self.line.url}


def end_of(url: str) -> End:
    """The other end of a driver's URL; of none, a TCP port that is free."""
    parts = urlsplit(url)
    if parts.scheme == "socket" and parts.hostname and parts.port is not None:
        return TcpEnd(parts.hostname, parts.port)
    if parts.scheme:
        raise BadSettings(f"url={url} cannot be served; there are socket://host:port and paths of a pty")
    return PtyEnd(Path(url)) if url else TcpEnd()


def r2cp(settings: Mapping[str, Any], room: Room) -> Served:
    """A Sedecal generator."""
    return OnLine(R2cpFace(_only(settings, _GENERATOR_RANGES), room), settings)


def ixs(settings: Mapping[str, Any], room: Room) -> Served:
    """A VJ generator."""
    return OnLine(VjFace(_only(settings, ("hand_switch_in_interlock",)), room), settings)


def xrb(settings: Mapping[str, Any], room: Room) -> Served:
    """A Spellman generator."""
    serial = isinstance(end_of(str(settings.get("url", ""))), PtyEnd)
    face = {"checksum": settings.get("checksum", serial)}
    if "ma_range" in settings:
        face["full_scale_ma"] = settings["ma_range"][1]
    if "kvp_range" in settings:
        face["max_kvp"] = settings["kvp_range"][1]
    return OnLine(SpellmanFace(face, room), settings)


def diamentor(settings: Mapping[str, Any], room: Room) -> Served:
    """A PTW dose meter."""
    return OnLine(DiamentorFace({}, room), settings)


def gige(settings: Mapping[str, Any], room: Room) -> Served:
    """A GigE Vision panel."""
    return GigeFace(_only(settings, _PANEL), room)


def modbus(settings: Mapping[str, Any], room: Room) -> Served:
    """The module of hand switch, door, emergency stop and lamps."""
    rewired = settings.keys() & {"inputs", "outputs", "invert"}
    if rewired:
        raise BadSettings(
            f"the simulated module is wired as by default; leave out {', '.join(sorted(rewired))}"
        )
    url = urlsplit(str(settings.get("url", "tcp://127.0.0.1:0")))
    device_id = int(settings.get("device_id", 1))
    if url.scheme == "tcp":
        return ModbusFace(room, device_id=device_id, tcp_port=url.port or 0)
    link = Path(url.path)
    if link.exists() and not link.is_symlink():
        raise BadSettings(f"{link} exists and is no link; name another path for the serial line")
    return ModbusFace(room, device_id=device_id, link=link)


def camera(settings: Mapping[str, Any], room: Room) -> Served:
    """The positioning camera."""
    return CameraFace(room, port=urlsplit(str(settings.get("source", ""))).port or 0)


@dataclass(frozen=True, slots=True)
class Maker:
    """What serves the wire of one driver."""

    kind: str  # of device, as in a room file
    driver: str
    make: Callable[[Mapping[str, Any], Room], Served]
    address: str  # the driver's setting that says where
    tcp: str = "socket://{}"  # what stands there for HOST:PORT; empty: not served over TCP
    pty: str = "{}"  # and for the path of a serial line


MAKERS = {
    "r2cp": Maker("generator", "sedecal-r2cp", r2cp, "url"),
    "ixs": Maker("generator", "vj-ixs", ixs, "url"),
    "xrb": Maker("generator", "spellman-xrb", xrb, "url"),
    "gige": Maker("detector", "genicam", gige, "address", tcp="{}", pty=""),
    "modbus": Maker("io", "modbus-io", modbus, "url", tcp="tcp://{}", pty="rtu://{}?baud=115200"),
    "camera": Maker("camera", "uvc-camera", camera, "source", tcp="http://{}/video.mjpg", pty=""),
    "diamentor": Maker("dap", "ptw-diamentor", diamentor, "url"),
}


class SimulatedRoom:
    """Devices of one world, each on its wire, and the person among them.

    `devices` is that section of a room file: kind → driver and settings.
    """

    def __init__(self, devices: Mapping[str, Mapping[str, Any]], room: Room) -> None:
        self._devices = {kind: dict(entry) for kind, entry in devices.items()}
        self.world = World.of(room)
        self.attendant = Attendant(self.world)
        self.served = {
            kind: _maker(entry["driver"]).make(entry["settings"], room) for kind, entry in devices.items()
        }
        self._started: list[Served] = []

    @staticmethod
    def alone(name: str, tcp: str, pty: str) -> dict[str, dict[str, Any]]:
        """The `devices` of a room with one device, by the simulator's name, at HOST:PORT or on a path."""
        if name not in MAKERS:
            raise BadSettings(f"there is no simulator '{name}'; there are room, {', '.join(MAKERS)}")
        maker = MAKERS[name]
        where, form = (tcp, maker.tcp) if tcp else (pty, maker.pty)
        if where and not form:
            raise BadSettings(f"'{name}' has no serial line; give --tcp or nothing")
        settings = {maker.address: form.format(where)} if where else dict[str, Any]()
        return {maker.kind: {"driver": maker.driver, "settings": settings}}

    @staticmethod
    def anywhere(devices: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """The same devices at addresses that are free."""
        without = {kind: _maker(entry["driver"]).address for kind, entry in devices.items()}
        return {
            kind: {
                "driver": entry["driver"],
                "settings": {key: value for key, value in entry["settings"].items() if key != without[kind]},
            }
            for kind, entry in devices.items()
        }

    def start(self, *, follow_lamps: bool) -> None:
        """All devices, then the person. Raises the error of the first that cannot start; none is left."""
        try:
            for served in self.served.values():
                served.start()
                self._started.append(served)
        except BaseException:
            self.stop()
            raise
        if follow_lamps:
            self.attendant.follow_lamps()

    def stop(self) -> None:
        """End all of it."""
        self.attendant.stop()
        while self._started:
            self._started.pop().stop()

    def devices(self) -> dict[str, dict[str, Any]]:
        """The `devices` section of a room file that connects to this room."""
        return {
            kind: {"driver": entry["driver"], "settings": entry["settings"] | self.served[kind].config()}
            for kind, entry in self._devices.items()
        }

    def obey(self, order: str) -> str:
        """An order to the person, or an ill of a line. Raises `BadSettings`."""
        words = order.split()
        lines = {kind: served.line for kind, served in self.served.items() if isinstance(served, OnLine)}
        if words[:1] == ["mend"]:
            for line in lines.values():
                line.mend()
            return "done: every line is well"
        if words[:1] == ["spoil"]:
            if len(words) not in {3, 4} or words[1] not in lines:
                raise BadSettings(f"'{order}': say spoil {'|'.join(lines)} ILL [NUMBER];\n{HELP}")
            lines[words[1]].spoil(words[2], float(words[3]) if len(words) == 4 else 0.0)
            return f"done: {order}"
        return self.attendant.obey(" ".join(words))


def _maker(driver: str) -> Maker:
    found = {maker.driver: maker for maker in MAKERS.values()}
    if driver not in found:
        raise BadSettings(f"nothing simulates the wire of driver '{driver}'; it can be {', '.join(found)}")
    return found[driver]


def _only(settings: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: settings[key] for key in keys if key in settings}
