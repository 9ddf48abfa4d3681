"""VJ IXS: the vendor's table byte for byte, the device's quirks, faults, and noise."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import vj
from drivers.vj_generator import VjGenerator
from simulators.scene import EmptyScene
from simulators.wire.line import Line, PtyEnd, TcpEnd
from simulators.wire.vj import VjFace
from simulators.world import World
from station.clock import RealClock
from station.devices import (
    BadSettings,
    CommunicationLost,
    DeviceRefused,
    EndOfExposure,
    FocalSpot,
    GeneratorState,
    NotConnected,
    Room,
    SwitchStage,
    Technique,
)

SHORT, LONG = Technique(55, 0.5, 40), Technique(55, 0.5, 5000)
STANDBY, READY, EXPOSING = GeneratorState.STANDBY, GeneratorState.READY, GeneratorState.EXPOSING
FAULT = GeneratorState.FAULT
SETTING = ["VP0550", "CP05000", "OT00004"]


class Rig:
    def __init__(self, face, end, room, **settings):
        self.face, self.line = face, Line(face, end)
        self.line.start()
        self.generator = VjGenerator({"url": self.line.url, "answer_within_s": 0.7} | settings, room)

    @property
    def status(self):
        return self.generator.status()

    def sent(self):
        return [line.data for line in self.generator.traffic() if line.sent]

    def close(self):
        self.generator.close()
        self.line.stop()


class Script:
    """A device out of the document's table: nothing but these answers."""

    ANSWERS = {
        b"\x02FREV\r": b"\x02R004\r",
        b"\x02MNUM\r": b"\x02IXS120BP120P366\r",
        b"\x02SNUM\r": b"\x02123456\r",
        b"\x02STAT\r": b"\x020\r",
        b"\x02PSTAT\r": b"\x020\r",
        b"\x02FLT\r": b"\x020 0 0 0 0 0 0 0 0 0 0\r",
        b"\x02MON\r": b"\x020000 00000 0250 0400 2450\r",
    }

    def __init__(self, **answers):
        self.answers = self.ANSWERS | {b"\x02" + k.encode() + b"\r": v for k, v in answers.items()}
        self._send = None

    def attached(self, send):
        self._send = send

    def received(self, data):
        for word in data.split(b"\r")[:-1]:
            self._send(self.answers.get(word + b"\r", word + b"\r"))

    def tick(self):
        pass


@pytest.fixture
def make_rig(monkeypatch):
    """Makes connected rigs."""
    monkeypatch.setattr("simulators.world.scene_from", lambda _: EmptyScene())
    made = []

    def make(face=None, end=None, connect=True, **settings):
        room = Room(RealClock())
        face = {} if face is None else face
        if isinstance(face, dict):
            face = VjFace(face, room)
        elif isinstance(face, type):
            face = face({}, room)
        rig = Rig(face, end or TcpEnd(), room, **settings)
        rig.world = World.of(room)
        made.append(rig)
        if connect:
            rig.generator.connect()
        return rig

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def to_ready(wait_until):
    def prepare(rig, technique=SHORT):
        rig.generator.load(technique)
        rig.world.press(SwitchStage.PREPARE)
        rig.generator.prepare()
        wait_until(lambda: rig.status.state is READY)

    return prepare


@pytest.fixture
def expose(to_ready):
    def start(rig, technique=SHORT):
        to_ready(rig, technique)
        rig.world.press(SwitchStage.EXPOSE)
        rig.generator.expose()

    return start


# --- bytes ----------------------------------------------------------------------------------------------


def test_the_words_of_a_technique_are_the_documents():
    assert vj.technique_words(Technique(55, 0.5, 100)) == ("VP0550", "CP05000", "OT00010")
    assert vj.technique_words(Technique(120, 1.0, 999990)) == ("VP1200", "CP10000", "OT99999")
    assert vj.frame("VP0550").hex(" ") == "02 56 50 30 35 35 30 0d"


@pytest.mark.parametrize("ms", [4.9, 0.1, 1_000_000 - 1])
def test_a_time_that_would_be_zero_or_too_long_for_the_timer_is_never_put_into_words(ms):
    with pytest.raises(DeviceRefused, match="10 to 999990 ms"):
        vj.technique_words(Technique(55, 0.5, ms))


@given(st.floats(30, 120), st.floats(0.2, 1), st.floats(10, 999990))
def test_words_read_back_are_the_technique_within_its_steps(kvp, ma, ms):
    back = vj.parse_technique(vj.technique_words(Technique(kvp, ma, ms)))
    assert abs(back.kvp - kvp) <= 0.0501
    assert abs(back.ma - ma) <= 0.0000501
    assert abs(back.ms - ms) <= 5.001


def test_flags_of_both_firmwares_are_read():
    assert vj.parse_flags("0 0 0 0 0 0 0 0 1 0 0") == {8}
    assert vj.parse_flags("0 0 0 0 1 0 0 0 0 0 0 1") == {4, 11}
    for other in ("", "0 0 0", "0 0 0 0 0 0 0 0 2 0 0", "0 " * 11, "1" * 12):
        assert vj.parse_flags(other) is None


def test_the_monitor_is_read_also_below_freezing():
    assert vj.parse_monitor("0550 05000 0253 1800 2450") == vj.Monitor(55, 0.5, 25.3, 1.8, 24.5)
    assert vj.parse_monitor("0000 00000 -0053 0400 2450").temperature_c == -5.3
    assert vj.parse_monitor("0550 05000 0253 1800") is None


@given(st.binary(max_size=300))
def test_any_bytes_are_split_and_described_without_an_end_of_patience(data):
    buffer = bytearray(data)
    while (frame := vj.split(buffer)) is not None:
        assert frame[0] == 2
        assert frame[-1] == 13
        text = vj.text_of(frame)
        vj.describe(frame)
        vj.parse_flags(text)
        vj.parse_monitor(text)
    assert len(buffer) <= 64


@given(st.lists(st.sampled_from(["VP0550", "ENBL0", "STAT", "1"]), max_size=5), st.integers(1, 7))
def test_frames_come_out_whole_however_they_arrive(texts, piece):
    stream = b"noise".join(vj.frame(text) for text in texts)
    buffer, found = bytearray(), []
    for start in range(0, len(stream), piece):
        buffer += stream[start : start + piece]
        while (frame := vj.split(buffer)) is not None:
            found.append(vj.text_of(frame))
    assert found == texts


# --- transcripts ----------------------------------------------------------------------------------------


def test_connecting_is_said_as_in_the_document(make_rig):
    rig = make_rig(Script())
    greeting = [b"FREV", b"ENBL0", b"WDOG02", b"WDOG1", b"PTM00", b"MNUM", b"SNUM"]
    said = [data for data in rig.sent() if data != b"\x02FLT\r"]
    assert said == [b"\x02" + word + b"\r" for word in greeting]
    info = rig.generator.info()
    assert (info.model, info.serial, info.own_timer) == ("VJ IXS120BP120P366", "123456", True)


def test_an_exposure_is_said_as_in_the_document_and_enabled_once(make_rig, wait_until):
    rig = make_rig(Script(ENBL1=b"\x02ENBL1\r"), connect=False)
    rig.generator.connect()
    rig.generator.load(SHORT)
    rig.generator.prepare()
    wait_until(lambda: rig.status.state is READY)
    rig.generator.expose()
    wait_until(lambda: rig.status.exposures == 1)
    polls = {b"\x02FLT\r", b"\x02STAT\r", b"\x02PSTAT\r", b"\x02MON\r"}
    words = [data[1:-1].decode() for data in rig.sent() if data not in polls][7:]
    assert words == [*SETTING, "CLR", *SETTING, "CLR", "OT00004", "ENBL1", "ENBL0"]


def test_a_value_that_comes_back_different_is_not_taken(make_rig):
    rig = make_rig(Script(VP0550=b"\x02VP0560\r"))
    with pytest.raises(CommunicationLost, match="VP0550"):
        rig.generator.load(SHORT)
    with pytest.raises(DeviceRefused, match="technique"):
        rig.generator.prepare()


def test_a_timer_that_does_not_confirm_its_time_is_never_started(make_rig, wait_until):
    rig = make_rig(Script())
    rig.generator.load(SHORT)
    rig.generator.prepare()
    wait_until(lambda: rig.status.state is READY)
    rig.face.answers[b"\x02OT00004\r"] = b"\x02OT00000\r"
    with pytest.raises(CommunicationLost, match="OT00004"):
        rig.generator.expose()
    assert b"\x02ENBL1\r" not in rig.sent()


def test_a_technique_between_the_steps_is_read_back_as_it_is_set(make_rig):
    rig = make_rig()
    assert rig.generator.load(Technique(55.04, 0.50003, 43)) == Technique(55, 0.5, 40)


# --- quirks ---------------------------------------------------------------------------------------------


def test_a_device_that_is_busy_loses_the_abort_and_gets_it_again(make_rig, expose, wait_until):
    rig = make_rig({"answer_s": 0.05})
    expose(rig, LONG)
    wait_until(lambda: rig.world.beam_is_on)
    for _ in range(3):
        rig.generator.abort()
    wait_until(lambda: not rig.world.beam_is_on)
    wait_until(lambda: rig.status.state is STANDBY)
    assert rig.status.last.end is EndOfExposure.ABORTED
    assert rig.face.heard.count("ENBL1") == 1


def test_the_two_zeros_of_a_device_that_refuses_are_told_from_a_warning(make_rig, expose, wait_until):
    rig = make_rig(pre_warning_s=1)
    expose(rig)
    assert rig.status.state is EXPOSING
    assert not rig.world.beam_is_on
    wait_until(lambda: rig.status.exposures == 1)
    assert rig.status.last.end is EndOfExposure.NORMAL
    assert rig.status.last.ms == SHORT.ms


def test_an_abort_in_the_warning_lets_no_radiation_out(make_rig, expose, wait_until):
    rig = make_rig(pre_warning_s=1)
    radiation = []
    rig.world.on_radiation(radiation.append)
    expose(rig)
    rig.generator.abort()
    wait_until(lambda: rig.status.state is STANDBY)
    until = time.monotonic() + 1.2
    wait_until(lambda: time.monotonic() > until)
    assert radiation == []
    assert rig.status.last.end is EndOfExposure.ABORTED


def test_the_watchdog_ends_radiation_when_the_host_is_gone(make_rig, expose, wait_until):
    rig = make_rig(end=TcpEnd(), watchdog_s=2)
    expose(rig, LONG)
    wait_until(lambda: rig.world.beam_is_on)
    rig.line.stop()

    def dark():
        rig.face.tick()
        return not rig.world.beam_is_on

    wait_until(dark, 4)
    rig.line.start()
    wait_until(lambda: rig.status.exposures == 1)
    assert rig.status.last.end is EndOfExposure.UNKNOWN
    assert rig.status.last.mas == LONG.mas
    assert rig.face.heard.count("ENBL1") == 1


def test_letting_go_of_a_switch_in_the_interlock_is_no_fault(make_rig, expose, wait_until):
    rig = make_rig()
    for number in (1, 2):
        expose(rig, LONG)
        wait_until(lambda: rig.world.beam_is_on)
        rig.world.press(SwitchStage.RELEASED)
        wait_until(lambda number=number: rig.status.exposures == number)
        assert rig.status.last.end is EndOfExposure.RELEASED
        assert rig.status.state is STANDBY


def test_expose_without_the_pressed_switch_in_the_interlock_is_refused(make_rig, to_ready):
    rig = make_rig()
    to_ready(rig)
    with pytest.raises(DeviceRefused, match="interlock is open"):
        rig.generator.expose()
    assert "ENBL1" not in rig.face.heard


def test_one_arc_is_a_warning_and_four_are_a_fault(make_rig, expose, wait_until):
    rig = make_rig({"flags": 11})
    expose(rig, LONG)
    wait_until(lambda: rig.world.beam_is_on)
    rig.face.arc()
    before = len(rig.face.heard)
    wait_until(lambda: len(rig.face.heard) > before + 4)
    assert rig.status.state is EXPOSING
    for _ in range(3):
        rig.face.arc()
    wait_until(lambda: rig.status.state is FAULT)
    assert rig.status.fault.code == "FLT4"
    assert rig.status.last.end is EndOfExposure.FAULT


@pytest.mark.parametrize("state", [STANDBY, READY, EXPOSING], ids=str)
def test_every_fault_is_told_in_every_state_and_stays(make_rig, expose, to_ready, wait_until, state):
    rig = make_rig()
    for flag, words in ((5, "too hot"), (9, "regulation"), (10, "battery")):
        before = rig.status.exposures
        way = {STANDBY: lambda: None, READY: lambda: to_ready(rig), EXPOSING: lambda: expose(rig, LONG)}
        way[state]()
        rig.face.trip(flag)
        wait_until(lambda: rig.status.state is FAULT)
        assert not rig.world.beam_is_on
        assert words in str(rig.status.fault)
        assert rig.status.exposures == before + (state is EXPOSING)
        rig.generator.acknowledge()
        assert rig.status.state is STANDBY


def test_a_flat_battery_prevents_an_exposure(make_rig, wait_until):
    rig = make_rig({"battery_v": 20.5})
    rig.generator.load(SHORT)
    rig.generator.prepare()
    wait_until(lambda: rig.status.state is FAULT)
    assert "battery" in str(rig.status.fault)


class Mumbler(VjFace):
    """Its answer to the start is lost."""

    def _enable(self):
        super()._enable()


def test_a_start_that_is_not_answered_is_counted_in_full_and_not_said_again(make_rig, expose, wait_until):
    rig = make_rig(Mumbler)
    with pytest.raises(CommunicationLost, match="ENBL1"):
        expose(rig)
    wait_until(lambda: rig.status.exposures == 1)
    assert rig.status.last.end is EndOfExposure.UNKNOWN
    assert rig.status.last.mas == SHORT.mas
    assert rig.face.heard.count("ENBL1") == 1


def test_an_answer_that_comes_too_late_is_not_read_by_the_next_question(make_rig, wait_until):
    rig = make_rig()
    rig.line.spoil("late", 1.0, answers=1)
    wait_until(lambda: rig.face.heard.count("FREV") > 1)
    assert rig.generator.load(SHORT) == SHORT
    assert rig.status.fault is None


def test_the_large_focus_is_refused(make_rig):
    with pytest.raises(DeviceRefused, match="focal spot"):
        make_rig().generator.load(Technique(55, 0.5, 40, FocalSpot.LARGE))


def test_a_port_that_is_not_there_is_said_with_its_name(tmp_path):
    generator = VjGenerator({"url": str(tmp_path / "nothing")}, Room(RealClock()))
    with pytest.raises(NotConnected, match="nothing"):
        generator.connect()
    generator.close()


@pytest.mark.parametrize(
    "wrong", [{"watchdog_s": 1}, {"pre_warning_s": 61}, {"own_timer": True}, {"ms_range": [0, 100]}]
)
def test_settings_that_the_device_does_not_have_are_refused(wrong):
    with pytest.raises(BadSettings, match="vj-ixs"):
        VjGenerator(wrong, Room(RealClock()))


def test_it_is_the_same_over_a_serial_line(make_rig, expose, wait_until, tmp_path):
    rig = make_rig(end=PtyEnd(tmp_path / "line"))
    expose(rig)
    wait_until(lambda: rig.status.exposures == 1)
    assert rig.status.last.kvp == pytest.approx(55, rel=0.02)
