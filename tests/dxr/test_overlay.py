"""The overlay shows what was measured: checked against the result and the pixels drawn."""

import cv2
import numpy as np
import pytest

from station.dxr.analysis import analyse
from station.dxr.overlay import draw, outlines
from station.frame import Frame, Signal, Stage
from station.image_file import read_image
from station.result import DxrResult, Reason, Refused

RED = (60, 60, 255)


@pytest.fixture(scope="module")
def run(protocol, reference):
    return lambda frame: analyse(frame, 60.0, None, protocol, reference)


@pytest.fixture(scope="module")
def measured(shoot, run):
    frame = shoot("t=1.6,w=8.2", "side=L,rotation=12").frame
    return frame, run(frame)


def of(found, kind, number):
    return [o.points_px for o in found if o.kind == kind and o.label.startswith(f"metacarpal {number} ")]


def test_axes_and_regions_are_those_of_the_result(measured):
    frame, result = measured
    found = outlines(frame, result)
    assert isinstance(result, DxrResult)
    for bone in result.bones:
        (axis,) = of(found, "axis", bone.number)
        assert axis == pytest.approx(np.array(bone.axis_px), abs=1e-6)
        (region,) = of(found, "region", bone.number)
        assert region[:-1] == pytest.approx(np.array(bone.roi_px))
        assert (region[0] == region[-1]).all()


def test_the_edges_in_the_region_are_as_far_apart_as_the_result_says(measured, protocol):
    frame, result = measured
    found = outlines(frame, result)
    mm_per_px = 0.1 / protocol.geometry.magnification
    for bone in result.bones:
        region = np.array(bone.roi_px)
        base, head = (np.array(end) for end in bone.axis_px)
        along = (head - base) / np.hypot(*(head - base))
        low, high = sorted([(region[0] - base) @ along, (region[2] - base) @ along])
        widths = {}
        for kind in ("periosteal", "endosteal"):
            one, other = of(found, kind, bone.number)
            inside = ((one - base) @ along > low) & ((one - base) @ along < high)
            widths[kind] = np.hypot(*(one - other)[inside].T).mean() * mm_per_px
        # the result puts the known blur back into the width: up to 0.2 mm
        assert widths["periosteal"] == pytest.approx(bone.w_mm.value, abs=0.25)
        wall = (widths["periosteal"] - widths["endosteal"]) / 2
        assert wall == pytest.approx(bone.t_mm.value, abs=0.1)
        (narrowest,) = of(found, "narrowest", bone.number)
        assert np.hypot(*(narrowest[1] - narrowest[0])) * mm_per_px < widths["periosteal"] + 0.1


def test_outlines_lie_inside_the_frame_and_the_hand_closes(measured):
    frame, result = measured
    for outline in outlines(frame, result):
        assert np.isfinite(outline.points_px).all()
        assert (outline.points_px > -2).all()
        assert (outline.points_px < np.array(frame.shape) + 2).all()
    hand = outlines(frame, result)[0]
    assert (hand.label, (hand.points_px[0] == hand.points_px[-1]).all()) == ("hand", True)


def test_the_picture_shows_the_narrowest_place_where_it_is(measured):
    frame, result = measured
    found = outlines(frame, result)
    picture = draw(frame, result, found)
    scale = 1600 / max(frame.shape)
    assert picture.shape[0] > round(frame.shape[0] * scale)  # the text is below
    for bone in result.bones:
        (ends,) = of(found, "narrowest", bone.number)
        row, column = np.rint((ends.mean(axis=0) + 0.5) * scale - 0.5).astype(int)
        near = picture[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3)
        assert (np.abs(near.astype(int) - RED).max(axis=1) < 40).any()
    plain = draw(frame, result)
    assert (picture != plain).any()


def test_more_reasons_give_a_taller_text_and_refusals_are_red(measured):
    frame, _ = measured
    reason = Reason("walls-unequal", "the two walls differ – beyond anatomy", "Lay the hand flat.", 3.5, 3.0)
    one, five = (draw(frame, Refused((reason,) * count)) for count in (1, 5))
    assert five.shape[0] > one.shape[0]
    text = one[round(1600 * frame.shape[0] / max(frame.shape)) :].reshape(-1, 3)
    assert (np.abs(text.astype(int) - RED).max(axis=1) < 10).any()


def test_a_refused_hand_shows_how_far_the_search_came(hands, run):
    frame = read_image(hands / "negatives/child_dactylitis.jpg")
    result = run(frame)
    kinds = {outline.kind for outline in outlines(frame, result)}
    assert kinds == {"hand", "axis", "periosteal", "endosteal"}
    chest = read_image(hands / "negatives/phil_10185_chest.jpg")
    assert outlines(chest, run(chest)) == ()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (30, 20)])
def test_any_size_gives_a_picture_wide_enough_to_read(shape):
    frame = Frame(np.zeros(shape, np.uint8), Stage.FOR_PRESENTATION, Signal.ATTENUATION, None, "tiny")
    picture = draw(frame, Refused((Reason("no-contrast", "the image is uniform", "Look."),)))
    assert picture.shape[1] >= 900
    assert picture.shape[0] < 2000
    assert cv2.imencode(".png", picture)[0]
