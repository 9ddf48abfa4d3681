import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import find_peaks

from simulators.phantom import HandPhantom
from simulators.spec import HandSpec, Panel, Pose
from station.dxr.hand import Hand, _peaks, find_hand
from station.exam import Side
from station.result import Reason

PANEL = Panel(400, 400, 0.8)


def outline(pose, size="medium"):
    return HandPhantom(HandSpec.parse(f"size={size}"), Pose.parse(pose)).silhouette(PANEL)


def difference(a, b):
    return (a - b + 180) % 360 - 180


@pytest.mark.parametrize("rotation", range(-180, 180, 40))
@pytest.mark.parametrize("side", ["L", "R"])
def test_names_five_fingers_and_the_side_at_any_rotation(side, rotation):
    upright = find_hand(outline(f"side={side}"))
    hand = find_hand(outline(f"side={side},rotation={rotation}"))
    assert isinstance(upright, Hand)
    assert isinstance(hand, Hand)
    assert hand.side == side
    assert sorted(hand.fingers) == [1, 2, 3, 4, 5]
    assert abs(difference(hand.pointing_deg - upright.pointing_deg, rotation)) < 5


def test_a_left_hand_with_fingers_up_has_its_thumb_on_the_right():
    hand = find_hand(outline("side=L"))
    assert hand.side is Side.LEFT
    assert abs(hand.pointing_deg) < 12
    assert hand.fingers[1].tip_px[1] > hand.palm_px[1] > hand.fingers[5].tip_px[1]
    assert hand.fingers[3].tip_px[0] < hand.fingers[3].base_px[0] < hand.palm_px[0]


def test_a_mirrored_mask_is_the_other_hand():
    left = find_hand(outline("side=L,rotation=25"))
    mirrored = find_hand(outline("side=L,rotation=25")[:, ::-1])
    assert (left.side, mirrored.side) == (Side.LEFT, Side.RIGHT)
    assert abs(difference(left.pointing_deg, -mirrored.pointing_deg)) < 4


@pytest.mark.parametrize("spread", [0.5, 1.0, 1.6])
@pytest.mark.parametrize("size", ["small", "large"])
def test_finds_the_hand_whatever_its_size_and_spread(size, spread):
    hand = find_hand(outline(f"side=R,spread={spread}", size))
    assert hand.side is Side.RIGHT
    assert sorted(hand.fingers) == [1, 2, 3, 4, 5]


def test_specks_and_holes_do_not_matter():
    mask = outline("side=L,rotation=15").copy()
    clean = find_hand(mask)
    noise = np.random.default_rng(3).random(mask.shape)
    hand = find_hand((mask & (noise > 0.01)) | (noise > 0.998))
    assert hand.side is Side.LEFT
    assert np.hypot(*np.subtract(hand.palm_px, clean.palm_px)) < 4
    assert abs(difference(hand.pointing_deg, clean.pointing_deg)) < 4


def test_says_which_border_the_forearm_reaches():
    assert "bottom" in find_hand(outline("side=L,shift=0:-40")).touches_border
    assert "top" in find_hand(outline("side=L,shift=0:-40")[::-1]).touches_border


def test_outline_lies_on_the_mask_and_goes_once_round():
    hand = find_hand(outline("side=L"))
    rows, columns = hand.outline_px.astype(int).T
    assert hand.mask[rows, columns].all()
    inside = np.zeros(hand.mask.shape, np.uint8)
    cv2.fillPoly(inside, [hand.outline_px[:, ::-1].astype(np.int32)], 1)
    assert (inside.astype(bool) == hand.mask).mean() > 0.999


def test_refuses_an_empty_mask_and_a_speck():
    speck = np.zeros((300, 300), bool)
    assert find_hand(speck).id == "no-hand"
    speck[10:20, 10:20] = True
    assert find_hand(speck).id == "no-hand"


def test_refuses_two_hands():
    one = outline("side=L")[:, 80:-80]
    two = np.hstack([one, np.zeros((400, 20), bool), one[:, ::-1]])
    assert find_hand(two).id == "two-hands"


@pytest.mark.parametrize("shape", ["disc", "box", "fist"])
def test_refuses_what_is_no_open_hand(shape):
    canvas = np.zeros((400, 400), np.uint8)
    if shape == "disc":
        cv2.circle(canvas, (200, 200), 120, 1, cv2.FILLED)
    elif shape == "box":
        cv2.rectangle(canvas, (80, 120), (330, 300), 1, cv2.FILLED)
    else:
        cv2.ellipse(canvas, (200, 150), (70, 85), 0, 0, 360, 1, cv2.FILLED)
        cv2.rectangle(canvas, (160, 150), (240, 399), 1, cv2.FILLED)
    found = find_hand(canvas.astype(bool))
    assert isinstance(found, Reason)
    assert found.id == "not-a-hand"


@given(
    arrays(np.float64, st.integers(3, 60), elements=st.integers(0, 12).map(lambda step: 1.2 + 0.05 * step))
)
def test_peaks_are_those_of_scipy_with_plateaus_and_ends(values):
    expected, _ = find_peaks(values, height=1.35, prominence=0.12)
    assert _peaks(values, least=1.35, prominence=0.12).tolist() == expected.tolist()
