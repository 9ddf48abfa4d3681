"""The view from the tube: what a camera shows through a driver is judged as what is there."""

import time
from contextlib import suppress

import cv2
import numpy as np
import pytest
from camera_rigs import record, settings_for
from hypothesis import given
from hypothesis import strategies as st

from drivers.camera_geometry import geometry_from
from drivers.uvc_camera import UvcCamera
from simulators.camera import SimulatedCamera
from station.clock import RealClock, VirtualClock
from station.devices import BadSettings, Room
from station.exam import Side
from station.positioning import Watch
from station.protocols import load_protocol

PROTOCOL = load_protocol()
PICTURE = np.random.default_rng(1).integers(0, 255, (120, 100, 3), np.uint8)


def wait_until(claim, seconds=5.0):
    until_s = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < until_s, "it never came to pass"
        time.sleep(0.002)


def seen_directly(**simulation):
    room = Room(VirtualClock(), simulation)
    camera = SimulatedCamera({}, room)
    camera.connect()
    room.clock.sleep(0.1)
    return camera.view()


def verdict(view):
    report = Watch(PROTOCOL).see(view, Side.LEFT, view.at)
    return report, {finding.id for finding in report.findings}


def same_verdict(view, as_seen):
    """Within what the judge itself differs by from one noisy picture to the next."""
    report, findings = verdict(view)
    expected, expected_findings = verdict(as_seen)
    assert findings == expected_findings
    assert report.side is expected.side
    if expected.rotation_deg is not None:
        assert report.rotation_deg == pytest.approx(expected.rotation_deg, abs=1.0)
        assert report.spread_deg == pytest.approx(expected.spread_deg, abs=3.5)
        assert np.allclose(middle(report), middle(expected), atol=1.5)  # as the limit for still


def middle(report):
    """Centre of the hand's outline, mm."""
    moments = cv2.moments(np.asarray(report.outline_mm, np.float32))
    return np.array([moments["m10"], moments["m01"]]) / moments["m00"]


@pytest.mark.parametrize(
    "simulation", [{}, {"pose": "side=R"}, {"hand_present": False}, {"pose": "rotation=25"}]
)
def test_a_picture_through_file_and_driver_is_judged_as_the_simulated_one(tmp_path, simulation):
    as_seen = record(tmp_path / "clip.avi", frames=3, **simulation)
    camera = UvcCamera(settings_for(tmp_path / "clip.avi", as_seen), Room(RealClock()))
    camera.connect()
    wait_until(camera.view)
    view = camera.view()
    camera.close()
    same_verdict(view, as_seen)


TILTED = np.array([[1.1, 0.12, 30.0], [-0.06, 1.2, 60.0], [0.0002, 0.0003, 1.0]])


@pytest.mark.parametrize("turned", [False, True])
def test_a_tilted_or_turned_camera_is_rectified_to_the_view_from_the_tube(turned):
    as_seen = seen_directly()
    top, left = as_seen.panel_origin_px
    height, width = (size / as_seen.mm_per_px for size in as_seen.panel_size_mm)
    panel = np.array([[left, top], [left + width, top], [left + width, top + height], [left, top + height]])
    turn = np.array([[-1.0, 0, 479], [0, -1, 559], [0, 0, 1]]) if turned else np.eye(3)
    corners = cv2.perspectiveTransform(panel[None], TILTED @ turn)[0]
    tilted = cv2.warpPerspective(as_seen.pixels, TILTED @ turn, (720, 820))
    settings = {"panel_size_mm": as_seen.panel_size_mm, "panel_corners_px": corners[:, ::-1].tolist()}
    view = geometry_from(settings).rectify(tilted, as_seen.at)
    assert view.panel_origin_px == (80, 80)
    assert view.pixels.shape == (561, 481, 3)
    same_verdict(view, as_seen)


@pytest.mark.hazard("wrong-side")
def test_corners_given_the_wrong_way_round_would_swap_left_and_right_and_are_refused():
    corners = [[10, 10], [10, 90], [110, 90], [110, 10]]
    geometry_from({"panel_size_mm": [100, 80], "panel_corners_px": corners})
    for wrong in (corners[::-1], [corners[0], corners[2], corners[1], corners[3]], [corners[0]] * 4):
        with pytest.raises(BadSettings, match=r"clockwise.*mirroring"):
            geometry_from({"panel_size_mm": [100, 80], "panel_corners_px": wrong})


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 1000)), min_size=4, max_size=4))
def test_corners_are_refused_or_rectified(corners):
    with suppress(BadSettings):
        geometry = geometry_from({"panel_size_mm": [60, 50], "mm_per_px": 2, "panel_corners_px": corners})
        view = geometry.rectify(PICTURE, 0.0)
        assert view.pixels.shape == (91, 86, 3)
