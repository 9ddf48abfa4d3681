"""The overlay shows what was measured: checked against the result and the pixels drawn."""

import json

import cv2
import numpy as np
import pytest

from station.dxr.analysis import analyse, traced
from station.dxr.overlay import draw, outlines, outlines_json
from station.dxr.trace import Trace
from station.frame import Frame, Signal, Stage
from station.image_file import read_image
from station.result import Reason, Refused

RED = (60, 60, 255)


@pytest.fixture(scope="module")
def run(protocol, reference):
    return lambda frame: traced(frame, 60.0, None, protocol, reference)


@pytest.fixture(scope="module")
def shot(shoot):
    return shoot("t=1.6,w=8.2", "side=L,rotation=12")


@pytest.fixture(scope="module")
def measured(shot, run):
    result, trace = run(shot.frame)
    return shot.frame, result, outlines(trace)


def of(found, kind, number):
    return [o.points_px for o in found if o.kind == kind and o.label.startswith(f"metacarpal {number} ")]


def test_the_trace_changes_no_result(shot, measured, protocol, reference):
    assert analyse(shot.frame, 60.0, None, protocol, reference) == measured[1]


def test_axes_and_regions_are_those_of_the_result(measured):
    _, result, found = measured
    for bone in result.bones:
        (axis,) = of(found, "axis", bone.number)
        assert axis == pytest.approx(np.array(bone.axis_px), abs=1e-6)
        (region,) = of(found, "region", bone.number)
        assert region[:-1] == pytest.approx(np.array(bone.roi_px))
        assert (region[0] == region[-1]).all()


def test_the_silhouettes_are_as_far_apart_as_the_result_says(measured, protocol):
    _, result, found = measured
    mm_per_px = 0.1 / protocol.geometry.magnification
    for bone in result.bones:
        edges = of(found, "periosteal", bone.number), of(found, "endosteal", bone.number)
        outer, inner = (np.hypot(*(one - other).T).mean() * mm_per_px for one, other in edges)
        assert outer == pytest.approx(bone.w_mm.value, abs=0.02)
        assert (outer - inner) / 2 == pytest.approx(bone.t_mm.value, abs=0.01)
        (narrowest,) = of(found, "narrowest", bone.number)
        assert np.hypot(*(narrowest[1] - narrowest[0])) * mm_per_px < outer + 0.1


def test_outside_the_region_the_followed_paths_go_on_to_both_ends(measured):
    _, result, found = measured
    for bone in result.bones:
        paths = of(found, "path", bone.number)
        assert len(paths) == 8  # four edges, below and above
        base, head = (np.array(end) for end in bone.axis_px)
        along = (head - base) / ((head - base) @ (head - base))
        reached = np.concatenate([(path - base) @ along for path in paths])
        assert reached.min() < 0.1
        assert reached.max() > 0.9


def test_outlines_lie_inside_the_frame_and_the_hand_closes(measured):
    frame, _, found = measured
    for outline in found:
        assert np.isfinite(outline.points_px).all()
        assert (outline.points_px > -2).all()
        assert (outline.points_px < np.array(frame.shape) + 2).all()
    assert (found[0].label, (found[0].points_px[0] == found[0].points_px[-1]).all()) == ("hand", True)


def test_the_data_are_the_outlines_to_a_hundredth_of_a_pixel(measured):
    found = measured[2]
    data = json.loads(json.dumps(outlines_json(found)))
    assert [(entry["label"], entry["kind"]) for entry in data] == [(o.label, o.kind) for o in found]
    for entry, outline in zip(data, found, strict=True):
        assert np.array(entry["points_px"]) == pytest.approx(outline.points_px, abs=0.006)


def test_the_picture_shows_the_narrowest_place_where_it_is(measured):
    frame, result, found = measured
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
    frame = measured[0]
    reason = Reason("walls-unequal", "the two walls differ – beyond anatomy", "Lay the hand flat.", 3.5, 3.0)
    one, five = (draw(frame, Refused((reason,) * count)) for count in (1, 5))
    assert five.shape[0] > one.shape[0]
    text = one[round(1600 * frame.shape[0] / max(frame.shape)) :].reshape(-1, 3)
    assert (np.abs(text.astype(int) - RED).max(axis=1) < 10).any()


def test_a_refused_hand_shows_how_far_the_search_came_and_each_bone_its_gate(hands, run):
    result, trace = run(read_image(hands / "negatives/child_dactylitis.jpg"))
    found = outlines(trace)
    gates = [outline.label.split()[-1] for outline in found if outline.kind == "failed"]
    assert gates == [reason.id for reason in result.reasons][-len(gates) :]  # the hand's own come first
    assert {"hand", "axis", "path"} < {outline.kind for outline in found}
    assert not [outline for outline in found if outline.kind == "region"]
    chest, trace = run(read_image(hands / "negatives/phil_10185_chest.jpg"))
    assert (outlines(trace), isinstance(chest, Refused)) == ((), True)


def test_a_frame_that_is_not_looked_at_leaves_no_trace(measured, run):
    frame = measured[0].with_pixels(measured[0].pixels, Stage.RAW)
    result, trace = run(frame)
    assert (result.reasons[0].id, trace) == ("uncorrected-frame", Trace())


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (30, 20)])
def test_any_size_gives_a_picture_wide_enough_to_read(shape):
    frame = Frame(np.zeros(shape, np.uint8), Stage.FOR_PRESENTATION, Signal.ATTENUATION, None, "tiny")
    picture = draw(frame, Refused((Reason("no-contrast", "the image is uniform", "Look."),)))
    assert picture.shape[1] >= 900
    assert picture.shape[0] < 2000
    assert cv2.imencode(".png", picture)[0]
