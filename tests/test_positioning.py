"""Positioning check against drawn hands of known pose, and through the simulated camera."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.camera import SimulatedCamera
from simulators.scene import scene_from
from station.clock import VirtualClock
from station.devices import CameraView, Room
from station.exam import Side
from station.positioning import CHECKLIST, STALE_S, Watch, confirmed, segment
from station.protocols import load_protocol

PROTOCOL = load_protocol()
LIMITS = PROTOCOL.positioning
FIELD_MM = PROTOCOL.geometry.field_mm
MM_PER_PX = 0.75
SHAPE = (560, 480)  # a view of 42 x 36 cm
ORIGIN_PX = (80.0, 80.0)
PANEL_MM = (300.0, 240.0)
PERIOD_S = 0.1
OUTLINE_MM = 1.0  # the outline must be that good: fine beside a margin of 5 mm and a still limit of 1.5 mm
SKIN_BGR = {"pale": (170, 188, 225), "brown": (95, 130, 180), "dark": (42, 56, 88)}
LAMP_BGR = {"white": (1.0, 1.0, 1.0), "halogen": (0.3, 0.9, 1.4), "cold": (1.15, 1.0, 0.9)}

# A left hand, mm from the middle of its palm, x to the right and y towards the fingers.
PALM = ((-38, 30), (-30, 38), (28, 38), (36, 25), (34, -20), (26, -42), (-26, -42), (-34, -20))
FOREARM = ((-26, -38), (26, -38), (32, -340), (-32, -340))
FINGERS = {  # base x, base y, degrees from the middle finger, length, half width
    1: (24, -12, 48, 68, 10),
    2: (21, 34, 9, 72, 8.5),
    3: (0, 36, 0, 80, 9),
    4: (-20, 34, -9, 74, 8.5),
    5: (-36, 28, -20, 58, 7.5),
}
LITTLE_TO_INDEX_DEG = 29


@dataclass(frozen=True)
class Drawn:
    """How a hand is drawn: its truth."""

    side: Side = Side.LEFT
    rotation_deg: float = 0.0  # clockwise
    right_mm: float = 0.0  # shift of the palm on the panel
    down_mm: float = 0.0
    spread: float = 1.0  # factor on the fingers' angles
    bent_deg: float = 0.0  # the index finger's extra angle

    def mask(self):
        canvas = np.zeros((SHAPE[0] * 2, SHAPE[1] * 2), np.uint8)
        for outline in (PALM, FOREARM):
            cv2.fillPoly(canvas, [self._px(outline)], 255)
        cv2.polylines(canvas, [self._px(PALM)], isClosed=True, color=255, thickness=_thick(5))
        for number, (x, y, degrees, length, half) in FINGERS.items():
            factor = self.spread if number > 1 else 1
            angle = np.deg2rad(degrees * factor + (self.bent_deg if number == 2 else 0))
            tip = (x + length * np.sin(angle), y + length * np.cos(angle))
            base, end = self._px(((x, y), tip)).tolist()
            cv2.line(canvas, base, end, 255, _thick(half))
        return cv2.resize(canvas, SHAPE[::-1], interpolation=cv2.INTER_AREA) / 255.0

    def _px(self, points):
        x, y = np.asarray(points, float).T
        x = -x if self.side is Side.RIGHT else x
        angle = np.deg2rad(self.rotation_deg)
        right = x * np.cos(angle) + y * np.sin(angle) + self.right_mm + PANEL_MM[1] / 2
        down = x * np.sin(angle) - y * np.cos(angle) + self.down_mm + PANEL_MM[0] / 2
        place = np.stack([right, down], axis=1) / MM_PER_PX + ORIGIN_PX[::-1]
        return np.rint(place * 2).astype(np.int32)


def _thick(half_mm):
    return round(4 * half_mm / MM_PER_PX)


def picture(mask, at=0.0, skin="brown", lamp="white", seed=0):
    pixels = np.full((*SHAPE, 3), 55.0)
    top, left = (round(v) for v in ORIGIN_PX)
    rows, columns = (round(v / MM_PER_PX) for v in PANEL_MM)
    pixels[top : top + rows, left : left + columns] = 25
    pixels = pixels * (1 - mask[..., None]) + 0.55 * np.array(SKIN_BGR[skin]) * mask[..., None]
    inset = [round((p - f) / 2 / MM_PER_PX) for p, f in zip(PANEL_MM, FIELD_MM, strict=True)]
    lit = np.zeros(SHAPE)
    lit[top + inset[0] : top + rows - inset[0], left + inset[1] : left + columns - inset[1]] = 0.8
    pixels *= 1 + cv2.GaussianBlur(lit, (0, 0), 2)[..., None] * LAMP_BGR[lamp]
    pixels += 3 * np.random.default_rng(seed).standard_normal(pixels.shape, np.float32)
    return CameraView(np.clip(pixels, 0, 255).astype(np.uint8), at, MM_PER_PX, ORIGIN_PX, PANEL_MM)


def film(masks, expected=Side.LEFT):
    """The last report of a film of these masks."""
    watch = Watch(PROTOCOL)
    views = [picture(mask, number * PERIOD_S, seed=number) for number, mask in enumerate(masks)]
    return [watch.see(view, expected, view.at) for view in views][-1]


def glance(hand, expected=Side.LEFT):
    return Watch(PROTOCOL).see(picture(hand.mask()), expected, 0.0)


def ids(report):
    return {finding.id for finding in report.findings}


def finding(report, name):
    return next(f for f in report.findings if f.id == name)


def moved(hand, remedy):
    """The hand after its owner did what a remedy says."""
    ways = {"towards you": (0, 1), "away from you": (0, -1), "to the right": (1, 0), "to the left": (-1, 0)}
    for distance, way in re.findall(rf"(\d+) mm ({'|'.join(ways)})", remedy):
        right, down = (int(distance) * part for part in ways[way])
        hand = replace(hand, right_mm=hand.right_mm + right, down_mm=hand.down_mm + down)
    return hand


# --- pose -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", Side)
def test_a_hand_well_placed_and_still_has_nothing_left_to_change(side):
    report = film([Drawn(side=side).mask()] * 12, side)
    assert report.ok, report.findings
    assert report.side is side
    assert report.still_s == pytest.approx(1.1)
    assert report.spread_deg == pytest.approx(LITTLE_TO_INDEX_DEG, abs=5)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    side=st.sampled_from(Side),
    rotation=st.floats(-40, 40),
    right=st.floats(-30, 30),
    down=st.floats(-20, 40),
    spread=st.floats(0.8, 1.3),
)
def test_side_and_angle_are_those_of_the_hand_wherever_it_lies(side, rotation, right, down, spread):
    report = glance(Drawn(side, rotation, right, down, spread), side)
    assert report.side is side
    assert report.rotation_deg == pytest.approx(rotation, abs=4)
    assert "wrong-side" not in ids(report)
    if abs(abs(rotation) - LIMITS.rotation_limit_deg) > 4:
        assert ("hand-rotated" in ids(report)) == (abs(rotation) > LIMITS.rotation_limit_deg)


@pytest.mark.parametrize(("rotation", "direction"), [(22, "counter-clockwise"), (-22, "clockwise")])
@pytest.mark.parametrize("side", Side)
def test_a_turned_hand_is_told_to_turn_back_by_as_much(side, rotation, direction):
    remedy = finding(glance(Drawn(side, rotation), side), "hand-rotated").remedy
    told = re.fullmatch(r"Turn the hand (\d+) degrees (\S+)", remedy)
    assert told
    assert told[2] == direction
    assert int(told[1]) == pytest.approx(abs(rotation), abs=3)


@pytest.mark.parametrize("expected", Side)
def test_the_other_hand_is_refused_naming_the_one_to_place(expected):
    other = Side.RIGHT if expected is Side.LEFT else Side.LEFT
    remedy = finding(glance(Drawn(side=other), expected), "wrong-side").remedy
    assert remedy == f"Place the {expected.word.upper()} hand, palm down"


# Out of the light field, but whole in the picture: right and down, mm.
BESIDE = st.tuples(st.floats(75, 95) | st.floats(-95, -75), st.floats(-60, 100))
BELOW = st.tuples(st.floats(-60, 60), st.floats(102, 115))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(place=BESIDE | BELOW)
def test_sliding_the_hand_as_told_brings_the_metacarpals_into_the_field(place):
    hand = Drawn(right_mm=place[0], down_mm=place[1])
    told = moved(hand, finding(glance(hand), "outside-field").remedy)
    assert "outside-field" not in ids(glance(told))


@pytest.mark.parametrize(
    ("hand", "way"),
    [
        (Drawn(right_mm=-80), "to the right"),
        (Drawn(right_mm=80), "to the left"),
        (Drawn(down_mm=-110), "towards you"),
        (Drawn(down_mm=100), "away from you"),
    ],
)
def test_a_hand_out_of_the_field_is_told_which_way_to_slide(hand, way):
    assert finding(glance(hand), "outside-field").remedy.endswith(way)


@pytest.mark.parametrize(
    ("spread", "name"), [(0.0, "fingers-together"), (0.03, "fingers-together"), (2.9, "fingers-too-wide")]
)
def test_fingers_too_close_or_too_wide_are_told_apart(spread, name):
    assert name in ids(glance(Drawn(spread=spread)))


# --- the picture ----------------------------------------------------------------------------------------


def test_no_picture_is_a_finding_never_a_pass():
    watch = Watch(PROTOCOL)
    assert ids(watch.see(None, Side.LEFT, 3.0)) == {"camera-no-picture"}
    frozen = picture(Drawn().mask(), at=3.0)
    assert "camera-no-picture" not in ids(watch.see(frozen, Side.LEFT, 3.0 + STALE_S))
    assert ids(watch.see(frozen, Side.LEFT, 3.1 + STALE_S)) == {"camera-no-picture"}


def test_a_camera_that_stamps_one_picture_anew_is_no_camera():
    watch, view = Watch(PROTOCOL), picture(Drawn().mask())
    reports = [watch.see(replace(view, at=at), Side.LEFT, at) for at in (0.0, 0.4, 0.8, 1.2)]
    assert all(report.still_s == 0 for report in reports)
    assert [ids(report) for report in reports[2:]] == [{"camera-no-picture"}] * 2


@pytest.mark.parametrize("skin", SKIN_BGR)
@pytest.mark.parametrize("lamp", LAMP_BGR)
def test_any_skin_under_any_lamp_gives_the_same_outline(skin, lamp):
    truth = Drawn(rotation_deg=10).mask() > 0.5
    found = segment(picture(truth.astype(float), skin=skin, lamp=lamp), FIELD_MM)
    wrong_px = np.count_nonzero(found != truth)
    outline_px = sum(len(c) for c in cv2.findContours(truth.astype(np.uint8), 0, cv2.CHAIN_APPROX_NONE)[0])
    assert wrong_px / outline_px * MM_PER_PX < OUTLINE_MM  # mean distance between the outlines


# --- stillness ------------------------------------------------------------------------------------------


def test_a_hand_just_placed_must_first_be_still_for_a_while():
    still = Drawn().mask()
    assert ids(film([still] * 10)) == {"hand-moving"}
    assert film([still] * 10).still_s == pytest.approx(0.9)
    assert film([still] * 11).ok


@pytest.mark.parametrize(
    "other",
    [Drawn(right_mm=3), Drawn(down_mm=3), Drawn(rotation_deg=3), Drawn(bent_deg=5)],
    ids=["sideways", "lengthwise", "turning", "one finger"],
)
def test_movement_starts_the_wait_again(other):
    report = film([Drawn().mask()] * 11 + [other.mask()] * 4)
    assert ids(report) == {"hand-moving"}
    assert report.still_s == pytest.approx(0.3)


def test_a_tremor_below_the_limit_is_still():
    hands = [Drawn(right_mm=0.4 * (-1) ** number).mask() for number in range(12)]
    assert film(hands).ok


def test_a_slow_creep_is_movement():
    hands = [Drawn(down_mm=0.4 * number).mask() for number in range(15)]
    assert ids(film(hands)) == {"hand-moving"}


def test_showing_one_picture_again_and_again_is_not_stillness():
    watch, view = Watch(PROTOCOL), picture(Drawn().mask(), at=0.0)
    for now in (0.0, 0.2, 0.4):
        report = watch.see(view, Side.LEFT, now)
    assert report.still_s == 0


def test_a_gap_in_the_pictures_is_not_stillness():
    watch, mask = Watch(PROTOCOL), Drawn().mask()
    for number, at in enumerate((0.0, 0.1, 0.2 + STALE_S, 0.3 + STALE_S)):
        report = watch.see(picture(mask, at, seed=number), Side.LEFT, at)
    assert report.still_s == pytest.approx(0.1)


def test_a_hand_lifted_and_laid_back_must_be_still_again():
    mask = Drawn().mask()
    assert film([mask] * 11 + [np.zeros(SHAPE)] + [mask] * 3).still_s == pytest.approx(0.2)


# --- the simulated camera -------------------------------------------------------------------------------


def watched(seconds, expected=Side.LEFT, **simulation):
    """Reports at every camera period of a simulated room."""
    clock, watch, reports = VirtualClock(), Watch(PROTOCOL), []
    camera = SimulatedCamera({}, Room(clock, simulation))
    camera.connect()
    for _ in range(round(seconds / PERIOD_S) + 1):
        reports.append(watch.see(camera.view(), expected, clock.now()))
        clock.sleep(PERIOD_S)
    return reports


@pytest.mark.parametrize("side", Side)
def test_the_default_hand_of_the_simulator_is_ready_after_a_second(side):
    reports = watched(1.0, side, pose=f"side={side}")
    assert reports[-1].ok, reports[-1].findings
    assert not any(report.ok for report in reports[:-1])


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    side=st.sampled_from(Side),
    size=st.sampled_from(["small", "medium", "large"]),
    rotation=st.integers(-40, 40),
    right=st.integers(-20, 20),
    down=st.integers(-20, 20),
    spread=st.floats(0.8, 1.4),
)
def test_metacarpals_of_the_phantom_are_where_they_are_expected(side, size, rotation, right, down, spread):
    pose = f"side={side},rotation={rotation},shift={right}:{down},spread={spread:.2f}"
    asked = {"phantom": f"size={size}", "pose": pose}
    report = watched(0, side, **asked)[0]
    assert report.side in (side, None)  # a thumb held close may leave it open, never wrong
    assert report.rotation_deg == pytest.approx(rotation, abs=5)
    zone, truth = np.array(report.zone_mm, np.float32), scene_from(asked).truth()
    for x, y in (end for n in (2, 3, 4) for end in (truth[n].base_mm, truth[n].head_mm)):
        place = (y + PANEL_MM[0] / 2, x + PANEL_MM[1] / 2)
        assert cv2.pointPolygonTest(zone, place, measureDist=True) > 0


def test_a_trembling_hand_must_hold_still_for_a_second_after_it_stops():
    reports = watched(2.4, phantom="", motion_mm=4, motion_until_s=1.0)
    assert all("hand-moving" in ids(report) for report in reports[:20])
    assert reports[-1].ok


@pytest.mark.hazard("bad-geometry")
@pytest.mark.parametrize(
    ("simulation", "expected"),
    [
        ({"hand_present": False}, {"no-hand"}),
        ({"second_hand": True}, {"two-hands"}),
        ({"pose": "side=R"}, {"wrong-side"}),
        ({"pose": "rotation=25"}, {"hand-rotated"}),
        ({"pose": "spread=2.2"}, {"fingers-too-wide"}),
        ({"pose": "shift=0:90"}, {"outside-field"}),
        ({"faults": ["camera-frozen"]}, {"camera-no-picture"}),
    ],
)
def test_what_is_wrong_in_the_simulated_room_is_what_is_found(simulation, expected):
    assert ids(watched(1.1, **simulation)[-1]) == expected


# --- real hands -----------------------------------------------------------------------------------------

RADIOGRAPHS = Path(__file__).parents[1] / "../shared/data/hands/rsna"
CUT_OR_TORN = {"1541", "2838"}  # by film seam and film edge; a camera sees whole hands


@pytest.mark.skipif(not RADIOGRAPHS.is_dir(), reason="real hands (../shared/data) are not on this machine")
@pytest.mark.parametrize(("mirrored", "rotation"), [(False, 0), (True, 20)])
def test_the_side_of_real_hands_is_hardly_ever_open_and_never_wrong(mirrored, rotation):
    side = Side.RIGHT if mirrored else Side.LEFT
    files = [path for path in sorted(RADIOGRAPHS.glob("*.png")) if path.stem not in CUT_OR_TORN]
    found = [Watch(PROTOCOL).see(picture(shadow(path, mirrored, rotation)), side, 0.0).side for path in files]
    assert set(found) <= {side, None}
    assert found.count(None) <= 1


def shadow(path, mirrored, rotation):
    """Outline of a left hand's radiograph, about its size, the forearm prolonged to the picture's edge."""
    grey = cv2.GaussianBlur(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), (0, 0), 3)
    otsu, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)
    hand = cv2.resize(
        (grey > otsu / 2).astype(np.float32), None, fx=0.16, fy=0.16, interpolation=cv2.INTER_AREA
    )
    rows, columns = hand.shape
    hand = cv2.copyMakeBorder(hand[:-3], 100, 0, 0, SHAPE[1] - columns, cv2.BORDER_CONSTANT)
    hand = np.vstack([hand, np.repeat(hand[-1:], 2 * SHAPE[0], axis=0)])
    centre = (columns / 2, 100 + rows / 2)
    turn = cv2.getRotationMatrix2D(centre, -rotation, 1)
    turn[0, 2] += SHAPE[1] / 2 - centre[0]
    turned = cv2.warpAffine(hand, turn, SHAPE[::-1])
    return turned[:, ::-1] if mirrored else turned


# --- without a camera -----------------------------------------------------------------------------------


def test_a_checklist_confirmed_in_full_is_recorded_with_its_name():
    report = confirmed([item for item, _ in CHECKLIST], "R. Adiographer", 7.0)
    assert report.ok
    assert (report.confirmed_by, report.at) == ("R. Adiographer", 7.0)


@pytest.mark.parametrize("left_out", [item for item, _ in CHECKLIST])
def test_a_checklist_with_an_item_left_out_is_refused(left_out):
    report = confirmed([item for item, _ in CHECKLIST if item != left_out], "R. Adiographer", 7.0)
    assert ids(report) == {f"not-confirmed-{left_out}"}


def test_a_checklist_needs_a_name_and_known_items():
    with pytest.raises(ValueError, match="name of the person"):
        confirmed([item for item, _ in CHECKLIST], "  ", 7.0)
    with pytest.raises(ValueError, match="palm-up is not on the positioning checklist"):
        confirmed(["palm-up"], "R. Adiographer", 7.0)
