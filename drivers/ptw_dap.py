"""PTW DIAMENTOR (CRS firmware): dose-area product meter over RS-232.

The conversation
----------------
9600 baud 8N1, no handshake. ASCII telegrams that end with CR LF, strictly one at a time: the host asks, the
device answers. An answer that does not come within `answer_within_s` is lost; nothing comes unasked. Facts
are from the public driver and its tests in PyMeasure (MIT), the family's rules from PTW's MULTIDOS manual
D177.131.2; VERIFIED unless listed below.

==============  ========================================================  ===================================
host            device                                                    meaning
==============  ========================================================  ===================================
PTW             CRS 1.2.4                                                 firmware
SER             SER345678                                                 serial number
M               M9999.99,8888.88,222,33,9999.99,8888.88,222,33,34567      channel A: product, its rate,
                                                                          minutes, seconds; channel B: the
                                                                          same; check value
RES             RES                                                       product back to zero
U               U3                                                        unit: 1 cGy·cm², 2 Gy·cm²,
                                                                          3 µGy·m², 4 R·cm²
PRE, PRE0990    PRE0990                                                   air pressure 500 to 1500 hPa
TMPA, TMPA22    TMPA22                                                    chamber temperature 0 to 70 °C
CRC             CRC0,0                                                    1 is bad: EEPROM; calibration
G               GP or GF                                                  electrical constancy: pass, fail
TST             (an empty telegram)                                       self test passed
(any)           E1 … E26                                                  refused or failed, see `ERRORS`
==============  ========================================================  ===================================

On an open port, and after a lost answer: PTW, which nothing else answers like, so that a late answer is
known for one. The first time after connecting also SER, CRC, G, TST, then pressure and temperature where the
room file gives them: asked, written if they differ, asked again. Once a second: U.
A reading is U, then M until two in a row agree within one digit: the check value cannot be verified, and the
chamber needs a moment to collect the last charge. A reset is RES, then one M that must be close to zero; at
9600 baud it takes 80 ms, a reading 130 ms, of which all but a few ms are the line's.
In Gy·cm² one digit is 1 µGy·m², a third of a hand's exposure: set the device to µGy·m².

Inferred
--------
- telegrams end with CR LF and are strictly asked and answered on the DIAMENTOR too (INFERRED from MULTIDOS)
- fields 5 to 8 of the answer to M are channel B (INFERRED from their format)
- how the check value is computed is not public: it is not verified (INFERRED from MULTIDOS: block check)
- the self test takes less than 5 s (INFERRED); it answers an empty telegram or TST (INFERRED from RES)
- a reset leaves at most 5 digits (INFERRED)
- the product has settled when two readings in a row agree, after at most 1 s (INFERRED)
- a digit of a reading or a unit that the line made wrong is found by asking twice (INFERRED: no checksum)
- E1 and E25 after a valid telegram mean that the line damaged it (INFERRED)
"""

import re
import time
from collections.abc import Mapping
from typing import Any

from drivers.link import Dialogue, Link, Traffic, Whereabouts
from station.devices import BadSettings, CommunicationLost, DeviceError, DeviceFault, DeviceRefused, Room
from station.settings import Settings

BAUDS = (9600, 19200, 38400, 57600, 115200)  # VERIFIED
UGYM2_PER_UNIT = {"U1": 1.0, "U2": 100.0, "U3": 1.0}  # cGy·cm², Gy·cm², µGy·m²
ERRORS = {  # code: the maker's words, ours, what to do; VERIFIED codes and words
    "E1": ("syntax error, unknown command", "did not understand", "Check the line and the firmware."),
    "E4": ("charge overflow", "has collected more than it can count", "Reset it and expose anew."),
    "E5": ("maximum input current exceeded", "saw too high a dose rate", "Lower the tube current."),
    "E6": (
        "chamber voltage out of range",
        "cannot keep its chamber's voltage",
        "Check the chamber and its cable.",
    ),
    "E7": ("parameter is write protected", "does not let this be set", "Leave it out of the room file."),
    "E9": ("parameter out of range", "does not allow this value", "Correct the room file."),
    "E23": ("EEPROM reading or writing error", "has lost its memory", "Have it serviced."),
    "E24": ("not calibrated electrically", "is not calibrated", "Have it calibrated by the maker."),
    "E25": ("input buffer overrun", "was told too much at once", "Check that nobody else uses the line."),
    "E26": (
        "firmware malfunction",
        "has failed inside",
        "Switch it off and on; if it stays, have it serviced.",
    ),
}
_REFUSALS = ("E7", "E9")
_OF_THE_LINE = ("E1", "E25")
_ERROR = re.compile(r"E\d{1,2}")
_CHANNEL = r"(\d{1,7}\.\d{1,4}),\d{1,7}\.\d{1,4},\d{1,4},\d{1,2}"
_BLANK = r"[^,]{1,12},[^,]{1,12},[^,]{1,4},[^,]{1,4}"  # of a channel without a chamber, whatever it says
_READING = {
    "A": re.compile(rf"M{_CHANNEL},{_BLANK},\d{{1,5}}"),
    "B": re.compile(rf"M{_BLANK},{_CHANNEL},\d{{1,5}}"),
}
_LONGEST = 256  # bytes; the longest telegram has 60
_POLL_S = 1.0
_SELF_TEST_S = 5.0  # INFERRED
_SETTLED_WITHIN_S = 1.0  # INFERRED
_ZERO_DIGITS = 5  # INFERRED
_WITHIN_S = 3.0  # any job, greeting after a lost answer included
_KEYS = ("url", "baud", "channel", "answer_within_s", "air_pressure_hpa", "chamber_temperature_c")


class PtwDiamentor:
    """Satisfies `station.devices.DapMeter`; see the module."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        read = Settings("ptw-diamentor", settings)
        read.only(*_KEYS)
        self._channel = read.text("channel", "A")
        baud = read.whole("baud", 9600, min(BAUDS), max(BAUDS))
        if self._channel not in _READING or baud not in BAUDS:
            raise BadSettings(
                f"ptw-diamentor: channel={self._channel!r}, baud={baud} given; "
                f"allowed are channel A or B, and {', '.join(map(str, BAUDS))} baud"
            )
        self._air = _air(settings, read, self._channel)
        url, patience_s = read.needed("url"), read.number("answer_within_s", 0.5, 0.1, 5.0)
        self._name = f"dose meter PTW DIAMENTOR at {url}"
        port = Whereabouts(self._name, url, patience_s, baud)
        dialogue = Dialogue(split, describe, self._greet, self._poll, heard=lambda _: None, period_s=_POLL_S)
        self._link = Link(port, dialogue, room.clock)
        self._checked = False
        self._known_unit = ""

    def connect(self) -> None:
        self._checked = False
        self._link.open()

    def close(self) -> None:
        self._link.close()

    def reset(self) -> None:
        """Back to zero, and see that it is. Raises `DeviceError`."""
        self._link.run(self._reset, "reset", within_s=_WITHIN_S)

    def read_ugym2(self) -> float:
        """Ask for the product since reset, µGy·m². Raises `DeviceError`."""
        return self._link.run(self._settled_ugym2, "read", within_s=_WITHIN_S)

    def traffic(self) -> tuple[Traffic, ...]:
        """The newest telegrams."""
        return self._link.traffic()

    # --- by the link's thread ------------------------------------------------------------------------

    def _greet(self) -> None:
        try:
            self._ask("PTW", r"CRS .{1,20}")
        except CommunicationLost:  # what it had heard before was half a telegram: once more
            self._ask("PTW", r"CRS .{1,20}")
        if not self._checked:
            self._check()
            for command, digits in self._air.items():
                self._set(command, digits)
            self._checked = True
        self._unit()

    def _check(self) -> None:
        self._ask("SER", r"SER\d{1,12}")
        eeprom, _, calibration = self._ask("CRC", "CRC[01],[01]").removeprefix("CRC").partition(",")
        if eeprom != "0":
            raise self._failed("E23")
        if calibration != "0":
            raise self._failed("E24")
        if self._ask("G", "G[PF]") != "GP":
            raise DeviceFault(
                "GF", "constancy failed", f"{self._name} is not constant electrically", "Have it serviced."
            )
        self._ask("TST", "(TST)?", _SELF_TEST_S)

    def _set(self, command: str, digits: str) -> None:
        pattern = rf"{command}\d{{{len(digits)}}}"
        if self._ask(command, pattern) == command + digits:
            return
        self._ask(command + digits, pattern)
        kept = self._ask(command, pattern)
        if kept != command + digits:
            raise DeviceRefused(
                f"{self._name} was told {command + digits} and keeps {kept}; correct the room file"
            )

    def _poll(self) -> None:
        self._unit()

    def _unit(self) -> float:
        """µGy·m² per unit of the device's readings."""
        unit = self._ask("U", r"U\d")
        if unit != self._known_unit:  # one wrong bit makes another unit of it
            if self._ask("U", r"U\d") != unit:
                raise CommunicationLost(f"{self._name} does not tell the same unit twice; check the line")
            self._known_unit = unit
        if unit not in UGYM2_PER_UNIT:
            what = "R·cm²" if unit == "U4" else f"a unit unknown here ({unit})"
            raise DeviceRefused(f"{self._name} measures in {what}; set it to µGy·m² (its command U3)")
        return UGYM2_PER_UNIT[unit]

    def _reading(self) -> tuple[float, float]:
        """The product and one digit of it, in the device's unit."""
        pattern = _READING[self._channel]
        found = pattern.fullmatch(self._ask("M", pattern.pattern))
        digits = found.group(1) if found else ""
        return float(digits), 10.0 ** -len(digits.partition(".")[2])

    def _settled_ugym2(self) -> float:
        factor = self._unit()
        deadline_s = time.monotonic() + _SETTLED_WITHIN_S
        before, _ = self._reading()
        while True:
            now, digit = self._reading()
            if abs(now - before) < 1.5 * digit:
                return now * factor
            if time.monotonic() >= deadline_s:
                raise CommunicationLost(
                    f"{self._name}: readings do not agree ({before:g}, then {now:g}); "
                    "read when radiation has ended, else check the line"
                )
            before = now

    def _reset(self) -> None:
        self._ask("RES", "RES")
        left, digit = self._reading()
        if left > (_ZERO_DIGITS + 0.5) * digit:
            raise CommunicationLost(f"{self._name} was reset and still reads {left:g}; check it, reset again")

    def _ask(self, command: str, answer: str, within_s: float | None = None) -> str:
        """The answer of that shape. Raises `DeviceError`, also for what the device reports."""

        def recognise(frame: bytes) -> str | None:
            text = frame.decode("ascii", "replace")
            return text if re.fullmatch(answer, text) or _ERROR.fullmatch(text) else None

        text = self._link.exchange(command.encode() + b"\r\n", recognise, within_s)
        if re.fullmatch(answer, text):
            return text
        raise self._failed(text, command)

    def _failed(self, code: str, command: str = "") -> DeviceError:
        vendor, ours, action = ERRORS.get(
            code, ("unknown", "reports an error that is not documented", "Look it up in its manual.")
        )
        said = f"{self._name} {ours}"
        if code in _OF_THE_LINE:
            return CommunicationLost(f"{said} '{command}' (device code {code}: {vendor}). {action}")
        if code in _REFUSALS:
            return DeviceRefused(f"{said} '{command}' (device code {code}: {vendor}). {action}")
        return DeviceFault(code, vendor, said, action)


def _air(settings: Mapping[str, Any], read: Settings, channel: str) -> dict[str, str]:
    """Commands and digits of what the room file gives of the air."""
    air: dict[str, str] = {}
    if settings.get("air_pressure_hpa") is not None:
        air["PRE"] = f"{read.whole('air_pressure_hpa', 0, 500, 1500):04d}"
    if settings.get("chamber_temperature_c") is not None:
        if channel != "A":
            raise BadSettings(
                "ptw-diamentor: chamber_temperature_c given for channel B; "
                "only chamber A's command is known: leave it out and set it at the device"
            )
        air["TMPA"] = f"{read.whole('chamber_temperature_c', 0, 0, 70):02d}"
    return air


def split(buffer: bytearray) -> bytes | None:
    """Take the first telegram off, without its end."""
    end = buffer.find(b"\n")
    if end < 0:
        if len(buffer) > _LONGEST:
            buffer.clear()
        return None
    frame = bytes(buffer[:end]).removesuffix(b"\r")
    del buffer[: end + 1]
    return frame


def describe(data: bytes) -> str:
    """A telegram in words."""
    text = data.decode("ascii", "backslashreplace").rstrip("\r\n")
    if text in ERRORS:
        return f"{text}: {ERRORS[text][0]}"
    return text or "(empty)"
