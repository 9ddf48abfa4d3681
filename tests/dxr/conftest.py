from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from simulators.phantom import HandPhantom
from simulators.spec import HandSpec, Panel, Pose
from station.frame import Frame, Signal, Stage
from station.protocols import load_protocol, load_reference

HANDS = Path(__file__).parents[2] / "../shared/data/hands"


@dataclass(frozen=True, slots=True)
class Shot:
    """A simulated exposure and the phantom it shows."""

    frame: Frame
    phantom: HandPhantom
    panel: Panel


@cache
def _shot(hand, pose, dose_ugy, pitch_mm, blur_mm, seed):
    panel = Panel(round(300 / pitch_mm), round(240 / pitch_mm), pitch_mm)
    phantom = HandPhantom(HandSpec.parse(hand), Pose.parse(pose))
    signal = cv2.GaussianBlur(phantom.relative_signal(panel, 50, 1000), (0, 0), blur_mm / pitch_mm)
    quanta = 30000 * pitch_mm**2 * dose_ugy  # per pixel in the open field, at about 30 000 / mm² / µGy
    counts = np.random.default_rng(seed).poisson(signal * quanta)
    pixels = np.minimum(counts * (40000 / quanta), 65535).astype(np.uint16)
    frame = Frame(
        pixels, Stage.FOR_PROCESSING, Signal.DOSE, (pitch_mm, pitch_mm), "phantom", saturation=65000.0
    )
    return Shot(frame, phantom, panel)


@pytest.fixture(scope="session")
def shoot():
    """Make a corrected frame of a phantom: shoot("t=1.6,w=8.2", "side=L,rotation=10")."""

    def make(hand="", pose="", *, dose_ugy=6.0, pitch_mm=0.1, blur_mm=0.1, seed=1):
        return _shot(hand, pose, dose_ugy, pitch_mm, blur_mm, seed)

    yield make
    _shot.cache_clear()


@pytest.fixture(scope="session")
def protocol():
    return load_protocol()


@pytest.fixture(scope="session")
def reference(protocol):
    return load_reference(protocol.analysis.reference)


@pytest.fixture(scope="session")
def hands():
    """The folder of real radiographs, or a skip with the reason."""
    if not HANDS.is_dir():
        pytest.skip(f"real radiographs are not at {HANDS}")
    return HANDS
