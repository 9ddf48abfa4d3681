"""What is said over the wire of a VJ IXS monoblock: frames, words and flags; see `drivers.vj_generator`."""

import re
from dataclasses import dataclass

from station.devices import DeviceFault, DeviceRefused, Technique

_START, _END = 0x02, 0x0D
_LONGEST = 64  # bytes of a frame; longer is noise

INTERLOCK, BATTERY = 8, 10
WARNINGS = frozenset({0, 4, 11})  # the device goes on
FAULTS: dict[int, tuple[str, str]] = {
    0: ("duty", "none"),
    1: ("tube voltage too high", "Call service"),
    2: ("over its power limit", "Choose a lower current or voltage"),
    3: ("tube current too high", "Call service"),
    4: ("the tube arced", "Wait, then acknowledge; call service if it recurs"),
    5: ("too hot", "Let it cool, then acknowledge"),
    6: ("anode voltage too high", "Call service"),
    7: ("cathode voltage too high", "Call service"),
    INTERLOCK: ("the interlock is open", "Close the door, release the emergency stop, then acknowledge"),
    9: ("voltage or current out of regulation", "Acknowledge; call service if it recurs"),
    BATTERY: ("the battery is low", "Charge it"),
    11: ("too cold", "Let it warm up"),
}
_WORDS = {
    "VP": "tube voltage, 0.1 kV",
    "CP": "tube current, 0.0001 mA",
    "OT": "exposure time, 0.01 s",
    "PTM": "warning before radiation, s",
    "ENBL": "radiation on or off",
    "STAT": "does it radiate",
    "PSTAT": "does it warn",
    "FLT": "what is wrong",
    "MON": "what is measured",
    "CLR": "forget what was wrong",
    "WDOG": "watchdog",
    "FREV": "are you there",
    "MNUM": "model",
    "SNUM": "serial number",
}


# --- the wire -------------------------------------------------------------------------------------------


def frame(text: str) -> bytes:
    """A command or an answer as bytes."""
    return bytes([_START]) + text.encode("ascii") + bytes([_END])


def split(buffer: bytearray) -> bytes | None:
    """Take the first whole frame off, and noise before it."""
    while (end := buffer.find(_END)) >= 0:
        start = buffer.rfind(_START, 0, end)  # what begins anew before its end was never finished
        found = bytes(buffer[start : end + 1]) if start >= 0 else b""
        del buffer[: end + 1]
        if 2 < len(found) <= _LONGEST:
            return found
    if len(buffer) > _LONGEST:
        buffer.clear()
    return None


def text_of(data: bytes) -> str:
    """What a frame says; bytes that are no ASCII become signs that no answer has."""
    return data[1:-1].decode("ascii", "replace")


def describe(data: bytes) -> str:
    """A frame in words."""
    text = text_of(data)
    command = re.match(r"[A-Z]+", text)
    words = _WORDS.get(command[0], "") if command else ""
    return f"{text} ({words})" if words else text


def technique_words(technique: Technique) -> tuple[str, str, str]:
    """The three commands that set it. Never a time of zero, which would be for ever."""
    hundredths = round(technique.ms / 10)
    if not 1 <= hundredths <= 99999:
        raise DeviceRefused(
            f"{technique.ms:g} ms asked, the timer allows 10 to 999990 ms; choose another time"
        )
    return f"VP{round(technique.kvp * 10):04d}", f"CP{round(technique.ma * 1e4):05d}", f"OT{hundredths:05d}"


def parse_technique(words: tuple[str, str, str]) -> Technique:
    """What three confirmed commands amount to."""
    kvp, ma, ms = (int(word[2:]) for word in words)
    return Technique(kvp / 10, ma / 1e4, ms * 10.0)


def parse_flags(text: str) -> frozenset[int] | None:
    """The numbers of the flags that are set; None if the text is something else."""
    if not re.fullmatch(r"[01]( [01]){10,11}", text):
        return None
    return frozenset(number for number, flag in enumerate(text.split()) if flag == "1")


@dataclass(frozen=True, slots=True)
class Monitor:
    """What MON tells."""

    kvp: float
    ma: float
    temperature_c: float
    filament_a: float
    battery_v: float


def parse_monitor(text: str) -> Monitor | None:
    """None if the text is something else."""
    if not re.fullmatch(r"\d{4} \d{5} [+-]?\d{3,4} \d{4} \d{4}", text):
        return None
    kvp, ma, temperature, filament, battery = (int(part) for part in text.split())
    return Monitor(kvp / 10, ma / 1e4, temperature / 10, filament / 1000, battery / 100)


def fault_of(flags: frozenset[int]) -> DeviceFault:
    """The gravest of them, the others in its text."""
    number = min(flags - WARNINGS or flags)
    names = ", ".join(FAULTS[flag][0] for flag in sorted(flags))
    return DeviceFault(f"FLT{number}", names, f"the generator reports: {names}", FAULTS[number][1])
