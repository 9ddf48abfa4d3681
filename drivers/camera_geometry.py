"""Where the panel lies in a camera's picture, and the view from the tube that follows. No camera in here.

`drivers.uvc_camera` is the driver, and its docstring the whole story.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from station.devices import BadSettings, CameraView, DeviceRefused
from station.frame import Pixels
from station.settings import Settings


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the panel lies, points (row, column)."""

    panel_size_mm: tuple[float, float]
    mm_per_px: float
    corners_px: tuple[tuple[float, float], ...]  # in the camera's picture, clockwise from the top left
    margin_px: float | None  # around the panel in the rectified picture; None: as the camera sees it

    def refuse_outside(self, rows: int, columns: int) -> None:
        """Raise `DeviceRefused` where the panel is not within the camera's picture."""
        for row, column in self.corners_px:
            if not (-0.5 <= row <= rows - 0.5 and -0.5 <= column <= columns - 0.5):
                raise DeviceRefused(
                    f"uvc-camera: the panel's corner ({row:g}, {column:g}) is outside the camera's picture "
                    f"of {rows} x {columns}; set the resolution it was measured at, or measure it anew"
                )

    def rectify(self, picture: Pixels, at: float) -> CameraView:
        """The view from the tube of one picture, (rows, columns, 3) BGR."""
        if self.margin_px is None:
            return CameraView(picture, at, self.mm_per_px, self.corners_px[0], self.panel_size_mm)
        first = self.margin_px
        last_row, last_column = (first + size / self.mm_per_px for size in self.panel_size_mm)
        there = ((first, first), (first, last_column), (last_row, last_column), (last_row, first))
        matrix = cv2.getPerspectiveTransform(_xy(self.corners_px), _xy(there))
        size = (round(last_column + first) + 1, round(last_row + first) + 1)
        seen = np.asarray(cv2.warpPerspective(picture, matrix, size, flags=cv2.INTER_LINEAR), np.uint8)
        return CameraView(seen, at, self.mm_per_px, (first, first), self.panel_size_mm)


def _xy(points: tuple[tuple[float, float], ...]) -> npt.NDArray[np.float32]:
    return np.asarray([(column, row) for row, column in points], np.float32)


def geometry_from(given: Mapping[str, Any]) -> Geometry:
    """Read the geometry of a room file's settings. Raises `BadSettings`."""
    read, corners = Settings("uvc-camera", given), given.get("panel_corners_px")
    needed = ("panel_size_mm",) if corners is not None else ("panel_size_mm", "mm_per_px", "panel_origin_px")
    wrong = ("panel_origin_px",) if corners is not None else ("margin_mm",)
    for key in needed:
        if given.get(key) is None:
            raise BadSettings(f"uvc-camera: {key} is missing; measure it, there is no usual value")
    for key in wrong:
        if given.get(key) is not None:
            raise BadSettings(f"uvc-camera: {key} has no meaning with or without panel_corners_px as given")
    size_mm = read.pair("panel_size_mm", (0, 0), 50, 600)
    mm_per_px = read.number("mm_per_px", 0.75, 0.05, 5)
    if corners is not None:
        return Geometry(
            size_mm, mm_per_px, _corners(corners), read.number("margin_mm", 60, 0, 300) / mm_per_px
        )
    row, column = read.pair("panel_origin_px", (0, 0), -0.5, 20_000)
    height, width = (size / mm_per_px for size in size_mm)
    around = ((row, column), (row, column + width), (row + height, column + width), (row + height, column))
    return Geometry(size_mm, mm_per_px, around, None)


def _corners(given: Any) -> tuple[tuple[float, float], ...]:
    if not isinstance(given, list | tuple) or len(given) != 4:  # pyright: ignore[reportUnknownArgumentType]
        raise BadSettings(
            f"uvc-camera: panel_corners_px={given!r} given; allowed are four (row, column) pairs"
        )
    corners = tuple(
        Settings("uvc-camera", {"panel_corners_px": part}).pair("panel_corners_px", (0, 0), -0.5, 20_000)
        for part in given
    )
    sides = np.roll(_xy(corners), -1, axis=0) - _xy(corners)
    after = np.roll(sides, -1, axis=0)
    turns = sides[:, 0] * after[:, 1] - sides[:, 1] * after[:, 0]  # positive: clockwise, as rows go down
    if not (turns > 0).all():
        raise BadSettings(
            f"uvc-camera: panel_corners_px={given!r} do not go round clockwise; give them clockwise from the "
            "panel's top left as seen from the tube, and turn off the camera's mirroring"
        )
    return corners
