"""The presentation state: what is drawn lies where it was found, whatever reads it."""

import shutil
import subprocess
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from validators import complaints, needs_dciodvfy

from station.dicom import presentation_state
from station.dicom.image import build_pair
from station.dicom.modules import write
from station.exam import Side
from station.result import Reason, Refused

ROWS, COLUMNS = 120, 90  # of the images in conftest
KINDS = ("hand", "axis", "path", "periosteal", "endosteal", "region", "narrowest", "failed")
needs_dcmpschk = pytest.mark.skipif(shutil.which("dcmpschk") is None, reason="dcmtk is not installed")
# The fixtures that are given are factories and frozen values: nothing of one example reaches the next.
pure = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Line:
    label: str
    kind: str
    points_px: np.ndarray


def line(*points, kind="periosteal", label="metacarpal 2 periosteal"):
    return Line(label, kind, np.array(points, float))


@pytest.fixture
def make_pair(exam, exposure, processing, presentation, context):
    def make(*, scale_known=True, **item):
        ordered = replace(exam, item=replace(exam.item, **item))
        linear = replace(processing, scale_known=scale_known)
        return build_pair(ordered, exposure, linear, presentation, context)

    return make


@pytest.fixture
def picture(make_pair):
    return make_pair()[1]


@pytest.fixture
def draw(study, picture):
    return lambda *lines: presentation_state.build(study, picture, lines)


@pytest.fixture
def every_kind():
    return [
        line((20, 20), (40.25, 30.5), (60, 20), kind=kind, label=f"metacarpal 2 {kind}") for kind in KINDS
    ]


def layer(state, name):
    (found,) = [item for item in state.GraphicAnnotationSequence if item.GraphicLayer == name]
    return found


def drawn(state, name="PERIOSTEAL"):
    """Points in (row, column) of the frame, as a reader of C.10.5 finds them."""
    return [
        np.array(item.GraphicData).reshape(-1, 2)[:, ::-1] - 0.5
        for item in layer(state, name).GraphicObjectSequence
    ]


def texts(state, name):
    return [item.UnformattedTextValue for item in layer(state, name).TextObjectSequence]


def test_the_top_left_pixel_has_its_centre_at_one_half(draw):
    """PS3.3 C.10.5: its top left corner is 0\\0, its bottom right corner 1\\1; column comes first."""
    (item,) = layer(draw(line((0, 0), (10, 30))), "PERIOSTEAL").GraphicObjectSequence
    assert list(item.GraphicData) == [0.5, 0.5, 30.5, 10.5]
    assert (item.GraphicAnnotationUnits, item.GraphicType, item.GraphicFilled) == ("PIXEL", "POLYLINE", "N")


def distance_px(points, path):
    """Largest distance of the points from a polyline."""
    start, along = path[:-1], np.diff(path, axis=0)
    length2 = np.maximum((along**2).sum(1), 1e-12)
    share = np.clip(((points[:, None] - start) * along).sum(2) / length2, 0, 1)
    return float(np.linalg.norm(points[:, None] - (start + share[..., None] * along), axis=2).min(1).max())


@pure
@given(st.integers(0, 2**32 - 1), st.integers(2, 300), st.booleans(), st.sampled_from([0.05, 0.5, 5]))
def test_no_point_is_a_tenth_of_a_pixel_off(study, picture, seed, count, closed, rough):
    steps = np.random.default_rng(seed).normal(0, rough, (count, 2)).cumsum(0)
    points = np.clip(np.array([60, 45]) + steps, 0, [ROWS - 1, COLUMNS - 1])
    points = np.vstack((points, points[:1])) if closed else points
    (found,) = drawn(presentation_state.build(study, picture, [line(*points)]))
    assert distance_px(points, found) <= presentation_state.SIMPLIFIED_PX
    assert len(found) <= len(points)
    assert found[0] == pytest.approx(points[0], abs=0.1) or closed
    assert not closed or (found[0] == found[-1]).all()


def test_a_smooth_edge_takes_few_points(draw):
    across = np.linspace(10, 80, 400)
    smooth = np.stack((60 + 20 * np.sin(across / 30), across), 1)
    (found,) = drawn(draw(line(*smooth)))
    assert len(found) < 60


def test_a_line_of_too_many_points_for_one_element_is_drawn_in_parts(draw):
    zigzag = np.stack((np.tile([10.0, 20.0], 10000), np.linspace(0, COLUMNS - 1, 20000)), 1)
    parts = drawn(draw(line(*zigzag)))
    assert len(parts) > 1
    assert max(part.size * 4 for part in parts) < 65536  # bytes of one element of VR FL
    assert (parts[0][0] == zigzag[0]).all()
    assert parts[-1][-1] == pytest.approx(zigzag[-1], abs=0.1)
    for one, following in pairwise(parts):
        assert (one[-1] == following[0]).all()


def test_every_kind_has_its_layer_with_colour_and_grey(draw, every_kind):
    state = draw(*every_kind)
    layers = {item.GraphicLayer: item for item in state.GraphicLayerSequence}
    assert {kind.upper() for kind in KINDS} | {"LABEL", "SIDE"} == set(layers)
    assert sorted(item.GraphicLayerOrder for item in layers.values()) == list(range(1, len(layers) + 1))
    for item in layers.values():
        assert 0 < item.GraphicLayerRecommendedDisplayGrayscaleValue <= 65535
        assert len(item.GraphicLayerRecommendedDisplayCIELabValue) == 3
    assert {item.GraphicLayer for item in state.GraphicAnnotationSequence} == set(layers)


@pytest.mark.parametrize("srgb", [(255, 255, 255), (80, 230, 80), (255, 60, 60), (60, 160, 255), (0, 0, 0)])
def test_colours_are_those_of_a_colour_management_system(srgb):
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB", 5000), "RGB", "LAB"
    )
    light, a, b = ImageCms.applyTransform(Image.new("RGB", (1, 1), srgb), to_lab).getpixel((0, 0))
    found = presentation_state.cielab(srgb)
    assert [value / 257 for value in found] == pytest.approx([light, a, b], abs=2)


def test_the_bones_are_numbered_and_their_values_written(draw, measured):
    state = draw()
    *numbers, values = texts(state, "LABEL")
    assert numbers == ["2", "3", "4"]
    assert values.split("\r\n")[0] == "Metacarpal 2: T 1.70 mm, W 8.21 mm, MCI 0.414"
    assert len(values.split("\r\n")) == len(measured.bones)


def test_without_a_scale_only_ratios_are_written(make_study, picture, measured):
    bones = tuple(replace(bone, t_mm=None, w_mm=None) for bone in measured.bones)
    study = make_study(result=replace(measured, bones=bones, scale="relative"))
    *_, values = texts(presentation_state.build(study, picture, ()), "LABEL")
    assert values.split("\r\n")[0] == "Metacarpal 2: MCI 0.414"


def test_a_refusal_says_why(make_study, picture):
    study = make_study(result=Refused((Reason("ring", "a ring covers the bone", "take it off"),)))
    (words,) = texts(presentation_state.build(study, picture, ()), "LABEL")
    assert words == "No DXR result\r\nring: a ring covers the bone"


def test_values_of_another_exposure_are_not_written(make_study, exposure, picture):
    later = replace(exposure, number=2, uid="2.25.13")
    state = presentation_state.build(make_study(exposures=(exposure, later)), picture, ())
    assert [item.GraphicLayer for item in state.GraphicAnnotationSequence] == ["SIDE"]


@pytest.mark.parametrize("side", Side)
def test_the_side_is_marked_and_said(make_study, make_pair, exam, side):
    ordered = make_study(exam=replace(exam, item=replace(exam.item, side=side)))
    state = presentation_state.build(ordered, make_pair(side=side)[1], ())
    assert state.Laterality == side.value
    assert texts(state, "SIDE") == [side.value]


def test_a_failed_region_names_its_check(draw):
    failed = line((20, 20), (40, 20), (40, 30), kind="failed", label="metacarpal 3 ring")
    assert texts(draw(failed), "FAILED") == ["metacarpal 3 ring"]


def test_window_and_area_are_the_pictures(draw, picture):
    state = draw()
    (window,) = state.SoftcopyVOILUTSequence
    assert (window.WindowCenter, window.WindowWidth) == (picture.WindowCenter, picture.WindowWidth)
    (area,) = state.DisplayedAreaSelectionSequence
    assert list(area.DisplayedAreaTopLeftHandCorner) == [1, 1]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [COLUMNS, ROWS]
    assert area.PresentationPixelSpacing == picture.PixelSpacing


def test_it_belongs_to_the_image_for_presentation(study, make_pair):
    linear, picture = make_pair()
    (series,) = presentation_state.build(study, picture, ()).ReferencedSeriesSequence
    assert series.SeriesInstanceUID == picture.SeriesInstanceUID
    (referenced,) = series.ReferencedImageSequence
    assert referenced.ReferencedSOPInstanceUID == picture.SOPInstanceUID
    with pytest.raises(ValueError, match="FOR PRESENTATION"):
        presentation_state.build(study, linear, ())


def test_refuses_an_outline_that_is_not_in_the_image(draw):
    for message, wrong in (
        ("unknown kind|known are", line((1, 1), (2, 2), kind="tendon")),
        ("leaves the image by", line((1, 1), (ROWS + 5, 2))),
        ("leaves the image by", line((-40, 1), (3, 2), kind="hand")),
        ("finite", line((1, 1), (np.nan, 2))),
        ("two or more", line((1, 1))),
    ):
        with pytest.raises(ValueError, match=message):
            draw(wrong)


def test_the_hands_coarse_outline_ends_at_the_border(draw):
    (found,) = drawn(draw(line((ROWS + 3, 10), (60, 10), (60, 50), (ROWS + 3, 50), kind="hand")), "HAND")
    assert found[:, 0].max() == ROWS - 0.5


def test_a_second_run_makes_the_same_state(draw, every_kind):
    assert draw(*every_kind) == draw(*every_kind)


def test_drawn_pixels_are_those_that_the_outline_names(draw):
    """A reader that fills what is drawn finds the rectangle of pixels it was made from."""
    corners = line((29.5, 19.5), (29.5, 39.5), (59.5, 39.5), (59.5, 19.5), (29.5, 19.5), kind="region")
    (item,) = layer(draw(corners), "REGION").GraphicObjectSequence
    ring = np.array(item.GraphicData).reshape(-1, 2)  # x, y from the image's top left corner
    inside = [
        (row, column)
        for row in range(ROWS)
        for column in range(COLUMNS)
        if cv2.pointPolygonTest(ring.astype(np.float32), (column + 0.5, row + 0.5), measureDist=False) > 0
    ]
    assert inside == [(row, column) for row in range(30, 60) for column in range(20, 40)]


@needs_dciodvfy
def test_the_validator_has_nothing_to_say(draw, every_kind, tmp_path):
    assert complaints(draw(*every_kind), tmp_path) == []


@needs_dciodvfy
def test_the_validator_accepts_a_picture_without_scale_and_result(make_study, make_pair, tmp_path):
    picture = make_pair(scale_known=False)[1]
    state = presentation_state.build(make_study(result=None), picture, ())
    assert complaints(state, tmp_path) == []


@needs_dcmpschk
def test_the_presentation_state_checker_passes_it(draw, every_kind, tmp_path):
    path = tmp_path / "state.dcm"
    state = draw(*every_kind)
    state.PatientName, state.InstitutionName = "Test^Person", "Site"  # dcmpschk 3.6.7 knows no UTF-8
    write(state, path)
    answer = subprocess.run(["dcmpschk", str(path)], capture_output=True, text=True, check=False)
    assert "Test passed" in answer.stdout + answer.stderr
    del state.DisplayedAreaSelectionSequence
    write(state, path)
    answer = subprocess.run(["dcmpschk", str(path)], capture_output=True, text=True, check=False)
    assert "Test passed" not in answer.stdout + answer.stderr
