"""What every dose meter must prove, whatever it is spoken to over.

A test takes `new_rig` (not connected) or `rig`; `wired` ones only meters on a line. Those that take `real`
need no simulator: they run on the rigs and, with `--rig`, on real hardware; none of them needs radiation.
"""

import threading
import time
from contextlib import suppress

import pytest
from dap_rigs import CHAMBER, ROWS, DapRig

from simulators.scene import EmptyScene
from simulators.wire.line import ILLS
from station.devices import BadSettings, CommunicationLost, DeviceError, NotConnected, Room

WIRED = [row for row in ROWS if row.face]
DEADLINE_S = 5.0  # far above what a driver waits for; no test measures time
REAL = [*ROWS, pytest.param(None, marks=pytest.mark.hardware, id="hardware")]


def name_of(row):
    return row.name if row else "hardware"


def make(row, folder, monkeypatch):
    monkeypatch.setattr("simulators.world.scene_from", lambda _: EmptyScene())  # nobody looks at a picture
    return DapRig(row, folder)


@pytest.fixture(params=ROWS, ids=name_of)
def new_rig(request, tmp_path, monkeypatch):
    rig = make(request.param, tmp_path, monkeypatch)
    yield rig
    rig.close()


@pytest.fixture
def rig(new_rig):
    new_rig.meter.connect()
    return new_rig


@pytest.fixture(params=WIRED, ids=name_of)
def wired(request, tmp_path, monkeypatch):
    rig = make(request.param, tmp_path, monkeypatch)
    rig.meter.connect()
    yield rig
    rig.close()


@pytest.fixture(params=REAL, ids=name_of)
def real(request, tmp_path, monkeypatch):
    """A meter, not yet connected."""
    if request.param is None:
        meter = request.getfixturevalue("real_device")("dap")
        yield meter
        meter.close()
        return
    rig = make(request.param, tmp_path, monkeypatch)
    yield rig.meter
    rig.close()


# --- connection -----------------------------------------------------------------------------------------


def test_nothing_is_read_before_connect_nor_after_close(real):
    for _ in range(2):
        for call in (real.read_ugym2, real.reset):
            with pytest.raises(NotConnected, match="connect"):
                call()
        real.connect()
        real.close()


def test_connecting_again_and_closing_twice_are_fine(real):
    real.connect()
    real.connect()
    assert real.read_ugym2() >= 0
    real.close()
    real.close()
    real.connect()
    assert real.read_ugym2() >= 0


def test_after_a_reset_it_reads_next_to_nothing(real):
    real.connect()
    real.reset()
    assert 0 <= real.read_ugym2() <= 0.1


def test_no_thread_is_left_after_close(real):
    before = set(threading.enumerate())
    real.connect()
    real.close()
    assert set(threading.enumerate()) <= before


def test_a_setting_that_does_not_exist_is_refused(new_rig):
    with pytest.raises(BadSettings, match="colour"):
        new_rig.row.driver({"colour": "red"}, Room(new_rig.clock))


# --- measuring ------------------------------------------------------------------------------------------


def read_is(rig, ugym2):
    return rig.meter.read_ugym2() == pytest.approx(ugym2, rel=CHAMBER, abs=1.5 * rig.row.digit_ugym2)


def test_it_reads_the_product_of_an_exposure_and_sums_up_until_reset(rig):
    rig.meter.reset()
    first = rig.radiate(1.6)
    assert first > 100 * rig.row.digit_ugym2
    assert read_is(rig, first)
    both = first + rig.radiate(0.8)
    assert read_is(rig, both)
    rig.meter.reset()
    assert rig.meter.read_ugym2() <= rig.row.digit_ugym2
    assert read_is(rig, rig.radiate(0.8))


def test_many_may_ask_at_once(rig):
    truth = rig.radiate()
    read, errors = [], []

    def ask():
        try:
            read.append(read_is(rig, truth))
        except DeviceError as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert (read, errors) == ([True] * 4, [])


# --- a line that is not well ----------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["read_ugym2", "reset"])
def test_silence_is_said_within_a_deadline_and_the_next_call_works(rig, call):
    truth = rig.radiate()
    with rig.silent():
        began = time.monotonic()
        with pytest.raises(CommunicationLost, match=r"dose meter.*check"):
            getattr(rig.meter, call)()
        assert time.monotonic() - began < DEADLINE_S
    getattr(rig.meter, call)()
    assert read_is(rig, truth if call == "read_ugym2" else 0)


@pytest.mark.parametrize("ill", sorted(ILLS))
def test_whatever_the_line_does_it_reads_right_or_says_that_it_cannot(wired, ill):
    truth = wired.radiate()
    wired.line.spoil(ill, 0.5)
    for _ in range(2):
        with suppress(CommunicationLost):
            assert read_is(wired, truth), ill
    wired.line.mend()
    works_again(wired)
    assert read_is(wired, truth)


def test_a_late_answer_is_not_taken_for_a_newer_one(wired):
    old = wired.radiate()
    assert read_is(wired, old)
    wired.line.spoil("late", 0.8, answers=1)
    with pytest.raises(CommunicationLost):
        wired.meter.read_ugym2()
    new = old + wired.radiate()
    works_again(wired)
    assert read_is(wired, new)


def test_an_unplugged_line_is_said_and_taken_up_again_by_itself(wired):
    truth = wired.radiate()
    wired.line.stop()
    with pytest.raises((CommunicationLost, NotConnected), match=r"dose meter.*check"):
        wired.meter.read_ugym2()
    wired.line.start()
    works_again(wired)
    assert read_is(wired, truth)


def test_connecting_to_nothing_says_where_nothing_was_found(new_rig):
    if new_rig.line is None:
        with new_rig.silent():
            new_rig.meter.connect()  # a simulated meter has no line: it is silent, but there
        return
    new_rig.line.stop()
    with pytest.raises(NotConnected, match=r"dose meter.*check"):
        new_rig.meter.connect()
    new_rig.line.start()
    new_rig.meter.connect()
    assert new_rig.meter.read_ugym2() >= 0


def works_again(rig):
    def works():
        try:
            rig.meter.read_ugym2()
        except (CommunicationLost, NotConnected):
            return False
        return True

    rig.pass_until(works)
