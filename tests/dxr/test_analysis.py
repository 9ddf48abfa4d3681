"""The whole analysis on simulated exposures of hands whose T and W are known."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from station.dxr.analysis import analyse
from station.exam import Sex, Side
from station.frame import Frame, Signal, Stage
from station.result import DxrResult, Refused

USUAL = ("t=1.61,w=8.2", "side=L")


def ids(found):
    return [reason.id for reason in (found.reasons if isinstance(found, Refused) else found.notes)]


def turned(frame, pixels):
    return replace(frame, pixels=np.ascontiguousarray(pixels))


def true_over_region(true, bone, panel):
    """Mean T and W of the phantom where the region lies that was measured."""
    base, head = (np.array(end) for end in true.axis_px(panel))
    corners = np.array(bone.roi_px)
    ends = np.array([corners[:2].mean(axis=0), corners[2:].mean(axis=0)])
    low, high = (ends - base) @ (head - base) / ((head - base) @ (head - base)) * true.tube.length_mm
    s = np.linspace(low, high, 201)
    return float(true.tube.wall(s).mean()), float(true.tube.width(s).mean())


@pytest.fixture(scope="module")
def measured(shoot, protocol, reference):
    def run(hand=USUAL[0], pose=USUAL[1], age=65.0, sex=Sex.FEMALE, **how):
        return analyse(shoot(hand, pose, **how).frame, age, sex, protocol, reference)

    return run


@pytest.fixture
def run(protocol, reference):
    def analysed(frame, age=65.0, sex=Sex.FEMALE, side=None):
        return analyse(frame, age, sex, protocol, reference, side)

    return analysed


@pytest.mark.parametrize(
    ("hand", "pose"),
    [
        USUAL,
        ("t=1.0,w=8.0", "side=R,rotation=20"),
        ("t=2.2,w=8.2", "side=R,rotation=-75"),
        ("t=2.4,w=9.2,size=large", "side=L,rotation=-15"),
        ("t=1.2,w=7.0,size=small", "side=L,rotation=180"),
    ],
)
def test_wall_and_width_are_right_in_the_object_plane(shoot, measured, protocol, hand, pose):
    found = measured(hand, pose)
    assert isinstance(found, DxrResult)
    assert [bone.number for bone in found.bones] == [2, 3, 4]
    truth = shoot(hand, pose).phantom.truth(protocol.geometry.sid_mm)
    for bone in found.bones:
        t_mm, w_mm = true_over_region(truth[bone.number], bone, shoot(hand, pose).panel)
        assert bone.t_mm.value == pytest.approx(t_mm, abs=0.05)
        assert bone.w_mm.value == pytest.approx(w_mm, abs=0.08)
        assert bone.mci.value == pytest.approx(2 * t_mm / w_mm, abs=0.03)
        assert abs(bone.t_mm.value - t_mm) <= bone.t_mm.u95
        assert abs(bone.w_mm.value - w_mm) <= bone.w_mm.u95


def test_axes_run_from_base_to_head_of_the_right_bone(shoot, measured):
    shot = shoot(*USUAL)
    truth = shot.phantom.truth()
    for bone in measured().bones:
        base, head = (np.array(end) for end in truth[bone.number].axis_px(shot.panel))
        along = (head - base) / np.hypot(*(head - base))
        measured_base, measured_head = np.array(bone.axis_px)
        middle = (measured_base + measured_head) / 2 - base
        assert abs(middle @ np.array([-along[1], along[0]])) < 5  # px, of a bone 82 px wide
        direction = (measured_head - measured_base) / np.hypot(*(measured_head - measured_base))
        assert np.degrees(np.arccos(direction @ along)) < 3  # widens W by 0.14 %
        assert abs((measured_head - head) @ along) < 10  # px, of about 650
        assert abs((measured_base - base) @ along) < 13


def test_regions_lie_around_the_narrowest_place(shoot, measured):
    shot = shoot(*USUAL)
    for bone in measured().bones:
        centre = np.mean(bone.roi_px, axis=0)
        narrow = np.array(shot.phantom.truth()[bone.number].narrow_px(shot.panel))
        assert np.hypot(*(centre - narrow)) < 60


def test_density_is_the_weighted_formula_of_the_bones(measured, protocol):
    found = measured()
    constants = protocol.analysis
    weights = {2: 1, 3: 1, 4: 0.5}
    vpa = sum(weights[b.number] * b.vpa_cm.value for b in found.bones) / 2.5
    assert found.vpa_cm.value == pytest.approx(vpa)
    expected = 1.315 * vpa * constants.reference_magnification.value * (1 - 0.011)
    assert found.bmd_g_cm2.value == pytest.approx(expected)
    assert (found.porosity, found.porosity_measured) == (0.011, False)
    assert found.t_score == pytest.approx((expected - 0.583) / 0.0473)
    assert found.mci.value == pytest.approx(np.mean([b.mci.value for b in found.bones]))


def test_density_repeats_over_position_on_the_panel(measured):
    poses = ["side=L", "side=L,rotation=12", "side=L,shift=12:8", "side=L,rotation=-9,shift=-10:5"]
    values = [measured(USUAL[0], pose).bmd_g_cm2.value for pose in poses]
    assert np.std(values, ddof=1) / np.mean(values) < 0.012


def test_quarter_turns_and_mirrors_measure_the_same_bones(shoot, run):
    frame = shoot(*USUAL).frame
    upright = run(frame)
    for turns in (1, 2, 3):
        found = run(turned(frame, np.rot90(frame.pixels, turns)))
        assert found.side is Side.LEFT
        assert found.bmd_g_cm2.value == pytest.approx(upright.bmd_g_cm2.value, rel=0.012)
    mirrored = run(turned(frame, frame.pixels[:, ::-1]))
    assert mirrored.side is Side.RIGHT
    assert mirrored.bmd_g_cm2.value == pytest.approx(upright.bmd_g_cm2.value, rel=0.012)


def test_a_thicker_wall_reads_denser_at_the_same_width(measured):
    values = [measured(f"t={t},w=8.2").bmd_g_cm2.value for t in (1.0, 1.61, 2.2)]
    assert values == sorted(values)


def test_without_a_trusted_scale_only_ratios_are_given(shoot, run):
    frame = shoot(*USUAL).frame
    for unscaled in (replace(frame, spacing_mm=None), replace(frame, scale_known=False)):
        found = run(unscaled)
        assert found.scale == "relative"
        assert "scale-unknown" in ids(found)
        assert found.mci.value == pytest.approx(run(frame).mci.value, abs=0.02)
        lengths = (found.t_mm, found.w_mm, found.vpa_cm, found.bmd_g_cm2, found.t_score, found.z_score)
        assert lengths == (None,) * 6
        assert all((b.t_mm, b.w_mm, b.vpa_cm) == (None,) * 3 for b in found.bones)


def test_scores_are_withheld_for_a_child(shoot, run):
    found = run(shoot(*USUAL).frame, age=15.0)
    assert found.bmd_g_cm2 is not None
    assert (found.t_score, found.z_score) == (None, None)
    assert "below-minimum-age" in ids(found)


def test_the_thumb_contradicts_a_wrong_side(shoot, run):
    frame = shoot(*USUAL).frame
    wrong, right = run(frame, side=Side.RIGHT), run(frame, side=Side.LEFT)
    assert "side-disagrees" in ids(wrong)
    assert "side-disagrees" not in ids(right)
    assert wrong.bones == right.bones


def test_collimator_blades_around_the_hand_do_not_matter(shoot, run):
    frame = shoot(*USUAL).frame
    pixels = (frame.pixels * np.float32(0.004)).astype(np.uint16)
    pixels[100:-100, 150:-150] = frame.pixels[100:-100, 150:-150]
    found = run(turned(frame, pixels))
    assert isinstance(found, DxrResult)
    assert found.bmd_g_cm2.value == pytest.approx(run(frame).bmd_g_cm2.value, rel=0.005)


def test_a_display_image_of_known_scale_says_so(shoot, run):
    frame = shoot(*USUAL).frame
    film = np.log(40000 / np.maximum(frame.pixels, 1)) * 100
    found = run(
        Frame(
            np.clip(film, 0, 255).astype(np.uint8),
            Stage.FOR_PRESENTATION,
            Signal.ATTENUATION,
            frame.spacing_mm,
            "film",
        )
    )
    assert "display-image" in ids(found)
    assert found.t_mm.value == pytest.approx(run(frame).t_mm.value, abs=0.06)


def test_refuses_a_raw_frame(shoot, run):
    assert ids(run(replace(shoot(*USUAL).frame, stage=Stage.RAW))) == ["uncorrected-frame"]


def test_refuses_pixels_that_cannot_resolve_the_cortex(shoot, run):
    frame = shoot(*USUAL, pitch_mm=0.25).frame
    found = run(frame)
    assert ids(found) == ["pixel-too-large"]
    assert (found.reasons[0].value, found.reasons[0].limit) == (0.25, 0.2)


def test_notes_coarse_pixels(shoot, run):
    assert "pixel-coarse" in ids(run(shoot(*USUAL, pitch_mm=0.16).frame))


def test_refuses_pixels_that_are_not_square(shoot, run):
    assert ids(run(replace(shoot(*USUAL).frame, spacing_mm=(0.1, 0.12)))) == ["pixels-not-square"]


def test_refuses_a_spacing_that_makes_the_bones_impossible(shoot, run):
    assert "width-implausible" in ids(run(replace(shoot(*USUAL).frame, spacing_mm=(0.03, 0.03))))


def test_refuses_an_image_without_a_hand(run):
    noise = np.random.default_rng(2).poisson(20000, (600, 480)).astype(np.uint16)
    empty = Frame(noise, Stage.FOR_PROCESSING, Signal.DOSE, (0.1, 0.1), "empty")
    assert isinstance(run(empty), Refused)
    flat = replace(empty, pixels=np.full((600, 480), 20000, np.uint16))
    assert ids(run(flat)) == ["no-contrast"]


def test_refuses_metacarpals_cut_by_the_image(shoot, run):
    shot = shoot(*USUAL)
    row = shot.phantom.truth()[3].axis_px(shot.panel)[0][0]
    found = run(turned(shot.frame, shot.frame.pixels[: int(row) - 120]))
    assert ids(found) == ["metacarpal-cut"]


def test_refuses_two_hands(shoot, run):
    frame = shoot(*USUAL, pitch_mm=0.16).frame
    both = np.hstack([frame.pixels, frame.pixels[:, ::-1]])
    assert ids(run(turned(frame, both))) == ["two-hands"]


def test_refuses_too_little_dose(shoot, run):
    found = run(shoot(*USUAL, dose_ugy=0.05).frame)
    assert isinstance(found, Refused)
    assert "underexposed" in ids(found)


def test_refuses_clipped_bone(shoot, run):
    frame = shoot(*USUAL).frame
    level = float(np.percentile(frame.pixels, 10))
    found = run(replace(frame, pixels=np.minimum(frame.pixels, np.uint16(level)), saturation=level))
    assert isinstance(found, Refused)


def test_refuses_a_metal_bar_across_the_shafts(shoot, run):
    shot = shoot(*USUAL)
    pixels = shot.frame.pixels.copy()
    row, _ = shot.phantom.truth()[3].narrow_px(shot.panel)
    pixels[int(row) - 60 : int(row) + 60, 600:1800] = 300
    found = run(turned(shot.frame, pixels))
    assert isinstance(found, Refused)


@pytest.mark.parametrize("pitch_mm", [0.1, 0.14])
def test_an_answer_is_the_same_every_time(shoot, run, pitch_mm):
    frame = shoot(*USUAL, pitch_mm=pitch_mm).frame
    before = frame.pixels.copy()
    assert run(frame) == run(frame)
    assert (frame.pixels == before).all()


def test_refuses_a_blurred_image(shoot, run):
    sharp = shoot(*USUAL).frame
    blurred = turned(sharp, cv2.GaussianBlur(sharp.pixels, (0, 0), 8))
    found = run(blurred)
    assert isinstance(found, Refused)
    assert "blurred" in ids(found)


def test_answers_scraps_of_images_without_failing(shoot, run):
    pixels = shoot(*USUAL).frame.pixels
    chance = np.random.default_rng(8)
    for _ in range(25):
        top, left = chance.integers(0, 2900), chance.integers(0, 2300)
        scrap = pixels[top : top + chance.integers(1, 1500), left : left + chance.integers(1, 1500)]
        found = run(turned(shoot(*USUAL).frame, scrap))
        assert isinstance(found, DxrResult) or found.reasons
