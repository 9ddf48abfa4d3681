"""Exposures of phantom hands without the station around them: noise-free signal, blur, quanta, frame."""

from dataclasses import dataclass

import cv2
import numpy as np

from simulators.phantom import HandPhantom
from simulators.spec import HandSpec, Panel, Pose
from station.frame import Frame, Signal, Stage
from station.protocols import load_protocol

SID_MM = 1000.0
QUANTA_PER_MM2_UGY = 30000 * 0.65  # those detected, DQE 0.65
FIELD_MM = (300, 240)


@dataclass(frozen=True, slots=True)
class Shot:
    """How a picture is taken."""

    pitch_mm: float = 0.14
    blur_mm: float = 0.11
    dose_ugy: float = 5.0  # in the open field
    kvp: float = 50.0

    @property
    def panel(self):
        """The pixels of this detector."""
        rows, columns = (round(side / self.pitch_mm) for side in FIELD_MM)
        return Panel(rows, columns, self.pitch_mm)


def hand(spec, pose="side=L"):
    """A phantom from the station's own words for it."""
    return HandPhantom(HandSpec.parse(spec), Pose.parse(pose))


def frames(phantom, shot, rng, count):
    """Exposures that differ in their noise alone."""
    clean = phantom.relative_signal(shot.panel, shot.kvp, SID_MM)
    signal = cv2.GaussianBlur(clean, (0, 0), shot.blur_mm / shot.pitch_mm)
    quanta = QUANTA_PER_MM2_UGY * shot.pitch_mm**2 * shot.dose_ugy
    spacing = (shot.pitch_mm, shot.pitch_mm)
    for _ in range(count):
        pixels = np.minimum(rng.poisson(signal * quanta) * (40000 / quanta), 65535).astype(np.uint16)
        yield Frame(pixels, Stage.FOR_PROCESSING, Signal.DOSE, spacing, "phantom", saturation=65000.0)


def true_lengths(found, phantom, panel):
    """(T, W) in mm of each measured bone over the very region that was measured."""
    truth, lengths = phantom.truth(SID_MM), {}
    for bone in found.bones:
        true = truth[bone.number]
        base, head = (np.array(end) for end in true.axis_px(panel))
        corners = np.array(bone.roi_px)
        ends = np.array([corners[:2].mean(axis=0), corners[2:].mean(axis=0)])
        low, high = (ends - base) @ (head - base) / ((head - base) @ (head - base)) * true.tube.length_mm
        s = np.linspace(low, high, 201)
        lengths[bone.number] = (float(true.tube.wall(s).mean()), float(true.tube.width(s).mean()))
    return lengths


def at_true_height(bone, phantom):
    """Factor that brings lengths reported for the protocol's height to the bone's own."""
    return load_protocol().geometry.magnification / phantom.truth(SID_MM)[bone.number].magnification
