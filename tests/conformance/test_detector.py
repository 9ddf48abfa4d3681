"""What every detector must prove, whatever it is spoken to over.

`@on(...)` names what a test needs of a rig; it is generated for the rigs that have it, and without a need
also for real hardware, in the dark.
"""

import threading
from collections.abc import Callable

import numpy as np
import pytest
from detector_rigs import PULSE_MAS, ROWS, DetectorRig, Fact, Made, all_threads, level

from simulators.world import World
from station.clock import RealClock
from station.devices import (
    Aborted,
    CommunicationLost,
    DetectorState,
    DeviceError,
    DeviceRefused,
    NotConnected,
    Room,
)
from station.frame import Signal, Stage

SIMULATED, LINE = Fact.SIMULATED, Fact.LINE
IDLE, ARMING, READY = DetectorState.IDLE, DetectorState.ARMING, DetectorState.READY
READING, FRAME_HELD, UNKNOWN = DetectorState.READING, DetectorState.FRAME_HELD, DetectorState.UNKNOWN
LAG = 0.02  # the most that may be left of an earlier exposure


def on(*facts: Fact):
    cases = [row.name for row in ROWS if row.facts.issuperset(facts)]
    if not facts:
        cases.append(pytest.param("hardware", marks=pytest.mark.hardware))
    return pytest.mark.parametrize("new_rig", cases, indirect=True)


@pytest.fixture
def new_rig(request, tmp_path):
    """Not connected."""
    rows = {row.name: row for row in ROWS}
    if request.param in rows:
        room = Room(RealClock(), {"hand_present": False})
        world = World.of(room)
        made = rows[request.param].make(room, tmp_path)
        rig = DetectorRig(made, world)
    else:
        rig = DetectorRig(Made(request.getfixturevalue("real_device")("detector")))
    yield rig
    rig.close()


@pytest.fixture
def rig(new_rig):
    new_rig.detector.connect()
    return new_rig


def commands(rig: DetectorRig) -> list[Callable[[], object]]:
    detector = rig.detector
    return [
        lambda: detector.arm("1", 1000),
        detector.read_out,
        detector.fetch,
        lambda: detector.recover("1"),
        lambda: detector.discard("1"),
    ]


# --- connection -----------------------------------------------------------------------------------------


@on()
def test_nothing_is_known_and_nothing_can_be_asked_before_it_is_connected(new_rig):
    assert new_rig.state is UNKNOWN
    for ask in (new_rig.detector.info, *commands(new_rig)):
        with pytest.raises(NotConnected, match="connect"):
            ask()
    new_rig.detector.abort()


@on()
def test_it_is_idle_when_connected_and_says_who_it_is(rig):
    rig.reach(IDLE)
    info = rig.detector.info()
    assert info.model
    assert info.serial
    assert info.rows > 100
    assert info.columns > 100
    assert all(0.02 <= spacing <= 1 for spacing in info.spacing_mm)
    assert 8 <= info.bits <= 16
    assert info.lsb_per_ugy > 0
    assert rig.detector.status().memory_free > 0


@on()
def test_its_status_stays_fresh_by_itself(rig):
    for _ in range(5):
        before = rig.detector.status().at
        rig.wait_until(lambda before=before: rig.detector.status().at > before)


@on()
def test_it_can_be_connected_again_while_connected_and_after_it_was_closed(rig):
    rig.detector.connect()
    rig.reach(IDLE)
    rig.detector.close()
    rig.detector.close()
    for ask in commands(rig):
        with pytest.raises(NotConnected):
            ask()
    rig.detector.connect()
    rig.reach(IDLE)
    rig.expose("1")


@on()
def test_no_thread_is_left_after_closing(rig):
    def once() -> None:
        rig.detector.connect()
        rig.to_ready("1")
        rig.detector.abort()
        rig.detector.close()
        rig.wait_until(lambda: not rig.own_threads())

    once()
    before = all_threads()  # a library may have made some for good
    once()
    once()
    rig.wait_until(lambda: all_threads() <= before)


# --- windows --------------------------------------------------------------------------------------------


@on()
def test_a_window_becomes_a_raw_frame(rig):
    info = rig.detector.info()
    frame = rig.expose("1.2.3")
    assert rig.state is IDLE
    assert (frame.stage, frame.signal) == (Stage.RAW, Signal.DOSE)
    assert frame.pixels.dtype == np.uint16
    assert frame.shape == (info.rows, info.columns)
    assert frame.spacing_mm == info.spacing_mm
    assert frame.serial == info.serial
    assert frame.acquired_at.tzinfo is not None
    assert frame.saturation <= 2**info.bits


@on()
def test_a_window_ends_by_itself_and_reading_it_out_a_moment_later_is_no_error(rig):
    rig.detector.arm("1", 20)
    rig.wait_until(lambda: rig.state in {READING, FRAME_HELD})
    rig.detector.read_out()
    rig.reach(FRAME_HELD)
    rig.detector.fetch()


@on()
def test_it_refuses_what_its_state_forbids(rig):
    for ask in commands(rig)[1:]:
        with pytest.raises(DeviceRefused):
            ask()
    rig.to_ready("1")
    for ask in (lambda: rig.detector.arm("2", 1000), rig.detector.fetch):
        with pytest.raises(DeviceRefused):
            ask()
    rig.detector.read_out()
    rig.reach(FRAME_HELD)
    with pytest.raises(DeviceRefused):
        rig.detector.arm("2", 1000)
    rig.detector.fetch()
    with pytest.raises(DeviceRefused):
        rig.detector.fetch()


@on()
@pytest.mark.parametrize(
    ("uid", "window_ms"), [("1", 1), ("1", 60_001), ("", 1000), ("a/b", 1000), ("x" * 65, 1000)]
)
def test_it_refuses_what_is_out_of_range_instead_of_clipping_it(rig, uid, window_ms):
    with pytest.raises(DeviceRefused):
        rig.detector.arm(uid, window_ms)
    assert rig.state is IDLE


# --- frames ---------------------------------------------------------------------------------------------


@on()
def test_a_frame_is_held_under_its_exposure_until_it_is_discarded(rig):
    free = rig.detector.status().memory_free
    fetched = rig.expose("1")
    other = rig.expose("2")
    assert rig.detector.status().memory_free == free - 2
    assert np.array_equal(rig.detector.recover("1").pixels, fetched.pixels)
    assert np.array_equal(rig.detector.recover("2").pixels, other.pixels)
    with pytest.raises(DeviceRefused):
        rig.detector.arm("1", 1000)
    rig.detector.discard("1")
    assert rig.detector.status().memory_free == free - 1
    for ask in (rig.detector.recover, rig.detector.discard):
        with pytest.raises(DeviceRefused):
            ask("1")


@on()
def test_a_full_memory_is_refused_before_anything_is_exposed(rig):
    for number in range(rig.detector.status().memory_free):
        rig.detector.arm(f"1.{number}", 10)
        rig.reach(FRAME_HELD)
        rig.detector.fetch()
    assert rig.detector.status().memory_free == 0
    with pytest.raises(DeviceRefused, match="discard"):
        rig.detector.arm("2", 1000)


@on()
def test_a_held_frame_outlives_a_new_connection(rig):
    fetched = rig.expose("1")
    rig.detector.close()
    rig.detector.connect()
    assert np.array_equal(rig.detector.recover("1").pixels, fetched.pixels)


@on(SIMULATED)
def test_a_frame_carries_the_radiation_of_its_window_and_no_other(rig):
    dark = level(rig.expose("1"))
    once = level(rig.expose("2", PULSE_MAS)) - dark
    twice = level(rig.expose("3", 2 * PULSE_MAS)) - dark
    assert once > 1000
    assert twice / once == pytest.approx(2, rel=LAG)
    rig.radiate(PULSE_MAS)
    assert level(rig.expose("4")) - dark < 4 * LAG * once


@on(SIMULATED)
def test_radiation_after_the_readout_is_not_in_the_frame(rig):
    dark = level(rig.expose("1"))
    rig.to_ready("2")
    rig.detector.read_out()
    rig.reach(FRAME_HELD)
    rig.radiate(PULSE_MAS)
    assert level(rig.detector.fetch()) == pytest.approx(dark, abs=5)


# --- abort ----------------------------------------------------------------------------------------------


@on()
def test_abort_closes_a_window_without_a_frame_and_the_next_one_is_whole(rig):
    free = rig.detector.status().memory_free
    rig.detector.arm("1", 15_000)
    rig.detector.abort()
    assert rig.state is IDLE
    rig.to_ready("2")
    rig.detector.abort()
    assert rig.state is IDLE
    assert rig.detector.status().memory_free == free
    with pytest.raises(DeviceRefused):
        rig.detector.read_out()
    for uid in ("1", "2"):
        with pytest.raises(DeviceRefused):
            rig.detector.recover(uid)
    rig.expose("3")


@on(SIMULATED)
def test_radiation_of_an_aborted_window_is_not_in_the_next_one(rig):
    dark = level(rig.expose("1"))
    rig.to_ready("2")
    rig.radiate(PULSE_MAS)
    rig.detector.abort()
    assert level(rig.expose("3")) - dark < LAG * 10_000


@on()
def test_abort_leaves_alone_what_is_being_read_or_held(rig):
    rig.to_ready("1")
    rig.detector.read_out()
    rig.detector.abort()
    rig.reach(FRAME_HELD)
    rig.detector.abort()
    rig.detector.fetch()


@on()
def test_abort_wins_over_arming_from_another_thread(rig):
    errors: list[DeviceError] = []

    def arm() -> None:
        try:
            rig.detector.arm("1", 15_000)
        except DeviceError as error:
            errors.append(error)

    for _ in range(5):
        caller = threading.Thread(target=arm, daemon=True)
        caller.start()
        while caller.is_alive():
            rig.detector.abort()
        rig.detector.abort()
        caller.join()
        assert rig.state is IDLE
    assert all(isinstance(error, Aborted) for error in errors)
    rig.expose("2")


# --- silence --------------------------------------------------------------------------------------------


@on(LINE)
def test_a_silent_line_loses_an_open_window_only_and_comes_back_by_itself(rig):
    held = rig.expose("1")
    rig.to_ready("2")
    rig.made.silence()
    with pytest.raises(CommunicationLost):
        rig.detector.read_out()
    rig.reach(UNKNOWN)
    status = rig.detector.status()
    with pytest.raises(CommunicationLost, match="cable"):
        rig.detector.arm("3", 1000)
    assert rig.detector.info()
    assert rig.detector.status().at == status.at
    assert np.array_equal(rig.detector.recover("1").pixels, held.pixels)
    rig.made.mend()
    rig.reach(IDLE)
    for ask in (rig.detector.read_out, lambda: rig.detector.recover("2")):
        with pytest.raises(CommunicationLost, match="lost"):
            ask()
    rig.detector.discard("2")
    rig.expose("3")


@on(LINE)
def test_abort_returns_although_the_line_is_silent(rig):
    rig.to_ready("1")
    rig.made.silence()
    rig.detector.abort()
    assert rig.state in {IDLE, UNKNOWN}
    rig.made.mend()
