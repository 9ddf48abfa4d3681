"""R2CP version 6, the messages of Sedecal generators on TCP: bytes from and to frames, and nothing else.

A frame is eight bytes and data, integers big-endian, without a checksum (TCP has one)::

    0  bits 0-5 sequence 1..63, bits 6-7 priority        4  sub-index
    1  destination node, 0 broadcast                     5  function
    2  issuing node                                      6,7  length of the data, at most 100
    3  index                                             8..  data

Several frames may come in one piece, one frame in several. Every SET and GET is answered by CP ("message
processed", function 10): [sequence it answers, result, 0 is OK]; a GET also by an ANSWER.
Source: a published gantry controller that talks to such a generator; facts only.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

HUB, GENERATOR, APPLICATION = 1, 6, 17
_NODES = frozenset({0, HUB, 4, GENERATOR, 9, APPLICATION})
_HEADER = 8
_MOST_DATA = 100
RX_DISABLE = 500074  # the system message by which a host forbids radiation


class Function(IntEnum):
    """What a frame is."""

    SET = 1
    GET = 2
    ANSWER = 3  # and event
    BLOCK = 5
    DOWNLOAD = 9
    PROCESSED = 10


What = tuple[int, int]  # index, sub-index

VERSION: What = (0x00, 6)
LOAD_BANK = (0x20, 12)
ASSIGN_BANK = (0x20, 4)
SOFTWARE_START = (0x20, 142)
POST_EXPOSURE = (0x20, 144)
STATUS = (0x20, 147)
SYSTEM_MESSAGE = (0x80, 1)
ALL_SYSTEM_MESSAGES = (0x80, 2)
NODE_CHANGED = (0xA0, 1)
NODE_STATUS = (0xA0, 2)
HEARTBEAT = (0xA0, 3)
CONNECT = (0xA0, 4)
ACTIVATE = (0xE0, 2)
CLEAR_PROCEDURES = (0xE0, 5)
DEFINE_PROCEDURE = (0xE0, 6)
_NAMES: dict[What, str] = {
    VERSION: "protocol version",
    LOAD_BANK: "load bank",
    ASSIGN_BANK: "assign bank",
    SOFTWARE_START: "software start",
    POST_EXPOSURE: "post-exposure",
    STATUS: "status",
    SYSTEM_MESSAGE: "system message",
    ALL_SYSTEM_MESSAGES: "system messages",
    NODE_CHANGED: "node changed",
    NODE_STATUS: "node status",
    HEARTBEAT: "heartbeat",
    CONNECT: "connection request",
    ACTIVATE: "activate procedure",
    CLEAR_PROCEDURES: "clear procedures",
    DEFINE_PROCEDURE: "define procedure",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One frame."""

    what: What
    function: int
    data: bytes = b""
    sequence: int = 1
    destination: int = GENERATOR
    source: int = APPLICATION

    def encode(self) -> bytes:
        """As bytes. Raises ValueError for what no frame can hold."""
        if not 1 <= self.sequence <= 63 or len(self.data) > _MOST_DATA:
            raise ValueError(f"no frame can hold sequence {self.sequence} and {len(self.data)} bytes")
        index, sub = self.what
        header = bytes((self.sequence, self.destination, self.source, index, sub, self.function))
        return header + struct.pack(">H", len(self.data)) + self.data

    @classmethod
    def decode(cls, frame: bytes) -> "Message":
        """Of one whole frame, as `split` gives it."""
        sequence, destination, source, index, sub, function = frame[:6]
        return cls((index, sub), function, frame[_HEADER:], sequence & 0x3F, destination, source)


def split(buffer: bytearray) -> bytes | None:
    """Take the first whole frame off, and whatever cannot be the beginning of one."""
    while len(buffer) >= _HEADER:
        length = buffer[6] << 8 | buffer[7]
        if _plausible(buffer, length):
            if len(buffer) < _HEADER + length:
                return None
            frame = bytes(buffer[: _HEADER + length])
            del buffer[: _HEADER + length]
            return frame
        del buffer[0]
    return None


def _plausible(buffer: bytearray, length: int) -> bool:
    known = buffer[1] in _NODES and buffer[2] in _NODES and buffer[5] in set(Function)
    return known and buffer[0] & 0x3F != 0 and length <= _MOST_DATA


def describe(frame: bytes) -> str:
    """A frame in words, for the line monitor; never raises."""
    if len(frame) < _HEADER:
        return f"no frame: {frame.hex(' ')}"
    message = Message.decode(frame)
    index, sub = message.what
    name = _NAMES.get(message.what, f"{index:02x}/{sub}")
    function = Function(message.function).name if message.function in set(Function) else "?"
    if message.function == Function.PROCESSED and len(message.data) == 2:
        answered, result = message.data
        return f"{name}: CP for {answered}, {'OK' if result == 0 else f'refused with {result}'}"
    return f"{function} {name} {message.data.hex(' ')}".rstrip()


# --- payloads -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bank:
    """A radiography data bank: one technique, 27 bytes."""

    bank: int
    kvp: float
    ma: float
    ms: float
    large_focus: bool = False
    imaging_protocol: int = 1
    technique: int = 3  # points: 2 kV and mAs, 3 kV, mA and ms
    least_ms: int = 1
    most_ms: int = 500  # of integration
    mas: float | None = None  # as it is sent; None: mA times ms

    def encode(self) -> bytes:
        """As bytes; rounds to 0.1 kV, 0.01 mA, 0.01 ms."""
        mas = self.ma * self.ms / 1000 if self.mas is None else self.mas
        return b"".join(
            (
                bytes((self.bank, self.imaging_protocol, self.technique)),
                struct.pack(">H", round(self.kvp * 10)),
                _u24(mas * 1000),
                _u24(self.ma * 100),
                _u24(self.ms * 100),
                struct.pack(">HH", self.least_ms, self.most_ms),
                bytes((int(self.large_focus), *bytes(8))),
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> "Bank":
        """Of 27 bytes. Raises ValueError for another length."""
        if len(data) != 27:
            raise ValueError(f"a data bank has 27 bytes, {len(data)} came")
        (kvp,) = struct.unpack(">H", data[3:5])
        least_ms, most_ms = struct.unpack(">HH", data[14:18])
        return cls(
            bank=data[0],
            kvp=kvp / 10,
            mas=_from_u24(data[5:8]) / 1000,
            ma=_from_u24(data[8:11]) / 100,
            ms=_from_u24(data[11:14]) / 100,
            large_focus=data[18] == 1,
            imaging_protocol=data[1],
            technique=data[2] & 0x3F,
            least_ms=least_ms,
            most_ms=most_ms,
        )


class State(IntEnum):
    """States of a generator."""

    INVALID = 0
    INITIALIZATION = 1
    STANDBY = 2
    PREPARATION = 3
    READY = 4
    EXPOSURE_REQUEST = 5
    EXPOSING = 6
    WAIT_RELEASE = 7
    SHUTTING_DOWN = 8
    ERROR = 9
    SERVICE = 10


@dataclass(frozen=True, slots=True)
class Status:
    """Status V6, 14 bytes; what is not used here is not kept."""

    state: State
    messages_active: bool
    inhibited: bool
    procedure: int
    anode_heat_percent: int
    prepare_pressed: bool
    expose_pressed: bool

    @classmethod
    def decode(cls, data: bytes) -> "Status":
        """Of 14 bytes. Raises ValueError."""
        if len(data) != 14:
            raise ValueError(f"a status has 14 bytes, {len(data)} came")
        return cls(
            State(data[0]),
            bool(data[1] & 0x0F),
            bool(data[1] >> 4),
            data[2],
            data[8],
            bool(data[11] & 1),
            bool(data[11] & 2),
        )

    def encode(self) -> bytes:
        """As bytes; the fields that are not kept are 0."""
        system = int(self.messages_active) | int(self.inhibited) << 4
        switches = int(self.prepare_pressed) | int(self.expose_pressed) << 1
        heat = self.anode_heat_percent
        return bytes((self.state, system, self.procedure, 1, 1, 0, 0, 0, heat, 0, 0, switches, 0, 0))


@dataclass(frozen=True, slots=True)
class PostExposure:
    """What was delivered, 21 bytes."""

    number: int
    procedure: int
    kvp: float
    ma: float
    ms: float
    mas: float
    end: int  # 0 normal; the other codes are not published

    @classmethod
    def decode(cls, data: bytes) -> "PostExposure":
        """Of 21 bytes. Raises ValueError."""
        if len(data) != 21:
            raise ValueError(f"a post-exposure report has 21 bytes, {len(data)} came")
        number, procedure = struct.unpack(">HB", data[:3])
        (kvp,) = struct.unpack(">H", data[4:6])
        ma, ms, mas = (_from_u24(data[i : i + 3]) for i in (6, 9, 12))
        return cls(number, procedure, kvp / 10, ma / 100, ms / 100, mas / 1000, data[19])

    def encode(self) -> bytes:
        """As bytes."""
        values = _u24(self.ma * 100) + _u24(self.ms * 100) + _u24(self.mas * 1000)
        head = struct.pack(">HBBH", self.number, self.procedure, 1, round(self.kvp * 10))
        return head + values + bytes((0, 0, 0, 0, self.end, 0))


@dataclass(frozen=True, slots=True)
class SystemMessage:
    """A message that may forbid radiation, 10 bytes."""

    node: int
    id: int
    active: bool
    inhibits: int  # radiation: 0 no, 1 yes
    rest: tuple[int, int, int] = (2, 0, 0)  # generator phase, movement, positioner phase

    @classmethod
    def decode(cls, data: bytes) -> "SystemMessage":
        """Of 10 bytes. Raises ValueError."""
        if len(data) != 10:
            raise ValueError(f"a system message has 10 bytes, {len(data)} came")
        node, number, active, inhibits = struct.unpack(">BIBB", data[:7])
        phase, movement, positioner = data[7:10]
        return cls(node, number, bool(active), inhibits, (phase, movement, positioner))

    def encode(self) -> bytes:
        """As bytes."""
        return struct.pack(">BIBB", self.node, self.id, int(self.active), self.inhibits) + bytes(self.rest)


def radiation_forbidden(*, forbidden: bool) -> bytes:
    """The host's own safety inhibit, as data of a SET of SYSTEM_MESSAGE."""
    return SystemMessage(APPLICATION, RX_DISABLE, forbidden, 1).encode()


def _u24(value: float) -> bytes:
    return round(value).to_bytes(3, "big")


def _from_u24(data: bytes) -> int:
    return int.from_bytes(data, "big")
