"""Any bytes at all, into every decoder there is: no hang, no error but the tree's, no memory filled.

`split` and `describe` are found in every module of `drivers`; the drivers on a line are those of the
conformance rigs, which their simulated device answers with answers that are cut, bent, doubled or made up.
"""

import importlib
import itertools
import pkgutil
import time
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest
from dap_rigs import ROWS as DOSE_METERS
from generator_rigs import ROWS as GENERATORS
from hypothesis import given, settings
from hypothesis import strategies as st

import drivers
from drivers import r2cp
from drivers.link import Link
from drivers.r2cp import Message
from simulators.scene import EmptyScene
from simulators.world import World
from station.clock import VirtualClock
from station.devices import CommunicationLost, DeviceError, Room, SwitchStage

MODULES = [
    importlib.import_module(f"drivers.{found.name}") for found in pkgutil.iter_modules(drivers.__path__)
]
SPLITS = [module.split for module in MODULES if hasattr(module, "split")]
DESCRIBES = [module.describe for module in MODULES if hasattr(module, "describe")]
ON_A_LINE = {row.name: row for row in (*GENERATORS, *DOSE_METERS) if row.face}
LONGEST = 65536  # bytes that may wait for the rest of a frame
CHUNKS = st.lists(st.binary(max_size=300), max_size=20)
ILLS = ["cut", "bent", "doubled", "noise before", "made up", "nothing", "other contents"]


def module_of(function):
    return function.__module__


@pytest.mark.parametrize("split", SPLITS, ids=module_of)
@given(chunks=CHUNKS)
def test_any_bytes_become_frames_or_noise(split, chunks):
    buffer, taken = bytearray(), 0
    for chunk in chunks:
        buffer += chunk
        while (frame := split(buffer)) is not None:
            taken += 1
            assert isinstance(frame, bytes)
            assert taken <= sum(map(len, chunks)), "frames out of nothing"
    assert split(bytearray()) is None


@pytest.mark.parametrize("split", SPLITS, ids=module_of)
@pytest.mark.parametrize("byte", [0x00, 0x01, 0x02, 0x0D, 0x30, 0xFF])
def test_a_device_that_babbles_fills_no_memory_and_hangs_nobody(split, byte):
    buffer = bytearray()
    for _ in range(64):
        buffer += bytes([byte]) * 4096
        while split(buffer) is not None:
            pass
        if len(buffer) > LONGEST:
            buffer.clear()  # as `Link` does
    assert len(buffer) <= LONGEST


@pytest.mark.parametrize("describe", DESCRIBES, ids=module_of)
@given(data=st.binary(max_size=80))
def test_any_bytes_can_be_told_in_words(describe, data):
    assert isinstance(describe(data), str)


# --- whole drivers --------------------------------------------------------------------------------------


class Mangling:
    """In the place of a driver's `Link`, without a thread: its device's answers come with an ill each."""

    def __init__(self, link, face, clock, ills):
        self._dialogue, self._face, self._clock, self._ills = link._dialogue, face, clock, ills
        self._buffer, self._said, self._later = bytearray(), [], []
        face.attached(self._said.append)
        for name in ("open", "close", "run", "later", "abort", "exchange", "send", "listen"):
            setattr(link, name, getattr(self, name))

    def _frames(self, data):
        self._clock.sleep(0.02)
        if data:
            self._face.received(data)
        self._face.tick()
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
        return work()

    def later(self, work, what):
        del what
        self._later.append(work)

    def abort(self, data):
        self.send(data)

    def open(self):
        self._buffer.clear()
        self._dialogue.greet()

    def close(self):
        pass

    def between_calls(self):
        """What the owner does by itself."""
        late, self._later = self._later, []
        for work in (*late, self._dialogue.poll):
            with suppress(DeviceError):
                work()


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
        device = row.driver({**row.settings, "url": "nowhere"}, room)
        (link,) = (part for part in vars(device).values() if isinstance(part, Link))
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
