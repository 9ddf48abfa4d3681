"""What the phantom's picture shows is what its truth says."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.phantom import BoneTruth, HandPhantom
from simulators.scene import EmptyScene, Panel, scene_from
from simulators.spec import PRESETS, HandSpec, Pose
from simulators.tube import Texture, Tube, solid_bone
from station.devices import BadSettings

FINE = Panel(701, 901, 0.02)  # mm; a look at one shaft through a magnifying glass
COARSE = Panel(300, 240, 1.0)


def phantom(hand: str = "", pose: str = "") -> HandPhantom:
    return HandPhantom(HandSpec.parse(hand), Pose.parse(pose))


def measured(hand: str, pose: str, bone: int, sid_mm: float = 1000.0) -> tuple[float, float, BoneTruth]:
    """T and W on the panel by the steepest gradient of the log image, median of profiles over 2 mm."""
    truth = phantom(hand, pose).truth(sid_mm)[bone]
    x, y = (-v / truth.magnification for v in truth.narrow_mm)
    centred = phantom(hand, f"{pose},shift={x}:{y}")
    truth = centred.truth(sid_mm)[bone]
    image = -np.log(centred.relative_signal(FINE, 50, sid_mm))
    along = np.subtract(truth.head_mm, truth.base_mm)
    along /= np.hypot(*along)
    u = np.arange(-7, 7, FINE.spacing_mm)
    found = [_edges(_profile(image, u, along, s), u, truth) for s in np.linspace(-1, 1, 9)]
    t, w = np.median(found, axis=0)
    return float(t), float(w), truth


def _profile(image: np.ndarray, u: np.ndarray, along: np.ndarray, s: float) -> np.ndarray:
    x = (s * along[0] - u * along[1]) / FINE.spacing_mm + (FINE.columns - 1) / 2
    y = (s * along[1] + u * along[0]) / FINE.spacing_mm + (FINE.rows - 1) / 2
    profile = cv2.remap(image, x[None].astype(np.float32), y[None].astype(np.float32), cv2.INTER_LINEAR)
    return np.gradient(cv2.GaussianBlur(profile, (0, 0), 1)[0])


def _edges(slope: np.ndarray, u: np.ndarray, truth: BoneTruth) -> tuple[float, float]:
    half, wall = (v * truth.magnification for v in (truth.w_mm / 2, truth.t_mm))
    at = [
        _steepest(sign * slope, u, place)
        for sign, place in ((1, -half), (-1, -half + wall), (1, half - wall), (-1, half))
    ]
    return (at[3] - at[2] + at[1] - at[0]) / 2, at[3] - at[0]


def _steepest(slope: np.ndarray, u: np.ndarray, near: float) -> float:
    inside = np.flatnonzero(np.abs(u - near) < 0.35)
    i = inside[slope[inside].argmax()]
    a, b, c = slope[i - 1 : i + 2]
    return float(u[i] + FINE.spacing_mm * (a - c) / (a - 2 * b + c) / 2)


@pytest.mark.parametrize(
    ("hand", "pose", "bone"),
    [
        ("porosity=0", "", 2),
        ("porosity=0", "side=R,rotation=-12", 3),
        ("porosity=0", "rotation=35,height=30", 4),
        ("t=0.8,w=7,porosity=0", "rotation=90", 3),
        ("t=2.6,w=9,porosity=0.01", "side=R,rotation=-140", 2),
        ("depth=0.9,porosity=0", "pronation=20", 2),
        ("depth=1.1,porosity=0", "pronation=-30,height=60", 4),
    ],
)
def test_edges_in_the_picture_are_those_of_the_truth(hand: str, pose: str, bone: int) -> None:
    t, w, truth = measured(hand, pose, bone)
    assert t / truth.magnification == pytest.approx(truth.t_mm, abs=0.01)
    # The steepest gradient of any round edge lies inside it, by some 0.02 mm at this pixel size.
    assert w / truth.magnification == pytest.approx(truth.w_mm - 0.04, abs=0.01)


@given(t=st.floats(0.7, 2.6), w=st.floats(6.5, 10))
def test_metacarpals_two_to_four_have_the_asked_t_and_w_on_average(t: float, w: float) -> None:
    truth = phantom(f"t={t},w={w}").truth()
    assert np.mean([truth[b].t_mm for b in (2, 3, 4)]) == pytest.approx(t)
    assert np.mean([truth[b].w_mm for b in (2, 3, 4)]) == pytest.approx(w)


@given(
    side=st.sampled_from("LR"),
    rotation=st.floats(-180, 180),
    shift=st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
    height=st.floats(0, 60),
)
def test_turning_and_moving_the_hand_changes_no_length_of_its_bones(
    side: str, rotation: float, shift: tuple[float, float], height: float
) -> None:
    moved = HandPhantom(pose=Pose(side=side, rotation=rotation, shift=shift, height=height)).truth()
    for bone, rest in phantom().truth().items():
        assert (moved[bone].t_mm, moved[bone].w_mm) == pytest.approx((rest.t_mm, rest.w_mm))
        lengths = [
            np.hypot(*np.subtract(b.head_mm, b.base_mm)) / b.magnification for b in (moved[bone], rest)
        ]
        assert lengths[0] == pytest.approx(lengths[1])


def test_a_single_bone_can_be_set_without_touching_the_others() -> None:
    plain, odd = phantom("t=1.6,w=8").truth(), phantom("t=1.6,w=8,t3=2,w4=7.5").truth()
    assert (odd[3].t_mm, odd[4].w_mm) == (2, 7.5)
    assert (odd[2].t_mm, odd[2].w_mm, odd[3].w_mm, odd[4].t_mm) == (
        plain[2].t_mm, plain[2].w_mm, plain[3].w_mm, plain[4].t_mm,
    )  # fmt: skip


def test_the_narrowest_place_is_narrowest_and_the_wall_is_even_over_the_region_of_interest() -> None:
    for bone, length_mm in ((2, 20), (3, 18), (4, 16)):
        truth = phantom().truth()[bone]
        t, w = truth.mean_over(length_mm)
        assert truth.w_mm < w < 1.02 * truth.w_mm
        assert t == pytest.approx(truth.t_mm, rel=0.01)
        assert truth.mean_over(length_mm / 4)[1] < w


def test_height_over_the_panel_magnifies_by_the_distances_ratio() -> None:
    low, high = phantom(pose="height=0").truth(900)[2], phantom(pose="height=90").truth(900)[2]
    ratio = np.hypot(*np.subtract(high.head_mm, high.base_mm)) / np.hypot(
        *np.subtract(low.head_mm, low.base_mm)
    )
    assert ratio == pytest.approx(900 / 810)
    assert high.magnification == pytest.approx(900 / 810)


def test_a_left_hand_has_its_thumb_right_and_its_fingers_up() -> None:
    truth = phantom().truth()
    columns = [truth[bone].axis_px(COARSE)[1][1] for bone in (1, 2, 3, 4, 5)]
    assert columns == sorted(columns, reverse=True)
    assert all(base[0] > head[0] for base, head in (bone.axis_px(COARSE) for bone in truth.values()))


def test_a_right_hand_is_the_mirror_image_of_a_left_one() -> None:
    panel = Panel(600, 480, 0.5)
    left, right = (phantom(pose=f"side={side}").relative_signal(panel, 50, 1000) for side in "LR")
    assert right[:, ::-1] == pytest.approx(left, abs=2e-3)


def test_rotation_turns_the_picture_and_the_truth_clockwise() -> None:
    square = Panel(300, 300, 1.0)
    rest, turned = phantom(), phantom(pose="rotation=90")
    expected = np.rot90(rest.silhouette(square), -1)
    seen = turned.silhouette(square)
    assert (seen & expected).sum() / (seen | expected).sum() > 0.98
    for bone, truth in rest.truth().items():
        x, y = truth.head_mm
        assert turned.truth()[bone].head_mm == pytest.approx((-y, x))


def test_pronation_changes_widths_of_oval_bones_and_brings_the_metacarpals_closer() -> None:
    flat, tilted = (phantom("depth=0.9", f"pronation={p}").truth() for p in (0, 25))
    twist = np.deg2rad(25)
    assert tilted[3].w_mm / flat[3].w_mm == pytest.approx(np.hypot(np.cos(twist), 0.9 * np.sin(twist)))
    gaps = [t[2].narrow_px(COARSE)[1] - t[4].narrow_px(COARSE)[1] for t in (flat, tilted)]
    assert gaps[1] < 0.93 * gaps[0]
    assert tilted[2].magnification > flat[2].magnification  # the thumb's side is lifted


def test_spread_turns_fingers_and_leaves_metacarpals_two_to_five() -> None:
    close, wide = phantom(pose="spread=0.3"), phantom(pose="spread=1.6")
    assert np.ptp(np.flatnonzero(wide.silhouette(COARSE).any(0))) > 1.25 * np.ptp(
        np.flatnonzero(close.silhouette(COARSE).any(0))
    )
    assert all(close.truth()[b].head_mm == wide.truth()[b].head_mm for b in (2, 3, 4, 5))


def test_the_same_seed_gives_the_same_picture_and_another_one_other_texture_with_the_same_truth() -> None:
    panel = Panel(300, 240, 1.0)
    first, again, other = (phantom(f"seed={s}").relative_signal(panel, 50, 1000) for s in (3, 3, 4))
    assert np.allclose(first, again, rtol=1e-6, atol=0)
    assert not np.allclose(first, other, rtol=1e-4, atol=0)
    assert phantom("seed=3").truth()[2].head_mm == phantom("seed=4").truth()[2].head_mm


def test_the_open_field_far_from_the_hand_is_one_and_scatter_near_it_is_small() -> None:
    signal = phantom().relative_signal(COARSE, 50, 1000)
    assert signal[:20, :40] == pytest.approx(1, abs=2e-3)
    assert signal.max() < 1.06
    assert signal.min() > 0.02


def test_more_bone_leaves_less_signal_behind_the_shafts() -> None:
    thin, thick = (phantom(f"t={t}").relative_signal(COARSE, 50, 1000) for t in (1.0, 2.2))
    row, column = (round(v) for v in phantom().truth()[3].narrow_px(COARSE))
    assert thick[row, column] < 0.95 * thin[row, column]


def test_pores_take_their_fraction_of_the_cortex() -> None:
    tube = Tube(length_mm=60, width_mm=8, base_width_mm=9, head_width_mm=9, wall_mm=3.5)
    texture = Texture.made(5)
    whole, porous = (
        sum(solid_bone(tube, 0.1, p, texture, phase)[200:400].sum() for phase in range(12))
        for p in (0.0, 0.03)
    )
    assert 1 - porous / whole == pytest.approx(0.03, rel=0.1)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_draws_a_whole_hand(preset: str) -> None:
    hand = phantom(f"preset={preset}")
    t, w, _ = PRESETS[preset]
    assert (hand.spec.t, hand.spec.w) == (t, w)
    count, _ = cv2.connectedComponents(hand.silhouette(COARSE).astype(np.uint8))
    assert count == 2  # the panel and one hand


def test_an_empty_scene_is_open_field() -> None:
    scene = scene_from({})
    assert isinstance(scene, EmptyScene)
    assert np.all(scene.relative_signal(Panel(3, 4, 0.1), 50, 1000) == 1)
    assert not scene.silhouette(COARSE).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"phantm": ""}, "allowed are phantom, pose"),
        ({"phantom": "t=1.6", "radiograph": "a.png"}, "exclude each other"),
        ({"phantom": "", "pixel_spacing_mm": 0.1}, "belongs to a radiograph"),
        ({"phantom": "thickness=1"}, "unknown 'thickness'; allowed are preset"),
        ({"phantom": "t=9"}, "t=9 given; allowed is 0.5 to 3.5"),
        ({"phantom": "t=x"}, "is no number"),
        ({"phantom": "t2=9"}, "t2=9 given; allowed is 0.5 to 3.5"),
        ({"phantom": "seed=1.5"}, "whole numbers"),
        ({"phantom": "size=huge"}, "allowed are small, medium, large"),
        ({"phantom": "t"}, "key=value"),
        ({"phantom": "t=1,t=2"}, "key=value"),
        ({"phantom": "t=3.4,w=6"}, "leaves no canal"),
        ({"phantom": "preset=child-5"}, "woman-30"),
        ({"phantom": "", "pose": "side=left"}, "allowed are L, R"),
        ({"phantom": "", "pose": "rotation=200"}, "allowed is -180 to 180"),
        ({"phantom": "", "pose": "shift=4"}, "x:y in mm"),
        ({"phantom": "", "pose": "rotation=nan"}, "allowed is -180 to 180"),
    ],
)
def test_refuses_what_cannot_be_posed_and_says_what_is_allowed(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(BadSettings, match=message):
        scene_from(settings)


def test_a_pose_made_in_code_is_checked_like_one_from_a_file() -> None:
    with pytest.raises(BadSettings, match="allowed is 0 to 100"):
        Pose(height=101)
    with pytest.raises(BadSettings, match="shift y=400"):
        Pose(shift=(0, 400))


def test_refuses_a_hand_at_the_focal_spot() -> None:
    with pytest.raises(ValueError, match="heights up to half"):
        phantom(pose="height=100").truth(199)
