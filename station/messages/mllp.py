r"""MLLP: one message out, its acknowledgement in.

::

    station → peer   VT message FS CR
    peer → station   VT MSH… MSA|AA|<control ID> FS CR

Whatever else comes (bytes outside frames, frames that are no HL7, acknowledgements of other messages) is
passed over until the deadline; a CR missing after FS is forgiven. The receiver knows a repeat by its control
ID, so a message whose acknowledgement was lost is sent again as it is.

======  ==================================  ==========================================
MSA-1   ERR-3                               then
======  ==================================  ==========================================
AA CA                                       delivered
any     206 locked, 207 internal error      again
any     100-103, 200-205                    never again: its content will not change
AE CE   none or another                     again: many receivers say so of passing ills
AR CR   none or another                     never again
======  ==================================  ==========================================
"""

import socket
import ssl
import time
from collections.abc import Iterator

import hl7

from station.hospital import Endpoint, Hospital
from station.messages.hl7 import control_id
from station.messages.segments import parsed
from station.network import PeerRefused, PeerSilent, TlsFailed, connect

_VT, _FS, _CR = b"\x0b", b"\x1c", b"\r"
_CHUNK_BYTES = 65536
_ANSWER_LIMIT_BYTES = 1 << 20  # an acknowledgement has a few hundred
_PASSING = {206, 207}  # HL7 table 0357
_LASTING = {100, 101, 102, 103, 200, 201, 202, 203, 204, 205}


class MessageRefused(PeerRefused):
    """The receiver answered with an error; `status` is ERR-3 or 0, `code` MSA-1."""

    def __init__(self, message: str, remedy: str, answer: tuple[str, int]) -> None:
        code, condition = answer
        again = condition in _PASSING or (condition not in _LASTING and code in {"AE", "CE"})
        super().__init__(message, remedy, condition, again=again)
        self.code = code


def send(hospital: Hospital, endpoint: Endpoint, message: str) -> None:
    """Deliver a message; returns when the receiver has accepted it.

    Raises
    ------
    NetworkError
        Its narrowest kind; `again` says whether to repeat the same message.
    ValueError
        For what is no HL7 message, or holds MLLP's own frame bytes.
    """
    wanted = control_id(message)
    content = message.encode()
    if not wanted or any(byte in content for byte in (_VT, _FS, b"\n")):
        raise ValueError("a message needs a control ID, and no line feed nor the frame bytes 0B and 1C")
    name, timeouts = f"{endpoint.host}:{endpoint.port}", hospital.timeouts
    with connect(hospital, endpoint) as connection:
        try:
            connection.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
            )  # the last piece would wait 40 ms
            _write(connection, _VT + content + _FS + _CR, timeouts.network_s)
            for answer in _answers(connection, timeouts.answer_s):
                if _accepted(answer, wanted, name):
                    return
        except TimeoutError as error:
            raise _silent(name, f"no acknowledgement of {wanted} in {timeouts.answer_s:g} s") from error
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            raise _silent(name, str(error)) from error
        except ssl.SSLError as error:  # with TLS 1.3 a refused certificate shows only now
            remedy = "let the peer trust the authority that signed the station's certificate"
            raise TlsFailed(f"{name} ends TLS: {error}", remedy) from error
        except OSError as error:
            raise _silent(name, str(error)) from error
    raise _silent(name, f"hung up without an acknowledgement of {wanted}")


def _silent(name: str, what: str) -> PeerSilent:
    remedy = "check that it is an HL7 receiver (MLLP), that it wants TLS or not, and what its log says"
    return PeerSilent(f"{name}: {what}", remedy)


def _write(connection: socket.socket, content: bytes, limit_s: float) -> None:
    """All of it, within the limit as a whole: `sendall` over TLS has one limit per piece."""
    until, rest = time.monotonic() + limit_s, memoryview(content)
    while rest:
        connection.settimeout(_left(until))
        rest = rest[connection.send(rest[:_CHUNK_BYTES]) :]


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _answers(connection: socket.socket, limit_s: float) -> Iterator[bytes]:
    """Contents of the frames that come in, until the peer hangs up; `TimeoutError` at the deadline."""
    until, read, buffer = time.monotonic() + limit_s, 0, bytearray()
    while read <= _ANSWER_LIMIT_BYTES:
        connection.settimeout(_left(until))
        chunk = connection.recv(_CHUNK_BYTES)
        if not chunk:
            return
        read += len(chunk)
        buffer += chunk
        yield from _frames(buffer)
    raise OSError(f"more than {_ANSWER_LIMIT_BYTES} bytes, and none of them acknowledge")


def _frames(buffer: bytearray) -> Iterator[bytes]:
    """Take whole frames out of the buffer; what lies before a frame's start is dropped."""
    while (end := buffer.find(_FS)) >= 0:
        start = buffer.rfind(_VT, 0, end)  # a frame that never ended is overtaken by the next start
        if start >= 0:
            yield bytes(buffer[start + 1 : end])
        del buffer[: end + 1]


def _accepted(answer: bytes, wanted: str, name: str) -> bool:
    """True for the acknowledgement, False for anything else. Raises `MessageRefused`."""
    found = _acknowledgement(answer)
    if found is None or found[1] != wanted:
        return False
    code, _, condition, text = found
    if code in {"AA", "CA"}:
        return True
    if code not in {"AE", "AR", "CE", "CR"}:
        return False
    about = f" {condition}" if condition else ""
    said = f"{name} answers {code}{about} to {wanted}: {text or 'no reason given'}"
    raise MessageRefused(said, "mend what it says at the receiver or in the order", (code, condition))


def _acknowledgement(answer: bytes) -> tuple[str, str, int, str] | None:
    """MSA-1, MSA-2, ERR-3 or 0, and a text; None for what is no acknowledgement."""
    try:
        message = parsed(answer.decode("utf-8", "replace"))
        acknowledged = message.segment("MSA")
    except (KeyError, IndexError, ValueError):
        return None
    text, condition = _field(acknowledged, 3), ""
    for segment in message:
        if str(segment[0]) == "ERR":
            condition = condition or _field(segment, 3).partition("^")[0]
            text = text or _field(segment, 8) or _field(segment, 3)
    status = int(condition) if condition.isdecimal() and len(condition) <= 3 else 0
    return _field(acknowledged, 1), _field(acknowledged, 2), status, text


def _field(segment: hl7.Segment, number: int) -> str:
    return str(segment[number]).strip() if len(segment) > number else ""
