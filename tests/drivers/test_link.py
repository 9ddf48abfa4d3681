"""The line under every driver: deadlines, late answers, aborts that overtake, ports that come and go."""

import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from drivers.link import Dialogue, Link, Whereabouts
from drivers.port import PortGone
from simulators.wire.line import Line, PtyEnd, TcpEnd
from station.clock import RealClock
from station.devices import Aborted, CommunicationLost, NotConnected


class Echo:
    """A device that answers every line with itself in capitals, and counts what it heard."""

    def __init__(self):
        self.heard, self.mute, self._send, self._rest = [], set(), None, b""

    def attached(self, send):
        self._send, self._rest = send, b""

    def received(self, data):
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.heard.append(line)
            if line not in self.mute:
                self._send(line.upper() + b"\n")

    def tick(self):
        pass


def split(buffer):
    end = buffer.find(b"\n")
    if end < 0:
        return None
    frame = bytes(buffer[:end])
    del buffer[: end + 1]
    return frame


def wait_until(claim, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.002)


class Rig:
    def __init__(self, end):
        self.echo = Echo()
        self.line = Line(self.echo, end)
        self.line.start()
        self.unasked = []
        self.link = Link(
            Whereabouts("the echo", self.line.url, answer_within_s=0.5),
            Dialogue(split, repr, self.greet, lambda: None, self.unasked.append, period_s=0.02),
            RealClock(),
        )

    def greet(self):
        self.link.exchange(b"hello\n", lambda frame: True if frame == b"HELLO" else None)

    def ask(self, word, within_s=None):
        capitals = word.upper()
        return self.link.run(
            lambda: self.link.exchange(
                word + b"\n", lambda frame: frame if frame == capitals else None, within_s
            ),
            word.decode(),
        )


@pytest.fixture(params=["tcp", "pty"])
def rig(request, tmp_path):
    rig = Rig(TcpEnd() if request.param == "tcp" else PtyEnd(tmp_path / "line"))
    rig.link.open()
    yield rig
    rig.link.close()
    rig.line.stop()


def test_an_answer_comes_back_whatever_the_line_does_to_its_bytes(rig):
    for ill in ("split", "late"):
        rig.line.spoil(ill, 0.02)
        assert rig.ask(b"word") == b"WORD"
        rig.line.mend()


def test_noise_before_an_answer_is_no_answer(rig):
    rig.line.spoil("babble", answers=1)
    with pytest.raises(CommunicationLost, match="the echo: no answer to b'word"):
        rig.ask(b"word")
    assert rig.ask(b"word") == b"WORD"


def test_a_late_answer_is_not_taken_for_the_next_one(rig):
    rig.line.spoil("late", 0.8, answers=1)
    with pytest.raises(CommunicationLost):
        rig.ask(b"status")
    assert rig.ask(b"status") == b"STATUS"
    said = rig.echo.heard
    first = said.index(b"status")
    assert b"hello" in said[first : said.index(b"status", first + 1)], (
        "it did not make sure of the line first"
    )


def test_silence_ends_by_the_deadline_and_the_next_call_works(rig):
    rig.line.spoil("silent")
    began = time.monotonic()
    with pytest.raises(CommunicationLost):
        rig.ask(b"word")
    assert time.monotonic() - began < 3
    rig.line.mend()
    assert rig.ask(b"word") == b"WORD"


def test_an_unplugged_port_is_said_and_opened_again_when_it_is_back(rig):
    rig.line.stop()
    wait_until(lambda: _unwell(rig))
    with pytest.raises((CommunicationLost, NotConnected), match="the echo"):
        rig.ask(b"word")
    rig.line.start()
    wait_until(lambda: not rig.link.trouble)
    assert rig.ask(b"word") == b"WORD"


def test_an_abort_overtakes_an_exchange_that_waits(rig):
    rig.echo.mute.add(b"slow")
    failures = []

    def slow():
        try:
            rig.ask(b"slow", 1.0)
        except (Aborted, CommunicationLost) as error:
            failures.append(error)

    thread = threading.Thread(target=slow, daemon=True)
    thread.start()
    wait_until(lambda: b"slow" in rig.echo.heard)
    rig.link.abort(b"stop\n")
    wait_until(lambda: b"stop" in rig.echo.heard, 0.9)
    thread.join()
    assert failures


def test_a_job_that_an_abort_overtook_sends_nothing_more(rig):
    reached, go_on = threading.Event(), threading.Event()

    def two_steps():
        reached.set()
        go_on.wait(2)
        rig.link.exchange(b"expose\n", lambda frame: True if frame == b"EXPOSE" else None)

    failures = []

    def job():
        try:
            rig.link.run(two_steps, "expose")
        except Aborted as error:
            failures.append(str(error))

    thread = threading.Thread(target=job, daemon=True)
    thread.start()
    reached.wait(2)
    rig.link.abort(b"stop\n")
    go_on.set()
    thread.join()
    wait_until(lambda: b"stop" in rig.echo.heard)
    assert failures == ["the echo: 'expose' was overtaken; start anew"]
    assert b"expose" not in rig.echo.heard


def test_a_job_nobody_waits_for_any_more_is_never_begun(rig):
    release = threading.Event()
    rig.link.later(lambda: release.wait(2), "hold the line")
    with pytest.raises(CommunicationLost, match=r"'expose' was not done within 0\.05 s"):
        rig.link.run(lambda: rig.link.send(b"expose\n"), "expose", within_s=0.05)
    release.set()
    assert rig.ask(b"word") == b"WORD"
    assert b"expose" not in rig.echo.heard


def test_an_abort_without_a_line_says_so_and_is_not_sent_later(rig):
    rig.line.stop()
    wait_until(lambda: _unwell(rig))
    with pytest.raises(CommunicationLost, match="use the emergency stop"):
        rig.link.abort(b"stop\n")
    rig.line.start()
    wait_until(lambda: not rig.link.trouble)
    assert b"stop" not in rig.echo.heard


def _unwell(rig):
    try:
        rig.ask(b"word")
    except (CommunicationLost, NotConnected):
        return "gone" in rig.link.trouble or "cannot open" in rig.link.trouble
    return False


def test_frames_of_both_directions_are_logged_with_their_time(rig):
    rig.ask(b"word")
    lines = rig.link.traffic()
    assert [(line.sent, line.meaning) for line in lines[-2:]] == [(True, r"b'word\n'"), (False, "b'WORD'")]
    assert lines[-1].at >= lines[-2].at


def test_a_poll_can_ask_for_the_next_one_and_a_job_for_one_at_once(rig):
    polls = []

    def poll():
        polls.append(time.monotonic())
        return 60.0  # never again by itself

    rig.link._dialogue = replace(rig.link._dialogue, poll=poll, period_s=60.0)
    rig.link.run(rig.link.poll_next, "look")
    wait_until(lambda: len(polls) == 1)
    rig.link.run(rig.link.poll_next, "look again")
    wait_until(lambda: len(polls) == 2)


def test_whatever_fails_in_an_overtaken_job_it_fails_as_aborted(rig):
    reached, go_on = threading.Event(), threading.Event()

    def fails():
        reached.set()
        go_on.wait(2)
        raise CommunicationLost("something else")

    errors = []

    def job():
        try:
            rig.link.run(fails, "load")
        except (CommunicationLost, Aborted) as error:
            errors.append(error)

    thread = threading.Thread(target=job, daemon=True)
    thread.start()
    reached.wait(2)
    rig.link.abort(b"stop\n")
    go_on.set()
    thread.join()
    assert [type(error) for error in errors] == [Aborted]


def test_nothing_is_left_behind_after_closing(rig):
    before = {t.name for t in threading.enumerate()}
    assert "link the echo" in before
    rig.link.close()
    assert "link the echo" not in {t.name for t in threading.enumerate()}
    with pytest.raises(NotConnected):
        rig.ask(b"word")


def test_a_port_that_holds_its_owner_up_gets_no_second_one(rig, monkeypatch):
    opening, go_on = threading.Event(), threading.Event()

    def held_up(*_):
        opening.set()
        go_on.wait(10)
        raise PortGone("at last")

    with monkeypatch.context() as patch:
        patch.setattr("drivers.link.Port", held_up)
        patch.setattr("drivers.link._END_WITHIN_S", 0.05)
        rig.line.stop()
        assert opening.wait(5)
        rig.link.close()
        with pytest.raises(CommunicationLost, match="still being closed"):
            rig.link.open()
        assert [t.name for t in threading.enumerate()].count("link the echo") == 1
        go_on.set()
    rig.line.start()
    rig.link.open()
    assert rig.ask(b"word") == b"WORD"


def test_what_waits_already_to_be_done_later_is_done_once(rig):
    held, release, done = threading.Event(), threading.Event(), []

    def hold():
        held.set()
        release.wait(5)

    def confirm():
        done.append("confirmed")

    rig.link.later(hold, "hold the line")
    assert held.wait(5)

    for _ in range(50):
        rig.link.later(confirm, "confirm the abort")
    release.set()
    assert rig.ask(b"word") == b"WORD"
    assert done == ["confirmed"]


def test_a_device_that_babbles_without_an_end_does_not_fill_the_memory(rig):
    def babble():
        for _ in range(100):
            rig.link._buffer += b"x" * 4096
            rig.link._take()
        return len(rig.link._buffer)

    assert rig.link.run(babble, "babble") < 100_000
    with suppress(CommunicationLost):  # the rest of the babble spoils one answer
        rig.ask(b"word")
    assert rig.ask(b"word") == b"WORD"


def test_a_driver_that_stumbles_over_a_frame_does_not_lose_its_line(rig, caplog):
    def stumble(frame):
        raise ValueError(frame)

    rig.link._dialogue = replace(rig.link._dialogue, heard=stumble)
    rig.line._send(b"unasked\n")
    wait_until(lambda: "the driver failed" in caplog.text)
    assert rig.ask(b"word") == b"WORD"
