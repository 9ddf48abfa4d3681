"""The room's contacts and lamps as a Modbus module: pymodbus's own server, over TCP or as RTU on a pty.

Discrete inputs 0 to 3 follow the world's hand switch, door and emergency stop, coils 0 to 3 its lamps and
buzzer, numbered as the driver's settings are by default. Every question brings the world up to now first.

Quirks: while the world's `io-silent` lasts, and for any other device address, nothing answers, as on a real
RS-485 line. `delay_s` holds every answer back that long. RTU runs over two ptys, one for the driver and one
for the server, since the library's server wants a port by name; a task carries the bytes between them.
"""

import asyncio
import os
import threading
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from simulators.faults import FaultName
from simulators.world import World
from station.devices import Lamp, Room, SwitchStage

_POINTS = 8
_READ_INPUTS = 2  # function code
_START_S, _END_S = 20.0, 20.0  # for busy machines
_BAUD = 115_200
_LAMPS = ((1, Lamp.XRAY_ON), (2, Lamp.END_OF_EXPOSURE), (0, Lamp.READY))  # coil, first that is on wins
_BUZZER = 3

Server = ModbusTcpServer | ModbusSerialServer


class ModbusFace:
    """One module on one wire; starts and stops as often as wanted, on the same wire."""

    def __init__(
        self,
        room: Room,
        *,
        rtu: bool = False,
        link: Path | None = None,
        device_id: int = 1,
        tcp_port: int = 0,
    ) -> None:
        """`link` is a name of one's choice for the serial port, and makes it RTU."""
        self._world = World.of(room)
        self._rtu, self._link, self._device_id, self._tcp_port = rtu or bool(link), link, device_id, tcp_port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._wanted = False  # between start and stop
        self._ptys: list[tuple[int, int]] = []  # master and slave, the driver's first
        self.delay_s = 0.0
        self.refused = False  # every write is answered by an exception
        self.coils = [False] * _POINTS
        self.buzzed = 0  # times the buzzer went on

    # --- running ---

    def start(self) -> None:
        """Serve from a thread of its own. Raises `RuntimeError` if nothing can be served."""
        if self._thread:
            raise RuntimeError("the Modbus face runs already")
        if self._rtu and not self._ptys:
            self._ptys = [_raw_pty(), _raw_pty()]
            if self._link:
                self._link.symlink_to(os.ttyname(self._ptys[0][1]))
        self._wanted = True
        ready, failed = threading.Event(), list[BaseException]()

        def run() -> None:
            try:
                asyncio.run(self._serve(ready))
            except Exception as error:  # noqa: BLE001  a thread's top: start() tells the caller
                failed.append(error)
            ready.set()

        self._thread = threading.Thread(target=run, name="modbus-face", daemon=True)
        self._thread.start()
        if not ready.wait(_START_S) or failed:
            self.stop()
            raise RuntimeError(f"the Modbus face did not start: {failed or 'too slow'}")

    def stop(self) -> None:
        """Stop answering; the wire stays, a TCP port refuses."""
        thread, self._thread = self._thread, None
        self._wanted = False
        if self._loop and self._ended:
            with suppress(RuntimeError):  # an earlier start's; one that has not begun sees `_wanted`
                self._loop.call_soon_threadsafe(self._ended.set)
        if thread:
            thread.join(_END_S)

    def unplug(self) -> None:
        """Stop and take the wire away: the driver's pty hangs up."""
        self.stop()
        if self._link and self._ptys:
            self._link.unlink(missing_ok=True)
        for pair in self._ptys:
            for number in pair:
                os.close(number)
        self._ptys = []

    def config(self) -> dict[str, Any]:
        """Settings of the driver that connects to this; after the first start."""
        url = f"tcp://127.0.0.1:{self._tcp_port}"
        if self._rtu:
            url = f"rtu://{self._link or os.ttyname(self._ptys[0][1])}?baud={_BAUD}"
        return {"url": url, "device_id": self._device_id}

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        if not self._wanted:
            return
        devices = [self._device(self._device_id, self._answer), self._device(0, _silence)]
        server: Server
        if self._rtu:
            port = os.ttyname(self._ptys[1][1])
            server = ModbusSerialServer(devices, port=port, baudrate=_BAUD)
            self._carry_bytes(self._loop)
        else:
            server = ModbusTcpServer(devices, address=("127.0.0.1", self._tcp_port))
        await server.serve_forever(background=True)
        if not self._rtu:
            listening: Any = server.transport  # an asyncio.Server, declared as something else
            self._tcp_port = listening.sockets[0].getsockname()[1]
        ready.set()
        await self._ended.wait()
        await server.shutdown()
        for master, _ in self._ptys:
            self._loop.remove_reader(master)

    def _carry_bytes(self, loop: asyncio.AbstractEventLoop) -> None:
        (here, _), (there, _) = self._ptys
        loop.add_reader(here, lambda: os.write(there, os.read(here, 256)))
        loop.add_reader(there, lambda: os.write(here, os.read(there, 256)))

    # --- the module ---

    def _device(self, number: int, action: Callable[..., Any]) -> SimDevice:
        def bits() -> list[SimData]:
            return [SimData(0, count=_POINTS, values=False, datatype=DataType.BITS)]

        registers = [SimData(0, count=1, values=0, datatype=DataType.REGISTERS)]
        return SimDevice(number, simdata=(bits(), bits(), registers, registers), action=action)

    async def _answer(
        self,
        function: int,
        start: int,
        address: int,
        count: int,
        current: list[int],
        values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        """Called by the server before it reads or writes its bits."""
        del start, count
        with self._world.synced():
            silent = self._world.faults.lasting(FaultName.IO_SILENT)
            inputs = self._inputs()
        if silent:
            await _silence()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if function == _READ_INPUTS:
            current[0] = sum(bit << number for number, bit in enumerate(inputs))
        if values is not None:
            if self.refused:
                return ExcCodes.ILLEGAL_ADDRESS
            self._drive(address, [bool(value) for value in values])
        return None

    def _inputs(self) -> tuple[bool, ...]:
        world = self._world
        return (
            world.switch >= SwitchStage.PREPARE,
            world.switch >= SwitchStage.EXPOSE,
            world.door_closed,
            world.emergency_stop_released,
        )

    def _drive(self, address: int, values: list[bool]) -> None:
        before, after = self.coils, list(self.coils)
        after[address : address + len(values)] = values
        self.buzzed += after[_BUZZER] and not before[_BUZZER]
        self.coils = after
        if _lamp(after) is not _lamp(before):
            self._world.show(_lamp(after))


def _lamp(coils: list[bool]) -> Lamp:
    return next((lamp for number, lamp in _LAMPS if coils[number]), Lamp.OFF)


async def _silence(*_: object) -> None:
    """End the task that would answer."""
    raise asyncio.CancelledError


def _raw_pty() -> tuple[int, int]:
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)  # nobody reading at the other end must not stop the server
    return master, slave
