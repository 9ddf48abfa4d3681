"""What a positioning camera must prove, whatever it is reached over.

`@on(...)` names what a test needs of a rig; without anything it also runs on real hardware.
"""

import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from camera_rigs import ROWS, CameraRig, Fact

from simulators.scene import EmptyScene
from station.clock import RealClock
from station.devices import CommunicationLost, NotConnected
from station.positioning import STALE_S

LIVE, LINE = Fact.LIVE, Fact.LINE
BLOCKED_S = 1.0  # a call that takes longer waits for the camera


def on(*facts):
    cases = [row.name for row in ROWS if row.facts.issuperset(facts)]
    if not facts:
        cases.append(pytest.param("hardware", marks=pytest.mark.hardware))
    return pytest.mark.parametrize("new_rig", cases, indirect=True)


@pytest.fixture
def new_rig(request, tmp_path, monkeypatch):
    """Not connected."""
    monkeypatch.setattr("simulators.world.scene_from", lambda _: EmptyScene())  # no hand: quick to draw
    monkeypatch.setattr("drivers.uvc_camera._READ_TIMEOUT_MS", 400)  # a silent one is tested often
    monkeypatch.setattr("drivers.uvc_camera._PAUSE_S", 0.05)
    before = set(threading.enumerate())
    rows = {row.name: row for row in ROWS}
    if request.param in rows:
        made = rows[request.param].make(tmp_path)
    else:
        made = CameraRig(request.getfixturevalue("real_device")("camera"), RealClock())
    yield made
    made.close()
    until_s = time.monotonic() + 5  # a thread that waits in a library call ends with it
    while not set(threading.enumerate()) <= before:
        assert time.monotonic() < until_s, "a thread is left"
        time.sleep(0.01)


@pytest.fixture
def rig(new_rig):
    new_rig.camera.connect()
    return new_rig


def unusable(rig):
    """No view, or one too old to judge."""
    view = rig.camera.view()
    return view is None or rig.clock.now() - view.at > STALE_S


def promptly(call):
    began_s = time.monotonic()
    for _ in range(20):
        call()
    assert time.monotonic() - began_s < BLOCKED_S


@on()
def test_there_is_no_view_before_connect_and_after_close(new_rig):
    assert new_rig.camera.view() is None
    new_rig.camera.connect()
    new_rig.pass_until(new_rig.camera.view)
    new_rig.camera.close()
    assert new_rig.camera.view() is None


@on()
def test_a_view_is_a_colour_picture_of_the_whole_panel_and_of_now(rig):
    view = rig.pass_until(rig.camera.view)
    assert view.pixels.dtype == np.uint8
    assert view.pixels.shape[2:] == (3,)
    rows, columns = view.pixels.shape[:2]
    top, left = view.panel_origin_px
    height, width = (size / view.mm_per_px for size in view.panel_size_mm)
    assert top >= -0.5
    assert left >= -0.5
    assert top + height <= rows - 0.5
    assert left + width <= columns - 0.5
    assert rig.clock.now() - STALE_S <= view.at <= rig.clock.now()


@on()
def test_views_follow_each_other_with_their_own_time_and_noise(rig):
    views = [rig.pass_until(rig.camera.view)]
    for _ in range(3):
        views.append(rig.pass_until(lambda: newer(rig.camera.view(), views[-1])))
    assert all((a.pixels != b.pixels).any() for a, b in pairwise(views))


def newer(view, than):
    return view if view is not None and view.at > than.at else None


@on()
def test_a_camera_that_nobody_looked_at_for_a_while_shows_now_and_not_then(rig, monkeypatch):
    monkeypatch.setattr("drivers.uvc_camera._ASKED_S", 0.2)
    old = rig.pass_until(rig.camera.view)
    rig.clock.sleep(0.7)
    view = rig.camera.view()
    assert view is None or view.at > old.at + 0.2
    assert rig.clock.now() - rig.pass_until(rig.camera.view).at <= STALE_S


@on()
def test_closing_twice_and_connecting_again_are_fine(rig):
    rig.camera.connect()
    rig.pass_until(rig.camera.view)
    rig.camera.close()
    rig.camera.close()
    rig.camera.connect()
    rig.pass_until(rig.camera.view)


@on()
def test_asking_for_a_view_never_waits(rig):
    promptly(rig.camera.view)


@on(LIVE)
def test_a_frozen_camera_shows_nothing_that_can_be_judged_until_it_lives(rig):
    rig.pass_until(rig.camera.view)
    rig.freeze()
    rig.pass_until(lambda: unusable(rig))
    frozen_until = rig.clock.now() + 0.3
    rig.pass_until(lambda: rig.clock.now() > frozen_until or not unusable(rig))
    assert unusable(rig)
    rig.thaw()
    rig.pass_until(lambda: not unusable(rig))


@on(LINE)
@pytest.mark.parametrize("how", ["silence", "cut"])
def test_a_camera_that_is_gone_shows_nothing_never_blocks_and_comes_back_by_itself(rig, how):
    rig.pass_until(rig.camera.view)
    getattr(rig, how)()
    rig.pass_until(lambda: rig.camera.view() is None)
    promptly(rig.camera.view)
    rig.mend()
    rig.pass_until(rig.camera.view)


@on(LINE)
def test_closing_does_not_wait_for_a_camera_that_is_silent(rig):
    rig.pass_until(rig.camera.view)
    rig.silence()
    began_s = time.monotonic()
    rig.camera.close()
    assert time.monotonic() - began_s < 3


@on(LINE)
def test_connecting_to_a_camera_that_is_gone_or_silent_says_so(new_rig):
    new_rig.silence()
    with pytest.raises((CommunicationLost, NotConnected), match="check"):  # opening reads pictures, too
        new_rig.camera.connect()
    new_rig.cut()
    with pytest.raises(NotConnected, match="check"):
        new_rig.camera.connect()
    assert new_rig.camera.view() is None
