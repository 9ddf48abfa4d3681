"""What spoils an image: each gate names itself, and no value comes from a bone that failed one."""

from dataclasses import replace

import cv2
import defects
import numpy as np
import pytest

from station.dxr.analysis import analyse
from station.dxr.axes import find_axes
from station.dxr.localise import locate
from station.frame import Frame, Signal, Stage
from station.image_file import read_image
from station.result import DxrResult, Refused

PITCH_MM = 0.14
DOSE_UGY = 5.0


def ids(found):
    return [reason.id for reason in (found.reasons if isinstance(found, Refused) else found.notes)]


def measured_bones(found):
    return [] if isinstance(found, Refused) else [bone.number for bone in found.bones]


@pytest.fixture(scope="module")
def run(protocol, reference):
    return lambda frame, age=60.0: analyse(frame, age, None, protocol, reference)


@pytest.fixture(scope="module")
def picture(shoot):
    shot = shoot("", "side=L", pitch_mm=PITCH_MM)
    axes = find_axes(shot.frame, locate(shot.frame))
    signal = shot.phantom.relative_signal(shot.panel, 50, 1000)
    known = {n: (axis.base_px, axis.head_px, axis.width_px) for n, axis in axes.items()}
    return defects.Picture.of(-np.log(np.maximum(signal, 1e-4)), known, 1.015 / PITCH_MM)


def exposed(picture, seed=4):
    signal = cv2.GaussianBlur(np.exp(-picture.values), (0, 0), 0.1 / PITCH_MM)
    quanta = 30000 * PITCH_MM**2 * DOSE_UGY
    counts = np.random.default_rng(seed).poisson(np.maximum(signal, 0) * quanta) * (40000 / quanta)
    pixels = np.minimum(counts, 65535).astype(np.uint16)
    return Frame(
        pixels, Stage.FOR_PROCESSING, Signal.DOSE, (PITCH_MM, PITCH_MM), "phantom", saturation=65000.0
    )


@pytest.mark.parametrize(
    ("build", "gate"),
    [
        (lambda p, n: defects.gap(p, n, 0.6), "shaft-broken"),
        (lambda p, n: defects.gap(p, n, 0.6, 45), "shaft-broken"),
        (lambda p, n: defects.step(p, n, 2.0), "shaft-broken"),
        (lambda p, n: defects.wire(p, n, 1.6), "metal"),
        (lambda p, n: defects.plate(p, n, 8), "metal"),
        (lambda p, n: defects.screw(p, n, 2.4), "metal"),
    ],
    ids=["gap", "oblique gap", "step", "wire", "plate", "screw"],
)
@pytest.mark.parametrize("number", [2, 4])
def test_a_defect_of_one_bone_drops_that_bone_and_is_named(picture, run, build, gate, number):
    found = run(exposed(build(picture, number)))
    assert number not in measured_bones(found)
    assert gate in ids(found)
    if isinstance(found, DxrResult):
        assert "bones-incomplete" in ids(found)


def test_a_weave_over_the_whole_hand_is_refused_as_a_dressing(picture, run):
    found = run(exposed(defects.cast(picture, 0.7, 0.3)))
    assert isinstance(found, Refused)
    assert "dressing" in ids(found)


def test_motion_across_the_shafts_is_refused(picture, run):
    found = run(exposed(defects.motion(picture, 1.5, 90)))
    assert isinstance(found, Refused)
    assert "blurred" in ids(found)


def test_a_ring_on_the_finger_and_a_letter_beside_the_hand_do_no_harm(picture, run):
    usual = run(exposed(picture)).mci.value
    for harmless in (defects.ring(picture, 3, at=1.4), defects.marker(picture)):
        found = run(exposed(harmless))
        assert measured_bones(found) == [2, 3, 4]
        assert found.mci.value == pytest.approx(usual, rel=0.03)


@pytest.mark.parametrize("angle", [-30, 30])
def test_a_hand_turned_on_its_side_is_refused(shoot, run, angle):
    assert ids(run(shoot("", f"pronation={angle}", pitch_mm=PITCH_MM).frame)) == ["hand-rotated"]


@pytest.mark.parametrize("spread", [0.7, 0.4, 0.1])
def test_fingers_pressed_together_are_measured_on_the_right_bones(shoot, run, spread):
    shot = shoot("", f"spread={spread},rotation=15", pitch_mm=PITCH_MM)
    found = run(shot.frame)
    assert measured_bones(found) == [2, 3, 4]
    for bone in found.bones:
        base, head = (np.array(end) for end in shot.phantom.truth()[bone.number].axis_px(shot.panel))
        assert np.hypot(*(np.array(bone.axis_px) - (base, head)).T).max() < 0.03 * np.hypot(*(head - base))


def test_growth_plates_are_noted_by_age_and_by_sight(hands, shoot, run):
    grown = shoot("", "side=L", pitch_mm=PITCH_MM).frame
    assert "physes-open" not in ids(run(grown))
    assert "physes-open" not in ids(run(grown, None))
    assert "physes-open" in ids(run(grown, 16.0))
    child = read_image(hands / "rsna/2110.png")
    assert "physes-open" in ids(run(child, None))
    assert "physes-open" not in ids(run(child, 60.0))


@pytest.mark.parametrize(
    ("build", "gate"),
    [
        (lambda p: defects.gap(p, 3, 0.6), "shaft-broken"),
        (lambda p: defects.wire(p, 3, 1.6), "metal"),
        (lambda p: defects.plate(p, 3, 8), "metal"),
    ],
    ids=["gap", "wire", "plate"],
)
@pytest.mark.parametrize("name", ["2391", "4360", "4517"])
def test_defects_painted_into_radiographs_are_named(hands, run, name, build, gate):
    frame = read_image(hands / f"rsna/{name}.png")
    axes = {n: (a.base_px, a.head_px, a.width_px) for n, a in find_axes(frame, locate(frame)).items()}
    painted = build(defects.Picture.of(frame.pixels, axes)).values
    found = run(replace(frame, pixels=np.clip(np.rint(painted), 0, 255).astype(np.uint8)))
    assert 3 not in measured_bones(found)
    assert gate in ids(found)
