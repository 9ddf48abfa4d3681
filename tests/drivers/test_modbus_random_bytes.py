"""Whatever comes over a Modbus line is an answer or an error of the tree."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU

from drivers.modbus_contacts import plan_from
from drivers.modbus_io import _Line
from station.devices import CommunicationLost, DeviceFault


def with_crc(body):
    return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


class Fake:
    """A port or socket that answers with prepared bytes and then nothing."""

    timeout = 0.0

    def __init__(self, data, cut):
        self._parts = [part for part in (data[:cut], data[cut:]) if part]

    @property
    def in_waiting(self):
        return 0

    def read(self, size):
        return self._parts.pop(0) if size and self._parts else b""

    def recv(self, _):
        if not self._parts:
            raise TimeoutError
        return self._parts.pop(0)

    def settimeout(self, _):
        """Answers at once."""

    def write(self, data):
        return len(data)

    send = write

    def close(self):
        """Nothing to close."""


frames = st.binary(max_size=40) | st.binary(max_size=12).map(lambda b: with_crc(b"\x01" + b))
tcp_frames = st.binary(max_size=40) | st.binary(max_size=12).map(
    lambda b: b"\x00\x01\x00\x00" + (len(b) + 1).to_bytes(2, "big") + b"\x01" + b
)


@given(frames, st.integers(0, 10), st.booleans())
def test_random_bytes_on_the_serial_line_are_nonsense_or_an_answer(data, cut, write):
    nonsense_or_an_answer("COM3", data, cut, write)


@given(tcp_frames, st.integers(0, 10), st.booleans())
def test_random_bytes_over_tcp_are_nonsense_or_an_answer(data, cut, write):
    nonsense_or_an_answer("tcp://host", data, cut, write)


def nonsense_or_an_answer(url, data, cut, write):
    line = _Line(plan_from({"url": url}))
    line._client.socket = Fake(data, cut)
    line._trusted = True
    with suppress(CommunicationLost, DeviceFault):
        if write:
            line.write({0: True, 1: False})
        else:
            assert len(line.inputs()) >= 8
