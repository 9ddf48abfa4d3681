"""Varex panels over a stand-in for the vendor's library: the calls in order, every fault on every call."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import xisl
from drivers.varex_detector import VarexDetector
from simulators.wire.xisl import XislFace, build
from simulators.world import World
from station.clock import RealClock
from station.devices import (
    Aborted,
    BadSettings,
    CommunicationLost,
    DetectorState,
    DeviceError,
    DeviceFault,
    DeviceRefused,
    NotConnected,
    Room,
)
from station.frame import Signal, Stage

READY, HELD, IDLE, UNKNOWN = (
    DetectorState.READY,
    DetectorState.FRAME_HELD,
    DetectorState.IDLE,
    DetectorState.UNKNOWN,
)
NO_PANEL = {"spacing_mm": 0.2, "gain": 1, "lsb_per_ugy": 100}
POLLED = {"GetConnectionStatus", "GetTemperature"}
CODES = (3, 5, 6, 20, 34, 55, 144, 9999)  # one of every group, and one nobody knows
CONNECTING = (
    "Global_Init",
    "GbIF_Init",
    "GetCommChannel",
    "GetHwHeaderInfoEx",
    "SetCallbacksAndMessages",
    "SetCameraMode",
    "SetCameraGain",
    "SetCameraBinningMode",
    "SetCameraTriggerMode",
    "GetConfiguration",
    "DefineDestBuffers",
)
ARMING = ("ResetFrameCnt", "SetReady", "SetFrameSyncMode", "Acquire_Image", "SetFrameSync")


def wait_until(claim: Callable[[], bool], deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while not claim():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: the stand-in for the XISL library cannot be built")
    return build(tmp_path_factory.mktemp("xisl"))


class Bench:
    """A room with one panel and its driver."""

    def __init__(self, folder, **face):
        self.room = Room(RealClock(), {"hand_present": False})
        self.world = World.of(self.room)
        self.face = XislFace({"folder": str(folder), "rows": 80, "columns": 64, **face}, self.room)
        self.read: list[np.ndarray] = []  # what the model gave for each readout
        readout = self.face._frame
        self.face._frame = lambda: self.read.append(readout()) or self.read[-1]

    def driver(self, **settings):
        self.detector = VarexDetector({**self.face.config(), "frame_timeout_s": 2, **settings}, self.room)
        return self.detector

    def to(self, state):
        wait_until(lambda: self.detector.status().state is state)

    def radiate(self):
        with self.world.synced():
            self.world.beam_on(50, 10)
        start = self.world.now_s
        wait_until(lambda: self.world.now_s > start + 0.02)
        with self.world.synced():
            self.world.beam_off()

    def expose(self, uid):
        """A whole window."""
        self.detector.arm(uid, 10_000)
        self.to(READY)
        self.radiate()
        self.detector.read_out()
        self.to(HELD)
        frame = self.detector.fetch()
        self.detector.discard(uid)
        return frame

    def calls(self):
        return [name for name in self.face.calls() if name not in POLLED]


@pytest.fixture
def make(built, tmp_path):
    made = []

    def bench(*options, connect=True, settings=None, **face):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        if not options:
            shutil.copy(built, folder / built.name)
        bench = Bench(folder, **face)
        bench.face.start(*options)
        made.append(bench)
        bench.driver(**(settings or {}))
        if connect:
            bench.detector.connect()
        return bench

    yield bench
    for each in made:
        each.face.hang("")
        each.face.unplug(0)
        each.detector.close()
        each.face.stop()


@pytest.fixture
def bench(make):
    return make()


# --- the conversation -----------------------------------------------------------------------------------


def test_connecting_makes_the_documented_calls_in_their_order(bench):
    assert bench.calls() == [
        *CONNECTING[:2],
        "Abort",
        *CONNECTING[2:4],
        "GbIF_GetDetectorProperties",
        *CONNECTING[4:],
    ]
    info = bench.detector.info()
    assert (info.model, info.serial, info.rows, info.columns) == ("Varex XRD SIM 1", "XRD-SIM", 80, 64)
    status = bench.detector.status()
    assert (status.state, status.temperature_c, status.memory_free) == (IDLE, 31.0, 4)


def test_a_window_is_one_acquisition_in_which_only_triggers_and_frames_happen(bench):
    bench.calls()
    bench.expose("1.2")
    frame = ["GetActFrame", "SetReady"]
    wait_until(lambda: bench.face.model.status().state is READY)
    calls = bench.calls()
    assert calls[:-1] == [*ARMING, *frame, "SetFrameSync", *frame]
    assert calls[-1] == "Abort"


def test_closing_stops_takes_the_callbacks_back_and_closes(bench):
    bench.detector.arm("1.2", 10_000)
    bench.to(READY)
    bench.calls()
    bench.detector.close()
    assert bench.calls() == ["Abort", "SetCallbacksAndMessages", "Close", "Global_Cleanup"]


def test_the_frame_is_what_the_panel_collected_bit_for_bit(bench):
    frame = bench.expose("1.2")
    assert len(bench.read) == 2
    assert np.array_equal(frame.pixels, bench.read[1])
    assert frame.pixels.dtype == np.uint16
    assert (frame.stage, frame.signal, frame.saturation) == (Stage.RAW, Signal.DOSE, 65535)
    assert (frame.detector_type, frame.serial) == ("Varex XRD SIM 1", "XRD-SIM")
    assert frame.spacing_mm == (0.2, 0.2)


def test_what_fell_on_the_panel_before_arming_is_cleared_and_what_fell_in_the_window_is_there(bench):
    bench.radiate()
    bench.detector.arm("1.2", 10_000)
    bench.to(READY)
    bench.detector.read_out()
    bench.to(HELD)
    before = bench.detector.fetch().pixels.mean()
    cleared, dark = bench.read[0].mean(), bench.read[1].mean()
    assert cleared > dark + 300
    assert before == dark
    assert bench.expose("1.3").pixels.mean() > dark + 300


def test_a_frame_outlives_a_new_connection_until_it_is_discarded(bench):
    bench.detector.arm("1.2", 10_000)
    bench.to(READY)
    bench.detector.read_out()
    bench.to(HELD)
    bench.face.unplug()
    wait_until(lambda: bench.detector.status().memory_free == 0)
    bench.face.unplug(0)
    bench.detector.connect()
    assert np.array_equal(bench.detector.recover("1.2").pixels, bench.read[1])
    bench.detector.discard("1.2")
    with pytest.raises(DeviceRefused):
        bench.detector.recover("1.2")


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_frames_are_turned_clockwise_and_then_mirrored_as_set(make, turn, mirror):
    bench = make(settings={"rotate_deg": turn, "mirror": mirror})
    frame = bench.expose("1.2")
    seen = np.rot90(bench.read[1], -turn // 90)
    assert np.array_equal(frame.pixels, seen[:, ::-1] if mirror else seen)
    info = bench.detector.info()
    assert (info.rows, info.columns) == frame.shape
    assert len(frame.history) == bool(turn) + mirror


def test_a_window_longer_than_the_panel_stays_awake_is_refused_and_names_the_limits(bench):
    with pytest.raises(DeviceRefused, match=r"prepare_timeout_s or arm_token_s"):
        bench.detector.arm("1.2", 20_001)
    bench.detector.arm("1.2", 20_000)


def test_abort_closes_the_window_without_a_readout(bench):
    bench.detector.arm("1.2", 10_000)
    bench.to(READY)
    bench.calls()
    bench.detector.abort()
    assert bench.detector.status().state is IDLE
    wait_until(lambda: bench.face.calls().count("Abort") == 1)
    assert len(bench.read) == 1
    assert bench.expose("1.3").pixels.shape == (80, 64)


def test_the_late_frame_of_an_aborted_arming_is_not_taken_for_the_next_one(make):
    bench = make(transfer_ms=150)
    bench.face.behave("late_frames", 1)
    bench.detector.arm("1.2", 10_000)
    wait_until(lambda: len(bench.read) == 1)
    bench.detector.abort()
    bench.to(IDLE)
    frame = bench.expose("1.3")
    assert len(bench.read) == 3
    assert np.array_equal(frame.pixels, bench.read[2])


@pytest.mark.parametrize(
    "options",
    [
        ("-DXISL_INT_HANDLE",),
        (
            "-DAcquisition_GetConnectionStatus=gone_1",
            "-DAcquisition_GetTemperature=gone_2",
            "-DAcquisition_GbIF_GetDetectorProperties=gone_3",
        ),
    ],
    ids=["handles are ints", "without the newer functions"],
)
def test_other_releases_of_the_library_work_too(make, options):
    bench = make(*options)
    assert bench.expose("1.2").pixels.mean() > 2000
    assert (bench.detector.info().serial == "PROM-4711") is (len(options) == 3)


# --- finding the panel ----------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["ip:192.0.2.7", "mac:00005b000001", "name:XRD-SIM", ""])
def test_the_panel_is_found_by_each_kind_of_address_or_as_the_first_of_all(make, address):
    bench = make(settings={"address": address or None})
    assert bench.expose("1.2").pixels.shape == (80, 64)
    bench.detector.close()
    bench.detector.connect()


@pytest.mark.parametrize(
    ("settings", "behaviour", "said"),
    [
        ({"address": "ip:192.0.2.8"}, {}, "no panel was found"),
        ({"address": None, "sensor": 2}, {}, "1 panels were found, number 2"),
        ({"address": None}, {"present": 0}, "0 panels were found"),
        ({"rows": 81}, {}, "80 x 64 pixels, the settings say 81 x 64"),
        ({}, {"data_type": 4}, "type 4"),
    ],
)
def test_a_panel_that_is_not_the_one_described_is_not_connected(make, settings, behaviour, said):
    bench = make(connect=False, settings=settings)
    for what, value in behaviour.items():
        bench.face.behave(what, value)
    with pytest.raises(NotConnected, match=said):
        bench.detector.connect()
    with pytest.raises(NotConnected):
        bench.detector.info()


def test_a_library_that_is_missing_or_another_one_is_not_connected():
    for library, said in (("no-such-xisl.so", "cannot be loaded"), ("libc.so.6", "no XISL library")):
        detector = VarexDetector({**NO_PANEL, "library": library}, Room(RealClock()))
        with pytest.raises(NotConnected, match=said):
            detector.connect()
        with pytest.raises(NotConnected):
            detector.info()


@pytest.mark.parametrize(
    "wrong",
    [
        {"spacing_mm": None},
        {"gain": None},
        {"lsb_per_ugy": None},
        {"gain": 8},
        {"address": "192.0.2.7"},
        {"address": "name:a-name-that-is-too-long"},
        {"rotate_deg": 45},
        {"binning": 2},
        {"bits": 18},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(BadSettings, match="varex-xisl"):
        VarexDetector({**NO_PANEL, **wrong}, Room(RealClock()))


# --- faults ---------------------------------------------------------------------------------------------


def test_every_documented_error_is_named_and_says_what_to_do():
    for code, name in xisl.NAMES.items():
        error = xisl.error_of("SetFrameSync", code)
        assert str(code) in str(error)
        assert f"HIS_ERROR_{name}" in str(error)
        assert isinstance(error, NotConnected | CommunicationLost | DeviceRefused | DeviceFault)
    assert isinstance(xisl.error_of("EnumSensors", 34), NotConnected)
    assert "another program" in str(xisl.error_of("EnumSensors", 34))
    assert isinstance(xisl.error_of("SetFrameSync", 6), CommunicationLost)
    assert isinstance(xisl.error_of("Acquire_Image", 5), DeviceRefused)
    assert isinstance(xisl.error_of("GetHwHeaderInfoEx", 55), DeviceFault)


@pytest.mark.parametrize("function", CONNECTING)
def test_an_error_of_any_call_while_connecting_says_so_and_the_next_attempt_works(make, function):
    bench = make(connect=False)
    for code in CODES:
        bench.face.script(function, code)
        with pytest.raises(
            (NotConnected, CommunicationLost), match=rf"{function}.*{code}|{code}.*{function}"
        ):
            bench.detector.connect()
    bench.detector.connect()
    bench.expose("1.2")


def test_every_documented_error_while_connecting_leaves_a_panel_that_can_be_connected(make):
    bench = make(connect=False)
    for code in xisl.NAMES:
        if code:
            bench.face.script("GbIF_Init", code)
            with pytest.raises((NotConnected, CommunicationLost)):
                bench.detector.connect()
    bench.detector.connect()


@pytest.mark.parametrize("function", ARMING)
def test_an_error_of_any_call_while_arming_is_raised_and_the_panel_can_be_armed_again(bench, function):
    for number, code in enumerate(CODES):
        bench.face.script(function, code)
        with pytest.raises(DeviceError, match=str(code)):
            bench.detector.arm(f"1.{number}", 10_000)
        bench.detector.connect()
        assert bench.detector.status().state is IDLE
    bench.expose("1.99")


@pytest.mark.parametrize("function", ["GetActFrame", "SetReady"])
def test_an_error_while_a_frame_is_taken_over_loses_it_and_only_it(bench, function):
    for number, code in enumerate(CODES):
        bench.detector.arm(f"1.{number}", 10_000)
        bench.to(READY)
        bench.face.script(function, code)
        bench.detector.read_out()
        bench.to(IDLE)
        with pytest.raises(CommunicationLost, match=rf"lost.*{code}"):
            bench.detector.fetch()
    bench.expose("1.99")


def test_an_error_of_the_trigger_that_reads_out_loses_the_frame_and_nothing_is_triggered_again(bench):
    for number, code in enumerate(CODES):
        bench.detector.arm(f"1.{number}", 10_000)
        bench.to(READY)
        bench.calls()
        bench.face.script("SetFrameSync", code)
        with pytest.raises(DeviceError, match=str(code)):
            bench.detector.read_out()
        bench.detector.connect()
        assert bench.calls().count("SetFrameSync") == 1
        with pytest.raises(CommunicationLost, match="lost"):
            bench.detector.recover(f"1.{number}")
    bench.expose("1.99")


@pytest.mark.parametrize(
    "function", ["Abort", "SetCallbacksAndMessages", "Close", "CloseAll", "Global_Cleanup"]
)
def test_an_error_while_closing_is_nobodys_trouble(make, function):
    bench = make(settings={"address": None})
    for code in CODES:
        bench.face.script(function, code)
        bench.detector.close()
        with pytest.raises(NotConnected):
            bench.detector.arm("1.2", 1000)
        bench.detector.connect()
    bench.expose("1.3")


def test_a_panel_that_stops_answering_is_opened_again_by_itself(bench):
    bench.face.unplug(144)
    bench.to(UNKNOWN)
    stale = bench.detector.status().at
    with pytest.raises(CommunicationLost, match="power and"):
        bench.detector.arm("1.2", 1000)
    assert bench.detector.info().serial == "XRD-SIM"
    assert bench.detector.status().at == stale
    bench.face.unplug(0)
    bench.to(IDLE)
    bench.expose("1.3")


@pytest.mark.parametrize("function", ["GetConnectionStatus", "GetTemperature"])
def test_no_error_of_the_keep_alive_is_more_than_a_short_absence(make, function):
    bench = make(connect=False)
    for code in CODES:
        bench.face.script(function, code)
        try:
            bench.detector.connect()
        except (NotConnected, CommunicationLost):
            bench.detector.connect()
        bench.detector.close()
    bench.detector.connect()
    bench.expose("1.2")


def test_a_clearing_frame_that_does_not_come_is_asked_for_again(make):
    bench = make(settings={"frame_timeout_s": 0.2})
    bench.face.behave("drop_frames", 2)
    bench.detector.arm("1.2", 10_000)
    bench.to(READY)
    assert bench.calls().count("SetFrameSync") == 3


def test_a_frame_that_never_comes_is_lost_and_the_panel_can_be_armed_again(make):
    bench = make(settings={"frame_timeout_s": 0.3})
    bench.detector.arm("1.2", 10_000)
    bench.to(READY)
    bench.face.behave("drop_frames", 1)
    bench.detector.read_out()
    bench.to(IDLE)
    with pytest.raises(CommunicationLost, match=r"no whole frame within 0\.3 s"):
        bench.detector.fetch()
    bench.expose("1.3")


def test_a_panel_that_fell_asleep_in_its_window_loses_the_frame_and_is_woken_by_the_next_arming(make):
    bench = make(idle_s=0.3, settings={"frame_timeout_s": 0.3})
    for uid in ("1.2", "1.3"):
        bench.detector.arm(uid, 500)
        bench.to(READY)
        bench.to(IDLE)
        with pytest.raises(CommunicationLost, match="no whole frame"):
            bench.detector.recover(uid)


def test_a_frame_nobody_asked_for_ends_the_window_because_its_charge_is_gone(bench):
    bench.face.behave("extra_frames", 1)
    bench.detector.arm("1.2", 10_000)
    bench.to(IDLE)
    with pytest.raises(CommunicationLost, match="read out by somebody else"):
        bench.detector.recover("1.2")
    bench.expose("1.3")


def test_an_acquisition_that_the_library_ends_loses_the_frame_and_says_the_librarys_reason(make):
    bench = make(settings={"frame_timeout_s": 2}, transfer_ms=300)
    bench.detector.arm("1.2", 10_000)
    bench.to(READY)
    bench.detector.read_out()
    bench.face.behave("end_acquisition", 31)
    bench.to(IDLE)
    with pytest.raises(CommunicationLost, match="31 HIS_ERROR_FRAME_INV"):
        bench.detector.fetch()
    bench.expose("1.3")


def test_a_call_that_never_returns_is_given_up_and_status_never_waits_for_it(bench):
    bench.face.hang("SetFrameSyncMode")
    ended: list[DeviceError] = []

    def arm():
        try:
            bench.detector.arm("1.2", 1000)
        except DeviceError as error:
            ended.append(error)

    waiter = threading.Thread(target=arm)
    waiter.start()
    wait_until(lambda: bench.detector.status().state is DetectorState.ARMING)
    began = time.monotonic()
    bench.detector.status()
    bench.detector.abort()
    assert time.monotonic() - began < 1
    waiter.join(5)
    assert isinstance(ended[0], Aborted)
    with pytest.raises(CommunicationLost, match="no answer"):
        bench.detector.arm("1.3", 1000)
    bench.face.hang("")
    bench.to(IDLE)
    bench.expose("1.4")


def test_connecting_and_closing_many_times_leaves_no_thread_and_no_file(bench):
    own = Path("/proc/self")

    def used():
        return len(list((own / "task").iterdir())), len(list((own / "fd").iterdir()))

    if not own.is_dir():
        pytest.skip("this system does not list a process's threads")
    before = used()
    for _ in range(20):
        bench.detector.close()
        bench.detector.connect()
    assert used() == before


# --- decoders -------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 65535), min_size=32, max_size=32), st.binary(max_size=130))
def test_whatever_a_panel_says_of_itself_is_an_identity(words, told):
    identity = xisl.identity(tuple(words), told)
    assert identity.model.startswith("Varex ")
    assert identity.serial.isprintable()
    assert identity.serial
    xisl.newer_binning(tuple(words))


@given(st.integers(1, 2**32 - 1))
def test_whatever_code_the_library_returns_is_an_error_of_the_tree(code):
    assert str(code) in str(xisl.error_of("Abort", code))
