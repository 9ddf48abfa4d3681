"""Every error of the XISL library on every call, and a panel that misbehaves without one."""

import threading
import time
from pathlib import Path

import pytest
from xisl_rigs import ARMING, CONNECTING, HELD, IDLE, READY, UNKNOWN, wait_until

from drivers import xisl
from station.devices import (
    Aborted,
    CommunicationLost,
    DetectorState,
    DeviceError,
    DeviceFault,
    DeviceRefused,
    NotConnected,
)

CODES = (3, 5, 6, 20, 34, 55, 144, 9999)  # one of every group, and one nobody knows


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
def test_an_error_of_any_call_while_connecting_says_so_and_the_next_attempt_works(make_varex, function):
    varex = make_varex(connect=False)
    for code in CODES:
        varex.face.script(function, code)
        with pytest.raises(
            (NotConnected, CommunicationLost), match=rf"{function}.*{code}|{code}.*{function}"
        ):
            varex.detector.connect()
    varex.detector.connect()
    varex.expose("1.2")


@pytest.mark.parametrize("function", ["EnumSensors", "GetNextSensor", "GetConfiguration"])
def test_an_enumeration_that_fails_half_way_closes_what_it_opened(make_varex, function):
    without = "-DAcquisition_Global_Cleanup=gone"  # an older release
    varex = make_varex(without, connect=False, settings={"address": None})
    varex.face.script(function, 6)
    with pytest.raises(CommunicationLost):
        varex.detector.connect()
    varex.detector.connect()


def test_every_documented_error_while_connecting_leaves_a_panel_that_can_be_connected(make_varex):
    varex = make_varex(connect=False)
    for code in xisl.NAMES:
        if code:
            varex.face.script("GbIF_Init", code)
            with pytest.raises((NotConnected, CommunicationLost)):
                varex.detector.connect()
    varex.detector.connect()


@pytest.mark.parametrize("function", ARMING)
def test_an_error_of_any_call_while_arming_is_raised_and_the_panel_can_be_armed_again(varex, function):
    for number, code in enumerate(CODES):
        varex.face.script(function, code)
        with pytest.raises(DeviceError, match=str(code)):
            varex.detector.arm(f"1.{number}", 10_000)
        varex.detector.connect()
        assert varex.detector.status().state is IDLE
    varex.expose("1.99")


@pytest.mark.parametrize("function", ["GetActFrame", "SetReady"])
def test_an_error_while_a_frame_is_taken_over_loses_it_and_only_it(varex, function):
    for number, code in enumerate(CODES):
        varex.to_ready(f"1.{number}")
        varex.face.script(function, code)
        varex.detector.read_out()
        varex.to(IDLE)
        with pytest.raises(CommunicationLost, match=rf"lost.*{code}"):
            varex.detector.fetch()
    varex.expose("1.99")


def test_an_error_of_the_trigger_that_reads_out_loses_the_frame_and_nothing_is_triggered_again(varex):
    for number, code in enumerate(CODES):
        varex.to_ready(f"1.{number}")
        varex.calls()
        varex.face.script("SetFrameSync", code)
        with pytest.raises(DeviceError, match=str(code)):
            varex.detector.read_out()
        varex.detector.connect()
        assert varex.calls().count("SetFrameSync") == 1
        with pytest.raises(CommunicationLost, match="lost"):
            varex.detector.recover(f"1.{number}")
    varex.expose("1.99")


@pytest.mark.parametrize(
    "function", ["Abort", "SetCallbacksAndMessages", "Close", "CloseAll", "Global_Cleanup"]
)
def test_an_error_while_closing_is_nobodys_trouble(make_varex, function):
    varex = make_varex(settings={"address": None})
    for code in CODES:
        varex.face.script(function, code)
        varex.detector.close()
        with pytest.raises(NotConnected):
            varex.detector.arm("1.2", 1000)
        varex.detector.connect()
    varex.expose("1.3")


def test_a_panel_that_stops_answering_is_opened_again_by_itself(varex):
    varex.face.unplug(144)
    varex.to(UNKNOWN)
    stale = varex.detector.status().at
    with pytest.raises(CommunicationLost, match="power and"):
        varex.detector.arm("1.2", 1000)
    assert varex.detector.info().serial == "XRD-SIM"
    assert varex.detector.status().at == stale
    varex.face.unplug(0)
    varex.to(IDLE)
    varex.expose("1.3")


@pytest.mark.parametrize("function", ["GetConnectionStatus", "GetTemperature"])
def test_no_error_of_the_keep_alive_is_more_than_a_short_absence(make_varex, function):
    varex = make_varex(connect=False)
    for code in CODES:
        varex.face.script(function, code)
        try:
            varex.detector.connect()
        except (NotConnected, CommunicationLost):
            varex.detector.connect()
        varex.detector.close()
    varex.detector.connect()
    varex.expose("1.2")


def test_a_question_that_fails_twice_does_not_cost_the_frame_of_a_window(varex):
    varex.to_ready("1.2")
    for _ in range(2):
        varex.face.script("GetConnectionStatus", 6)
    seen = varex.detector.status().at
    wait_until(lambda: varex.detector.status().at > seen + 0.3)
    varex.detector.read_out()
    varex.to(HELD)
    varex.detector.fetch()


def test_a_question_that_fails_again_and_again_costs_the_window(varex):
    varex.to_ready("1.2")
    varex.face.unplug(6)
    varex.to(UNKNOWN)
    varex.face.unplug(0)
    varex.detector.connect()
    with pytest.raises(CommunicationLost, match="window was open"):
        varex.detector.recover("1.2")


def test_a_clearing_frame_that_does_not_come_is_asked_for_again(make_varex):
    varex = make_varex(settings={"frame_timeout_s": 0.2})
    varex.face.behave("drop_frames", 2)
    varex.to_ready("1.2")
    assert varex.calls().count("SetFrameSync") == 3


def test_a_frame_that_never_comes_is_lost_and_the_panel_can_be_armed_again(make_varex):
    varex = make_varex(settings={"frame_timeout_s": 0.3})
    varex.to_ready("1.2")
    varex.face.behave("drop_frames", 1)
    varex.detector.read_out()
    varex.to(IDLE)
    with pytest.raises(CommunicationLost, match=r"no whole frame within 0\.3 s"):
        varex.detector.fetch()
    varex.expose("1.3")


def test_a_panel_that_fell_asleep_in_its_window_loses_the_frame_and_is_woken_by_the_next_arming(make_varex):
    varex = make_varex(idle_s=0.3, settings={"frame_timeout_s": 0.3})
    for uid in ("1.2", "1.3"):
        varex.detector.arm(uid, 500)
        varex.to(READY)
        varex.to(IDLE)
        with pytest.raises(CommunicationLost, match="no whole frame"):
            varex.detector.recover(uid)


def test_a_frame_nobody_asked_for_ends_the_window_because_its_charge_is_gone(varex):
    varex.face.behave("extra_frames", 1)
    varex.detector.arm("1.2", 10_000)
    varex.to(IDLE)
    with pytest.raises(CommunicationLost, match="read out by somebody else"):
        varex.detector.recover("1.2")
    varex.expose("1.3")


def test_an_acquisition_that_the_library_ends_loses_the_frame_and_says_the_librarys_reason(make_varex):
    varex = make_varex(settings={"frame_timeout_s": 2}, transfer_ms=300)
    varex.to_ready("1.2")
    varex.detector.read_out()
    varex.face.behave("end_acquisition", 31)
    varex.to(IDLE)
    with pytest.raises(CommunicationLost, match="31 HIS_ERROR_FRAME_INV"):
        varex.detector.fetch()
    varex.expose("1.3")


def test_a_call_that_never_returns_is_given_up_and_status_never_waits_for_it(make_varex):
    varex = make_varex(settings={"command_timeout_s": 0.3})
    varex.face.hang("SetFrameSyncMode")
    ended: list[DeviceError] = []

    def arm():
        try:
            varex.detector.arm("1.2", 1000)
        except DeviceError as error:
            ended.append(error)

    waiter = threading.Thread(target=arm, daemon=True)
    waiter.start()
    wait_until(lambda: varex.detector.status().state is DetectorState.ARMING)
    began = time.monotonic()
    varex.detector.status()
    varex.detector.abort()
    assert time.monotonic() - began < 1
    waiter.join(5)
    assert isinstance(ended[0], Aborted)
    with pytest.raises(CommunicationLost, match="no answer"):
        varex.detector.arm("1.3", 1000)
    varex.face.hang("")
    varex.to(IDLE)
    varex.expose("1.4")


def test_connecting_and_closing_many_times_leaves_no_thread_and_no_file(varex):
    own = Path("/proc/self")

    def used():
        return len(list((own / "task").iterdir())), len(list((own / "fd").iterdir()))

    if not own.is_dir():
        pytest.skip("this system does not list a process's threads")
    before = used()
    for _ in range(20):
        varex.detector.close()
        varex.detector.connect()
    wait_until(lambda: all(now <= then for now, then in zip(used(), before, strict=True)))
