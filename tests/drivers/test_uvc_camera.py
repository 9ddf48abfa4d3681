"""The positioning camera through OpenCV: geometry, and what OpenCV's captures are known to do."""

import threading
import time
from contextlib import suppress

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import uvc_camera
from drivers.uvc_camera import UvcCamera, plan_from
from station.clock import RealClock
from station.devices import (
    BadSettings,
    CameraView,
    CommunicationLost,
    DeviceRefused,
    NotConnected,
    Room,
)

DOWN = {"panel_size_mm": [100, 80], "mm_per_px": 1, "panel_origin_px": [5, 5]}
PICTURE = np.random.default_rng(1).integers(0, 255, (120, 100, 3), np.uint8)


def wait_until(claim, seconds=5.0):
    until_s = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < until_s, "it never came to pass"
        time.sleep(0.002)


class Capture:
    """Stands for cv2.VideoCapture: a camera of 50 pictures a second, of which a test spoils something."""

    size = (100, 120)
    fourcc = "YUYV"

    def __init__(self, *_):
        self.grabs = 0
        self.retrieves = 0
        self.opened = True
        self.undecoded = False
        self.released = False

    def isOpened(self):  # noqa: N802  OpenCV's names
        return self.opened

    def get(self, name):
        sizes = dict(zip((cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT), self.size, strict=True))
        return {**sizes, cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*self.fourcc)}.get(name, 0)

    def set(self, name, _):
        self.undecoded = self.undecoded or name == cv2.CAP_PROP_FORMAT
        return True

    def grab(self):
        self.wait()
        self.grabs += 1
        return True

    def wait(self):
        time.sleep(0.02)

    def retrieve(self):
        self.retrieves += 1
        return True, self.picture()

    def picture(self):
        return np.roll(PICTURE, self.grabs, axis=0)

    def release(self):
        self.released = True


@pytest.fixture
def camera_with(monkeypatch):
    """Makes a camera whose captures are of that kind; gives it and the list of captures made."""
    made, cameras = [], []

    def make(kind, settings=None):
        monkeypatch.setattr(cv2, "VideoCapture", lambda *_: made.append(kind()) or made[-1])
        camera = UvcCamera({"source": 0, **DOWN, **(settings or {})}, Room(RealClock()))
        cameras.append(camera)
        return camera, made

    yield make
    for camera in cameras:
        camera.close()


# --- captures -------------------------------------------------------------------------------------------


def test_a_panel_outside_the_picture_is_refused_at_connect(camera_with):
    camera, _ = camera_with(Capture, {"panel_origin_px": [30, 5]})
    with pytest.raises(DeviceRefused, match=r"corner \(130, 85\) is outside .* 120 x 100"):
        camera.connect()


def test_a_camera_that_was_gone_for_hours_is_found_again(camera_with, monkeypatch):
    camera, made = camera_with(Capture)
    camera.connect()
    monkeypatch.setattr(uvc_camera, "_LONGEST_PAUSE_S", 0.0)
    monkeypatch.setattr(Capture, "grab", lambda _: False)
    gone = len(made)
    wait_until(lambda: len(made) > gone + 1200, 60)
    monkeypatch.undo()
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: Capture())
    wait_until(camera.view)


class Blocked(Capture):
    free = threading.Event()

    def wait(self):
        if self.grabs > 3:
            self.free.wait()
        super().wait()


def test_a_grab_that_blocks_for_ever_blocks_neither_view_nor_close(camera_with, monkeypatch):
    monkeypatch.setattr(uvc_camera, "_JOIN_S", 0.2)
    camera, made = camera_with(Blocked)
    camera.connect()
    wait_until(camera.view)
    wait_until(lambda: camera.view() is None)
    began_s = time.monotonic()
    camera.close()
    assert time.monotonic() - began_s < 4
    assert not made[0].released  # never by another thread
    Blocked.free.set()
    wait_until(lambda: made[0].released)
    assert len(made) == 1


class Unplugged(Capture):
    def picture(self):
        return PICTURE


def test_a_camera_that_says_true_with_the_same_picture_is_no_view(camera_with):
    camera, _ = camera_with(Unplugged)
    camera.connect()
    wait_until(camera.view)
    wait_until(lambda: camera.view() is None and camera.trouble())
    assert "repeats" in str(camera.trouble())


class Queue(Capture):
    """Two of three pictures were waiting."""

    def wait(self):
        if self.grabs % 3 == 0:
            super().wait()

    def picture(self):
        return np.full_like(PICTURE, self.grabs % 255)


def test_a_picture_that_was_waiting_is_thrown_away(camera_with):
    camera, _ = camera_with(Queue)
    camera.connect()
    seen = set()
    wait_until(lambda: seen.add(number(camera.view())) or len(seen - {None}) > 4)
    assert {value % 3 for value in seen - {None}} == {1}


def number(view):
    return None if view is None else int(view.pixels[0, 0, 0])


class Flood(Capture):
    def wait(self):
        """Never."""


def test_pictures_without_end_and_without_time_are_no_camera(camera_with):
    camera, made = camera_with(Flood)
    with pytest.raises(CommunicationLost, match="without end"):
        camera.connect()
    assert made[0].released


def test_nothing_is_decoded_while_nobody_looks(camera_with, monkeypatch):
    monkeypatch.setattr(uvc_camera, "_ASKED_S", 0.1)
    camera, made = camera_with(Capture)
    camera.connect()
    wait_until(lambda: made[0].grabs > 15)
    decoded, grabbed = made[0].retrieves, made[0].grabs
    wait_until(lambda: made[0].grabs > grabbed + 10)
    assert made[0].retrieves == decoded
    camera.view()
    wait_until(lambda: made[0].retrieves > decoded)
    assert camera.view() is not None


class Failing(Capture):
    def grab(self):
        return self.grabs < 5 and super().grab()


def test_a_camera_that_ends_is_opened_again(camera_with, monkeypatch):
    monkeypatch.setattr(uvc_camera, "_PAUSE_S", 0.02)
    camera, made = camera_with(Failing)
    camera.connect()
    wait_until(lambda: len(made) > 2)
    assert made[0].released
    assert "no picture came" in str(camera.trouble()) or camera.view()


class Raising(Capture):
    def retrieve(self):
        raise cv2.error("assertion failed")


def test_an_error_of_opencv_leaves_as_ours(camera_with):
    camera, _ = camera_with(Raising)
    with pytest.raises(CommunicationLost, match="assertion failed"):
        camera.connect()


def test_a_camera_that_gives_another_size_than_asked_is_refused(camera_with):
    camera, made = camera_with(Capture, {"width": 1280, "height": 720})
    with pytest.raises(DeviceRefused, match="gives 100 x 120, 1280 x 720 is asked"):
        camera.connect()
    assert made[0].released


def test_a_file_that_is_not_there_is_said_at_once(tmp_path):
    with pytest.raises(NotConnected, match="clip"):
        UvcCamera({"source": str(tmp_path / "clip.avi"), **DOWN}, Room(RealClock())).connect()


class Network(Capture):
    fourcc = "MJPG"
    data = b""

    def picture(self):
        return np.frombuffer(self.data, np.uint8)[None]


class Undecodable(Network):
    """Complete pictures that only FFmpeg can read."""

    data = b"\xff\xd8 no tables \xff\xd9"

    def picture(self):
        return super().picture() if self.undecoded else np.roll(PICTURE, self.grabs, axis=0)


def test_pictures_that_cannot_be_decoded_here_are_left_to_ffmpeg(camera_with):
    camera, made = camera_with(Undecodable, {"source": "http://host/video.mjpg"})
    with pytest.raises(CommunicationLost, match="no colour picture"):
        camera.connect()
    assert [capture.undecoded for capture in made] == [True]
    session = uvc_camera._Session(plan_from({"source": "http://host", **DOWN}), RealClock())
    session.start()
    wait_until(session.view)
    session.stop()
    assert [capture.undecoded for capture in made[1:3]] == [True, False]


JPEG = cv2.imencode(".jpg", PICTURE)[1].tobytes()


@given(
    st.binary(max_size=50)
    | st.tuples(st.integers(0, len(JPEG)), st.binary(max_size=9)).map(lambda cut: JPEG[: cut[0]] + cut[1])
)
def test_random_bytes_for_a_picture_are_nonsense_or_a_picture(data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cv2, "VideoCapture", Network)
        patch.setattr(Network, "data", data)
        source = uvc_camera._Source(plan_from({"source": "http://host", **DOWN}), undecoded=True)
        assert source.undecoded
        with suppress(CommunicationLost):
            assert source.retrieve()[1].ndim == 3
            assert b"\xff\xd9" in data


# --- settings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"source": None},
        {"source": ""},
        {"source": True},
        {"source": -1},
        {"source": 1.5},
        {"width": 640},
        {"height": 480},
        {"panel_size_mm": None},
        {"panel_origin_px": None},
        {"mm_per_px": None},
        {"mm_per_px": 0},
        {"margin_mm": 10},
        {"panel_corners_px": [[10, 10], [10, 90], [110, 90], [110, 10]]},
        {"panel_corners_px": 7},
        {"latency_ms": -1},
        {"zoom": 2},
    ],
)
def test_settings_that_make_no_sense_are_refused(changes):
    with pytest.raises(BadSettings, match="uvc-camera"):
        UvcCamera({"source": 0, **DOWN, **changes}, Room(RealClock()))


@pytest.mark.parametrize(
    ("given_as", "source", "kind"),
    [
        (2, 2, "device"),
        ("2", 2, "device"),
        ("/dev/v4l/by-id/usb-cam-index0", "/dev/v4l/by-id/usb-cam-index0", "device"),
        ("clips/a.avi", "clips/a.avi", "file"),
        ("http://camera/video.mjpg", "http://camera/video.mjpg", "network"),
    ],
)
def test_sources(given_as, source, kind):
    plan = plan_from({"source": given_as, **DOWN})
    assert plan.source == source
    assert (plan.is_device, plan.is_file) == (kind == "device", kind == "file")


def test_a_picture_is_as_old_as_the_cameras_latency_says(camera_with):
    camera, _ = camera_with(Capture, {"latency_ms": 300})
    camera.connect()
    wait_until(camera.view)
    view = camera.view()
    assert isinstance(view, CameraView)
    assert RealClock().now() - view.at >= 0.3
