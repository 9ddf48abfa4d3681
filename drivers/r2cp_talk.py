"""Talking R2CP over a line: who asks, who answers, what a refusal means. For the owner of the line only.

Every SET and GET is answered by CP with its sequence number; what is asked for comes as an ANSWER before or
after it. An answer without the CP of this very question is never believed: it may be an old one.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from drivers import r2cp
from drivers.link import Link
from drivers.r2cp import APPLICATION, GENERATOR, HUB, Bank, Function, Message, What
from station.devices import (
    CommunicationLost,
    DeviceFault,
    DeviceRefused,
    FocalSpot,
    NotConnected,
    Technique,
)

T = TypeVar("T")

_NODES_WITHIN_S = 3.0  # until hub and generator are there
_VERSION = 6
_REFUSALS: dict[What, dict[int, str]] = {
    r2cp.LOAD_BANK: {
        7: "tube voltage out of range",
        8: "mAs out of range",
        9: "tube current out of range",
        10: "exposure time out of range",
        12: "focal spot",
        13: "focal spot",
        17: "beyond the tube's power",
    },
    r2cp.ACTIVATE: {1: "the procedure is not defined", 4: "no bank is assigned"},
}
_EVERYWHERE = {202: "not possible in this state", 203: "access mismatch"}
_OK = frozenset({0, 201})  # 201: a token that is granted already


class Talk:
    """See the module."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._sequence = 0
        self._counting = threading.Lock()

    def message(self, what: What, function: int, data: bytes, destination: int = GENERATOR) -> Message:
        """A message with the next sequence number; any thread may make one."""
        with self._counting:
            self._sequence = self._sequence % 63 + 1
            return Message(what, function, data, self._sequence, destination)

    def set(self, what: What, data: bytes) -> None:
        """Raises `DeviceRefused` with the meaning of the code, `CommunicationLost`, `Aborted`."""
        self._exchange(self.message(what, Function.SET, data), None)

    def get(self, what: What) -> None:
        """Ask for what comes as answers of another kind. Raises as `set`."""
        self._exchange(self.message(what, Function.GET, b""), None)

    def ask(
        self,
        what: What,
        function: int,
        data: bytes,
        decode: Callable[[bytes], T],
        destination: int = GENERATOR,
    ) -> T:
        """Send a question and give its decoded answer. Raises as `set`."""
        return self._exchange(self.message(what, function, data, destination), decode)

    def _exchange(self, asked: Message, decode: Callable[[bytes], Any] | None) -> Any:
        found: list[Any] = []
        processed = False

        def answer(frame: bytes) -> list[Any] | None:
            nonlocal processed
            message = Message.decode(frame)
            if message.function == Function.PROCESSED and message.data[:1] == bytes((asked.sequence,)):
                _refuse(asked.what, message.data[1:2])
                processed = True
            elif decode and message.what == asked.what and message.function == Function.ANSWER:
                try:
                    found[:] = [decode(message.data)]
                except ValueError:
                    return None  # damaged: the deadline tells
            return (found or [None]) if processed and (found or not decode) else None

        return self._link.exchange(asked.encode(), answer)[0]

    # --- the nodes behind the hub ---

    def connect_nodes(self) -> None:
        """Until the hub, we and the generator know each other. Raises `CommunicationLost`."""
        request = self.message(r2cp.CONNECT, Function.ANSWER, bytes((APPLICATION,)), HUB)
        self._link.send(request.encode())
        deadline_s = time.monotonic() + _NODES_WITHIN_S
        while not (self._is_there(APPLICATION) and self._is_there(GENERATOR)):
            if time.monotonic() > deadline_s:
                raise CommunicationLost(
                    "the generator is not connected to its hub; switch it on, check the hub's cables"
                )
            self._link.listen(0.05)

    def _is_there(self, node: int) -> bool:
        answer = self.ask(r2cp.NODE_STATUS, Function.GET, bytes((node,)), bytes, HUB)
        return answer[:2] == bytes((node, 1))

    def agree_on_version(self) -> None:
        """Have the generator speak what this speaks. Raises `NotConnected`."""
        version = self._version()
        if version != _VERSION:
            self.set(r2cp.VERSION, bytes((_VERSION, 0)) + b"A")
            version = self._version()
        if version != _VERSION:
            raise NotConnected(
                f"the generator speaks R2CP {version}, this driver {_VERSION}; update its firmware"
            )

    def _version(self) -> int:
        return self.ask(r2cp.VERSION, Function.GET, b"", _first)

    def answer_heartbeat(self, message: Message) -> None:
        """[x, k] is answered by [our node, not k]."""
        if message.what == r2cp.HEARTBEAT and len(message.data) == 2:
            alive = bytes((APPLICATION, ~message.data[1] & 0xFF))
            answer = self.message(r2cp.HEARTBEAT, Function.ANSWER, alive, message.source)
            self._link.send(answer.encode(), even_aborted=True)


def _first(data: bytes) -> int:
    """Raises ValueError where there is none."""
    if not data:
        raise ValueError("a version has a number, none came")
    return data[0]


def _refuse(what: What, result: bytes) -> None:
    code = result[0] if result else 0
    if code not in _OK:
        text = _REFUSALS.get(what, {}).get(code) or _EVERYWHERE.get(code) or "meaning not published"
        raise DeviceRefused(
            f"the generator refused (code {code}: {text}); correct the technique or its state"
        )


def technique_of(bank: Bank) -> Technique:
    """What the generator chose. Raises `CommunicationLost` for what is none."""
    focus = FocalSpot.LARGE if bank.large_focus else FocalSpot.SMALL
    try:
        return Technique(bank.kvp, bank.ma, bank.ms, focus)
    except ValueError as error:
        raise CommunicationLost(f"the generator read back no technique: {error}; load again") from error


def fault_of(id_: int) -> DeviceFault:
    """What a system message that forbids radiation means, as far as that is published."""
    if id_ // 100 == 1404:
        return DeviceFault(
            str(id_),
            "DC bus",
            "the generator's power bus is off",
            "Release the emergency stop, check the mains, then acknowledge",
        )
    return DeviceFault(
        str(id_),
        "system message",
        "the generator reports a fault",
        "Look the number up on its display; close the door, remove the cause, then acknowledge",
    )
