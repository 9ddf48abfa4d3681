"""Drawings: what lies at so many mm or frame pixels is drawn there, at any size, and warnings survive."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from station.devices import CameraView
from station.exam import Side
from station.positioning import PositioningReport
from station.result import Reason
from station.ui import drawing
from station.ui.canvas import DARK, HIGH_CONTRAST, MONOCHROME
from station.ui.drawing import LEAST_WINDOW, MOST_WINDOW, MOST_ZOOM, Look, Radiograph

FIELD_MM = (280, 220)
PANEL_MM = (300.0, 240.0)
SIZES = [(80, 64), (40, 30), (60, 120), (800, 600)]
SQUARE = ((100.0, 80.0), (100.0, 160.0), (200.0, 160.0), (200.0, 80.0))
ZONE = ((130.0, 100.0), (130.0, 140.0), (180.0, 140.0), (180.0, 100.0))
SHAPE = (3000, 2400)


@dataclass(frozen=True)
class Drawn:
    label: str
    kind: str
    points_px: np.ndarray


def view(bgr=(0, 0, 0)):
    pixels = np.empty((560, 480, 3), np.uint8)
    pixels[:] = bgr
    return CameraView(pixels, 1.0, 0.75, (79.5, 79.5), PANEL_MM)


def report(ok=True):
    findings = () if ok else (Reason("outside-field", "too far", "Slide the hand 20 mm towards you"),)
    return PositioningReport(1.0, findings, Side.LEFT, outline_mm=SQUARE, zone_mm=ZONE)


def of_colour(drawn, stroke, within=30):
    """Rows and columns of the pixels in this stroke's colour."""
    away = np.abs(drawn.pixels.astype(int) - stroke.colour).max(axis=2)
    return np.argwhere(away <= within)


def radiograph(shape=SHAPE):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return Radiograph(((rows + columns) % 4096).astype(np.uint16), 2048.0, 4096.0)


def shaft(kind, row, column, width=80.0, length=300.0):
    corners = [(0, 0), (0, width), (length, width), (length, 0), (0, 0)]
    return Drawn(f"metacarpal 3 {kind}", kind, np.array(corners, float) + np.array((row, column)))


@pytest.mark.parametrize("size_px", SIZES)
def test_the_light_field_is_drawn_where_its_mm_say(size_px):
    drawn = drawing.camera(view(), size_px, field_mm=FIELD_MM)
    found = of_colour(drawn, DARK.light_field)
    top, left = drawn.at(10, 10)
    bottom, right = drawn.at(290, 230)
    assert found.min(axis=0) + 0.5 == pytest.approx([top, left], abs=2.1)
    assert found.max(axis=0) + 0.5 == pytest.approx([bottom, right], abs=2.1)
    assert drawn.at(300, 0)[0] - drawn.at(0, 0)[0] == pytest.approx(drawn.at(0, 300)[1] - drawn.at(0, 0)[1])


@pytest.mark.parametrize("size_px", SIZES)
def test_what_lies_on_the_panel_is_shown_where_it_lies(size_px):
    seen = view()
    seen.pixels[240:320, 220:260] = (0, 0, 255)  # red; from row 239.5 - 79.5 on, in pixels of 0.75 mm
    drawn = drawing.camera(seen, size_px, field_mm=FIELD_MM)
    rows, columns = np.nonzero((drawn.pixels[..., 0] > 127) & (drawn.pixels[..., 1] < 60))
    top, left = drawn.at(160 * 0.75, 140 * 0.75)
    bottom, right = drawn.at(240 * 0.75, 180 * 0.75)
    assert (rows.min(), columns.min()) == pytest.approx((top, left), abs=1.5)
    assert (rows.max() + 1, columns.max() + 1) == pytest.approx((bottom, right), abs=1.5)


@pytest.mark.parametrize("size_px", SIZES)
@pytest.mark.parametrize("palette", [DARK, HIGH_CONTRAST])
def test_hand_and_earlier_outline_are_told_apart_at_every_size(size_px, palette):
    earlier = tuple((r + 20, c - 40) for r, c in SQUARE)
    drawn = drawing.camera(
        view(), size_px, field_mm=FIELD_MM, report=report(), earlier_mm=earlier, palette=palette
    )
    length = 2 * (100 + 80) * drawn.scale
    hand, before = of_colour(drawn, palette.hand), of_colour(drawn, palette.earlier)
    assert len(hand) > 0.7 * length
    assert 0.3 * length < len(before) < 2 * length


def test_an_earlier_outline_is_dashed_and_the_hands_is_not():
    drawn = drawing.camera(view(), (300, 240), field_mm=FIELD_MM, report=report(), earlier_mm=SQUARE)
    only = drawing.camera(view(), (300, 240), field_mm=FIELD_MM, earlier_mm=SQUARE)
    row = round(only.at(200.0, 0)[0] - 0.5)
    assert len({tuple(p) for p in only.pixels[row, 90:150].tolist()}) > 1  # gaps
    assert len({tuple(p) for p in drawn.pixels[row, 90:150].tolist()}) == 1  # whole


@pytest.mark.parametrize("palette", [DARK, HIGH_CONTRAST, MONOCHROME])
@pytest.mark.parametrize("size_px", SIZES)
def test_a_zone_that_is_not_well_is_hatched_not_merely_red(size_px, palette):
    def inside(ok):
        drawn = drawing.camera(
            view((60, 60, 60)), size_px, field_mm=FIELD_MM, report=report(ok), palette=palette
        )
        (top, left), (bottom, right) = drawn.at(140, 108), drawn.at(170, 132)
        return drawn.pixels[round(top) : round(bottom), round(left) : round(right)].max(axis=2)

    assert np.ptp(inside(ok=True)) <= 1
    assert np.ptp(inside(ok=False)) > 20


def test_the_camera_in_words_says_the_side_and_what_to_do():
    well = drawing.camera(view(), (80, 64), field_mm=FIELD_MM, report=report()).words
    assert "left hand" in well
    assert "well positioned" in well
    ill = drawing.camera(view(), (80, 64), field_mm=FIELD_MM, report=report(ok=False)).words
    assert "Slide the hand 20 mm towards you" in ill
    assert "well positioned" not in ill


# --- the radiograph -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (1000, 500), (300.5, 2), (40, 1)])
def test_the_window_is_dicoms_linear_function(center, width):
    values = np.arange(4096, dtype=np.uint16)
    expected = []
    for x in values.tolist():  # PS3.3 C.11.2.1.2.1, word for word
        if x <= center - 0.5 - (width - 1) / 2:
            expected.append(0)
        elif x > center - 0.5 + (width - 1) / 2:
            expected.append(255)
        else:
            expected.append(((x - (center - 0.5)) / (width - 1) + 0.5) * 255)
    assert np.abs(drawing.window(values, center, width) - np.array(expected)).max() <= 0.51


@pytest.mark.parametrize("size_px", [*SIZES, (37, 211)])
@pytest.mark.parametrize("zoom", [1.0, 2.0, 7.0, 32.0])
def test_zoom_keeps_the_centre_in_the_middle(size_px, zoom):
    pixels = np.zeros(SHAPE, np.uint16)
    pixels[:1500, :1200] = 4095  # the corner of the bright quarter is the frame's centre
    made = Radiograph(pixels, 2048, 4096)
    drawn = made.draw(made.first_look.zoomed(zoom), size_px)
    assert drawn.at(1500, 1200) == pytest.approx((size_px[0] / 2, size_px[1] / 2))
    bright = np.argwhere(drawn.pixels[..., 0] > 127)
    assert bright.max(axis=0) + 1 == pytest.approx(np.array(size_px) / 2, abs=1.01)


def test_a_close_look_shows_pixels_as_they_are():
    made = Radiograph(np.random.default_rng(3).integers(0, 4096, (64, 64), np.uint16), 2048, 4096)
    drawn = made.draw(made.first_look.zoomed(8), (64, 64))
    blocks = drawn.pixels.reshape(8, 8, 8, 8, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    shown = drawing.window(made._levels[0][28:36, 28:36], 2048, 4096)
    assert (blocks[:, 0, :, 0, 0] == shown).all()


def test_inverted_is_the_negative_inside_the_frame_and_black_beside_it():
    made = radiograph((100, 100))
    look = made.first_look
    plain, inverted = (made.draw(replace(look, inverted=i), (100, 160)).pixels for i in (False, True))
    assert (plain[:, 40:120] == 255 - inverted[:, 40:120]).all()
    assert not inverted[:, :29].any()


@pytest.mark.parametrize("size_px", [(40, 30), (80, 64), (60, 120), (800, 600)])
@pytest.mark.parametrize("kind", ["region", "failed", "axis"])
def test_what_matters_survives_the_smallest_pictures(size_px, kind):
    drawn = radiograph().draw(radiograph().first_look, size_px, [shaft(kind, 1300, 1100)])
    found = of_colour(drawn, DARK.outlines[kind])
    assert len(found) >= 3
    low, high = drawn.at(1300.5, 1100.5), drawn.at(1600.5, 1180.5)
    assert (found.min(axis=0) >= np.array(low) - 4).all()
    assert (found.max(axis=0) <= np.array(high) + 4).all()


def test_a_failed_bone_is_crossed_out_and_lies_on_top():
    both = [shaft("failed", 1300, 1100), shaft("region", 1300, 1100)]
    drawn = radiograph().draw(radiograph().first_look, (80, 64), both)
    row, column = drawn.at(1450.5, 1140.5)  # the middle of the cross
    around = drawn.pixels[int(row) - 1 : int(row) + 2, int(column) - 1 : int(column) + 2]
    assert (np.abs(around.astype(int) - DARK.outlines["failed"].colour).max(axis=2) < 30).any()
    assert not len(of_colour(drawn, DARK.outlines["region"]))


def test_edges_of_a_shaft_are_drawn_only_where_there_is_room_between_them():
    bone = [shaft("region", 1300, 1100), shaft("periosteal", 1300, 1100)]
    made = radiograph()
    assert "periosteal" not in made.draw(made.first_look, (80, 64), bone).words
    assert "periosteal" in made.draw(made.first_look.onto(bone, ("region",)), (80, 64), bone).words


def test_an_overlay_put_away_leaves_the_picture_as_it_is():
    made = radiograph()
    away = replace(made.first_look, overlay=False)
    plain = made.draw(away, (80, 64), [shaft("failed", 1300, 1100)])
    assert (plain.pixels == made.draw(made.first_look, (80, 64)).pixels).all()
    assert "without outlines" in plain.words


def test_only_the_picture_made_for_the_eye_is_drawn():
    with pytest.raises(ValueError, match="For Presentation"):
        Radiograph(np.zeros((10, 10), np.float32), 1, 1)


# --- looks ----------------------------------------------------------------------------------------------


def test_a_look_that_reached_its_limit_stays_the_same():
    look = radiograph().first_look
    assert look.zoomed(0.5) is look
    assert look.panned(0.3, 0.3) is look  # all of it is seen
    closest = look.zoomed(1000)
    assert closest.zoom == MOST_ZOOM
    assert closest.zoomed(2) is closest
    corner = closest.panned(1000, 1000)
    assert corner.panned(1, 1) is corner
    assert corner.zoomed(0.0001) == replace(look)


moves = st.one_of(
    st.tuples(st.just("zoomed"), st.tuples(st.floats(0.1, 10))),
    st.tuples(st.just("panned"), st.tuples(st.floats(-3, 3), st.floats(-3, 3))),
    st.tuples(st.just("windowed"), st.tuples(st.floats(-3, 3), st.floats(0.1, 10))),
)
SMALL = radiograph((301, 203))
BONES = [shaft(kind, 120, 90, 25, 60) for kind in DARK.outlines]


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(moves, max_size=6),
    size_px=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    inverted=st.booleans(),
    palette=st.sampled_from([DARK, HIGH_CONTRAST, MONOCHROME]),
)
def test_any_look_at_any_size_is_a_picture_of_that_size(steps, size_px, inverted, palette):
    look = SMALL.first_look
    for name, arguments in steps:
        look = getattr(look, name)(*arguments)
    assert LEAST_WINDOW <= look.window_width <= MOST_WINDOW
    drawn = SMALL.draw(replace(look, inverted=inverted), size_px, BONES, palette)
    assert drawn.pixels.shape == (*size_px, 3)
    assert drawn.pixels.dtype == np.uint8
    middle = (np.array(size_px) / 2 / drawn.scale) + drawn.corner
    assert ((middle > 0) & (middle < SMALL.first_look.shape)).all()  # the frame is never lost from sight


@settings(max_examples=30, deadline=None)
@given(size_px=st.tuples(st.integers(1, 200), st.integers(1, 200)), ok=st.booleans())
def test_any_size_of_the_camera_is_a_picture_of_that_size(size_px, ok):
    drawn = drawing.camera(view(), size_px, field_mm=FIELD_MM, report=report(ok), earlier_mm=SQUARE)
    assert drawn.pixels.shape == (*size_px, 3)


def test_onto_brings_the_bones_into_sight_and_nothing_else_is_asked_for():
    look = radiograph().first_look
    close = look.onto([shaft("axis", 2000, 300)])
    assert close.zoom > 5
    drawn = radiograph().draw(close, (80, 64))
    for row, column in ((2000, 300), (2300, 380)):
        assert (np.array(drawn.at(row, column)) > 0).all()
        assert (np.array(drawn.at(row, column)) < (80, 64)).all()
    assert close.onto([]) == Look(SHAPE, 2048.0, 4096.0)


# --- a raw frame before it is measured ----------------------------------------------------------------------


def test_a_preview_shows_bone_bright_whatever_single_pixels_of_the_panel_say():
    air, flesh, bone = 40_000, 12_000, 4_000
    raw = np.full((600, 480), air, np.uint16)
    raw[100:500, 100:380], raw[200:400, 200:280] = flesh, bone
    raw[0, ::7], raw[0, 1::7] = 0, 65_535  # dead and stuck
    shown = drawing.preview(raw)
    pixels = shown.draw(shown.first_look, (300, 240)).pixels.astype(int)
    places = (np.s_[10:40], np.s_[60:90, 60:180], np.s_[110:190, 105:135])
    in_air, in_flesh, in_bone = (int(np.median(pixels[place])) for place in places)
    assert in_air < in_flesh - 60 < in_bone - 120
