"""Receives HL7 v2 messages over MLLP and acknowledges them (original mode).

::

    <VT> message <FS><CR>  →
                           ←  <VT> MSH|…|ACK  MSA|AA|control ID  <FS><CR>

AA taken · AE ordered by an ill, or no message that hl7apy can read · AR ordered by an ill. A message that
comes again is acknowledged and kept again: how often it came is part of what is seen.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from hl7apy.core import Message
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message

from simulators.pacs.ills import Ills
from simulators.pacs.serving import HOST
from station.devices import BadSettings

_BEGIN, _END = b"\x0b", b"\x1c\r"
_END_WITHIN_S = 5.0
_TICK_S = 0.1
_MAX_BYTES = 50_000_000


class Receiver:
    """On one port."""

    def __init__(self, ills: Ills, tls: ssl.SSLContext | None) -> None:
        self.port = 0
        self._ills = ills
        self._tls = tls
        self._messages: list[str] = []
        self._listening: socket.socket | None = None
        self._threads: list[threading.Thread] = []
        self._lines: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        return self._listening is not None

    def messages(self) -> list[str]:
        """Every message that was taken, oldest first, with CR between segments."""
        with self._lock:
            return list(self._messages)

    def open(self, port: int) -> None:
        """Listen; later on the same port again. Raises `BadSettings`."""
        try:
            listening = socket.create_server((HOST, self.port or port))
        except OSError as error:
            raise BadSettings(
                f"{HOST}:{self.port or port} cannot be served ({error}); is somebody there already?"
            ) from error
        listening.settimeout(_TICK_S)
        self.port = listening.getsockname()[1]
        self._listening = listening
        self._begin(self._listen, listening)

    def close(self) -> None:
        """Listen no more; every connection is cut."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()
        with self._lock:
            lines, threads = list(self._lines), list(self._threads)
        for line in lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(_END_WITHIN_S)

    def _begin(self, work: Callable[[socket.socket], None], line: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(line,), name="mllp", daemon=True)
        with self._lock:
            self._threads = [one for one in self._threads if one.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _listen(self, listening: socket.socket) -> None:
        while self._listening is listening:
            try:
                line, _ = listening.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self._begin(self._talk, line)

    def _talk(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError):
            line.settimeout(None)
            if self._tls:
                line = self._tls.wrap_socket(line, server_side=True)
            with self._lock:
                self._lines.add(line)
            self._receive(line)
        with self._lock:
            self._lines.discard(line)
        line.close()

    def _receive(self, line: socket.socket) -> None:
        read = b""
        while len(read) < _MAX_BYTES:
            came = line.recv(65536)
            if not came:
                return
            read += came
            while _END in read:
                frame, read = read.split(_END, 1)
                text = frame.lstrip(_BEGIN).decode("utf-8", "replace")
                if any(self._ills.stall("mllp", ill, lambda: False) for ill in ("deaf", "silent")):
                    return
                self._ills.delay()
                acknowledgement = self._acknowledge(text)
                if self._ills.argument("ack-lost") is not None:
                    return
                line.sendall(_BEGIN + acknowledgement.encode() + _END)

    def _acknowledge(self, text: str) -> str:
        sent = _control_id(text)
        code = (
            "AR"
            if self._ills.has("ack-reject")
            else "AE"
            if self._ills.has("ack-error") or not sent
            else "AA"
        )
        if code == "AA":
            with self._lock:
                self._messages.append(text)
        answer: Any = Message("ACK", version="2.5.1")
        answer.msh.msh_7 = f"{datetime.now():%Y%m%d%H%M%S}"  # noqa: DTZ005  local, as HL7's
        answer.msh.msh_9 = "ACK"
        answer.msh.msh_10 = f"H{len(self._messages):09d}"
        answer.msh.msh_11 = "P"
        answer.msa.msa_1 = code
        answer.msa.msa_2 = sent or "?"
        if code != "AA":
            answer.msa.msa_3 = "ordered so" if sent else "not an HL7 message"
        return answer.to_er7()


def _control_id(text: str) -> str:
    """Of a message that can be read, else empty."""
    try:
        message: Any = parse_message(text, find_groups=False)
    except (HL7apyException, ValueError, IndexError):
        return ""
    return str(message.msh.msh_10.value)
