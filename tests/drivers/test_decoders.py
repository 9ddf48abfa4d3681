"""Any bytes at all, into every decoder there is: no hang, no error but the tree's, no memory filled.

The decoders are those of the drivers on a line that the conformance rigs have; whole drivers are answered by
their simulated device, with answers that are cut, bent, doubled or made up.
"""

import importlib
import itertools
import pkgutil
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from dap_rigs import ROWS as DOSE_METERS
from generator_rigs import ROWS as GENERATORS
from hypothesis import example, given, settings
from hypothesis import strategies as st

import drivers
import simulators.wire
from drivers import r2cp
from drivers.link import Link
from drivers.r2cp import Message
from simulators.scene import EmptyScene
from simulators.wire.line import TcpEnd
from simulators.world import World
from station.clock import VirtualClock
from station.devices import CommunicationLost, DeviceError, Room, SwitchStage

MODULES = [
    importlib.import_module(f"{package.__name__}.{found.name}")
    for package in (drivers, simulators.wire)
    for found in pkgutil.iter_modules(package.__path__)
]
ON_A_LINE = {row.name: row for row in (*GENERATORS, *DOSE_METERS) if row.face}
LONGEST = 4096  # bytes that may wait for the rest of a frame
CHUNKS = st.lists(st.binary(max_size=300), max_size=20)
PATIENCE = 20  # ticks until an answer
ILLS = ["cut", "bent", "doubled", "noise before", "made up", "nothing", "other contents"]


def driver_of(name, room=None):
    """A driver, not connected, and its link."""
    row = ON_A_LINE[name]
    on_tcp = isinstance(row.end(Path()), TcpEnd)  # some speak otherwise over a network
    url = "socket://nowhere:1" if on_tcp else "/dev/nowhere"
    device = row.driver({**row.settings, "url": url}, room or Room(VirtualClock()))
    (link,) = (part for part in vars(device).values() if isinstance(part, Link))
    return device, link


@pytest.fixture(scope="module", params=ON_A_LINE)
def driver_name(request):
    return request.param


@pytest.fixture(scope="module")
def dialogue(driver_name):
    return driver_of(driver_name)[1]._dialogue


@pytest.fixture(scope="module")
def answers(driver_name):
    """What the simulated device says to its driver's first words."""
    well = itertools.repeat(("well", b"", 0))
    return hold_a_conversation(driver_name, well, [SwitchStage.RELEASED]).first_answer


@given(chunks=CHUNKS)
def test_any_bytes_become_frames_or_noise(dialogue, chunks):
    buffer, taken = bytearray(), 0
    for chunk in chunks:
        buffer += chunk
        while (frame := dialogue.split(buffer)) is not None:
            taken += 1
            assert isinstance(frame, bytes)
            assert taken <= sum(map(len, chunks)), "frames out of nothing"
    assert dialogue.split(bytearray()) is None


@pytest.mark.parametrize("byte", [0x00, 0x01, 0x02, 0x0D, 0x30, 0xFF])
def test_a_device_that_babbles_fills_no_memory_and_hangs_nobody(dialogue, byte):
    buffer = bytearray()
    for _ in range(64):
        buffer += bytes([byte]) * 1024
        while dialogue.split(buffer) is not None:
            pass
    assert len(buffer) <= LONGEST


@given(rest=st.binary(max_size=8))
@example(rest=b"E#")
@example(rest=b"E")
@example(rest=b"\x02")
def test_the_rest_of_an_answer_holds_the_next_ones_up_for_a_while_at_most(dialogue, answers, rest):
    buffer = bytearray(rest)
    for _ in range(LONGEST // len(answers) + 2):
        buffer += answers
        if dialogue.split(buffer) is not None:
            return
    pytest.fail("it never finds a frame again")


@given(data=st.binary(max_size=80))
def test_any_bytes_can_be_told_in_words(dialogue, data):
    assert isinstance(dialogue.describe(data), str)


# --- whole drivers --------------------------------------------------------------------------------------


class Mangling:
    """In the place of a driver's `Link`, without a thread: its device's answers come with an ill each."""

    def __init__(self, link, face, clock, ills):
        self._dialogue, self._face, self._clock, self._ills = link._dialogue, face, clock, ills
        self._buffer, self._said, self._later, self._greeted = bytearray(), [], [], False
        self.first_answer = b""
        face.attached(self._said.append)
        for name in ("open", "close", "run", "later", "abort", "exchange", "send", "listen"):
            setattr(link, name, getattr(self, name))

    def _frames(self, data):
        """What comes of a frame; a device takes its time."""
        if data:
            self._face.received(data)
        for _ in range(PATIENCE):
            self._clock.sleep(0.02)
            self._face.tick()
            if self._said:
                break
        self.first_answer = self.first_answer or b"".join(self._said)
        ill, noise, place = next(self._ills)
        self._buffer += mangled(b"".join(self._said), ill, noise, place)
        self._said.clear()
        split, number = self._dialogue.split, 0
        while (frame := split(self._buffer)) is not None:
            struck = ill == "other contents" and number == place % 2  # the acknowledgement or the answer
            yield OTHER_CONTENTS.get(split, in_text)(frame, noise, place // 2) if struck else frame
            number += 1
        assert len(self._buffer) <= LONGEST

    def exchange(self, data, answer, within_s=None):
        del within_s
        for frame in self._frames(data):
            result = answer(frame)
            if result is not None:
                return result
            self._dialogue.heard(frame)
        self._greeted = False
        raise CommunicationLost("the device does not answer; check it")

    def send(self, data, *, even_aborted=False):
        del even_aborted
        for frame in self._frames(data):
            self._dialogue.heard(frame)

    def listen(self, seconds):
        self._clock.sleep(seconds)
        self.send(b"")

    def run(self, work, what, **_):
        del what
        self._be_ready()
        return work()

    def _be_ready(self):
        if not self._greeted:
            self._buffer.clear()
            self._dialogue.greet()
            self._greeted = True

    def later(self, work, what):
        del what
        self._later.append(work)

    def abort(self, data):
        self.send(data)

    def open(self):
        self._greeted = False
        self._be_ready()

    def close(self):
        pass

    def between_calls(self):
        """What the owner does by itself."""
        late, self._later = self._later, []
        for work in (*late, self._dialogue.poll):
            with suppress(DeviceError):
                self.run(work, "by itself")


def ill_answers(what):
    """Ills for one answer after the other, without end; between them some are well."""
    for well, *ill in itertools.cycle(what):
        yield from itertools.repeat(("well", b"", 0), well)
        yield ill


def mangled(data, ill, noise, place):
    """What comes of the device's bytes."""
    place %= len(data) + 1
    return {
        "well": data,
        "cut": data[:place],
        "bent": data[:place] + noise[:1] + data[place + 1 :],
        "doubled": data + data,
        "noise before": noise + data,
        "made up": noise,
        "nothing": b"",
    }.get(ill, data)


def in_frame(frame, noise, place):
    """Other contents in a frame that is well-formed all the same."""
    message = Message.decode(frame)
    return replace(message, data=message.data[:place] + noise).encode()


def in_text(frame, noise, place):
    return frame[:place] + noise


OTHER_CONTENTS = {r2cp.split: in_frame}


def calls_of(device, row):
    """Everything that the station may ask of it, in the order of an exposure."""
    if hasattr(device, "read_ugym2"):
        return [device.connect, device.reset, device.read_ugym2]
    return [
        device.connect,
        lambda: device.load(row.good),
        device.prepare,
        device.status,
        device.expose,
        device.release,
        device.abort,
        device.acknowledge,
        device.info,
    ]


def passing(clock):
    """Time that passes for whoever looks at it, so that a wait by the clock ends."""

    def monotonic():
        clock.sleep(0.001)
        return clock.now()

    return SimpleNamespace(monotonic=monotonic, sleep=clock.sleep)


def hold_a_conversation(name, ills, stages):
    """Everything in every stage of the hand switch; what is no error of the tree leaves this function."""
    row, clock = ON_A_LINE[name], VirtualClock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulators.world.scene_from", lambda _: EmptyScene())
        for module in MODULES:
            if getattr(module, "time", None) is time:
                patch.setattr(module, "time", passing(clock))
        room = Room(clock)
        face = row.face({}, room) if row in DOSE_METERS else row.face(room)
        device, link = driver_of(name, room)
        line = Mangling(link, face, clock, ills)
        for stage in stages:
            World.of(room).press(stage)
            for call in calls_of(device, row):
                with suppress(DeviceError):
                    call()
                line.between_calls()
    return line


@pytest.mark.parametrize("name", ON_A_LINE)
@settings(max_examples=60, deadline=None)
@given(
    ills=st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from(ILLS), st.binary(max_size=40), st.integers(0, 40)),
        min_size=1,
    ),
    stages=st.lists(st.sampled_from(SwitchStage), min_size=1, max_size=4),
)
def test_whatever_a_device_answers_only_the_trees_errors_leave_its_driver(name, ills, stages):
    hold_a_conversation(name, ill_answers(ills), stages)


@pytest.mark.parametrize("contents", [b"", b"\0" * 27, b"\xff" * 27], ids=["nothing", "zeros", "ones"])
@pytest.mark.parametrize("name", ON_A_LINE)
def test_one_answer_with_other_contents_does_no_harm_wherever_it_comes(name, contents):
    for answer, part in itertools.product(range(40), (0, 1)):
        struck = [("well", b"", 0)] * answer + [("other contents", contents, part)]
        ills = itertools.chain(struck, itertools.repeat(("well", b"", 0)))
        hold_a_conversation(name, ills, [SwitchStage.PREPARE])
