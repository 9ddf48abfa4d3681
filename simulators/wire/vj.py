"""A VJ IXS monoblock as its line knows it: `drivers.vj_generator` tells the conversation.

Its quirks: one command at a time, what comes while it is busy is lost; ENBL1 during a warning is answered
with ENBL0; the time is for ever at power-up; flags stay until CLR and CLR leaves those whose cause is there;
four arcs within ten seconds shut it down, each shows for ten; a watchdog that any command feeds.
"""

from collections.abc import Callable, Mapping
from typing import Any

from drivers.vj import INTERLOCK, frame, split, text_of
from simulators.generator import SimulatedGenerator
from simulators.world import World
from station.devices import DeviceRefused, GeneratorState, Room, SwitchStage, Technique
from station.settings import Settings

_MAX_POWER_KW = 0.12
_RANGES = {
    "kvp_range": (30, 120),
    "ma_range": (0.2, 1.0),
    "ms_range": (10, 999_990),
    "max_power_kw": _MAX_POWER_KW,
}
_FOR_EVER_MS = 900_000.0  # 15 min; a technique has a time
_ARC, _ARC_SHOWS_S, _ARCS = 4, 10.0, 4
_POWER_LIMIT = 2
_MODEL = "IXS120BP120P366"


class VjFace:
    """Satisfies `simulators.wire.line.Face`."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        read = Settings("the simulated VJ generator", settings)
        read.only("answer_s", "flags", "hand_switch_in_interlock", "battery_v", "serial")
        self._answer_s = read.number("answer_s", 0.002, 0, 0.1)
        self._flag_count = read.whole("flags", 12, 11, 12)
        self._switch_in_interlock = read.flag("hand_switch_in_interlock", True)
        self.battery_v = read.number("battery_v", 24.5, 0, 30)
        self._serial = read.text("serial", "SIM-V-1")
        self._world, self._clock = World.of(room), room.clock
        wired = {"hand_switch_wired": self._switch_in_interlock}
        self._model = SimulatedGenerator({**_RANGES, **wired, "prepare_s": 0}, room)
        self._model.connect()
        self._send: Callable[[bytes], None] = lambda _: None
        self._buffer = bytearray()
        self._busy_until_s = 0.0
        self._answer: bytes | None = None
        self._kvp, self._ma, self._ms = 30.0, 0.2, 0.0  # at power-up
        self._warning_s, self._warned_at_s = 0, None
        self._watch_s, self._watching = 5, True
        self._fed_s = self._clock.now()
        self._latched: set[int] = set()
        self._arcs: list[float] = []
        self.heard: list[str] = []  # commands that were done, for tests
        self.lost = 0  # bytes that came while it was busy

    # --- the line ------------------------------------------------------------------------------------

    def attached(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._buffer.clear()

    def received(self, data: bytes) -> None:
        self.tick()
        for byte in data:
            if self._answer is not None:
                self.lost += 1
                continue
            self._buffer.append(byte)
            command = split(self._buffer)
            if command is not None:
                self._do(text_of(command))

    def tick(self) -> None:
        now_s = self._clock.now()
        self._live(now_s)
        if self._answer is not None and now_s >= self._busy_until_s:
            answer, self._answer = self._answer, None
            self._send(answer)

    def arc(self) -> None:
        """The tube arcs once."""
        now_s = self._clock.now()
        self._arcs = [at_s for at_s in self._arcs if now_s - at_s < _ARC_SHOWS_S] + [now_s]
        if len(self._arcs) >= _ARCS:
            self._shut_down(_ARC)

    def trip(self, flag: int) -> None:
        """Something else goes wrong."""
        self._shut_down(flag)

    # --- the device ----------------------------------------------------------------------------------

    def _live(self, now_s: float) -> None:
        """What it does by itself."""
        model = self._model.status()
        if model.fault is not None and model.fault.code == "E12":
            self._latched.add(_ARC)
        if not self._interlock_closed():
            self._shut_down(INTERLOCK)
        if self._warned_at_s is not None and now_s >= self._warned_at_s + self._warning_s:
            self._warned_at_s = None
            self._start()
        if self._watching and now_s - self._fed_s > self._watch_s:
            self._stop()

    def _interlock_closed(self) -> bool:
        pressed = self._world.switch is SwitchStage.EXPOSE or not self._switch_in_interlock
        return self._world.interlock_closed and pressed

    def _shut_down(self, flag: int) -> None:
        self._latched.add(flag)
        self._stop()

    def _stop(self) -> None:
        self._warned_at_s = None
        if self._radiates():
            self._model.abort()

    def _radiates(self) -> bool:
        return self._model.status().state is GeneratorState.EXPOSING

    def _start(self) -> bool:
        try:
            self._model.load(Technique(self._kvp, self._ma, min(self._ms or _FOR_EVER_MS, _FOR_EVER_MS)))
            self._model.prepare()
            self._model.status()
            self._model.expose()
        except DeviceRefused:
            self._model.release()
            return False
        return True

    # --- commands ------------------------------------------------------------------------------------

    def _do(self, text: str) -> None:
        answer = self._answered(text)
        self.heard.append(text)
        self._fed_s = self._clock.now()
        if answer is not None:
            self._answer, self._busy_until_s = frame(answer), self._fed_s + self._answer_s

    def _answered(self, text: str) -> str | None:
        asked: dict[str, Callable[[], str]] = {
            "FREV": lambda: "R004",
            "MNUM": lambda: _MODEL,
            "SNUM": lambda: self._serial,
            "STAT": lambda: str(int(self._radiates())),
            "PSTAT": lambda: str(int(self._warned_at_s is not None)),
            "FLT": self._flags,
            "MON": self._monitor,
            "CLR": self._clear,
            "WSTAT": lambda: str(int(self._watching)),
            "PTST": lambda: f"{self._warning_s:02d}",
            "WDTE": lambda: "OK",
            "ENBL1": self._enable,
            "ENBL0": self._disable,
        }
        if text in asked:
            return asked[text]()
        return text if self._set(text) else None

    def _set(self, text: str) -> bool:
        """A command with a number, done if it is one and within what the document allows."""
        name, digits = text.rstrip("0123456789"), text[len(text.rstrip("0123456789")) :]
        number = int(digits or 0)
        if (name, len(digits)) == ("VP", 4) and 300 <= number <= 1200:
            self._kvp = number / 10
        elif (name, len(digits)) == ("CP", 5) and 2000 <= number <= 10000:
            self._ma = number / 1e4
        elif (name, len(digits)) == ("OT", 5):
            self._ms = number * 10.0
        elif (name, len(digits)) == ("PTM", 2) and number <= 60:
            self._warning_s = number
        elif (name, len(digits)) == ("WDOG", 2) and 2 <= number <= 30:
            self._watch_s = number
        elif (name, len(digits)) == ("WDOG", 1) and number <= 1:
            self._watching = bool(number)
        else:
            return False
        return True

    def _enable(self) -> str:
        if self._kvp * self._ma / 1000 > _MAX_POWER_KW:
            self._latched.add(_POWER_LIMIT)
        if self._latched or self._warned_at_s is not None or self._radiates():
            return f"ENBL{int(self._radiates())}"
        if self._warning_s:
            self._warned_at_s = self._clock.now()
            return "ENBL0"
        return f"ENBL{int(self._start())}"

    def _disable(self) -> str:
        self._stop()
        return "ENBL0"

    def _flags(self) -> str:
        now_s = self._clock.now()
        arcing = {_ARC} if any(now_s - at_s < _ARC_SHOWS_S for at_s in self._arcs) else set[int]()
        return " ".join(str(int(n in self._latched | arcing)) for n in range(self._flag_count))

    def _clear(self) -> str:
        self._latched.clear()
        self._arcs.clear()
        if self._interlock_closed():
            self._model.acknowledge()
        self._live(self._clock.now())
        return "CLR"

    def _monitor(self) -> str:
        kvp, ma = self._world.beam
        filament_a = 1.8 if kvp else 0.4
        numbers = (
            round(kvp * 10),
            round(ma * 1e4),
            253,
            round(filament_a * 1000),
            round(self.battery_v * 100),
        )
        return "{:04d} {:05d} {:04d} {:04d} {:04d}".format(*numbers)
