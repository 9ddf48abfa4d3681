"""Modbus module with 8 inputs and 8 outputs: room contacts and lamps over RS-485 (Modbus RTU) or Modbus TCP.

Source: the Modbus application protocol and serial line specifications, the vendor's public page of the
"Modbus RTU IO 8CH" (8 inputs, 8 open drain outputs, 9600 8N1, address 1 as delivered), and pymodbus.

The conversation, all of it asked by us, one question at a time::

    read the inputs   FC 2   address 0, 8 bits   every `poll_ms`
    set the outputs   FC 15  the lamps' coils, a write for each run of neighbouring numbers; when they change
    read the outputs  FC 1   address 0, 8 bits   after any failure, before the inputs are believed again

RTU frame: address, function, data, CRC-16 (low byte first); 3.5 characters of quiet between frames. At 9600
baud a poll takes 15 ms on the line, so `poll_ms` of 20 is the fastest; set the module to 115200 if it can.

Silence and nonsense: an answer that is not there after `timeout_ms` fails the question. TCP drops the
connection, and with it whatever comes late. RTU answers carry no number: a late answer to FC 2 would look
like the answer to the next FC 2. So after a failure FC 1 is asked first. A module answers in order; once the
answer to FC 1 has come, no older answer to FC 2 can follow, and only then are the inputs read again. The
driver goes on trying with growing pauses, and opens a port anew that is gone or was silent for a second.

Meaning: all contacts are wired fail-safe, closed is safe (a cut wire reads open). Inputs in `invert` are the
other way round. Opening acts with the poll that sees it; closing needs two equal polls in a row, which also
is the debounce. Contacts unread for `unknown_ms` are unknown, and the switch counts as released. The second
stage closed without the first is impossible for a switch: it counts as released, and as a module that reports
it is not believed, door and emergency stop are unknown meanwhile.

`show` only hands the lamp over, the newest wins; the thread writes it at once and goes on trying until the
module confirms. A lamp that failed is told by the next `show`, and by `trouble` at any time: a broken lamp
never holds up the end of an exposure. The buzzer sounds for `buzzer_ms` with END_OF_EXPOSURE. Outputs go off
at connect and at close. This never replaces the hard-wired interlock chain.

Inferred
--------
- inputs are FC 2 addresses 0 to 7 and outputs coils 0 to 7 in the order of the terminals (MEMORY)
- the module answers FC 1 and FC 15, and answers questions in the order asked (INFERRED from the standard)
- it keeps its outputs when the line falls silent; where the module has a watchdog for them, set it (MEMORY)
- its outputs are in their normal mode, not linked to its inputs (MEMORY: a register of the module sets this)
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.pdu import ModbusPDU

from drivers.modbus_contacts import POINTS, Contacts, Plan, coils_for, contacts_from, judge, plan_from, runs
from station.clock import Clock
from station.devices import (
    CommunicationLost,
    DeviceError,
    DeviceFault,
    Lamp,
    NotConnected,
    Room,
    RoomInputs,
    SwitchStage,
)

_OPEN_TIMEOUT_S = 1.0  # for a TCP connection
_CONNECT_S = 4.0  # connect() gives up: name lookup and a port that blocks included
_TRIES = 3  # of connect(), on a port that opens
_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0  # after a failure, doubled each time
_DOUBLINGS = 20  # or the power would outgrow a float after an hour without an answer
_REOPEN_S = 1.0  # a port silent for so long is opened anew
_LAMP_RETRY_S = 1.0
_JOIN_S = 2.0  # for the thread's last words

_GONE = (
    ModbusException,
    OSError,
    TypeError,
    ValueError,
)  # the last two: pyserial, where a port is pulled out
_READ_COILS, _READ_INPUTS, _WRITE_COILS = 1, 2, 15  # function codes, Modbus application protocol

logging.getLogger("pymodbus").addHandler(logging.NullHandler())  # what it would print, our errors say


# --- the wire -------------------------------------------------------------------------------------------


class _SerialClient(ModbusSerialClient):
    """The library's, but it waits in the port instead of looking every millisecond, by a monotonic clock."""

    def recv(self, size: int | None) -> bytes:
        del size
        if self.socket is None:
            raise ConnectionException(str(self))
        try:
            first: bytes = self.socket.read(1)
            return first + self.socket.read(self.socket.in_waiting) if first else b""
        except OSError as error:
            self.close()
            raise ConnectionException(str(error)) from error


class _TcpClient(ModbusTcpClient):
    """The library's, with a deadline by a monotonic clock."""

    def recv(self, size: int | None) -> bytes:
        del size
        if self.socket is None:
            raise ConnectionException(str(self))
        try:
            self.socket.settimeout(self.comm_params.timeout_connect)
            data = self.socket.recv(4096)
        except TimeoutError:
            return b""
        except OSError as error:
            self.close()
            raise ConnectionException(str(error)) from error
        if not data:
            self.close()
            raise ConnectionException("the module closed the connection")
        return data


class _Line:
    """One conversation with the module; used by one thread only. Raises the device errors."""

    def __init__(self, plan: Plan) -> None:
        self._plan, at = plan, plan.address
        self._what = f"room contacts (modbus-io, {plan.url}, device {plan.device_id})"
        self._quiet_s = max(3.5 * 11 / at.baud, 0.00175) if at.tcp_port is None else 0.0
        self._client: _SerialClient | _TcpClient
        if at.tcp_port is None:
            self._client = _SerialClient(
                at.place,
                baudrate=at.baud,
                parity=at.parity,
                stopbits=at.stop_bits,
                timeout=plan.timeout_s,
                retries=0,
            )
        else:
            self._client = _TcpClient(at.place, port=at.tcp_port, timeout=plan.timeout_s, retries=0)
        self._trusted = False  # no older answer can still come
        self._last_s = time.monotonic()  # last answer, or opening

    def inputs(self) -> Sequence[bool]:
        if not self._trusted:
            self._ask(_READ_COILS, lambda c: c.read_coils(0, count=POINTS, device_id=self._plan.device_id))
            self._trusted = True
        read = self._ask(
            _READ_INPUTS, lambda c: c.read_discrete_inputs(0, count=POINTS, device_id=self._plan.device_id)
        )
        return read.bits

    def write(self, coils: Mapping[int, bool]) -> None:
        for first, states in runs(coils):
            self._ask(
                _WRITE_COILS,
                lambda c, f=first, s=states: c.write_coils(f, s, device_id=self._plan.device_id),
            )

    @property
    def is_open(self) -> bool:
        return self._client.connected

    def close(self) -> None:
        self._client.close()

    def _ask(self, function: int, question: Callable[[_SerialClient | _TcpClient], ModbusPDU]) -> ModbusPDU:
        self._open()
        if (early_s := self._last_s + self._quiet_s - time.monotonic()) > 0:
            time.sleep(early_s)
        try:
            answer = question(self._client)
            if answer.isError():
                raise self._refusal(answer)
            if answer.function_code != function or (function != _WRITE_COILS and len(answer.bits) < POINTS):
                raise self._lost(f"function {function} was answered by function {answer.function_code}")
        except _GONE as error:
            raise self._lost(str(error)) from error
        self._last_s = time.monotonic()
        return answer

    def _open(self) -> None:
        if self._client.connected:
            return
        self._trusted = False
        self._client.comm_params.timeout_connect = _OPEN_TIMEOUT_S
        opened = self._client.connect()
        self._client.comm_params.timeout_connect = self._plan.timeout_s
        if not opened:
            raise NotConnected(f"{self._what} cannot be opened; check the cable, the port's name and rights")
        if isinstance(self._client, _SerialClient) and self._client.socket:
            self._client.socket.timeout = self._plan.timeout_s
        self._last_s = time.monotonic()

    def _lost(self, why: str) -> CommunicationLost:
        self._trusted = False
        if self._plan.address.tcp_port is not None or time.monotonic() - self._last_s > _REOPEN_S:
            self._client.close()  # over TCP, what comes late dies with the connection
        return CommunicationLost(
            f"{self._what}: no valid answer ({why}); check its power, address and baud rate"
        )

    def _refusal(self, answer: ModbusPDU) -> DeviceFault:
        code = str(getattr(answer, "exception_code", "?"))
        return DeviceFault(code, str(answer), f"{self._what} refuses", "Check the module's type and numbers.")


# --- the driver -----------------------------------------------------------------------------------------


class _Session:
    """From one connect to its close: the thread that owns the line, and what it publishes."""

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self._plan, self._clock = plan, clock
        self._stop, self._wake, self.settled = threading.Event(), threading.Event(), threading.Event()
        self._lamp = Lamp.OFF
        self._buzzer_until_s = 0.0  # monotonic
        self._written: Mapping[int, bool] | None = None  # None: nobody knows what the outputs show
        self._retry_lamps_s = 0.0
        self._next_poll_s = 0.0
        self._before: Contacts | None = None  # of the last poll, None after a gap
        self._known = (
            RoomInputs(SwitchStage.RELEASED, None, None, clock.now()),
            0.0,
        )  # and its monotonic time
        self.trouble: DeviceError | None = None
        self.lamp_trouble: DeviceError | None = None
        self._thread = threading.Thread(target=self._run, name="modbus-io", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join(_JOIN_S)

    def inputs(self) -> RoomInputs:
        known, read_s = self._known
        if self._stop.is_set() or time.monotonic() - read_s > self._plan.unknown_s:
            return RoomInputs(SwitchStage.RELEASED, None, None, known.at)
        return known

    def show(self, lamp: Lamp) -> None:
        if lamp is Lamp.END_OF_EXPOSURE:  # heard in full, also when the next lamp follows soon
            self._buzzer_until_s = time.monotonic() + self._plan.buzzer_s
        self._lamp, self._retry_lamps_s = lamp, 0.0
        self._wake.set()

    def _run(self) -> None:
        line, failures = _Line(self._plan), 0
        while not self._stop.is_set():
            try:
                self._turn(line)
                failures, self.trouble = 0, None
            except DeviceError as error:
                failures, self.trouble = failures + 1, error
            except Exception as error:  # noqa: BLE001  a thread's top: whatever it is, the room must be told
                failures += 1
                self.trouble = CommunicationLost(f"modbus-io stumbled over {error!r}; call service")
                line.close()
            if self.trouble:
                self._before, self._written, self._next_poll_s = None, None, 0.0
                if failures >= _TRIES or isinstance(self.trouble, NotConnected):
                    self.settled.set()
                self._stop.wait(min(_PAUSE_S * 2 ** min(failures - 1, _DOUBLINGS), _LONGEST_PAUSE_S))
        for _ in range(2):  # a late answer may spoil the first
            with suppress(DeviceError):
                if line.is_open:
                    line.write(coils_for(Lamp.OFF, self._plan.wiring, buzzing=False))
                break
        line.close()

    def _turn(self, line: _Line) -> None:
        """After a gap the inputs come first: they prove the line and matter more."""
        if self._before is not None:
            self._drive_lamps(line)
        if time.monotonic() >= self._next_poll_s:
            self._poll(line)
        self._drive_lamps(line)
        self._wake.wait(max(self._next_poll_s - time.monotonic(), 0))
        self._wake.clear()

    def _poll(self, line: _Line) -> None:
        asked_at, asked_s = self._clock.now(), time.monotonic()
        self._next_poll_s = asked_s + self._plan.poll_s
        newest = contacts_from(line.inputs(), self._plan.wiring)
        before = self._before if asked_s - self._known[1] < self._plan.unknown_s else None
        self._known = (judge(newest, before, asked_at), asked_s)
        self._before = newest
        if before is not None and (self._written is not None or self.lamp_trouble):
            self.settled.set()

    def _drive_lamps(self, line: _Line) -> None:
        lamp, now_s = self._lamp, time.monotonic()
        coils = coils_for(lamp, self._plan.wiring, buzzing=now_s < self._buzzer_until_s)
        if coils == self._written or now_s < self._retry_lamps_s:
            return
        try:
            line.write(coils)
        except DeviceError as error:
            self.lamp_trouble = CommunicationLost(f"the lamp '{lamp}' is not confirmed; {error}")
            self._written, self._retry_lamps_s = None, now_s + _LAMP_RETRY_S
            if not isinstance(error, DeviceFault):
                raise
        else:
            self._written, self.lamp_trouble = coils, None


class ModbusIo:
    """Satisfies `station.devices.RoomIo`."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        self._plan, self._clock = plan_from(settings), room.clock
        self._session: _Session | None = None
        self._last = RoomInputs(SwitchStage.RELEASED, None, None, room.clock.now())

    def connect(self) -> None:
        self.close()
        session = _Session(self._plan, self._clock)
        session.start()
        settled = session.settled.wait(_CONNECT_S)
        if problem := session.trouble or session.lamp_trouble:
            session.stop()
            raise problem
        if not settled:
            session.stop()
            raise CommunicationLost(
                f"room contacts (modbus-io, {self._plan.url}) cannot be opened within {_CONNECT_S:g} s; "
                "check the name and the network"
            )
        self._session = session

    def close(self) -> None:
        session, self._session = self._session, None
        if session:
            session.stop()
            self._last = session.inputs()

    def inputs(self) -> RoomInputs:
        session = self._session
        return session.inputs() if session else self._last

    def show(self, lamp: Lamp) -> None:
        """Hand the lamp over; raises what is already known to be wrong, the lamp is tried all the same."""
        session = self._session
        if session is None:
            raise NotConnected("the room's contacts (modbus-io) are not connected; connect first")
        unread = session.inputs().door_closed is None
        session.show(lamp)
        if problem := session.lamp_trouble or (session.trouble if unread else None):
            raise CommunicationLost(f"the lamp '{lamp}' may not be lit: {problem}") from problem

    def trouble(self) -> DeviceError | None:
        """What stands between the room and the station now, None if all is well; for the service pages."""
        session = self._session
        return (session.trouble or session.lamp_trouble) if session else None
