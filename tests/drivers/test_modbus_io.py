"""The Modbus room contacts: what goes over the wire byte for byte, and what a bad line does to it."""

import asyncio
import os
import socket
import threading
import time
import tty
from contextlib import suppress

import pytest

from drivers import modbus_io
from drivers.modbus_contacts import plan_from
from drivers.modbus_io import ModbusIo, _Line
from simulators.scene import EmptyScene
from simulators.wire.modbus import ModbusFace
from simulators.world import World
from station.clock import RealClock
from station.devices import (
    CommunicationLost,
    DeviceError,
    Lamp,
    NotConnected,
    Room,
    SwitchStage,
)

READ_COILS = bytes.fromhex("01 01 00 00 00 08 3d cc")
READ_INPUTS = bytes.fromhex("01 02 00 00 00 08 79 cc")
LAMPS_OFF = bytes.fromhex("01 0f 00 00 00 04 01 00 3e 96")
XRAY_LAMP = bytes.fromhex("01 0f 00 00 00 04 01 02 bf 57")
PATIENT_MS = 150  # the longest that is allowed, for busy machines
DOOR_AND_STOP = 0b1100  # both closed, switch released


def wait_until(claim, seconds=5.0):
    until_s = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < until_s, "it never came to pass"
        time.sleep(0.002)


def with_crc(body):
    """CRC-16 as the serial line specification computes it, bit by bit; low byte first."""
    crc = 0xFFFF
    for byte in body:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return body + crc.to_bytes(2, "little")


def usual_answer(request, inputs=DOOR_AND_STOP):
    if request[1] == 15:
        return with_crc(request[:6])
    return with_crc(bytes((1, request[1], 1, inputs if request[1] == 2 else 0)))


class Slave:
    """A module on a pty that answers, in order, as a test says."""

    def __init__(self):
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.requests = []
        self.answer = usual_answer  # bytes, or a list of bytes with pauses between
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        data = b""
        while True:
            try:
                data += os.read(self.master, 256)
            except OSError:
                return
            while len(data) >= 8 and len(data) >= (size := 9 + data[6] if data[1] == 15 else 8):
                request, data = data[:size], data[size:]
                if request[1] == 0:
                    return
                self.requests.append(request)
                answer = self.answer(request)
                for part in [answer] if isinstance(answer, bytes) else answer:
                    os.write(self.master, part)
                    if not isinstance(answer, bytes):
                        time.sleep(0.002)

    def stop(self):
        os.write(self.slave, bytes(8))
        self._thread.join()
        os.close(self.slave)
        os.close(self.master)

    def settings(self, **more):
        return {"url": f"rtu://{os.ttyname(self.slave)}?baud=115200", "timeout_ms": PATIENT_MS, **more}


@pytest.fixture
def slave():
    made = Slave()
    yield made
    made.stop()


@pytest.fixture
def driver():
    """Makes drivers and closes them."""
    made = []

    def make(settings, room=None):
        io = ModbusIo(settings, room or Room(RealClock()))
        made.append(io)
        return io

    yield make
    for io in made:
        io.close()


@pytest.fixture
def face(monkeypatch):
    """Makes started faces in rooms of their own."""
    monkeypatch.setattr("simulators.world.scene_from", lambda _: EmptyScene())
    made = []

    def make(**settings):
        room = Room(RealClock())
        started = ModbusFace(room, **settings)
        started.start()
        made.append(started)
        return started, World.of(room)

    yield make
    for started in made:
        started.unplug()


# --- bytes ----------------------------------------------------------------------------------------------


def test_the_frames_of_this_file_have_the_specifications_checksum():
    for frame in (READ_COILS, READ_INPUTS, LAMPS_OFF, XRAY_LAMP):
        assert with_crc(frame[:-2]) == frame


def test_it_proves_the_line_reads_the_inputs_and_puts_the_lamps_out(slave, driver):
    io = driver(slave.settings())
    io.connect()
    assert slave.requests[:4] == [READ_COILS, READ_INPUTS, LAMPS_OFF, READ_INPUTS]
    wait_until(lambda: io.inputs().door_closed)
    io.show(Lamp.XRAY_ON)
    wait_until(lambda: XRAY_LAMP in slave.requests)
    io.close()
    assert slave.requests[-1] == LAMPS_OFF
    assert set(slave.requests) == {READ_COILS, READ_INPUTS, LAMPS_OFF, XRAY_LAMP}
    assert slave.requests.count(READ_COILS) == 1


def test_other_terminals_and_another_address_are_used_and_others_coils_left_alone(driver, slave):
    slave.answer = lambda request: with_crc(b"\x07" + usual_answer(request, 0b0001_1000)[1:-2])
    inputs = {"prepare": 5, "expose": 6, "door_closed": 3, "emergency_stop_released": 4}
    outputs = {"ready": 7, "xray_on": 0, "end": 1, "buzzer": 5}
    io = driver(slave.settings(device_id=7, inputs=inputs, outputs=outputs))
    io.connect()
    wait_until(lambda: io.inputs().door_closed and io.inputs().emergency_stop_released)
    written = [request for request in slave.requests if request[1] == 15]
    assert [request[2:6].hex() for request in written] == ["00000002", "00050001", "00070001"]
    assert {request[0] for request in slave.requests} == {7}


def test_answers_cut_into_single_bytes_are_read(slave, driver):
    slave.answer = lambda request: [bytes((byte,)) for byte in usual_answer(request)]
    io = driver(slave.settings())
    io.connect()
    wait_until(lambda: io.inputs().door_closed)


# --- a bad line -----------------------------------------------------------------------------------------

SPOILED = {
    "checksum": lambda answer: answer[:-1] + bytes((answer[-1] ^ 1,)),
    "silence": lambda _: b"",
    "cut short": lambda answer: answer[:-1],
    "another device": lambda answer: with_crc(b"\x02" + answer[1:-2]),
    "another function": lambda answer: with_crc(bytes((1, 3, 2, 0xFF, 0xFF))) + answer[:0],
    "no bits": lambda answer: with_crc(bytes((1, answer[1], 0))),
    "noise": lambda answer: bytes(range(7, 7 + len(answer))),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_answer_is_never_believed_and_the_next_good_one_is(slave, driver, how):
    io = driver(slave.settings())
    io.connect()
    slave.answer = lambda request: SPOILED[how](usual_answer(request, 0b1111))
    wait_until(io.trouble)
    assert isinstance(io.trouble(), CommunicationLost)
    assert io.inputs().switch is SwitchStage.RELEASED
    slave.answer = lambda request: usual_answer(request, 0b1101)
    wait_until(lambda: io.inputs().switch is SwitchStage.PREPARE)
    assert io.trouble() is None


def test_an_answer_that_comes_late_is_not_taken_for_the_answer_to_a_later_question(slave):
    line = _Line(plan_from(slave.settings()))
    assert line.inputs()[2]

    def answer_after_the_next_question(request):
        late = usual_answer(request)

        def then(asked):
            slave.answer = lambda later: usual_answer(later, 0b1000)  # the door opened in between
            return late + slave.answer(asked)

        slave.answer = then
        return b""

    slave.answer = answer_after_the_next_question
    with pytest.raises(CommunicationLost):
        line.inputs()
    with pytest.raises(CommunicationLost, match="function 1 was answered by function 2"):
        line.inputs()
    door_closed = []

    def read():
        with suppress(CommunicationLost):
            door_closed.append(line.inputs()[2])
        return door_closed

    wait_until(read)
    line.close()
    assert door_closed == [False]


def test_a_server_that_starts_too_slowly_is_given_up_and_leaves_no_thread(monkeypatch):
    serve = ModbusFace._serve

    async def slowly(face, ready):
        await asyncio.sleep(0.2)
        await serve(face, ready)

    monkeypatch.setattr(ModbusFace, "_serve", slowly)
    monkeypatch.setattr("simulators.wire.modbus._START_S", 0.01)
    with pytest.raises(RuntimeError, match="too slow"):
        ModbusFace(Room(RealClock())).start()
    assert "modbus-face" not in {thread.name for thread in threading.enumerate()}


def test_a_stopped_server_is_unknown_and_a_new_one_on_its_port_is_found(face, driver):
    module, world = face()
    io = driver(module.config())
    io.connect()
    module.stop()
    wait_until(lambda: io.inputs().door_closed is None)
    assert isinstance(io.trouble(), NotConnected)
    with pytest.raises(CommunicationLost, match="may not be lit"):
        io.show(Lamp.READY)
    module.start()
    wait_until(lambda: io.inputs().door_closed is True)
    wait_until(lambda: world.lamps and world.lamps[-1][1] is Lamp.READY)


def test_contacts_that_were_gone_for_an_hour_are_found_again(face, driver, monkeypatch):
    tries, opened = [], _Line._open

    def open_(line):
        tries.append(line)
        opened(line)

    served, _ = face()
    io = driver({**served.config(), "timeout_ms": PATIENT_MS})
    io.connect()
    monkeypatch.setattr(modbus_io, "_LONGEST_PAUSE_S", 0.0)
    monkeypatch.setattr(_Line, "_open", open_)
    served.stop()
    wait_until(lambda: len(tries) > 1200, 60)
    served.start()
    wait_until(lambda: io.inputs().door_closed)


def test_a_port_that_is_pulled_out_and_plugged_in_again_is_opened_again(face, driver, tmp_path):
    module, world = face(link=tmp_path / "port")
    io = driver(module.config())
    io.connect()
    module.unplug()
    wait_until(lambda: io.inputs().door_closed is None and isinstance(io.trouble(), NotConnected))
    module.start()
    world.press(SwitchStage.PREPARE)
    wait_until(lambda: io.inputs().switch is SwitchStage.PREPARE)


def test_after_silence_over_tcp_a_new_connection_is_asked_so_that_nothing_late_is_left(driver):
    with socket.create_server(("127.0.0.1", 0)) as server:
        io = driver({"url": f"tcp://127.0.0.1:{server.getsockname()[1]}", "timeout_ms": 20})
        with pytest.raises(CommunicationLost, match="no valid answer"):
            io.connect()
        server.settimeout(5)
        for _ in range(3):
            server.accept()[0].close()


def test_a_module_that_lost_its_power_is_told_its_lamp_again(face, driver):
    module, world = face()
    io = driver(module.config())
    io.connect()
    io.show(Lamp.READY)
    wait_until(lambda: module.coils[0])
    module.stop()
    wait_until(io.trouble)
    module.coils = [False] * 8
    module.start()
    wait_until(lambda: module.coils[0])
    assert world.lamps[-1][1] is Lamp.READY


def test_nothing_at_the_address_is_said_at_once(driver, face, tmp_path):
    with pytest.raises(NotConnected, match="cable"):
        driver({"url": str(tmp_path / "ttyUSB0")}).connect()
    module, _ = face()
    module.stop()
    with pytest.raises(NotConnected, match=r"127\.0\.0\.1"):
        driver(module.config()).connect()


def test_another_device_number_is_silence(face, driver):
    module, _ = face(rtu=True)
    with pytest.raises(CommunicationLost, match="device 9"):
        driver({**module.config(), "device_id": 9}).connect()


# --- lamps ----------------------------------------------------------------------------------------------


def test_a_module_that_refuses_its_outputs_is_refused_at_connect(face, driver):
    module, _ = face()
    module.refused = True
    with pytest.raises(DeviceError, match="lamp 'off'"):
        driver(module.config()).connect()


def test_a_lamp_that_fails_is_told_by_the_next_one_and_the_contacts_go_on(face, driver, monkeypatch):
    monkeypatch.setattr(modbus_io, "_LAMP_RETRY_S", 0.1)
    module, world = face()
    io = driver(module.config())
    io.connect()
    module.refused = True
    io.show(Lamp.READY)
    wait_until(io.trouble)
    with pytest.raises(CommunicationLost, match="lamp 'x-ray on' may not be lit"):
        io.show(Lamp.XRAY_ON)
    world.press(SwitchStage.PREPARE)
    wait_until(lambda: io.inputs().switch is SwitchStage.PREPARE)
    module.refused = False
    wait_until(lambda: world.lamps and world.lamps[-1][1] is Lamp.XRAY_ON)
    wait_until(lambda: io.trouble() is None)
    io.show(Lamp.OFF)


def test_the_buzzer_sounds_once_at_the_end_and_stops_whatever_lamp_follows(face, driver):
    module, _ = face()
    io = driver({**module.config(), "buzzer_ms": 100})
    io.connect()
    io.show(Lamp.XRAY_ON)
    wait_until(lambda: module.coils[1])
    assert module.buzzed == 0
    io.show(Lamp.END_OF_EXPOSURE)
    io.show(Lamp.OFF)
    wait_until(lambda: module.buzzed == 1)
    wait_until(lambda: not any(module.coils))
    assert module.buzzed == 1


def test_closing_puts_everything_out(face, driver):
    module, _ = face(rtu=True)
    io = driver(module.config())
    io.connect()
    io.show(Lamp.END_OF_EXPOSURE)
    wait_until(lambda: module.coils[2])
    io.close()
    assert not any(module.coils)
