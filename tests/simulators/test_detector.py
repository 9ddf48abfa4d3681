"""The simulated detector: states, memory, faults, and what dose does to its frames."""

import threading

import numpy as np
import pytest

from simulators.detector import SimulatedDetector
from station.clock import VirtualClock
from station.devices import (
    Aborted,
    BadSettings,
    CommunicationLost,
    DetectorState,
    DeviceRefused,
    NotConnected,
    Room,
)
from station.frame import Signal, Stage


def level(frame):
    """Median of the open half: untouched by defects."""
    return float(np.median(frame.pixels[:, : frame.shape[1] // 2 - 20].astype(float)))


# --- states ---------------------------------------------------------------------------------------------


def test_commands_without_connection_say_so(small):
    detector = SimulatedDetector(small, Room(VirtualClock()))
    assert detector.status().state is DetectorState.UNKNOWN
    with pytest.raises(NotConnected):
        detector.arm("1.2", 1000)


def test_a_window_passes_through_every_state(rigged):
    rig = rigged()
    assert rig.state is DetectorState.IDLE
    rig.detector.arm("1.2", 500)
    assert rig.state is DetectorState.ARMING
    rig.clock.sleep(0.35)
    assert rig.state is DetectorState.READY
    rig.clock.sleep(0.5)
    assert rig.state is DetectorState.READING
    rig.clock.sleep(0.7)
    assert rig.state is DetectorState.FRAME_HELD
    frame = rig.detector.fetch()
    assert rig.state is DetectorState.IDLE
    assert (frame.stage, frame.signal, frame.shape) == (Stage.RAW, Signal.DOSE, (400, 320))
    assert frame.pixels.dtype == np.uint16
    assert frame.saturation == 65535
    assert frame.acquired_at.tzinfo is not None


def test_reading_out_a_window_that_just_ended_by_itself_is_no_error(rigged):
    rig = rigged()
    rig.integrate("1.2", 1.0)
    rig.clock.sleep(2.1)
    assert rig.state is DetectorState.READING
    rig.detector.read_out()
    rig.clock.sleep(1)
    assert level(rig.detector.fetch()) > 10000


@pytest.mark.parametrize("uid", ["", "a/b", "x" * 65])
def test_refuses_a_uid_that_cannot_be_a_name_in_its_memory(rigged, uid):
    with pytest.raises(DeviceRefused, match="UID"):
        rigged().detector.arm(uid, 1000)


def test_refuses_what_its_state_forbids(rigged):
    rig = rigged()
    with pytest.raises(DeviceRefused):
        rig.detector.read_out()
    with pytest.raises(DeviceRefused):
        rig.detector.fetch()
    with pytest.raises(DeviceRefused, match="10 to"):
        rig.detector.arm("1", 1)
    rig.detector.arm("1", 1000)
    with pytest.raises(DeviceRefused):
        rig.detector.arm("2", 1000)


def test_abort_closes_the_window_and_leaves_no_frame(rigged):
    rig = rigged()
    rig.integrate("1.2")
    rig.detector.abort()
    assert rig.state is DetectorState.IDLE
    rig.clock.sleep(5)
    assert rig.state is DetectorState.IDLE
    with pytest.raises(DeviceRefused, match="holds no frame"):
        rig.detector.recover("1.2")


def test_abort_never_loses_a_frame_that_is_being_read(rigged):
    rig = rigged()
    rig.integrate("1.2", 1.0)
    rig.detector.read_out()
    rig.detector.abort()
    rig.clock.sleep(1)
    assert level(rig.detector.fetch()) > 10000


def test_abort_wins_over_an_arm_that_waits_in_flight(rigged):
    rig = rigged()
    entered, errors = threading.Event(), []
    synced = rig.world.synced

    def announced():
        entered.set()
        return synced()

    def arm():
        try:
            rig.detector.arm("1.2", 1000)
        except DeviceRefused as error:
            errors.append(type(error))

    with rig.world.synced():
        rig.world.synced = announced
        late = threading.Thread(target=arm, daemon=True)
        late.start()
        assert entered.wait(5)
        rig.detector.abort()
    late.join(5)
    assert errors == [Aborted]
    assert rig.state is DetectorState.IDLE


def test_a_detector_that_never_gets_ready_stays_arming(rigged):
    rig = rigged(["detector-never-ready"])
    rig.detector.arm("1.2", 1000)
    rig.clock.sleep(30)
    assert rig.state is DetectorState.ARMING


# --- memory ---------------------------------------------------------------------------------------------


def test_a_frame_is_kept_until_it_is_discarded_and_is_the_same_every_time(rigged):
    rig = rigged()
    first = rig.frame("1.2", 1.0)
    rig.clock.sleep(100)
    assert np.array_equal(rig.detector.recover("1.2").pixels, first.pixels)
    rig.detector.discard("1.2")
    with pytest.raises(DeviceRefused, match="holds no frame"):
        rig.detector.recover("1.2")


def test_memory_holds_eight_frames_and_then_refuses(rigged):
    rig = rigged()
    for number in range(8):
        rig.frame(f"1.{number}")
    assert rig.detector.status().memory_free == 0
    with pytest.raises(DeviceRefused, match="full"):
        rig.detector.arm("1.9", 1000)
    rig.detector.discard("1.3")
    rig.detector.arm("1.9", 1000)


def test_what_is_no_lag_any_more_is_forgotten(rigged):
    rig = rigged()
    for number in range(6):
        rig.integrate(str(number), 1.0)
        rig.detector.abort()
        rig.clock.sleep(25)
    assert len(rig.detector._past) <= 3  # of the last minute


def test_refuses_to_arm_with_a_uid_it_holds_already(rigged):
    rig = rigged()
    rig.frame("1.2")
    with pytest.raises(DeviceRefused, match="already"):
        rig.detector.arm("1.2", 1000)


def test_after_silence_the_frame_is_recovered(rigged):
    rig = rigged(["detector-silent-after-exposure:3"])
    reference = rigged().frame("1.2", 1.0)
    rig.integrate("1.2", 1.0)
    silent_since = rig.detector.status().at
    with pytest.raises(CommunicationLost):
        rig.detector.read_out()
    rig.clock.sleep(2.5)
    assert rig.detector.status().at == silent_since
    with pytest.raises(CommunicationLost):
        rig.detector.fetch()
    rig.clock.sleep(1)
    assert rig.detector.status().at > silent_since
    assert rig.state is DetectorState.FRAME_HELD
    recovered = rig.detector.recover("1.2")
    assert level(recovered) == pytest.approx(level(reference), rel=0.001)


def test_a_line_cut_during_the_transfer_needs_a_new_connection(rigged):
    rig = rigged(["detector-line-cut:during-fetch"])
    rig.hold("1.2", 1.0)
    with pytest.raises(CommunicationLost):
        rig.detector.fetch()
    with pytest.raises(CommunicationLost):
        rig.detector.recover("1.2")
    rig.detector.connect()
    assert level(rig.detector.recover("1.2")) > 10000
    assert rig.state is DetectorState.IDLE


def test_a_line_cut_after_the_exposure_loses_nothing(rigged):
    rig = rigged(["detector-line-cut:after-exposure"])
    rig.integrate("1.2", 1.0)
    with pytest.raises(CommunicationLost):
        rig.detector.read_out()
    rig.clock.sleep(10)
    rig.detector.connect()
    assert level(rig.detector.recover("1.2")) > 10000


def test_status_and_abort_do_not_wait_while_a_frame_is_being_made(rigged, slab):
    rig = rigged()
    asked, go_on = threading.Event(), threading.Event()

    class Slow(slab):
        def relative_signal(self, panel, kvp, sid_mm):
            asked.set()
            assert go_on.wait(10)
            return super().relative_signal(panel, kvp, sid_mm)

    rig.world.scene = Slow()
    rig.hold("1.2", 1.0)
    frames = []
    making = threading.Thread(target=lambda: frames.append(rig.detector.fetch()), daemon=True)
    making.start()
    assert asked.wait(10)
    rig.detector.abort()
    assert rig.state is DetectorState.FRAME_HELD
    assert frames == []
    go_on.set()
    making.join(10)
    assert level(frames[0]) > 10000


def test_a_frame_is_not_recovered_while_the_panel_is_being_read(rigged):
    rig = rigged()
    rig.integrate("1.2", 1.0)
    rig.detector.read_out()
    with pytest.raises(DeviceRefused, match="being read"):
        rig.detector.recover("1.2")


def test_memory_in_a_folder_outlives_the_process_even_one_killed_right_after_the_exposure(
    rigged, tmp_path, small
):
    settings = {**small, "memory_folder": str(tmp_path)}
    killed = rigged(settings=settings)
    killed.integrate("1.2", 1.0)
    restarted = rigged(settings=settings)
    recovered = restarted.detector.recover("1.2")
    killed.detector.read_out()
    killed.clock.sleep(1)
    assert np.array_equal(recovered.pixels, killed.detector.fetch().pixels)
    restarted.detector.discard("1.2")
    assert list(tmp_path.iterdir()) == []


def test_a_frame_of_another_process_is_made_of_that_processes_scene(rigged, tmp_path, small):
    settings = {**small, "memory_folder": str(tmp_path)}
    rigged(settings=settings, phantom="t=1.6").frame("1.2", 1.0)
    recovered = rigged(settings=settings, phantom="t=2.0").detector.recover("1.2")
    assert recovered.scale_known is False


def test_a_damaged_memory_file_is_named(rigged, tmp_path, small):
    (tmp_path / "1.2.json").write_text("{}")
    with pytest.raises(BadSettings, match=r"1\.2\.json"):
        rigged(settings={**small, "memory_folder": str(tmp_path)})


def test_a_hand_of_unknown_size_makes_the_frames_scale_unknown_and_a_dark_frame_does_not(rigged, slab):
    rig = rigged()
    rig.world.scene = slab(scale_known=False)
    assert rig.frame("1.1", 1.0).scale_known is False
    assert rig.frame("1.2").scale_known is True
