"""What the terminals of a Modbus module mean: settings in, contacts and lamps out. No wire in here.

`drivers.modbus_io` is the driver, and its docstring the whole story.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from station.devices import BadSettings, Lamp, RoomInputs, SwitchStage
from station.settings import Settings

POINTS = 8  # inputs, and outputs


# --- settings -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wiring:
    """Which terminal is what, 0 to 7."""

    prepare: int
    expose: int
    door_closed: int
    emergency_stop_released: int
    inverted: frozenset[int]
    ready: int
    xray_on: int
    end: int
    buzzer: int


@dataclass(frozen=True, slots=True)
class Address:
    """Where the module is: a serial port, or a TCP host if `tcp_port` is set."""

    place: str
    tcp_port: int | None = None
    baud: int = 9600
    parity: str = "N"
    stop_bits: int = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """All settings."""

    url: str
    address: Address
    device_id: int
    poll_s: float
    timeout_s: float
    unknown_s: float  # contacts unread for longer are unknown
    buzzer_s: float
    wiring: Wiring


def plan_from(given: Mapping[str, Any]) -> Plan:
    """Read the settings of a room file. Raises `BadSettings`."""
    read = Settings("modbus-io", given)
    read.only(
        "url", "device_id", "poll_ms", "timeout_ms", "unknown_ms", "buzzer_ms", "inputs", "outputs", "invert"
    )
    url = read.text("url", "")
    return Plan(
        url,
        address_from(url),
        read.whole("device_id", 1, 1, 247),
        read.number("poll_ms", 20, 5, 150) / 1000,
        read.number("timeout_ms", 100, 20, 1000) / 1000,
        read.number("unknown_ms", 300, 100, 2000) / 1000,  # readiness gives up at the room's status_age_s
        read.number("buzzer_ms", 500, 0, 5000) / 1000,
        _wiring(given),
    )


def _wiring(given: Mapping[str, Any]) -> Wiring:
    """Raises `BadSettings` also where two things share a terminal."""
    inputs = _terminals(given, "inputs", ("prepare", "expose", "door_closed", "emergency_stop_released"))
    outputs = _terminals(given, "outputs", ("ready", "xray_on", "end", "buzzer"))
    invert = given.get("invert") or []
    if not isinstance(invert, list | tuple):
        raise BadSettings(f"modbus-io: invert={invert!r} given; allowed is a list of the inputs' numbers")
    inverted = [Settings("modbus-io", {"invert": part}).whole("invert", 0, 0, POINTS - 1) for part in invert]
    return Wiring(**inputs, **outputs, inverted=frozenset(inverted))


def _terminals(given: Mapping[str, Any], key: str, names: Sequence[str]) -> dict[str, int]:
    part = given.get(key) or {}
    if not isinstance(part, Mapping):
        raise BadSettings(f"modbus-io: {key}={part!r} given; allowed are numbers for {', '.join(names)}")
    read = Settings(f"modbus-io {key}", part)
    read.only(*names)
    numbers = {name: read.whole(name, usual, 0, POINTS - 1) for usual, name in enumerate(names)}
    if len(set(numbers.values())) < len(names):
        raise BadSettings(f"modbus-io {key}: {numbers} share a terminal; give each its own of 0 to 7")
    return numbers


def address_from(url: str) -> Address:
    """Read `tcp://host:port`, `rtu:///dev/x?baud=9600&parity=N&stop=1`, or a port's name. `BadSettings`."""
    allowed = "allowed are a port like /dev/ttyUSB0, rtu:///dev/ttyUSB0?baud=9600 and tcp://host:502"
    if url and "://" not in url:
        return Address(url)
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        if parts.scheme == "tcp" and parts.hostname and not options and not parts.path.strip("/"):
            return Address(parts.hostname, parts.port or 502)
        if parts.scheme == "rtu" and (place := parts.netloc + parts.path):
            baud, stop_bits = int(options.pop("baud", "9600")), int(options.pop("stop", "1"))
            parity = options.pop("parity", "N")
            if 1200 <= baud <= 256_000 and stop_bits in {1, 2} and parity in {"N", "E", "O"} and not options:
                return Address(place, None, baud, parity, stop_bits)
    except ValueError as error:
        raise BadSettings(f"modbus-io: url={url!r} given ({error}); {allowed}") from error
    raise BadSettings(f"modbus-io: url={url!r} given; {allowed}")


# --- meaning --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Contacts:
    """What one poll read; True is closed."""

    prepare: bool
    expose: bool
    door_closed: bool
    emergency_stop_released: bool

    @property
    def impossible(self) -> bool:
        """The second stage without the first."""
        return self.expose and not self.prepare


def contacts_from(bits: Sequence[bool], wiring: Wiring) -> Contacts:
    """Sort eight bits by the wiring."""
    prepare, expose, door, stop = (
        bits[number] != (number in wiring.inverted)
        for number in (wiring.prepare, wiring.expose, wiring.door_closed, wiring.emergency_stop_released)
    )
    return Contacts(prepare, expose, door, stop)


def judge(newest: Contacts, before: Contacts | None, at: float) -> RoomInputs:
    """What two polls in a row mean; `before` is None after a gap."""
    if newest.impossible:
        return RoomInputs(SwitchStage.RELEASED, None, None, at)
    stage = SwitchStage.RELEASED
    if before is not None and newest.prepare and before.prepare:
        stage = SwitchStage.EXPOSE if newest.expose and before.expose else SwitchStage.PREPARE

    def closed(name: str) -> bool | None:
        if not getattr(newest, name):
            return False
        return None if before is None else bool(getattr(before, name))

    return RoomInputs(stage, closed("door_closed"), closed("emergency_stop_released"), at)


def coils_for(lamp: Lamp, wiring: Wiring, *, buzzing: bool) -> dict[int, bool]:
    """The four outputs by their numbers."""
    return {
        wiring.ready: lamp is Lamp.READY,
        wiring.xray_on: lamp is Lamp.XRAY_ON,
        wiring.end: lamp is Lamp.END_OF_EXPOSURE,
        wiring.buzzer: buzzing,
    }


def runs(coils: Mapping[int, bool]) -> list[tuple[int, list[bool]]]:
    """Neighbouring coils together, (first number, states); others' coils between them are not touched."""
    found: list[tuple[int, list[bool]]] = []
    for number in sorted(coils):
        if found and number == found[-1][0] + len(found[-1][1]):
            found[-1][1].append(coils[number])
        else:
            found.append((number, [coils[number]]))
    return found
