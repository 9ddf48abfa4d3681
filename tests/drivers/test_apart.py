"""A source in a process of its own: what it does wrong stays there."""

import queue
import threading
import time

import numpy as np
import pytest
from scripted_source import INFO, ScriptedSource

from drivers.apart import Apart
from drivers.panel import IntegratingPanel
from drivers.panel_source import Lost, Timing
from station.clock import RealClock
from station.devices import CommunicationLost, DetectorState


@pytest.fixture
def apart():
    made: list[Apart] = []

    def make(**orders):
        made.append(Apart("apart", ScriptedSource, orders, open_s=60, answer_s=4))
        return made[-1]

    yield make
    for source in made:
        source.close()


def test_frames_come_whole_through_the_pipe(apart):
    source = apart()
    assert source.open().info == INFO
    assert source.poll() == 30.0
    arrived: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    source.start(arrived.put)
    for number in (1, 2):
        source.trigger()
        pixels = arrived.get(timeout=5)
        assert (pixels.shape, pixels.dtype) == ((300, 400), np.uint16)
        assert np.all(pixels == number)
    source.stop()


def test_a_lost_frame_is_told(apart):
    source = apart(trigger="tear")
    source.open()
    arrived: queue.SimpleQueue[Lost] = queue.SimpleQueue()
    source.start(arrived.put)
    source.trigger()
    assert arrived.get(timeout=5) == Lost("torn")


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("lost", "the line is dead"),
        ("fault", "Let it cool"),
        ("mistake", "internal error"),
        ("hang", "did not come back from 'poll'"),
        ("die", "process has ended"),
    ],
)
def test_what_goes_wrong_over_there_is_a_lost_line_here_and_it_can_be_opened_again(apart, order, said):
    source = apart(poll=order)
    source.open()
    with pytest.raises(CommunicationLost, match=said):
        source.poll()
    source.open()
    source.start(lambda _: None)


def test_what_ended_stays_ended_until_it_is_opened(apart):
    source = apart(poll="die")
    source.open()
    for ask in (source.poll, source.trigger, source.poll):
        with pytest.raises(CommunicationLost, match="ended"):
            ask()
    source.close()
    with pytest.raises(CommunicationLost, match="connect"):
        source.trigger()


def test_closing_does_not_wait_for_a_library_that_does_not_come_back(apart):
    source = apart(close="hang")
    source.open()
    source.close()
    assert not any(thread.name == "apart frames" for thread in threading.enumerate())


def test_a_library_that_keeps_the_interpreter_does_not_stop_the_station(apart):
    source = apart(poll="hold the lock")
    source.open()
    asking = threading.Thread(target=source.poll, daemon=True)
    asking.start()
    turns = 0
    while asking.is_alive():
        time.sleep(0.001)
        turns += 1
    assert turns > 20  # in one process it would be one or two


def test_a_panel_whose_process_dies_is_opened_again_by_itself(apart):
    source = apart()
    panel = IntegratingPanel("apart", source, RealClock(), Timing(frame_s=2, poll_s=0.01))
    panel.connect()
    source._process.kill()
    contact = panel.status().at
    until_s = time.monotonic() + 15
    while panel.status().state is not DetectorState.UNKNOWN:
        assert time.monotonic() < until_s
        time.sleep(0.001)
    while panel.status().state is not DetectorState.IDLE:
        assert time.monotonic() < until_s
        time.sleep(0.001)
    assert panel.status().at > contact
    panel.close()
