"""The simulated positioning camera: the same hand in the same pose, in visible light from above the panel.

A dark panel on a table, the light field of the collimator on it, and a skin-coloured hand, ten frames a
second. With `motion_mm` the hand trembles until `motion_until_s`, and one that is laid down slides into its
place from the patient's side; the X-ray picture does neither.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from simulators.faults import FaultName
from simulators.scene import Panel, Scene
from simulators.world import World
from station.devices import CameraView, Room
from station.settings import Settings

_FRAMES_PER_S = 10
_MM_PER_PX = 0.75
_ROWS, _COLUMNS = 560, 480  # 420 x 360 mm
_TABLE_BGR, _PANEL_BGR = (92, 88, 84), (56, 53, 52)
_SKIN_BGR = (108, 134, 184)
_AMBIENT = 0.5  # room light
_FIELD_BGR = (0.62, 0.72, 0.78)  # light the collimator's lamp adds, warmer than the room's
_FIELD_EDGE_PX = 1.2  # blur of the light field's edge
_ROUNDING_PX = 11.0  # fingers look round: skin darkens that far towards its outline
_NOISE = 2.5  # rms, grey levels
_SPARE_PX = 64  # the noise picture is that much larger than a frame and shifts from frame to frame
_BESIDE_MM = 8.0  # gap between two hands
_SLIDE_MM, _SLIDE_S = 80.0, 0.6  # how a hand comes to lie: from so far below, slower and slower; memory

Picture = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Hand:
    skin: Picture  # (rows, columns, 3) light reflected under unit light, premultiplied by cover
    cover: Picture  # (rows, columns, 1), 0 to 1


class SimulatedCamera:
    """Satisfies `station.devices.Camera`."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        read = Settings("sim-camera", settings)
        read.only("panel_mm")
        self._panel_mm = read.pair("panel_mm", (300, 240), 50, 430)
        self._world = World.of(room)
        rng = self._world.rng("camera")
        shape = (_ROWS + _SPARE_PX, _COLUMNS + _SPARE_PX, 3)
        self._noise = (_NOISE * rng.standard_normal(shape, np.float32)).astype(np.int16)
        self._hands: dict[str, _Hand] = {}  # by side
        self._connected_s: float | None = None
        self._newest: tuple[int, CameraView] | None = None
        self._clean: tuple[Any, npt.NDArray[np.int16]] | None = None  # the last picture without noise
        self._world.paint(self._paint)

    def connect(self) -> None:
        with self._world.synced() as now_s:
            scene = self._world.scene
            self._connected_s, self._newest = now_s, None
        self._paint(scene)

    def close(self) -> None:
        self._connected_s, self._newest = None, None

    def view(self) -> CameraView | None:
        with self._world.synced() as now_s:
            number = math.floor(now_s * _FRAMES_PER_S + 1e-6)
            at_s = number / _FRAMES_PER_S
            newest, connected_s, side = self._newest, self._connected_s, self._world.scene.side
            frozen = newest is not None and self._world.faults.lasting(FaultName.CAMERA_FROZEN) is not None
            present, field_mm, laid_s = self._world.hand_present, self._world.field_mm, self._world.laid_s
        hand = self._hands.get(side)
        if connected_s is None or hand is None or at_s < connected_s:
            return None
        if newest and (frozen or newest[0] == number):
            return newest[1]
        seen = (self._away_px(at_s, laid_s) if present else None, field_mm, side)
        clean = self._clean
        if clean is None or clean[0] != seen:
            moved = _moved(hand, *seen[0]) if seen[0] else None
            clean = self._clean = (seen, _picture(moved, self._panel_mm, field_mm).astype(np.int16))
        pixels = cv2.add(clean[1], self._noise_of(number), dtype=cv2.CV_8U)
        view = CameraView(
            np.asarray(pixels, np.uint8), at_s, _MM_PER_PX, _corner_px(self._panel_mm), self._panel_mm
        )
        self._newest = (number, view)
        return view

    def _paint(self, scene: Scene) -> None:
        """Have the hand at hand; drawing it takes longer than a picture may."""
        if scene.side not in self._hands:
            mask = scene.silhouette(Panel(_ROWS, _COLUMNS, _MM_PER_PX))
            if self._world.settings.second_hand:
                mask = mask | _beside(mask)
            self._hands[scene.side] = _lit_hand(mask)

    def _away_px(self, at_s: float, laid_s: float) -> tuple[float, float]:
        """How far the hand is from its place, (row, column)."""
        left = 1 - min(max((at_s - laid_s) / _SLIDE_S, 0), 1)
        down_px, right_px = self._tremor_px(at_s)
        return down_px + _SLIDE_MM / _MM_PER_PX * left**2, right_px

    def _tremor_px(self, at_s: float) -> tuple[float, float]:
        """Displacement of a trembling hand, (row, column)."""
        settings = self._world.settings
        passed_s = at_s - self._world.began_s
        if not settings.motion_mm or passed_s >= settings.motion_until_s:
            return 0.0, 0.0
        amplitude_px = settings.motion_mm / _MM_PER_PX
        return (
            amplitude_px * math.sin(2 * math.pi * 1.3 * passed_s),
            amplitude_px * math.cos(2 * math.pi * 0.9 * passed_s),
        )

    def _noise_of(self, number: int) -> npt.NDArray[np.int16]:
        row, column = (number * 29) % _SPARE_PX, (number * 37) % _SPARE_PX
        return self._noise[row : row + _ROWS, column : column + _COLUMNS]


def _corner_px(extent_mm: tuple[float, float]) -> tuple[float, float]:
    """(row, column) of the top left corner of a centred rectangle."""
    rows_mm, columns_mm = extent_mm
    return (_ROWS - 1) / 2 - rows_mm / 2 / _MM_PER_PX, (_COLUMNS - 1) / 2 - columns_mm / 2 / _MM_PER_PX


def _rectangle(extent_mm: tuple[float, float]) -> Picture:
    """1 inside a centred rectangle, 0 outside."""
    inside = np.zeros((_ROWS, _COLUMNS), np.float32)
    top, left = _corner_px(extent_mm)
    first_row, first_column = max(math.ceil(top), 0), max(math.ceil(left), 0)
    inside[first_row : _ROWS - first_row, first_column : _COLUMNS - first_column] = 1
    return inside


def _picture(hand: _Hand | None, panel_mm: tuple[float, float], field_mm: tuple[float, float]) -> Picture:
    """The scene in grey levels, float, without noise; (rows, columns, 3)."""
    on_panel = _rectangle(panel_mm)[..., None]
    table, panel = np.array(_TABLE_BGR, np.float32), np.array(_PANEL_BGR, np.float32)
    surface = table * (1 - on_panel) + panel * on_panel
    field = cv2.GaussianBlur(_rectangle(field_mm), (0, 0), _FIELD_EDGE_PX)
    if hand is not None:
        surface = surface * (1 - hand.cover) + hand.skin
    light = _AMBIENT + field[..., None] * np.array(_FIELD_BGR, np.float32)
    return np.asarray(surface * light, np.float32)


def _lit_hand(mask: npt.NDArray[np.bool_]) -> _Hand:
    """Skin that darkens towards the outline, with an edge as soft as the lens draws it."""
    inside_px = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    slope = np.clip(1 - inside_px / _ROUNDING_PX, 0, 1)
    shade = 0.72 + 0.28 * cv2.GaussianBlur(np.sqrt(1 - slope**2), (0, 0), 1.5)
    cover = np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)[..., None], np.float32)
    skin = np.array(_SKIN_BGR, np.float32)
    return _Hand(np.asarray(skin * shade[..., None] * cover, np.float32), cover)


def _moved(hand: _Hand, down_px: float, right_px: float) -> _Hand:
    if not down_px and not right_px:
        return hand
    shift = np.array([[1, 0, right_px], [0, 1, down_px]], np.float64)
    skin, cover = (cv2.warpAffine(part, shift, (_COLUMNS, _ROWS)) for part in (hand.skin, hand.cover))
    return _Hand(np.asarray(skin, np.float32), np.asarray(cover, np.float32).reshape(_ROWS, _COLUMNS, 1))


def _beside(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The mirrored hand, on the side with more room; cut where the view ends."""
    columns = np.flatnonzero(mask.any(axis=0))
    if not columns.size:
        return mask
    left, right = int(columns[0]), int(columns[-1])
    mirrored = mask[:, left : right + 1][:, ::-1]
    gap = round(_BESIDE_MM / _MM_PER_PX)
    second = np.zeros_like(mask)
    if _COLUMNS - right > left:
        part = mirrored[:, : max(_COLUMNS - right - 1 - gap, 0)]
        second[:, right + 1 + gap : right + 1 + gap + part.shape[1]] = part
    else:
        part = mirrored[:, -max(left - gap, 1) :]
        second[:, max(left - gap, 1) - part.shape[1] : max(left - gap, 1)] = part
    return second
