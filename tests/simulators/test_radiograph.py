"""A replayed picture lies where it should, and never claims a scale it does not have."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from simulators.radiograph import ReplayedRadiograph
from simulators.scene import Panel, scene_from
from station.devices import BadSettings
from station.frame import Frame, Signal, Stage

HANDS = Path(__file__).parents[2] / "../shared/data/hands"
PANEL = Panel(600, 500, 0.1)


def square(low: int = 20, high: int = 200) -> np.ndarray:
    """A bright square of 80 by 80 pixels, its centre 10 rows below and 20 columns left of the picture's."""
    picture = np.full((200, 160), low, np.uint8)
    picture[70:150, 20:100] = high
    return picture


def saved(folder: Path, picture: np.ndarray) -> str:
    path = folder / "picture.png"
    cv2.imwrite(str(path), picture)
    return str(path)


def half_way(signal: np.ndarray, level: float) -> tuple[float, float]:
    """First and last crossing of a level along a line, sub-pixel."""
    below = np.flatnonzero(signal < level)
    first, last = below[0], below[-1]
    rise = (level - signal[first - 1]) / (signal[first] - signal[first - 1])
    fall = (level - signal[last]) / (signal[last + 1] - signal[last])
    return first - 1 + rise, last + fall


def test_a_known_square_lies_in_true_size_where_the_spacing_puts_it(tmp_path: Path) -> None:
    scene = scene_from({"radiograph": saved(tmp_path, square()), "pixel_spacing_mm": 0.2})
    signal = -np.log(scene.relative_signal(PANEL, 50, 1000))
    middle = signal.max() / 2
    row = half_way(-signal[:, 220], -middle)
    column = half_way(-signal[320], -middle)
    assert scene.scale_known
    assert np.diff(row) == pytest.approx([160], abs=0.5)
    assert np.diff(column) == pytest.approx([160], abs=0.5)
    assert np.mean(row) == pytest.approx(299.5 + 20, abs=0.3)
    assert np.mean(column) == pytest.approx(249.5 - 40, abs=0.3)


def test_spacing_that_differs_by_direction_is_kept() -> None:
    frame = Frame(square(), Stage.FOR_PRESENTATION, Signal.ATTENUATION, (0.1, 0.2), "made")
    seen = ReplayedRadiograph.of(frame).silhouette(PANEL)
    assert np.ptp(np.flatnonzero(seen.any(1))) == pytest.approx(80, abs=3)
    assert np.ptp(np.flatnonzero(seen.any(0))) == pytest.approx(160, abs=3)


@pytest.mark.parametrize("panel", [Panel(600, 500, 0.5), Panel(560, 480, 0.75)])
def test_without_spacing_the_picture_is_fitted_to_the_field_whatever_the_grid(tmp_path: Path, panel) -> None:
    scene = scene_from({"radiograph": saved(tmp_path, square())})
    rows = np.flatnonzero(scene.silhouette(panel).any(1))
    assert not scene.scale_known
    assert np.ptp(rows) * panel.spacing_mm == pytest.approx(80 * 1.25, abs=3)  # 160 columns on 200 mm


def test_background_is_open_field_and_brightest_bone_lets_eight_percent_through(tmp_path: Path) -> None:
    scene = scene_from({"radiograph": saved(tmp_path, square()), "pixel_spacing_mm": 0.3})
    signal = scene.relative_signal(PANEL, 50, 1000)
    assert signal[:100] == pytest.approx(1, abs=0.003)
    assert signal[320, 200] == pytest.approx(0.08, abs=0.003)


def test_brighter_is_always_less_signal(tmp_path: Path) -> None:
    ramp = np.zeros((200, 256), np.uint8)
    ramp[100:] = np.arange(256)
    scene = scene_from({"radiograph": saved(tmp_path, ramp), "pixel_spacing_mm": 0.1})
    line = scene.relative_signal(Panel(200, 256, 0.1), 50, 1000)[160, 5:-5]
    assert np.all(np.diff(line) < 0)


def test_a_detector_image_keeps_its_transmission() -> None:
    dose = np.full((200, 160), 40000, np.uint16)
    dose[70:150, 20:100] = 10000
    frame = Frame(dose, Stage.FOR_PROCESSING, Signal.DOSE, (0.1, 0.1), "made")
    signal = ReplayedRadiograph.of(frame).relative_signal(PANEL, 50, 1000)
    assert signal[310, 230] == pytest.approx(0.25, rel=0.03)


def test_a_higher_voltage_penetrates_more(tmp_path: Path) -> None:
    scene = scene_from({"radiograph": saved(tmp_path, square())})
    soft, hard = (scene.relative_signal(PANEL, kvp, 1000)[320, 200] for kvp in (45, 65))
    assert soft < 0.08 < hard


def test_the_side_is_declared_not_guessed(tmp_path: Path) -> None:
    path = saved(tmp_path, square())
    assert scene_from({"radiograph": path}).side == "L"
    assert scene_from({"radiograph": path, "pose": "side=R"}).side == "R"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"pose": "rotation=5"}, "a radiograph allows side only"),
        ({"pose": "side=left"}, "allowed are L, R"),
        ({"pixel_spacing_mm": 5}, "allowed is 0.01 to 1 mm"),
        ({"pixel_spacing_mm": "fine"}, "is no number"),
    ],
)
def test_refuses_a_pose_or_spacing_a_picture_cannot_have(
    tmp_path: Path, more: dict[str, object], message: str
) -> None:
    with pytest.raises(BadSettings, match=message):
        scene_from({"radiograph": saved(tmp_path, square()), **more})


def test_refuses_a_missing_file_and_a_blank_picture(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="cannot be read"):
        scene_from({"radiograph": str(tmp_path / "none.png")})
    with pytest.raises(BadSettings, match="contrast"):
        scene_from({"radiograph": saved(tmp_path, square(50, 50))})


@pytest.mark.skipif(not HANDS.is_dir(), reason="real hands are not in ../shared/data/hands")
@pytest.mark.parametrize("name", ["rsna/4517.png", "dha/3167.png", "dha/5245.png", "dha/7081.png"])
def test_a_real_hand_is_one_body_on_an_open_field(name: str) -> None:
    scene = scene_from({"radiograph": str(HANDS / name)})
    outline = scene.silhouette(Panel(300, 240, 1.0))
    signal = scene.relative_signal(Panel(600, 480, 0.5), 50, 1000)
    assert 0.25 < outline.mean() < 0.45
    assert cv2.connectedComponents(outline.astype(np.uint8))[0] == 2
    assert np.percentile(signal, 99) == pytest.approx(1, abs=0.02)
    assert 0.03 < np.percentile(signal, 0.5) < 0.15
