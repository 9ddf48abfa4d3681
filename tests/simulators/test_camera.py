"""The simulated positioning camera: what it shows, and when."""

import numpy as np
import pytest

from simulators.camera import SimulatedCamera
from simulators.world import World
from station.clock import VirtualClock
from station.devices import BadSettings, Room


class Rig:
    def __init__(self, **simulation):
        self.clock = VirtualClock()
        self.room = Room(self.clock, simulation)
        self.world = World.of(self.room)
        self.camera = SimulatedCamera({}, self.room)
        self.camera.connect()

    def after(self, seconds):
        self.clock.sleep(seconds)
        return self.camera.view()


def skin(view):
    """Where red exceeds blue as it does on skin only."""
    pixels = view.pixels.astype(int)
    return pixels[..., 2] - pixels[..., 0] > 18


def centre_mm(view):
    rows, columns = np.nonzero(skin(view))
    return np.array([rows.mean(), columns.mean()]) * view.mm_per_px


def test_there_is_no_picture_before_the_camera_is_connected():
    camera = SimulatedCamera({}, Room(VirtualClock()))
    assert camera.view() is None


def test_a_picture_shows_the_whole_panel_in_the_middle():
    view = Rig().after(0.1)
    assert view.pixels.shape == (560, 480, 3)
    assert view.pixels.dtype == np.uint8
    top, left = view.panel_origin_px
    height, width = (mm / view.mm_per_px for mm in view.panel_size_mm)
    assert top == pytest.approx(559 / 2 - height / 2)
    assert left == pytest.approx(479 / 2 - width / 2)
    assert view.panel_size_mm == (300, 240)


def test_ten_pictures_a_second_each_with_its_own_time_and_noise():
    rig = Rig()
    views = [rig.after(0.02) for _ in range(50)]
    times = sorted({view.at for view in views})
    assert len(times) == 11
    assert np.allclose(np.diff(times), 0.1)
    first, last = views[0], views[-1]
    noise = first.pixels.astype(float) - last.pixels
    assert 2 < noise.std() < 5


def test_the_newest_picture_is_never_older_than_a_tenth_of_a_second():
    rig = Rig()
    for _ in range(30):
        view = rig.after(0.037)
        assert 0 <= rig.clock.now() - view.at < 0.1 + 1e-6


def test_the_hand_lies_where_the_x_ray_finds_it():
    rig = Rig(pose="shift=12:-20")
    here, there = centre_mm(Rig().after(0.1)), centre_mm(rig.after(0.1))
    moved_down, moved_right = there - here
    assert moved_right == pytest.approx(12, abs=2)
    assert -21 < moved_down < -5  # the forearm goes on to the edge of the view


def test_a_left_hand_has_its_thumb_on_the_right_and_a_right_hand_is_its_mirror_image():
    left, right = (skin(Rig(pose=f"side={side}").after(0.1)) for side in "LR")
    assert np.mean(left != right[:, ::-1]) < 0.01
    thumb = left[220:330]
    columns = np.nonzero(thumb.any(axis=0))[0]
    middle = np.nonzero(left[450])[0].mean()
    assert columns.max() - middle > middle - columns.min()


def test_no_hand_when_the_panel_is_cleared_and_again_one_when_it_is_placed():
    rig = Rig()
    with_hand = skin(rig.after(0.1)).mean()
    rig.world.clear_panel()
    assert skin(rig.after(0.1)).mean() < 0.002
    rig.world.place_hand()
    assert skin(rig.after(0.1)).mean() == pytest.approx(with_hand, rel=0.02)


def test_the_light_field_is_brighter_than_the_panel_around_it():
    view = Rig(hand_present=False, field_mm=[200, 150]).after(0.1)
    grey = view.pixels.mean(axis=2)
    middle, panel_edge = grey[200:360, 160:320].mean(), grey[90:130, 100:380].mean()
    assert middle > 1.5 * panel_edge
    edge_row = 559 / 2 - 100 / 0.75
    profile = grey[:, 200:280].mean(axis=1)
    assert np.argmax(np.diff(profile[100:250])) + 100.5 == pytest.approx(edge_row, abs=1.5)


def test_a_trembling_hand_lies_still_from_the_given_time_on():
    rig = Rig(motion_mm=5, motion_until_s=2)
    moving = np.array([centre_mm(rig.after(0.1)) for _ in range(15)])
    rig.clock.sleep(0.6)
    still = np.array([centre_mm(rig.after(0.1)) for _ in range(10)])
    assert np.ptp(moving, axis=0).max() > 4
    assert np.ptp(still, axis=0).max() < 0.2


def test_a_second_hand_can_lie_beside_the_first():
    one, two = skin(Rig().after(0.1)), skin(Rig(second_hand=True).after(0.1))
    assert two.sum() > 1.3 * one.sum()
    assert not (one & ~two)[:, :470].sum() > 50


def test_a_frozen_camera_repeats_its_picture_and_its_time():
    rig = Rig()
    before = rig.after(0.5)
    rig.world.faults.add("camera-frozen")
    after = rig.after(3)
    assert after is before
    assert rig.clock.now() - after.at > 2.9


def test_a_panel_of_another_size_is_shown_and_an_unknown_setting_refused():
    room = Room(VirtualClock())
    camera = SimulatedCamera({"panel_mm": [200, 200]}, room)
    camera.connect()
    room.clock.sleep(0.1)
    assert camera.view().panel_size_mm == (200, 200)
    with pytest.raises(BadSettings, match="panel_mm"):
        SimulatedCamera({"zoom": 2}, room)
