"""The window machine over a scripted source: what comes late, torn or uncalled for is never a frame."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from drivers.panel import IntegratingPanel
from drivers.panel_source import Lost, PanelFacts, Timing
from station.clock import RealClock
from station.devices import (
    Aborted,
    CommunicationLost,
    DetectorInfo,
    DetectorState,
    DeviceRefused,
    NotConnected,
)
from station.frame import Signal, Stage

INFO = DetectorInfo("Test panel", "T1", 4, 6, (0.1, 0.1), 16, 1000)


def wait_until(claim: Callable[[], bool], deadline_s: float = 5.0) -> None:
    end = time.monotonic() + deadline_s
    while not claim():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


class ScriptedSource:
    """Delivers the charge it collected at every trigger, unless told otherwise."""

    def __init__(self):
        self.charge = 0
        self.dead = False
        self.answers: list[str] = []  # for the next triggers: whole, torn, never, shape
        self.triggers = 0
        self.hold = threading.Event()
        self.hold.set()
        self.arrived: Callable = lambda _: None
        self.info = INFO

    def _alive(self):
        self.hold.wait(5)
        if self.dead:
            raise CommunicationLost("the camera does not answer")

    def open(self):
        self._alive()
        return PanelFacts(self.info, "Maker panel", 65535, history=("rotated by 90°",))

    def start(self, arrived):
        self._alive()
        self.arrived = arrived

    def trigger(self):
        self._alive()
        self.triggers += 1
        answer = self.answers.pop(0) if self.answers else "whole"
        pixels = np.full((4, 6) if answer != "shape" else (4, 5), self.charge, np.uint16)
        self.charge = 0
        if answer != "never":
            self.arrived(Lost("packets were missing") if answer == "torn" else pixels)

    def stop(self):
        self._alive()

    def poll(self):
        self._alive()
        return 31.5

    def close(self):
        pass


@pytest.fixture
def source():
    return ScriptedSource()


@pytest.fixture
def panel(source):
    panel = IntegratingPanel(
        "panel", source, RealClock(), Timing(frame_s=0.3, connect_s=2, command_s=0.5, poll_s=0.01)
    )
    panel.connect()
    yield panel
    source.hold.set()
    panel.close()


def to(panel, state):
    wait_until(lambda: panel.status().state is state)


def test_a_frame_carries_the_charge_since_the_clearing_readout_and_no_other(panel, source):
    source.charge = 111
    panel.arm("1.2", 5000)
    to(panel, DetectorState.READY)
    source.charge = 222
    panel.read_out()
    to(panel, DetectorState.FRAME_HELD)
    frame = panel.fetch()
    assert np.all(frame.pixels == 222)
    assert (frame.stage, frame.signal, frame.saturation) == (Stage.RAW, Signal.DOSE, 65535)
    assert (frame.detector_type, frame.detector_serial) == ("Maker panel", "T1")
    assert frame.history == ("rotated by 90°",)
    assert frame.acquired_at.tzinfo is not None
    assert panel.status().state is DetectorState.IDLE


def test_a_window_ends_by_itself(panel, source):
    panel.arm("1.2", 20)
    to(panel, DetectorState.FRAME_HELD)
    panel.read_out()
    assert source.triggers == 2
    panel.fetch()


@pytest.mark.parametrize("answer", ["torn", "never", "shape"])
def test_a_frame_that_is_not_whole_is_lost_and_the_panel_can_be_armed_again(panel, source, answer):
    source.answers = ["whole", answer]
    panel.arm("1.2", 5000)
    to(panel, DetectorState.READY)
    panel.read_out()
    to(panel, DetectorState.IDLE)
    for ask in (panel.fetch, lambda: panel.recover("1.2")):
        with pytest.raises(CommunicationLost, match="lost"):
            ask()
    panel.connect()
    with pytest.raises(CommunicationLost, match="without image"):
        panel.recover("1.2")
    panel.arm("1.3", 5000)
    to(panel, DetectorState.READY)


def test_a_torn_clearing_frame_is_triggered_again(panel, source):
    source.answers = ["torn", "torn", "whole"]
    panel.arm("1.2", 5000)
    to(panel, DetectorState.READY)
    assert source.triggers == 3


def test_arming_is_given_up_after_a_few_torn_clearing_frames(panel, source):
    source.answers = ["torn"] * 3
    panel.arm("1.2", 5000)
    to(panel, DetectorState.IDLE)
    with pytest.raises(DeviceRefused, match="clearing frames"):
        panel.read_out()


def test_a_clearing_frame_that_comes_late_does_not_count(panel, source):
    source.answers = ["never", "never", "never"]
    panel.arm("1.2", 5000)
    wait_until(lambda: source.triggers == 1)
    late = source.arrived
    wait_until(lambda: source.triggers == 2)
    late(np.zeros((4, 6), np.uint16))
    wait_until(lambda: source.triggers == 3)
    assert panel.status().state is not DetectorState.READY


def test_a_late_frame_is_not_taken_for_a_later_window(panel, source):
    source.answers = ["whole", "never"]
    panel.arm("1.2", 5000)
    to(panel, DetectorState.READY)
    late = source.arrived
    panel.read_out()
    to(panel, DetectorState.IDLE)
    source.answers = ["whole", "never"]
    panel.arm("1.3", 5000)
    to(panel, DetectorState.READY)
    panel.read_out()
    late(np.full((4, 6), 7, np.uint16))
    to(panel, DetectorState.IDLE)
    with pytest.raises(CommunicationLost):
        panel.recover("1.3")


def test_a_readout_by_somebody_else_ends_the_window(panel, source):
    panel.arm("1.2", 5000)
    to(panel, DetectorState.READY)
    source.arrived(np.zeros((4, 6), np.uint16))
    to(panel, DetectorState.IDLE)
    with pytest.raises(CommunicationLost, match="somebody else"):
        panel.read_out()


def test_abort_wins_over_a_command_in_flight_and_over_one_that_finishes_late(panel, source):
    source.hold.clear()
    raised: list[BaseException] = []

    def arm():
        try:
            panel.arm("1.2", 5000)
        except DeviceRefused as error:
            raised.append(error)

    caller = threading.Thread(target=arm, daemon=True)
    caller.start()
    wait_until(lambda: len(panel._owner._pending) > 0)
    began = time.monotonic()
    panel.abort()
    assert time.monotonic() - began < 1
    caller.join(5)
    assert isinstance(raised[0], Aborted)
    source.hold.set()
    contact = panel.status().at
    wait_until(lambda: panel.status().at > contact)
    assert panel.status().state is DetectorState.IDLE
    panel.arm("1.3", 5000)
    to(panel, DetectorState.READY)


def test_abort_leaves_a_frame_alone_that_is_being_read_or_held(panel, source):
    source.answers = ["whole", "never"]
    panel.arm("1.2", 5000)
    to(panel, DetectorState.READY)
    panel.read_out()
    panel.abort()
    assert panel.status().state is DetectorState.READING
    source.arrived(np.full((4, 6), 9, np.uint16))
    to(panel, DetectorState.FRAME_HELD)
    panel.abort()
    assert np.all(panel.fetch().pixels == 9)


def test_frames_are_held_until_discarded_and_the_memory_is_limited(panel):
    free = panel.status().memory_free
    for number in range(free):
        panel.arm(f"1.{number}", 20)
        to(panel, DetectorState.FRAME_HELD)
        panel.fetch()
    assert panel.status().memory_free == 0
    with pytest.raises(DeviceRefused, match="restart"):
        panel.arm("2", 1000)
    panel.discard("1.0")
    with pytest.raises(DeviceRefused, match="held already"):
        panel.arm("1.1", 1000)
    with pytest.raises(DeviceRefused):
        panel.discard("1.0")
    panel.arm("1.0", 1000)


def test_a_silent_line_grows_stale_says_why_and_comes_back_by_itself(panel, source):
    panel.arm("1.0", 20)
    to(panel, DetectorState.FRAME_HELD)
    panel.fetch()
    source.dead = True
    to(panel, DetectorState.UNKNOWN)
    contact = panel.status().at
    with pytest.raises(CommunicationLost, match="power and cable"):
        panel.arm("1.2", 5000)
    assert panel.status().at == contact
    assert panel.info() == INFO
    panel.recover("1.0")
    source.dead = False
    to(panel, DetectorState.IDLE)
    panel.arm("1.2", 5000)


def test_a_line_that_breaks_in_an_open_window_loses_its_frame(panel, source):
    panel.arm("1.2", 5000)
    to(panel, DetectorState.READY)
    source.dead = True
    to(panel, DetectorState.UNKNOWN)
    source.dead = False
    panel.connect()
    assert panel.status().state is DetectorState.IDLE
    assert source.triggers == 1
    for ask in (panel.read_out, lambda: panel.recover("1.2")):
        with pytest.raises(CommunicationLost, match="lost"):
            ask()


def test_another_panel_on_the_same_line_is_refused(panel, source):
    source.dead = True
    to(panel, DetectorState.UNKNOWN)
    source.info = DetectorInfo("Test panel", "T2", 4, 6, (0.1, 0.1), 16, 1000)
    source.dead = False
    with pytest.raises(NotConnected, match="T2"):
        panel.connect()


def test_a_readout_that_nobody_waits_for_any_more_is_still_done(panel, source):
    panel.arm("1.2", 5000)
    to(panel, DetectorState.READY)
    source.hold.clear()
    with pytest.raises(CommunicationLost, match="no answer to"):
        panel.read_out()
    source.charge = 5
    source.hold.set()
    to(panel, DetectorState.FRAME_HELD)
    assert np.all(panel.fetch().pixels == 5)


def test_commands_and_info_need_a_connection_and_a_failed_one_leaves_no_thread(source):
    panel = IntegratingPanel("panel", source, RealClock(), Timing(frame_s=0.3))
    source.dead = True
    for ask in (lambda: panel.arm("1", 100), panel.read_out, panel.fetch, panel.info):
        with pytest.raises(NotConnected):
            ask()
    panel.abort()
    with pytest.raises(CommunicationLost):
        panel.connect()
    assert not any(thread.name == "panel" for thread in threading.enumerate())


@pytest.mark.parametrize(("uid", "window_ms"), [("", 100), ("a/b", 100), ("1", 1), ("1", 60_001)])
def test_refuses_what_is_out_of_range(panel, uid, window_ms):
    with pytest.raises(DeviceRefused, match="allowed"):
        panel.arm(uid, window_ms)


def test_a_mistake_inside_a_source_does_not_end_the_thread(panel, source):
    source.poll, poll = lambda: 1 / 0, source.poll
    to(panel, DetectorState.UNKNOWN)
    source.poll = poll
    to(panel, DetectorState.IDLE)
