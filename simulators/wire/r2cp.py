"""A generator that speaks R2CP V6 through its hub, with the room's simulated generator behind.

Hand switch and enable chain are wired to the generator: its first stage prepares once a procedure is active,
its second exposes once radiation is not forbidden; one exposure per activation. After an exposure it waits
for the switch to be let go. Data banks, procedures, node status, heartbeat, system messages and post-exposure
report go as far as the driver's docstring describes them. Ids of fault messages but 1404xx are made up.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from drivers import r2cp
from drivers.r2cp import APPLICATION, GENERATOR, HUB, RX_DISABLE, Bank, Function, Message, State, Status
from simulators.generator import SimulatedGenerator
from simulators.world import World
from station.devices import (
    DeviceRefused,
    FocalSpot,
    GeneratorState,
    GeneratorStatus,
    Room,
    SwitchStage,
    Technique,
)

_HEARTBEAT_S = 2.0
_REPORT_DELAY_S = 0.02  # between the end of radiation and its report
_STOP, _DOOR, _ARC = 140402, 260010, 260012
_MESSAGE_OF = {"E30": _DOOR, "E12": _ARC}
_NOT_NOW, _MISMATCH = 202, 203
_STATES = {
    GeneratorState.STANDBY: State.STANDBY,
    GeneratorState.PREPARING: State.PREPARATION,
    GeneratorState.READY: State.READY,
    GeneratorState.EXPOSING: State.EXPOSING,
    GeneratorState.FAULT: State.ERROR,
}


class R2cpFace:
    """Satisfies `simulators.wire.line.Face`."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        self._world = World.of(room)
        self.model = SimulatedGenerator(settings, room)
        self.model.connect()
        self._send: Callable[[bytes], None] = lambda _: None
        self._buffer = bytearray()
        self._sequence = 0
        self._version = 5  # as delivered; hosts set what they speak
        self._defined: set[int] = set()
        self._assigned: set[int] = set()
        self._banks: dict[int, Technique] = {}
        self._active = False
        self._wait_release = False
        self._forbidden = False
        self._reported = 0
        self._report_due_s: float | None = None
        self._heartbeat_s = time.monotonic()

    # --- line ---

    def attached(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._buffer.clear()

    def received(self, data: bytes) -> None:
        self._buffer += data
        while (frame := r2cp.split(self._buffer)) is not None:
            self._take(Message.decode(frame))

    def tick(self) -> None:
        status = self.model.status()
        self._follow_switch(status)
        self._report(status)
        if time.monotonic() - self._heartbeat_s > _HEARTBEAT_S:
            self._heartbeat_s = time.monotonic()
            self._say(r2cp.HEARTBEAT, Function.GET, bytes((0, self._sequence)), HUB)

    # --- the generator ---

    def _follow_switch(self, status: GeneratorStatus) -> None:
        switch = self._world.switch
        if switch is SwitchStage.RELEASED:
            self._wait_release = False
        try:
            if (
                status.state is GeneratorState.STANDBY
                and self._may_prepare()
                and switch >= SwitchStage.PREPARE
            ):
                self.model.prepare()
            elif (
                status.state is GeneratorState.READY and switch is SwitchStage.EXPOSE and not self._forbidden
            ):
                self._active = False  # one exposure per activation
                self.model.expose()
                self._wait_release = True
        except DeviceRefused:
            self._active = False  # interlock open, tube hot: it stays in standby

    def _may_prepare(self) -> bool:
        return self._active and not self._wait_release

    def _report(self, status: GeneratorStatus) -> None:
        if status.exposures == self._reported or status.last is None:
            return
        now_s = time.monotonic()
        self._report_due_s = self._report_due_s or now_s + _REPORT_DELAY_S
        if now_s < self._report_due_s:
            return
        self._reported, self._report_due_s = status.exposures, None
        last, end = status.last, int(status.last.end != "normal")
        report = r2cp.PostExposure(status.exposures, 1, last.kvp, last.ma, last.ms, last.mas, end)
        self._say(r2cp.POST_EXPOSURE, Function.ANSWER, report.encode())

    def _status(self) -> Status:
        known = self.model.status()
        state, switch = _STATES[known.state], self._world.switch
        if state is State.STANDBY and self._wait_release:
            state = State.WAIT_RELEASE
        elif state is State.READY and switch is SwitchStage.EXPOSE:
            state = State.EXPOSURE_REQUEST
        return Status(
            state,
            messages_active=self._forbidden or known.fault is not None,
            inhibited=self._forbidden,
            procedure=1,
            anode_heat_percent=min(round(known.heat_percent or 0), 255),
            prepare_pressed=switch >= SwitchStage.PREPARE,
            expose_pressed=switch is SwitchStage.EXPOSE,
        )

    # --- messages ---

    def _take(self, message: Message) -> None:
        if message.what == r2cp.CONNECT:
            self._say(r2cp.NODE_CHANGED, Function.ANSWER, bytes((APPLICATION, 1)), HUB)
        if message.function not in {Function.SET, Function.GET}:
            return
        reading = message.function == Function.GET
        try:
            result = self._answer(message) if reading else self._change(message)
        except (ValueError, IndexError):  # too short, or no technique: a device outlives what it is told
            result = _MISMATCH
        cp = bytes((message.sequence, result))
        self._say(message.what, Function.PROCESSED, cp, message.destination)

    def _answer(self, message: Message) -> int:
        what = message.what
        if what == r2cp.NODE_STATUS:
            self._say(what, Function.ANSWER, bytes((message.data[0], 1)), HUB)
        elif what == r2cp.VERSION:
            self._say(what, Function.ANSWER, bytes((self._version, 0)) + b"A")
        elif what == r2cp.STATUS:
            self._say(what, Function.ANSWER, self._status().encode())
        elif what == r2cp.ALL_SYSTEM_MESSAGES:
            for found in self._messages():
                self._say(r2cp.SYSTEM_MESSAGE, Function.ANSWER, found.encode())
        else:
            return _NOT_NOW
        return 0

    def _messages(self) -> list[r2cp.SystemMessage]:
        fault = self.model.status().fault
        active = {_MESSAGE_OF.get(fault.code, 1)} if fault else set[int]()
        if not self._world.emergency_stop_released:
            active.add(_STOP)
        if not self._world.door_closed:
            active.add(_DOOR)
        own = r2cp.SystemMessage(APPLICATION, RX_DISABLE, self._forbidden, 1)
        return [own, *(r2cp.SystemMessage(GENERATOR, id_, True, 1) for id_ in sorted(active))]

    def _change(self, message: Message) -> int:
        what, data = message.what, message.data
        if what == r2cp.SYSTEM_MESSAGE:
            return self._set_message(r2cp.SystemMessage.decode(data))
        if what == r2cp.ACTIVATE:
            return self._activate(data[0], on=data[1] == 1)
        if what == r2cp.VERSION:
            self._version = data[0]
            return 0
        if self.model.status().state is not GeneratorState.STANDBY:
            return _NOT_NOW
        in_standby: dict[r2cp.What, Callable[[bytes], int]] = {
            r2cp.LOAD_BANK: self._load,
            r2cp.CLEAR_PROCEDURES: self._clear,
            r2cp.DEFINE_PROCEDURE: self._define,
            r2cp.ASSIGN_BANK: self._assign,
        }
        return in_standby[what](data) if what in in_standby else _NOT_NOW

    def _clear(self, _: bytes) -> int:
        self._defined.clear()
        self._assigned.clear()
        return 0

    def _define(self, data: bytes) -> int:
        if data[0] in self._defined:
            return 18
        self._defined.add(data[0])
        return 0

    def _assign(self, data: bytes) -> int:
        self._assigned.add(data[0])
        return 0 if data[0] in self._defined else 1

    def _set_message(self, message: r2cp.SystemMessage) -> int:
        if message.id == RX_DISABLE:
            self._forbidden = message.active
            if self._forbidden and self.model.status().state is GeneratorState.EXPOSING:
                self.model.abort()
        elif not message.active:
            try:
                self.model.acknowledge()
            except DeviceRefused:
                return _NOT_NOW
        return 0

    def _activate(self, procedure: int, *, on: bool) -> int:
        if procedure not in self._defined:
            return 1
        if on and procedure not in self._assigned:
            return 4
        if on and self.model.status().state is not GeneratorState.STANDBY:
            return _NOT_NOW
        self._active = on
        if not on:
            self.model.release()
        return 0

    def _load(self, data: bytes) -> int:
        bank = Bank.decode(data)
        info, power_kw = self.model.info(), bank.kvp * bank.ma / 1000
        for code, value, (low, high) in (
            (7, bank.kvp, info.kvp_range),
            (9, bank.ma, info.ma_range),
            (10, bank.ms, info.ms_range),
            (17, power_kw, (0, info.max_power_kw)),
        ):
            if not low <= value <= high:
                return code
        focus = FocalSpot.LARGE if bank.large_focus else FocalSpot.SMALL
        chosen = self.model.load(Technique(bank.kvp, bank.ma, bank.ms, focus))
        answer = Bank(bank.bank, chosen.kvp, chosen.ma, chosen.ms, bank.large_focus, bank.imaging_protocol)
        self._say(r2cp.LOAD_BANK, Function.ANSWER, answer.encode())
        return 0

    def _say(self, what: r2cp.What, function: int, data: bytes, source: int = GENERATOR) -> None:
        self._sequence = self._sequence % 63 + 1
        self._send(Message(what, function, data, self._sequence, APPLICATION, source).encode())
