"""The simulated device's end of a line: a TCP port or a pseudo terminal with a face behind it, and its ills.

A face is given bytes and sends bytes; the thread here also lets it tick every few ms, as a device has a life
of its own. What a line can do wrong is scripted with `spoil`, see `ILLS`; it befalls what the device sends.
"""

import os
import random
import select
import socket
import struct
import threading
import time
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from station.devices import BadSettings

ILLS = {
    "silent": "nothing is sent",
    "garbage": "random bytes come before every answer",
    "babble": "random bytes come instead of every answer",
    "split": "answers come byte by byte",
    "merged": "an answer waits for the next one and comes together with it",
    "damaged": "one bit of every answer is wrong",
    "late": "every answer comes that many seconds late",
}
_TICK_S = 0.004
_CHUNK = 65536
_SPLIT_GAP_S = 0.001


class Face(Protocol):
    """A simulated device as its line sees it; called by the line's one thread only."""

    def attached(self, send: Callable[[bytes], None]) -> None:
        """Somebody has connected; half-received frames are void."""
        ...

    def received(self, data: bytes) -> None: ...
    def tick(self) -> None: ...


class End(Protocol):
    """The operating system's side of a line."""

    url: str

    def open(self) -> None: ...
    def close(self) -> None: ...
    def sockets(self) -> list[int]: ...
    def take(self, ready: list[int]) -> tuple[bool, bytes]:
        """(somebody new has connected, what they sent)."""
        ...

    def put(self, data: bytes) -> None: ...


class TcpEnd:
    """A listening TCP port for one client; a new one replaces the old one."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._address = (host, port)
        self._listener: socket.socket | None = None
        self._client: socket.socket | None = None
        self.url = ""

    def open(self) -> None:
        self._listener = socket.create_server(self._address)
        self._address = self._listener.getsockname()[:2]
        self.url = f"socket://{self._address[0]}:{self._address[1]}"

    def close(self) -> None:
        """As a device that loses power: the connection is reset, the port no longer listens."""
        self._drop()
        if self._listener:
            self._listener.close()
        self._listener = None

    def sockets(self) -> list[int]:
        return [s.fileno() for s in (self._listener, self._client) if s]

    def take(self, ready: list[int]) -> tuple[bool, bytes]:
        if self._listener and self._listener.fileno() in ready:
            self._drop()
            self._client, _ = self._listener.accept()
            self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return True, b""
        data = b""
        if self._client:
            with suppress(OSError):
                data = self._client.recv(_CHUNK)
            if not data:
                self._drop()
        return False, data

    def put(self, data: bytes) -> None:
        if self._client:
            try:
                self._client.sendall(data)
            except OSError:
                self._drop()

    def _drop(self) -> None:
        if self._client:
            with suppress(OSError):
                self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._client.close()
        self._client = None


class PtyEnd:
    """A pseudo terminal, under a name of one's choice or the system's."""

    def __init__(self, link: Path | None = None) -> None:
        self._link = link
        self._ends: tuple[int, int] | None = None
        self.url = ""

    def open(self) -> None:
        if self._link and (self._link.is_symlink() or self._link.exists()):
            if not self._link.is_symlink():
                raise BadSettings(
                    f"{self._link} exists and is no link; name another path for the serial line"
                )
            self._link.unlink()
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        self._ends = ours, theirs  # theirs stays open, or the line would hang up whenever nobody has it open
        name = os.ttyname(theirs)
        if self._link:
            self._link.symlink_to(name)
        self.url = str(self._link or name)

    def close(self) -> None:
        """As an adapter that is pulled out."""
        for end in self._ends or ():
            os.close(end)
        if self._ends and self._link:
            self._link.unlink(missing_ok=True)
        self._ends = None

    def sockets(self) -> list[int]:
        return [self._ends[0]] if self._ends else []

    def take(self, ready: list[int]) -> tuple[bool, bytes]:
        if self._ends and self._ends[0] in ready:
            with suppress(OSError):
                return False, os.read(self._ends[0], _CHUNK)
        return False, b""

    def put(self, data: bytes) -> None:
        if self._ends:
            with suppress(BlockingIOError):  # nobody reads: a serial line forgets
                os.write(self._ends[0], data)


class Line:
    """One device on one end, with its thread."""

    def __init__(self, face: Face, end: End) -> None:
        self._face, self._end = face, end
        self._lock = threading.Lock()
        self._ills: dict[str, tuple[float, int | None]] = {}  # ill: its number, how many answers are left
        self._random = random.Random(1)  # noqa: S311  noise, not secrets
        self._out: list[tuple[float, bytes]] = []
        self._held = b""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """For the driver's settings."""
        return self._end.url

    def start(self) -> None:
        """Open the end and begin to live."""
        self._end.open()
        self._face.attached(self._send)
        self._stop.clear()
        self._thread = threading.Thread(target=self._live, name=f"line {self.url}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the line; also how a line is unplugged. `start` plugs it in again."""
        self._stop.set()
        if self._thread:
            self._thread.join(timeout=5)
        self._thread = None
        self._end.close()
        self._out, self._held = [], b""

    def spoil(self, ill: str, number: float = 0.0, *, answers: int | None = None) -> None:
        """Let an ill of `ILLS` befall the next so many answers, or all until `mend`."""
        if ill not in ILLS:
            raise BadSettings(f"a line cannot be '{ill}'; it can be {', '.join(ILLS)}")
        with self._lock:
            self._ills[ill] = (number, answers)

    def mend(self) -> None:
        """Nothing is wrong any more."""
        with self._lock:
            self._ills.clear()

    def _live(self) -> None:
        while not self._stop.is_set():
            now = time.monotonic()
            soonest = self._out[0][0] if self._out else now + _TICK_S
            ready, _, _ = select.select(self._end.sockets(), [], [], min(max(soonest - now, 0), _TICK_S))
            if ready:
                anew, data = self._end.take(ready)
                if anew:
                    self._face.attached(self._send)
                if data:
                    self._face.received(data)
            self._face.tick()
            self._deliver()

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._out and self._out[0][0] <= now:
            self._end.put(self._out.pop(0)[1])

    def _send(self, data: bytes) -> None:
        with self._lock:
            ills = {ill: number for ill, (number, _) in self._ills.items()}
            left = {ill: (n, count - 1 if count else None) for ill, (n, count) in self._ills.items()}
            self._ills = {ill: rest for ill, rest in left.items() if rest[1] != 0}
        in_turn = self._out[-1][0] if self._out else 0.0  # a line never lets a frame overtake another
        due = max(time.monotonic() + ills.get("late", 0.0), in_turn)
        if "silent" in ills:
            return
        if "damaged" in ills:
            place = self._random.randrange(len(data))
            data = data[:place] + bytes([data[place] ^ (1 << self._random.randrange(8))]) + data[place + 1 :]
        if "babble" in ills:
            data = self._random.randbytes(len(data))
        if "garbage" in ills:
            data = self._random.randbytes(7) + data
        if "merged" in ills and not self._held:
            self._held = data
            return
        data, self._held = self._held + data, b""
        pieces = [bytes([b]) for b in data] if "split" in ills else [data]
        self._out += [(due + i * _SPLIT_GAP_S, piece) for i, piece in enumerate(pieces)]
        self._deliver()
