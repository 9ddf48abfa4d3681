"""The PTW DIAMENTOR byte by byte: what is said when, and what is made of the answers."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.ptw_dap import ERRORS, PtwDiamentor, describe, split
from simulators.faults import FaultName
from simulators.scene import EmptyScene
from simulators.wire.line import Line, PtyEnd, TcpEnd
from simulators.wire.ptw import DiamentorFace
from simulators.world import World
from station.clock import RealClock
from station.devices import BadSettings, CommunicationLost, DeviceError, DeviceFault, DeviceRefused, Room

DOCUMENTED = "M9999.99,8888.88,222,33,eeee.ee,ffff.ff,mmm,ss,34567"  # of the public driver's tests
POLL = PtwDiamentor._poll
SAID_AT_CONNECT = ["PTW", "SER", "CRC", "G", "TST", "U", "U"]


class Script:
    """A device that gives written answers; the last one again and again. No answer: None."""

    def __init__(self, **answers):
        plain = {"PTW": "CRS 1.2.4", "SER": "SER345678", "CRC": "CRC0,0", "G": "GP", "TST": ""}
        given = {**plain, "U": "U3", "M": "M0000.00,0000.00,000,00,0,0,0,0,00000", "RES": "RES", **answers}
        self.answers = {k: list(v) if isinstance(v, list) else [v] for k, v in given.items()}
        self.heard, self._send, self._rest = [], None, b""

    def attached(self, send):
        self._send, self._rest = send, b""

    def received(self, data):
        *telegrams, self._rest = (self._rest + data).split(b"\r\n")
        for telegram in telegrams:
            self.heard.append(telegram.decode())
            answers = self.answers.get(telegram.decode(), ["E1"])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if answer is not None:
                self._send(answer.encode() + b"\r\n")

    def tick(self):
        pass


@pytest.fixture
def on_line(tmp_path, monkeypatch):
    """Makes a connected meter, which does not poll, and the line of its device."""
    monkeypatch.setattr("drivers.ptw_dap._POLL_S", 60.0)
    monkeypatch.setattr(PtwDiamentor, "_poll", lambda _: None)
    made = []

    def make(face, end=None, connect=True, **settings):
        line = Line(face, end or PtyEnd(tmp_path / f"line{len(made)}"))
        line.start()
        settings = {"url": line.url, "answer_within_s": 0.8, **settings}
        meter = PtwDiamentor(settings, Room(RealClock()))
        made.append((meter, line))
        if connect:
            meter.connect()
        return meter, line

    yield make
    for meter, line in made:
        meter.close()
        line.stop()


@pytest.fixture
def face(monkeypatch):
    monkeypatch.setattr("simulators.world.scene_from", lambda _: EmptyScene())
    return lambda **settings: DiamentorFace(settings, Room(RealClock()))


def bytes_of(meter, sent):
    return b"".join(line.data for line in meter.traffic() if line.sent is sent)


# --- transcripts ----------------------------------------------------------------------------------------


def test_at_connecting_it_says_who_it_speaks_to_and_asks_how_it_is(on_line):
    script = Script()
    meter, _ = on_line(script)
    assert script.heard == SAID_AT_CONNECT
    assert bytes_of(meter, sent=True) == b"PTW\r\nSER\r\nCRC\r\nG\r\nTST\r\nU\r\nU\r\n"


def test_the_documented_reading_is_understood(on_line):
    script = Script(M=DOCUMENTED)
    meter, _ = on_line(script)
    assert meter.read_ugym2() == 9999.99
    assert script.heard[len(SAID_AT_CONNECT) :] == ["U", "M", "M"]


def test_channel_b_has_its_own_fields(on_line):
    meter, _ = on_line(Script(M="Meeee.ee,ffff.ff,mmm,ss,0012.34,0000.00,000,07,34567"), channel="B")
    assert meter.read_ugym2() == 12.34


@pytest.mark.parametrize(("unit", "ugym2"), [("U1", 12.34), ("U2", 1234.0), ("U3", 12.34)])
def test_every_unit_becomes_ugym2(on_line, unit, ugym2):
    meter, _ = on_line(Script(U=unit, M="M0012.34,0000.00,000,07,0,0,0,0,34567"))
    assert meter.read_ugym2() == pytest.approx(ugym2)


@pytest.mark.parametrize(("unit", "said"), [("U4", r"R·cm².*U3"), ("U7", r"unknown here \(U7\).*U3")])
def test_a_unit_that_is_no_dose_area_product_is_refused_with_the_remedy(on_line, unit, said):
    meter, _ = on_line(Script(U=unit), connect=False)
    with pytest.raises(DeviceRefused, match=said):
        meter.connect()
    with pytest.raises(DeviceRefused, match=said):
        meter.read_ugym2()


def test_a_unit_changed_at_the_device_is_noticed_by_the_next_reading(on_line):
    script = Script(M="M0012.34,0000.00,000,07,0,0,0,0,34567")
    meter, _ = on_line(script)
    script.answers["U"] = ["U2"]
    assert meter.read_ugym2() == pytest.approx(1234.0)


def test_between_readings_the_line_is_watched_by_asking_for_the_unit(on_line, monkeypatch, wait_until):
    monkeypatch.setattr("drivers.ptw_dap._POLL_S", 0.01)
    monkeypatch.setattr(PtwDiamentor, "_poll", POLL)
    script = Script()
    on_line(script)
    wait_until(lambda: script.heard[len(SAID_AT_CONNECT) :][:3] == ["U", "U", "U"])


def test_a_unit_told_once_only_is_not_believed(on_line):
    script = Script(M="M0012.34,0000.00,000,07,0,0,0,0,34567")
    meter, _ = on_line(script)
    script.answers["U"] = ["U2", "U3"]
    with pytest.raises(CommunicationLost, match="same unit twice"):
        meter.read_ugym2()
    assert meter.read_ugym2() == 12.34


def test_a_reading_counts_when_two_agree(on_line):
    script = Script(M=[f"M00{v},0000.00,000,07,0,0,0,0,34567" for v in ("03.00", "43.10", "03.12", "03.12")])
    meter, _ = on_line(script)
    assert meter.read_ugym2() == 3.12


def test_readings_that_never_agree_are_no_reading(on_line, monkeypatch):
    monkeypatch.setattr("drivers.ptw_dap._SETTLED_WITHIN_S", 0.1)
    script = Script(M=[f"M000{n % 2}.00,0000.00,000,07,0,0,0,0,34567" for n in range(100_000)])
    meter, _ = on_line(script)
    with pytest.raises(CommunicationLost, match="do not agree"):
        meter.read_ugym2()


def test_a_reset_is_looked_after(on_line):
    script = Script(M="M0000.02,0000.00,000,00,0,0,0,0,34567")
    meter, _ = on_line(script)
    meter.reset()
    assert script.heard[len(SAID_AT_CONNECT) :] == ["RES", "M"]
    script.answers["M"] = ["M0003.12,0000.00,000,00,0,0,0,0,34567"]
    with pytest.raises(CommunicationLost, match=r"was reset and still reads 3\.12"):
        meter.reset()


def test_the_air_is_asked_and_written_only_if_it_differs(on_line):
    script = Script(PRE=["PRE1013", "PRE0990"], PRE0990="PRE0990", TMPA="TMPA22")
    on_line(script, air_pressure_hpa=990, chamber_temperature_c=22)
    assert script.heard[5:] == ["PRE", "PRE0990", "PRE", "TMPA", "U", "U"]


def test_a_value_that_the_device_does_not_keep_is_refused(on_line):
    meter, _ = on_line(Script(PRE="PRE1013", PRE0990="PRE0990"), connect=False, air_pressure_hpa=990)
    with pytest.raises(DeviceRefused, match="told PRE0990 and keeps PRE1013"):
        meter.connect()


# --- faults ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "code"), [({"CRC": "CRC1,0"}, "E23"), ({"CRC": "CRC0,1"}, "E24"), ({"G": "GF"}, "GF")]
)
def test_a_device_that_is_not_fit_is_a_fault_with_the_next_action(on_line, answers, code):
    meter, _ = on_line(Script(**answers), connect=False)
    with pytest.raises(DeviceFault, match=r"serviced|calibrated by") as raised:
        meter.connect()
    assert raised.value.code == code


@pytest.mark.parametrize("code", [*ERRORS, "E99"])
def test_every_error_code_says_what_it_is_and_what_to_do(on_line, code):
    script = Script()
    meter, _ = on_line(script)
    script.answers["M"] = [code]
    kind = {"E1": CommunicationLost, "E25": CommunicationLost, "E7": DeviceRefused, "E9": DeviceRefused}
    with pytest.raises(kind.get(code, DeviceFault)) as raised:
        meter.read_ugym2()
    vendor, ours, action = ERRORS.get(code, ("unknown", "not documented", "manual"))
    for part in (code, vendor, ours, action, "dose meter PTW DIAMENTOR"):
        assert part in str(raised.value)


def test_half_a_telegram_left_in_the_device_does_not_hinder_connecting(on_line):
    script = Script(PTW=["E1", "CRS 2.33"])
    on_line(script)
    assert script.heard[:3] == ["PTW", "PTW", "SER"]


def test_a_slow_self_test_is_waited_for(on_line):
    script = Script(TST=None)
    meter, _ = on_line(script, connect=False)
    began = time.monotonic()
    original = script.tick

    def answer_late():
        if "TST" in script.heard and time.monotonic() - began > 0.5:
            script.tick = original
            script._send(b"\r\n")

    script.tick = answer_late
    meter.connect()
    assert script.heard == SAID_AT_CONNECT


def test_after_a_lost_answer_it_makes_sure_of_the_line_without_testing_the_device_again(on_line):
    script = Script()
    meter, line = on_line(script)
    line.spoil("silent", answers=1)
    with pytest.raises(CommunicationLost):
        meter.read_ugym2()
    heard = len(script.heard)
    assert meter.read_ugym2() == 0
    assert script.heard[heard:][:2] == ["PTW", "U"]
    assert "TST" not in script.heard[heard:]


# --- on the simulated device ----------------------------------------------------------------------------


def test_over_tcp_it_is_the_same(on_line, face):
    meter, _ = on_line(face(), TcpEnd())
    meter.reset()
    assert meter.read_ugym2() == 0


def test_a_coarse_unit_reads_the_same_dose(on_line, monkeypatch):
    monkeypatch.setattr("simulators.world.scene_from", lambda _: EmptyScene())
    room = Room(RealClock())
    fine, coarse = DiamentorFace({}, room), DiamentorFace({"unit": 2, "channel": "B"}, room)
    world = World.of(room)
    with world.synced():
        world.beam_on(50, 100)
        world.tick(1.0)
        world.beam_off()
    first = on_line(fine)[0].read_ugym2()
    assert on_line(coarse, channel="B")[0].read_ugym2() == pytest.approx(first, abs=0.51)


def test_a_room_told_to_have_a_silent_dose_meter_has_one_on_its_line_too(on_line, monkeypatch):
    monkeypatch.setattr("simulators.world.scene_from", lambda _: EmptyScene())
    room = Room(RealClock())
    meter, _ = on_line(DiamentorFace({}, room))
    World.of(room).faults.add(FaultName.DAP_SILENT)
    with pytest.raises(CommunicationLost, match="no answer to U within"):
        meter.read_ugym2()
    World.of(room).faults.clear(FaultName.DAP_SILENT)
    assert meter.read_ugym2() == 0


def test_write_protection_is_named(on_line, face):
    meter, _ = on_line(face(write_protected=True), connect=False, chamber_temperature_c=25)
    with pytest.raises(DeviceRefused, match=r"'TMPA25' \(device code E7.*Leave it out of the room file"):
        meter.connect()


def test_the_simulated_device_keeps_to_its_table(face):
    said = []
    device = face()
    device.attached(said.append)
    for command in ("PTW", "SER", "U", "U2", "U5", "PRE0499", "PRE0990", "PRE", "TMPA", "BR", "X", "M"):
        device.received(command.encode() + b"\r\n")
    assert b"".join(said[:-1]).decode().split("\r\n") == (
        ["CRS 1.2.4", "SER345678", "U3", "U2", "E9", "E9", "PRE0990", "PRE0990", "TMPA20", "BR0", "E1", ""]
    )
    assert said[-1].startswith(b"M0000.00,0000.00,000,00,")


def test_telegrams_that_do_not_wait_for_answers_are_an_overrun(face):
    said = []
    device = face()
    device.attached(said.append)
    device.received(b"PTW\r\nSER\r\n")
    assert said == [b"E25\r\n"]


# --- settings and bytes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "url is missing"),
        ({"url": "x", "channel": "C"}, "channel A or B"),
        ({"url": "x", "baud": 9601}, "baud"),
        ({"url": "x", "air_pressure_hpa": 400}, "500 to 1500"),
        ({"url": "x", "chamber_temperature_c": 71}, "0 to 70"),
        ({"url": "x", "chamber_temperature_c": 20, "channel": "B"}, "set it at the device"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_what_can(settings, said):
    with pytest.raises(BadSettings, match=said):
        PtwDiamentor(settings, Room(RealClock()))


@given(st.lists(st.binary(max_size=600), max_size=20))
def test_any_bytes_become_telegrams_or_are_dropped(pieces):
    buffer, taken = bytearray(), 0
    for piece in pieces:
        buffer += piece
        while (frame := split(buffer)) is not None:
            taken += 1
            assert describe(frame)
            assert b"\n" not in frame
        assert len(buffer) <= 256
    assert taken == b"".join(pieces).count(b"\n")


@given(st.binary(max_size=80) | st.from_regex(r"M[0-9.,]{1,60}", fullmatch=True).map(str.encode))
def test_any_telegram_instead_of_a_reading_is_an_error_of_the_tree_or_a_number(telegram):
    meter = PtwDiamentor({"url": "x"}, Room(RealClock()))
    frames = {b"U\r\n": b"U3", b"M\r\n": telegram.replace(b"\n", b"")}

    def exchange(data, answer, within_s=None):
        del within_s
        found = answer(frames[data])
        if found is None:
            raise CommunicationLost("no answer")
        return found

    meter._link.exchange = exchange
    with suppress(DeviceError):
        assert meter._settled_ugym2() >= 0
