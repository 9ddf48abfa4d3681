"""The words of Spellman's serial family (uX, XRB, PMX, SLM): frames, checksum, answers; pure functions.

A frame is 0x02, command, comma, every argument with a comma, checksum, 0x03; over Ethernet the same without
the checksum. Numbers are decimal text of any length. The checksum is over everything between 0x02 and itself,
commas included: the two's complement of the sum, its low seven bits, bit 6 set. A frame with a wrong one is
as good as none: devices ignore it silently, and so does `split`.

An accepted command is answered `command,$,`, a refused one `command,CODE,` (uX, XRB, PMX) or
`command,!,CODE,` (ST), a question `command,value,…`; uX answers over Ethernet `E#CODE` without a frame. So an
error code in answer to a question cannot be told from a value.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from station.devices import CommunicationLost, DeviceRefused

_STX, _ETX = 0x02, 0x03
_LONGEST = 128  # bytes of a frame; longer is noise
_BARE = re.compile(rb"E#(\d)")
_BARE_LENGTH = 3

INTERLOCK = 10002  # our number for E#2: E# has numbers of its own
_CODES = {
    1: "it received a damaged command",
    2: "it does not know this command",
    3: "an argument is out of range",
    9: "not possible in this state",
    10: "the setting is not valid",
    11: "not possible in this mode",
    10001: "an argument is out of range",
    INTERLOCK: "the interlock is open; close the door, release the emergency stop",
}
COMMANDS = {
    10: "set tube voltage",
    11: "set tube current",
    14: "tube voltage set",
    15: "tube current set",
    22: "status",
    52: "clear faults",
    98: "does it radiate",
    99: "radiation on or off",
}


@dataclass(frozen=True, slots=True)
class Message:
    """A frame taken apart."""

    command: int
    arguments: tuple[str, ...]


def checksum(body: bytes) -> int:
    """Of everything between 0x02 and the checksum, the last comma included."""
    return (-sum(body) & 0x7F) | 0x40


def frame(command: int, *arguments: int | str, checked: bool) -> bytes:
    """A command or an answer as bytes."""
    body = "".join(f"{part}," for part in (command, *arguments)).encode("ascii")
    return bytes([_STX]) + body + (bytes([checksum(body)]) if checked else b"") + bytes([_ETX])


def splitter(*, checked: bool) -> Callable[[bytearray], bytes | None]:
    """What takes the first whole frame off a buffer, with noise and damaged frames before it."""

    def split(buffer: bytearray) -> bytes | None:
        while buffer:
            first = bytes(buffer[:_BARE_LENGTH])
            if not checked and _BARE.fullmatch(first):
                del buffer[:_BARE_LENGTH]
                return first
            if buffer[0] == _STX:
                end = buffer.find(_ETX)
                if end < 0:
                    if len(buffer) <= _LONGEST:
                        return None
                    del buffer[0]
                    continue
                found = bytes(buffer[: end + 1])
                again = found.rfind(_STX)  # what begins anew before its end was never finished
                if again == 0 and parse(found, checked=checked) is not None:
                    del buffer[: end + 1]
                    return found
                del buffer[: again or end + 1]
            elif not checked and b"E#".startswith(first):
                return None  # the beginning of a bare error, perhaps
            else:
                del buffer[0]
        return None

    return split


def parse(data: bytes, *, checked: bool) -> Message | None:
    """Take a frame or a bare error apart; None if it is damaged."""
    bare = _BARE.fullmatch(data)
    if bare:
        return Message(0, (bare[1].decode(),))
    if len(data) < (5 if checked else 4) or data[0] != _STX or data[-1] != _ETX:
        return None
    body = data[1:-2] if checked else data[1:-1]
    if checked and data[-2] != checksum(body):
        return None
    found = re.fullmatch(rb"(\d{1,3}),((?:[ -+\--~]*,)*)", body)
    if not found:
        return None
    return Message(int(found[1]), tuple(found[2].decode("ascii").split(",")[:-1]))


def taken(message: Message, command: int) -> bool | None:
    """True if this accepts the command; None if it is no answer to it.

    Raises
    ------
    DeviceRefused
        It refuses.
    CommunicationLost
        It received nonsense.
    """
    if message.command == 0:
        raise _refusal(10000 + int(message.arguments[0]), command)
    if message.command != command or not message.arguments:
        return None
    words = message.arguments[1:] if message.arguments[0] == "!" else message.arguments
    if words and words[0] == "$":
        return True
    if words and words[0].isdecimal():
        raise _refusal(int(words[0]), command)
    return None


def numbers(message: Message, command: int) -> tuple[int, ...] | None:
    """The values that answer a question; None if this is no answer to it."""
    if message.command != command or not message.arguments:
        return None
    if not all(part.isdecimal() for part in message.arguments):
        return None
    return tuple(int(part) for part in message.arguments)


def describe(data: bytes) -> str:
    """A frame in words, with a checksum or without: no checksum is a comma."""
    message = parse(data, checked=False) or parse(data, checked=True)
    if message is None:
        return f"damaged: {data.hex(' ')}"
    words = COMMANDS.get(message.command, "")
    text = ",".join((str(message.command), *message.arguments))
    return f"{text} ({words})" if words else text


def _refusal(code: int, command: int) -> DeviceRefused | CommunicationLost:
    says = f"the generator refused '{COMMANDS.get(command, command)}': {_CODES.get(code, 'see its manual')}"
    if code == 1:
        return CommunicationLost(f"{says}; check the line")
    return DeviceRefused(f"{says} (code {code % 10000})")
