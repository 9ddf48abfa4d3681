"""A serial port or TCP connection that can be waited for together with a bell; only here is pyserial known.

Ports are pyserial URLs: `/dev/ttyUSB0`, `COM3`, `socket://host:port`.
"""

import select
import socket
from contextlib import suppress
from typing import Any

import serial

_WRITE_WITHIN_S = 0.5  # a device that does not take a frame for that long is gone
_WITHOUT_SELECT_S = 0.005  # how long a read holds the bell up where ports cannot be waited for (Windows)
_CHUNK = 65536
_GONE = (
    serial.SerialException,
    OSError,
    TypeError,
    ValueError,
)  # pyserial raises all of these for a lost port


class PortGone(Exception):  # noqa: N818
    """The port cannot be opened or is not there any more."""


class Bell:
    """Rings from any thread at the one that waits."""

    def __init__(self) -> None:
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def hang_up(self) -> None:
        """Make it ready to ring."""
        self._ends = socket.socketpair()
        for end in self._ends:
            end.setblocking(False)

    def take_down(self) -> None:
        """It rings no more."""
        ends, self._ends = self._ends, None
        for end in ends or ():
            end.close()

    def ring(self) -> None:
        """Wake whoever waits, now or as soon as it waits."""
        ends = self._ends
        if ends is not None:
            with suppress(OSError):  # full: it rings already; closed: nobody is there to be woken
                ends[1].send(b"!")

    @property
    def listener(self) -> socket.socket | None:
        """What to wait for."""
        return self._ends[0] if self._ends else None

    def hush(self) -> None:
        """It was heard."""
        with suppress(OSError):
            while self._ends and self._ends[0].recv(_CHUNK):
                pass


class Port:
    """One open port; made open. Raises `PortGone`, as all its methods."""

    def __init__(self, url: str, baud: int) -> None:
        try:
            self._port: Any = serial.serial_for_url(url, baudrate=baud, timeout=0)
            self._port.write_timeout = _WRITE_WITHIN_S
        except _GONE as error:
            raise PortGone(f"cannot open {url}: {error}") from error
        try:
            self._port.fileno()
            self._can_wait = True
        except (OSError, AttributeError):
            self._can_wait, self._port.timeout = False, _WITHOUT_SELECT_S
        inner = getattr(self._port, "_socket", None)
        self._socket = inner if isinstance(inner, socket.socket) else None
        if self._socket:  # or Nagle's algorithm would hold an abort back for 40 ms
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Never raises."""
        if self._socket:  # pyserial leaves it open when the other end is gone, and sleeps for 0.3 s
            self._port.is_open = False
            self._socket.close()
        else:
            with suppress(*_GONE):
                self._port.close()

    def read(self) -> bytes:
        """What has come, perhaps nothing."""
        try:
            return self._port.read(_CHUNK if self._can_wait else 1)
        except _GONE as error:
            raise PortGone(f"the port is gone ({error})") from error

    def write(self, data: bytes) -> None:
        """All of it."""
        try:
            self._port.write(data)
        except _GONE as error:
            raise PortGone(f"the port is gone ({error})") from error

    def wait(self, bell: Bell, seconds: float) -> bool:
        """Until something has come or the bell rings; True if it rang."""
        return wait(bell, seconds if self._can_wait else 0.0, self._port if self._can_wait else None)


def wait(bell: Bell, seconds: float, port: Any = None) -> bool:
    """As `Port.wait`, also without a port."""
    watched = [end for end in (bell.listener, port) if end is not None]
    try:
        readable, _, _ = select.select(watched, [], [], seconds)
    except _GONE as error:
        raise PortGone(f"the port is gone ({error})") from error
    if bell.listener not in readable:
        return False
    bell.hush()
    return True
