"""A Spellman XRB monoblock as its line knows it: `drivers.spellman_generator` tells the conversation.

Its quirks: a frame with a wrong checksum is ignored without a word; nothing but 99,0, an open interlock or a
fault ends radiation; a fault is told once, unasked; over Ethernet an impossible command is answered `E#CODE`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from drivers.spellman import Message, frame, parse, splitter
from simulators.generator import SimulatedGenerator
from simulators.world import World
from station.devices import DeviceRefused, GeneratorState, Room, Technique
from station.settings import Settings

_FULL_SCALE = 4095
_FOR_EVER_MS = 900_000.0  # 15 min; a technique has a time
_KV_PER_COUNT = 0.1


class SpellmanFace:
    """Satisfies `simulators.wire.line.Face`."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        read = Settings("the simulated Spellman generator", settings)
        read.only("checksum", "full_scale_ma", "max_kvp")
        self._checked = read.flag("checksum", True)
        self._full_scale_ma = read.number("full_scale_ma", 0.7, 0.01, 200)
        self._max_kvp = read.number("max_kvp", 80, 10, 160)
        self._world = World.of(room)
        self._model = SimulatedGenerator(
            {
                "kvp_range": (10, self._max_kvp),
                "ma_range": (0.01, self._full_scale_ma),
                "max_power_kw": self._max_kvp * self._full_scale_ma / 1000,
                "ms_range": (1, _FOR_EVER_MS),
                "prepare_s": 0,
                "hand_switch_wired": False,
            },
            room,
        )
        self._model.connect()
        self._split = splitter(checked=self._checked)
        self._send: Callable[[bytes], None] = lambda _: None
        self._buffer = bytearray()
        self._counts = {10: 0, 11: 0}
        self._told = (0, 0)  # interlock, fault
        self.heard: list[Message] = []  # commands that were understood, for tests

    # --- the line ------------------------------------------------------------------------------------

    def attached(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._buffer.clear()

    def received(self, data: bytes) -> None:
        self._buffer += data
        while (found := self._split(self._buffer)) is not None:
            message = parse(found, checked=self._checked)
            if message is not None:
                self.heard.append(message)
                self._do(message)

    def tick(self) -> None:
        """Tell of a fault once, unasked."""
        status = self._status()
        told, self._told = self._told, status[1:]
        if any(new and not old for new, old in zip(self._told, told, strict=True)):
            self._say(22, *status)

    def _say(self, command: int, *arguments: int | str) -> None:
        self._send(frame(command, *arguments, checked=self._checked))

    # --- the device ----------------------------------------------------------------------------------

    def _status(self) -> tuple[int, int, int]:
        state = self._model.status().state
        faulty = state is GeneratorState.FAULT
        return int(state is GeneratorState.EXPOSING), int(not self._world.interlock_closed), int(faulty)

    def _do(self, message: Message) -> None:
        command, given = message.command, message.arguments
        if command in self._counts and len(given) == 1 and given[0].isdecimal():
            self._set(command, int(given[0]))
        elif command in {14, 15} and not given:
            self._say(command, self._counts[command - 4])
        elif command == 22 and not given:
            self._say(command, *self._status())
        elif command == 98 and not given:
            self._say(command, self._status()[0])
        elif command == 52 and not given:
            self._clear()
        elif command == 99 and given in {("0",), ("1",)}:
            self._switch(on=given == ("1",))
        else:
            self._say(command, 2)

    def _set(self, command: int, count: int) -> None:
        if count > (self._max_kvp / _KV_PER_COUNT if command == 10 else _FULL_SCALE):
            self._refuse(command, 1, 3)
        else:
            self._counts[command] = count
            self._say(command, "$")

    def _refuse(self, command: int, bare: int, code: int) -> None:
        if self._checked:
            self._say(command, code)
        else:
            self._send(f"E#{bare}".encode())

    def _clear(self) -> None:
        if self._world.interlock_closed:
            self._model.acknowledge()
        self._say(52, "$")

    def _switch(self, *, on: bool) -> None:
        radiates, interlock, fault = self._status()
        if on and (interlock or fault or not (radiates or self._start())):
            self._refuse(99, 2, 9)
            return
        if not on and radiates:
            self._model.abort()
        self._say(99, "$")

    def _start(self) -> bool:
        kvp = self._counts[10] * _KV_PER_COUNT
        ma = self._counts[11] * self._full_scale_ma / _FULL_SCALE
        try:
            self._model.load(Technique(kvp, ma, _FOR_EVER_MS))
            self._model.prepare()
            self._model.status()
            self._model.expose()
        except (DeviceRefused, ValueError):  # nothing set
            self._model.release()
            return False
        return True
