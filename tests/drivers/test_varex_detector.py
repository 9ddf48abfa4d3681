"""Varex panels over a stand-in for the vendor's library: the calls in order, frames, settings, decoders."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xisl_rigs import ARMING, CONNECTING, HELD, IDLE, wait_until

from drivers import xisl
from drivers.varex_detector import VarexDetector
from station.clock import RealClock
from station.devices import BadSettings, DeviceRefused, NotConnected, Room
from station.frame import Signal, Stage

NO_PANEL = {"spacing_mm": 0.2, "gain": 1, "lsb_per_ugy": 100}

# --- the conversation -----------------------------------------------------------------------------------


def test_connecting_makes_the_documented_calls_in_their_order(varex):
    assert varex.calls() == [
        *CONNECTING[:2],
        "Abort",
        *CONNECTING[2:4],
        "GbIF_GetDetectorProperties",
        *CONNECTING[4:],
    ]
    info = varex.detector.info()
    assert (info.model, info.serial, info.rows, info.columns) == ("Varex XRD SIM 1", "XRD-SIM", 80, 64)
    status = varex.detector.status()
    assert (status.state, status.temperature_c, status.memory_free) == (IDLE, 31.0, 4)


def test_a_window_is_one_acquisition_in_which_only_triggers_and_frames_happen(varex):
    varex.calls()
    varex.expose("1.2")
    frame = ["GetActFrame", "SetReady"]
    calls: list[str] = []
    wait_until(lambda: "Abort" in calls or bool(calls.extend(varex.calls())))
    assert calls == [*ARMING, *frame, "SetFrameSync", *frame, "Abort"]


def test_closing_stops_takes_the_callbacks_back_and_closes(varex):
    varex.to_ready("1.2")
    varex.calls()
    varex.detector.close()
    assert varex.calls() == ["Abort", "SetCallbacksAndMessages", "Close", "Global_Cleanup"]


def test_the_frame_is_what_the_panel_collected_bit_for_bit(varex):
    frame = varex.expose("1.2")
    assert len(varex.read) == 2
    assert np.array_equal(frame.pixels, varex.read[1])
    assert frame.pixels.dtype == np.uint16
    assert (frame.stage, frame.signal, frame.saturation) == (Stage.RAW, Signal.DOSE, 65535)
    assert (frame.detector_type, frame.serial) == ("Varex XRD SIM 1", "XRD-SIM")
    assert frame.spacing_mm == (0.2, 0.2)


def test_what_fell_on_the_panel_before_arming_is_cleared_and_what_fell_in_the_window_is_there(varex):
    varex.radiate()
    varex.to_ready("1.2")
    varex.detector.read_out()
    varex.to(HELD)
    before = varex.detector.fetch().pixels.mean()
    cleared, dark = varex.read[0].mean(), varex.read[1].mean()
    assert cleared > dark + 300
    assert before == dark
    assert varex.expose("1.3").pixels.mean() > dark + 300


def test_a_frame_outlives_a_new_connection_until_it_is_discarded(varex):
    varex.to_ready("1.2")
    varex.detector.read_out()
    varex.to(HELD)
    varex.face.unplug()
    wait_until(lambda: varex.detector.status().memory_free == 0)
    varex.face.unplug(0)
    varex.detector.connect()
    assert np.array_equal(varex.detector.recover("1.2").pixels, varex.read[1])
    varex.detector.discard("1.2")
    with pytest.raises(DeviceRefused):
        varex.detector.recover("1.2")


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_frames_are_turned_clockwise_and_then_mirrored_as_set(make_varex, turn, mirror):
    varex = make_varex(settings={"rotate": turn, "mirror": mirror})
    frame = varex.expose("1.2")
    seen = np.rot90(varex.read[1], -turn // 90)
    assert np.array_equal(frame.pixels, seen[:, ::-1] if mirror else seen)
    info = varex.detector.info()
    assert (info.rows, info.columns) == frame.shape
    assert len(frame.history) == bool(turn) + mirror


def test_a_window_longer_than_the_panel_stays_awake_is_refused_and_names_the_limits(varex):
    with pytest.raises(DeviceRefused, match=r"prepare_timeout_s or arm_token_s"):
        varex.detector.arm("1.2", 20_001)
    varex.detector.arm("1.2", 20_000)


def test_abort_closes_the_window_without_a_readout(varex):
    varex.to_ready("1.2")
    varex.calls()
    varex.detector.abort()
    assert varex.detector.status().state is IDLE
    wait_until(lambda: "Abort" in varex.calls())
    assert len(varex.read) == 1
    assert varex.expose("1.3").pixels.shape == (80, 64)


def test_the_late_frame_of_an_aborted_arming_is_not_taken_for_the_next_one(make_varex):
    varex = make_varex(transfer_ms=150)
    varex.face.behave("late_frames", 1)
    varex.detector.arm("1.2", 10_000)
    wait_until(lambda: len(varex.read) == 1)
    varex.detector.abort()
    varex.to(IDLE)
    frame = varex.expose("1.3")
    assert len(varex.read) == 3
    assert np.array_equal(frame.pixels, varex.read[2])


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
def test_other_releases_of_the_library_work_too(make_varex, options):
    varex = make_varex(*options)
    assert varex.expose("1.2").pixels.mean() > 2000
    assert (varex.detector.info().serial == "PROM-4711") is (len(options) == 3)


# --- finding the panel ----------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["ip:192.0.2.7", "mac:00005b000001", "name:XRD-SIM", ""])
def test_the_panel_is_found_by_each_kind_of_address_or_as_the_first_of_all(make_varex, address):
    varex = make_varex(settings={"address": address or None})
    assert varex.expose("1.2").pixels.shape == (80, 64)
    varex.detector.close()
    varex.detector.connect()


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
def test_a_panel_that_is_not_the_one_described_is_not_connected(make_varex, settings, behaviour, said):
    varex = make_varex(connect=False, settings=settings)
    for what, value in behaviour.items():
        varex.face.behave(what, value)
    with pytest.raises(NotConnected, match=said):
        varex.detector.connect()
    with pytest.raises(NotConnected):
        varex.detector.info()


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
        {"rotate": 45},
        {"binning": 2},
        {"bits": 18},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(BadSettings, match="varex-xisl"):
        VarexDetector({**NO_PANEL, **wrong}, Room(RealClock()))


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
