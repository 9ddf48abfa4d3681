"""R2CP frames, byte for byte as published, and whatever bytes a line may bring."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import r2cp
from drivers.r2cp import APPLICATION, GENERATOR, HUB, Bank, Function, Message, PostExposure, State, Status

GOLDEN = {
    "connection request": (
        "01 01 11 a0 04 03 00 01 11",
        Message(r2cp.CONNECT, Function.ANSWER, bytes([APPLICATION]), 1, HUB),
    ),
    "get node status": (
        "02 01 11 a0 02 02 00 01 06",
        Message(r2cp.NODE_STATUS, Function.GET, bytes([GENERATOR]), 2, HUB),
    ),
    "get version": ("03 06 11 00 06 02 00 00", Message(r2cp.VERSION, Function.GET, b"", 3)),
    "set version": ("04 06 11 00 06 01 00 03 06 00 41", Message(r2cp.VERSION, Function.SET, b"\6\0A", 4)),
    "get status": ("05 06 11 20 93 02 00 00", Message(r2cp.STATUS, Function.GET, b"", 5)),
    "load bank": (
        "06 06 11 20 0c 01 00 1b 02 04 02 02 26 00 07 d0 00 27 10 00 07 d0 00 01 01 f4 00" + 8 * " 00",
        Message(
            r2cp.LOAD_BANK,
            Function.SET,
            Bank(2, 55, 100, 20, technique=2, imaging_protocol=4, mas=2.0).encode(),
            6,
        ),
    ),
    "activate": (
        "07 06 11 e0 02 01 00 06 03 01 01 00 00 00",
        Message(r2cp.ACTIVATE, Function.SET, bytes((3, 1, 1, 0, 0, 0)), 7),
    ),
    "forbid radiation": (
        "08 06 11 80 01 01 00 0a 11 00 07 a1 6a 01 01 02 00 00",
        Message(r2cp.SYSTEM_MESSAGE, Function.SET, r2cp.radiation_forbidden(forbidden=True), 8),
    ),
    "processed": (
        "09 11 06 20 0c 0a 00 02 06 00",
        Message(r2cp.LOAD_BANK, Function.PROCESSED, bytes((6, 0)), 9, APPLICATION, GENERATOR),
    ),
    "status": (
        "0a 11 06 20 93 03 00 0e 02 00 03 01 01 00 00 00 0c 08 05 00 00 00",
        Message(
            r2cp.STATUS,
            Function.ANSWER,
            bytes.fromhex("02 00 03 01 01 00 00 00 0c 08 05 00 00 00"),
            10,
            APPLICATION,
            GENERATOR,
        ),
    ),
    "post-exposure": (
        "0b 11 06 20 90 03 00 15 00 29 03 01 02 25 00 27 06 00 07 d3 00 07 d1 00 00 00 00 00 00",
        Message(
            r2cp.POST_EXPOSURE,
            Function.ANSWER,
            PostExposure(41, 3, 54.9, 99.9, 20.03, 2.001, 0).encode(),
            11,
            APPLICATION,
            GENERATOR,
        ),
    ),
}
messages = st.builds(
    Message,
    what=st.tuples(st.integers(0, 255), st.integers(0, 255)),
    function=st.sampled_from(list(Function)),
    data=st.binary(max_size=100),
    sequence=st.integers(1, 63),
    destination=st.sampled_from([0, HUB, GENERATOR, APPLICATION]),
    source=st.sampled_from([HUB, GENERATOR, APPLICATION]),
)


@pytest.mark.parametrize("name", GOLDEN)
def test_frames_are_as_published(name):
    text, message = GOLDEN[name]
    assert message.encode() == bytes.fromhex(text)
    assert Message.decode(bytes.fromhex(text)) == message


def test_the_payloads_say_what_they_mean():
    status = Status.decode(GOLDEN["status"][1].data)
    assert (status.state, status.anode_heat_percent) == (State.STANDBY, 12)
    assert (status.prepare_pressed, status.expose_pressed, status.inhibited) == (False, False, False)
    report = PostExposure.decode(GOLDEN["post-exposure"][1].data)
    assert (report.number, report.kvp, report.ma, report.ms, report.mas) == (41, 54.9, 99.9, 20.03, 2.001)
    bank = Bank.decode(GOLDEN["load bank"][1].data)
    assert (bank.kvp, bank.ma, bank.ms, bank.mas, bank.large_focus) == (55.0, 100.0, 20.0, 2.0, False)


@given(st.lists(messages, min_size=1, max_size=5), st.data())
def test_frames_come_out_whole_however_the_line_cuts_them(sent, data):
    stream = b"".join(message.encode() for message in sent)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)) | {0, len(stream)})
    buffer, got = bytearray(), []
    for start, end in itertools.pairwise(cuts):
        buffer += stream[start:end]
        while (frame := r2cp.split(buffer)) is not None:
            got.append(Message.decode(frame))
    assert got == sent
    assert not buffer


@given(st.binary(max_size=400))
def test_any_bytes_are_frames_or_noise_and_never_an_error(noise):
    buffer = bytearray(noise)
    while (frame := r2cp.split(buffer)) is not None:
        assert r2cp.describe(frame)
        Message.decode(frame)
    assert len(buffer) <= 108, "more than one unfinished frame was kept"


@given(st.binary(max_size=60))
def test_a_payload_of_any_bytes_is_read_or_refused_as_a_value(data):
    for decode in (Status.decode, Bank.decode, PostExposure.decode, r2cp.SystemMessage.decode):
        try:
            decode(data)
        except ValueError:
            continue


def test_what_no_frame_can_hold_is_refused():
    for bad in (Message(r2cp.STATUS, Function.GET, sequence=64), Message(r2cp.STATUS, 1, bytes(101))):
        with pytest.raises(ValueError, match="no frame can hold"):
            bad.encode()
