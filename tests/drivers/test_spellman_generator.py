"""Spellman: golden vectors of the family, the XRB's conversation, and a beam that only the host ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import spellman
from drivers.spellman_generator import SpellmanGenerator
from simulators.scene import EmptyScene
from simulators.wire.line import Line, PtyEnd, TcpEnd
from simulators.wire.spellman import SpellmanFace
from simulators.world import World
from station.clock import RealClock
from station.devices import (
    BadSettings,
    CommunicationLost,
    DeviceError,
    DeviceRefused,
    EndOfExposure,
    FocalSpot,
    GeneratorState,
    NotConnected,
    Room,
    Technique,
)

SHORT, LONG = Technique(50, 0.175, 100), Technique(50, 0.175, 8000)
STANDBY, READY, EXPOSING = GeneratorState.STANDBY, GeneratorState.READY, GeneratorState.EXPOSING
FAULT = GeneratorState.FAULT


# --- the family's words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "sum_"), [("10,4095,", "u"), ("22,", "p"), ("99,1,", "E"), ("74,505,", "c"), ("55,1,", "M")]
)
def test_the_checksum_is_the_published_one(body, sum_):
    assert chr(spellman.checksum(body.encode())) == sum_


def test_frames_are_the_published_ones_with_and_without_a_checksum():
    assert spellman.frame(10, 4095, checked=True) == bytes.fromhex("02 31 30 2c 34 30 39 35 2c 75 03")
    assert spellman.frame(65, checked=True) == b"\x0265,i\x03"
    assert spellman.frame(99, 1, checked=False) == b"\x0299,1,\x03"


@pytest.mark.parametrize("checked", [True, False])
@given(st.integers(0, 999), st.lists(st.integers(0, 99999), max_size=20))
def test_what_is_framed_is_read_back(checked, command, numbers):
    data = spellman.frame(command, *numbers, checked=checked)
    message = spellman.parse(data, checked=checked)
    assert message == spellman.Message(command, tuple(map(str, numbers)))
    assert spellman.splitter(checked=checked)(bytearray(data)) == data


@given(st.integers(0, 10), st.integers(1, 127))
def test_a_frame_with_a_damaged_byte_is_no_frame(place, bits):
    data = bytearray(spellman.frame(10, 4095, checked=True))
    data[place] ^= bits
    message = spellman.parse(bytes(data), checked=True)
    twin = data[9] & 0x3F == spellman.checksum(bytes(data[1:9])) & 0x3F  # the sum keeps six bits of seven
    assert message is None or twin


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_split_read_and_described_without_an_end_of_patience(data, checked):
    buffer, split = bytearray(data), spellman.splitter(checked=checked)
    while (found := split(buffer)) is not None:
        message = spellman.parse(found, checked=checked)
        assert message is not None
        assert "damaged" not in spellman.describe(found)
        spellman.numbers(message, message.command)
        try:
            spellman.taken(message, message.command)
        except DeviceError as error:
            assert str(error)  # noqa: PT017  either outcome is fine, only another exception is not
    assert len(buffer) <= 128


@given(st.lists(st.sampled_from([(10, 800), (22,), (99, 1), (20, 1, 2, 3)]), max_size=5), st.integers(1, 9))
def test_frames_come_out_whole_however_they_arrive(messages, piece):
    frames = [spellman.frame(*message, checked=True) for message in messages]
    stream, buffer, split = b"~\x02~".join(frames), bytearray(), spellman.splitter(checked=True)
    found = []
    for start in range(0, len(stream), piece):
        buffer += stream[start : start + piece]
        while (data := split(buffer)) is not None:
            found.append(data)
    assert found == frames


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"\x0210,3,\x03", DeviceRefused, "out of range"),
        (b"\x0210,!,2,\x03", DeviceRefused, "does not know"),
        (b"\x0210,1,\x03", CommunicationLost, "damaged"),
        (b"E#1", DeviceRefused, "out of range"),
        (b"E#2", DeviceRefused, "interlock"),
        (b"\x0210,99,\x03", DeviceRefused, "manual"),
    ],
)
def test_refusals_say_why(data, error, words):
    with pytest.raises(error, match=words):
        spellman.taken(spellman.parse(data, checked=False), 10)


def test_what_belongs_to_another_command_is_no_answer():
    other = spellman.Message(11, ("$",))
    assert spellman.taken(other, 10) is None
    assert spellman.numbers(other, 14) is None
    assert spellman.taken(spellman.Message(10, ("$",)), 10) is True


# --- the driver ---------------------------------------------------------------------------------------------


class Rig:
    """The driver and a face on a line."""

    def __init__(self, face, end, room, **settings):
        self.face, self.line, self.world = face, Line(face, end), World.of(room)
        self.line.start()
        self.generator = SpellmanGenerator({"url": self.line.url} | settings, room)
        self.mas = 0.0
        self.world.on_radiation(self._absorb)

    def _absorb(self, radiation):
        self.mas += radiation.mas

    @property
    def status(self):
        return self.generator.status()

    @property
    def radiating(self):
        self.world.sync()
        return self.world.beam_is_on

    def heard(self, command, *arguments):
        return self.face.heard.count(spellman.Message(command, tuple(map(str, arguments))))

    def close(self):
        self.generator.close()
        self.line.stop()


@pytest.fixture
def make_rig(monkeypatch, tmp_path):
    """Makes connected rigs, over a serial line if not told otherwise."""
    monkeypatch.setattr("simulators.world.scene_from", lambda _: EmptyScene())
    made = []

    def make(face=SpellmanFace, *, tcp=False, **settings):
        room = Room(RealClock())
        end = TcpEnd() if tcp else PtyEnd(tmp_path / "line")
        rig = Rig(face({"checksum": not tcp}, room), end, room, **settings)
        made.append(rig)
        rig.generator.connect()
        return rig

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def to_ready(wait_until):
    def prepare(rig, technique=SHORT):
        rig.generator.load(technique)
        rig.generator.prepare()
        wait_until(lambda: rig.status.state is READY)

    return prepare


@pytest.fixture
def expose(to_ready, wait_until):
    def start(rig, technique=SHORT):
        to_ready(rig, technique)
        rig.generator.expose()
        wait_until(lambda: rig.radiating or rig.status.exposures)

    return start


def test_an_exposure_is_said_as_in_the_manual_and_switched_on_once(make_rig, expose, wait_until):
    rig = make_rig()
    expose(rig)
    wait_until(lambda: rig.status.exposures == 1)
    polls = {b"\x0222,p\x03", b"\x0298,c\x03"}
    said = [line.data for line in rig.generator.traffic() if line.sent and line.data not in polls]
    off, on = b"\x0299,0,F\x03", b"\x0299,1,E\x03"
    setting = [spellman.frame(*words, checked=True) for words in ((10, 500), (11, 1024), (14,), (15,))]
    assert said == [off, off, *setting, *setting, on, off]
    assert rig.generator.info().own_timer is False


def test_over_tcp_nothing_carries_a_checksum(make_rig):
    rig = make_rig(tcp=True)
    assert rig.generator.load(SHORT).kvp == 50
    assert b"\x0210,500,\x03" in [line.data for line in rig.generator.traffic()]


def test_the_time_reported_is_never_shorter_than_the_beam(make_rig, expose, wait_until):
    rig = make_rig()
    for number in (1, 2, 3):
        rig.mas = 0.0
        expose(rig)
        wait_until(lambda number=number: rig.status.exposures == number)
        last = rig.status.last
        assert last.end is EndOfExposure.NORMAL
        assert SHORT.ms <= last.ms
        assert rig.mas <= last.mas * 1.01


def test_a_technique_is_read_back_in_the_steps_of_the_device(make_rig):
    rig = make_rig(ma_per_count=0.001)
    back = rig.generator.load(Technique(50.04, 0.1754, 100))
    assert (back.kvp, back.ma, back.ms) == (50, 0.175, 100)
    assert rig.heard(11, 175) == 1


class Deaf(SpellmanFace):
    """Takes every tube current for 7."""

    def _set(self, command, count):
        super()._set(command, 7 if command == 11 else count)


def test_a_value_that_reads_back_different_is_not_taken(make_rig):
    rig = make_rig(Deaf)
    with pytest.raises(CommunicationLost, match="reads back 500 and 7"):
        rig.generator.load(SHORT)
    with pytest.raises(DeviceRefused, match="technique"):
        rig.generator.prepare()


def test_a_damaged_checksum_is_silence_on_both_sides(make_rig):
    rig = make_rig()
    rig.line.spoil("damaged")
    with pytest.raises(CommunicationLost, match="no answer"):
        rig.generator.load(SHORT)
    rig.line.mend()
    heard = len(rig.face.heard)
    rig.face.received(b"\x0299,1,F\x03")
    assert len(rig.face.heard) == heard
    assert not rig.radiating
    rig.generator.load(SHORT)


def test_a_fault_told_unasked_ends_even_a_short_exposure_at_once(make_rig, expose, wait_until):
    rig = make_rig()
    expose(rig, Technique(50, 0.175, 390))  # shorter than twice the time an answer may take: nothing is asked
    rig.world.set_door(closed=False)
    wait_until(lambda: rig.status.state is FAULT)
    assert rig.status.last.end is EndOfExposure.FAULT
    assert rig.status.last.ms < 390
    assert "interlock" in str(rig.status.fault)
    rig.world.set_door(closed=True)
    rig.generator.acknowledge()
    expose(rig)
    wait_until(lambda: rig.status.exposures == 2)
    assert rig.status.last.end is EndOfExposure.NORMAL


def test_radiation_that_ends_without_a_reason_is_a_fault(make_rig, expose, wait_until):
    rig = make_rig()
    expose(rig, LONG)
    rig.face._model.abort()
    wait_until(lambda: rig.status.state is FAULT)
    assert "gives no reason" in str(rig.status.fault)


def test_radiation_that_nobody_asked_for_is_switched_off(make_rig, wait_until):
    rig = make_rig()
    rig.generator.load(SHORT)
    rig.face._switch(on=True)
    assert rig.radiating
    wait_until(lambda: rig.status.state is FAULT)
    assert not rig.radiating
    assert "unasked" in str(rig.status.fault)


@pytest.mark.parametrize("tcp", [False, True])
def test_a_start_that_the_device_refuses_is_told_with_its_reason(make_rig, to_ready, tcp):
    rig = make_rig(tcp=tcp)
    to_ready(rig)
    rig.face._start = lambda: False
    with pytest.raises(DeviceRefused, match="interlock" if tcp else "not possible in this state"):
        rig.generator.expose()
    assert rig.status.state is STANDBY
    assert rig.status.exposures == 0
    assert rig.heard(99, 1) == 1


class Mumbler(SpellmanFace):
    """Its answer to the start is lost."""

    def _switch(self, *, on):
        send = self._send
        self._send = (lambda _: None) if on else send
        super()._switch(on=on)
        self._send = send


def test_a_start_that_is_not_answered_is_ended_at_once_and_reported(make_rig, to_ready, wait_until):
    rig = make_rig(Mumbler)
    to_ready(rig, LONG)
    with pytest.raises(CommunicationLost):
        rig.generator.expose()
    wait_until(lambda: rig.status.exposures == 1)
    assert not rig.radiating
    assert rig.status.last.end is EndOfExposure.UNKNOWN
    assert rig.mas <= rig.status.last.mas < LONG.mas
    assert rig.heard(99, 1) == 1


def test_a_lost_line_is_ended_by_the_first_words_on_the_next_one(make_rig, expose, wait_until):
    rig = make_rig(tcp=True)
    expose(rig, LONG)
    rig.line.stop()
    wait_until(lambda: "gone" in rig.generator._link.trouble or "open" in rig.generator._link.trouble)
    assert rig.radiating, "a device without a timer goes on"
    before = len(rig.face.heard)
    rig.line.start()
    wait_until(lambda: not rig.radiating)
    assert rig.face.heard[before] == spellman.Message(99, ("0",))
    wait_until(lambda: rig.status.exposures == 1)
    assert rig.status.last.end is EndOfExposure.UNKNOWN
    assert rig.mas <= rig.status.last.mas * 1.01


def test_off_is_said_until_it_is_confirmed(make_rig, expose, wait_until):
    rig = make_rig()
    expose(rig, LONG)
    rig.line.spoil("silent")
    with pytest.raises(CommunicationLost):
        rig.generator.release()
    assert not rig.radiating
    assert rig.status.exposures == 0, "nothing has been confirmed"
    rig.line.mend()
    wait_until(lambda: rig.status.exposures == 1)
    assert rig.heard(99, 0) > 3
    assert rig.status.last.end in {EndOfExposure.RELEASED, EndOfExposure.UNKNOWN}


def test_the_polarity_of_the_interlock_is_a_setting(make_rig):
    rig = make_rig(interlock_open_value=0)
    rig.generator.load(SHORT)
    with pytest.raises(DeviceRefused, match="interlock is open"):
        rig.generator.prepare()


def test_the_large_focus_is_refused(make_rig):
    with pytest.raises(DeviceRefused, match="focal spot"):
        make_rig().generator.load(Technique(50, 0.175, 100, FocalSpot.LARGE))


def test_a_time_as_short_as_the_computer_is_late_by_is_refused(make_rig):
    with pytest.raises(DeviceRefused, match="allows 100 to"):
        make_rig().generator.load(Technique(50, 0.175, 50))


def test_a_port_that_is_not_there_is_said_with_its_name(tmp_path):
    generator = SpellmanGenerator({"url": str(tmp_path / "nothing")}, Room(RealClock()))
    with pytest.raises(NotConnected, match="nothing"):
        generator.connect()
    generator.close()


@pytest.mark.parametrize("wrong", [{"checksum": 1}, {"ms_range": [1, 100]}, {"timer": True}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(BadSettings, match="spellman-xrb"):
        SpellmanGenerator(wrong, Room(RealClock()))
