"""The simulated PTW DIAMENTOR on its line: telegrams in, a simulated dose meter behind, telegrams out.

Quirks: a telegram before the last one was answered is an overrun (E25), and the check value is a number like
the device's, not the device's: its algorithm is not public.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from simulators.dap import SimulatedDapMeter
from simulators.world import World
from station.devices import CommunicationLost, Room
from station.settings import Settings

_UNITS_PER_UGYM2 = {1: 1.0, 2: 0.01, 3: 1.0, 4: 0.115}  # of cGy·cm², Gy·cm², µGy·m², R·cm²
_BLANK = "0000.00,0000.00,000,00"
_MOST = 9999.99
_OVERRUN_BYTES = 64  # INFERRED
_RANGES = {"PRE": (4, 500, 1500), "TMPA": (2, 0, 70), "U": (1, 1, 4), "BR": (1, 0, 4)}  # digits, low, high
_WITH_A_VALUE = re.compile(r"(PRE|TMPA|U|BR)(\d*)")


class DiamentorFace:
    """A face as `simulators.wire.line` wants it; `fails` maps commands to the error they meet."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        read = Settings("simulated DIAMENTOR", settings)
        read.only("unit", "channel", "serial", "write_protected")
        self._world, self._meter = World.of(room), SimulatedDapMeter({}, room)
        self._channel = read.text("channel", "A")
        self._serial = read.whole("serial", 345678, 0, 999999)
        self.write_protected = read.flag("write_protected", False)
        self.values = {"PRE": 1013, "TMPA": 20, "U": read.whole("unit", 3, 1, 4), "BR": 0}
        self.flags = {"CRC": "CRC0,0", "G": "GP", "TST": ""}
        self.fails: dict[str, str] = {}
        self.heard: list[str] = []
        self._began_s = self._world.now_s
        self._send: Callable[[bytes], None] = lambda _: None
        self._rest = b""

    def attached(self, send: Callable[[bytes], None]) -> None:
        self._send, self._rest = send, b""
        self._meter.connect()

    def tick(self) -> None:
        self._world.sync()

    def received(self, data: bytes) -> None:
        *telegrams, self._rest = (self._rest + data).split(b"\r\n")
        if len(self._rest) > _OVERRUN_BYTES or len(telegrams) > 1:
            self._rest, telegrams = b"", []
            self._send(b"E25\r\n")
        for telegram in telegrams:
            command = telegram.decode("ascii", "replace")
            self.heard.append(command)
            try:
                self._send(self._answer(command).encode() + b"\r\n")
            except CommunicationLost:  # the simulated meter is told to be silent
                return

    def _answer(self, command: str) -> str:
        ugym2 = self._meter.read_ugym2()
        if command in self.fails:
            return self.fails[command]
        if command == "M":
            return self._measured(ugym2)
        if command == "RES":
            self._meter.reset()
            self._began_s = self._world.now_s
            return command
        plain = {"PTW": "CRS 1.2.4", "SER": f"SER{self._serial}", **self.flags}
        if command in plain:
            return plain[command]
        found = _WITH_A_VALUE.fullmatch(command)
        return self._valued(*found.groups()) if found else "E1"

    def _valued(self, name: str, given: str) -> str:
        digits, low, high = _RANGES[name]
        if given:
            if self.write_protected:
                return "E7"
            if len(given) != digits or not low <= int(given) <= high:
                return "E9"
            self.values[name] = int(given)
        return f"{name}{self.values[name]:0{digits}d}"

    def _measured(self, ugym2: float) -> str:
        value = ugym2 * _UNITS_PER_UGYM2[self.values["U"]]
        if value > _MOST:
            return "E4"
        seconds = int(self._world.now_s - self._began_s) % 60000
        channel = f"{value:07.2f},0000.00,{seconds // 60:03d},{seconds % 60:02d}"
        both = (channel, _BLANK) if self._channel == "A" else (_BLANK, channel)
        text = "M" + ",".join(both)
        return f"{text},{sum(text.encode()) % 65536:05d}"
