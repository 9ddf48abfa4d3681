"""The radiograph on the page: the metacarpals large with what was measured, the whole picture small.

Drawn lines are vectors over a JPEG; their points are shares of the shown part.
"""

from dataclasses import asdict
from typing import Any

import cv2
import numpy as np

from station.report.charts import Cut, cut_to, lines_in
from station.report.findings import bone_words
from station.report.sheet import Picture, Sheet
from station.result import DxrResult

_ASPECT = 1.02  # height over width of the part that is shown large
_SHOWN_PX = 1000  # its height; about 250 per inch
_SMALL_PX = 300  # height of the whole picture beside it
_JPEG_QUALITY = 88
_MARGIN = 0.16  # about the metacarpals, of their extent
_ABOUT = ("axis", "region", "failed")
_DRAWN = ("path", "periosteal", "endosteal", "region", "narrowest", "failed")


def picture_of(sheet: Sheet) -> dict[str, Any] | None:
    """The metacarpals large with their outlines, and the whole picture small."""
    picture = sheet.picture
    if picture is None:
        return None
    shape = (picture.pixels.shape[0], picture.pixels.shape[1])
    about = any(outline.kind in _ABOUT for outline in sheet.outlines)
    kinds = _DRAWN if about else (*_DRAWN, "hand")
    outlines = [outline for outline in sheet.outlines if outline.kind in kinds]
    cut = _widened(cut_to(sheet.outlines, _ABOUT, _MARGIN, shape), shape)
    close = (cut.bottom - cut.top, cut.right - cut.left) != shape
    rows, columns = shape
    box = [cut.left / columns, cut.top / rows, cut.right / columns, cut.bottom / rows]
    return {
        "image": list(_jpeg(picture, cut, _SHOWN_PX)),
        "aspect": (cut.bottom - cut.top) / (cut.right - cut.left),
        "lines": [asdict(line) for line in lines_in(outlines, cut, _SHOWN_PX)],
        "labels": _labels(sheet, cut),
        "whole": list(_jpeg(picture, Cut(0, rows, 0, columns), _SMALL_PX)) if close else None,
        "whole_aspect": rows / columns,
        "box": box,
        "scale_10mm": _ten_mm(sheet, picture, cut),
    }


def _widened(cut: Cut, shape: tuple[int, int]) -> Cut:
    """The cut brought to the shape of its place on the page, as far as the picture reaches."""
    height, width = cut.bottom - cut.top, cut.right - cut.left
    wanted = (max(height, round(width * _ASPECT)), max(width, round(height / _ASPECT)))
    ends: list[int] = []
    for first, last, size, limit in zip(
        (cut.top, cut.left), (cut.bottom, cut.right), wanted, shape, strict=True
    ):
        start = min(max((first + last - size) // 2, 0), max(limit - size, 0))
        ends += [start, min(start + size, limit)]
    return Cut(*ends)


def _labels(sheet: Sheet, cut: Cut) -> list[dict[str, Any]]:
    """The number of each bone at the head of its axis."""
    height, width = cut.bottom - cut.top, cut.right - cut.left
    found: list[dict[str, Any]] = []
    for outline in sheet.outlines:
        if outline.kind != "axis":
            continue
        row, column = (float(end) for end in outline.points_px[-1])
        at = [(column - cut.left) / width, (row - cut.top) / height]
        if all(0 < share < 1 for share in at):
            found.append({"at": at, "text": "".join(c for c in outline.label if c.isdigit())})
    return found


def _ten_mm(sheet: Sheet, picture: Picture, cut: Cut) -> float | None:
    """Ten millimetres at the bone as a share of the shown width."""
    if picture.spacing_mm is None:
        return None
    enlarged = sheet.study.protocol.geometry.magnification
    return 10 * enlarged / picture.spacing_mm[1] / (cut.right - cut.left)


def _jpeg(picture: Picture, cut: Cut, height_px: int) -> bytes:
    """Windowed to eight bits and reduced; never enlarged."""
    part = picture.pixels[cut.top : cut.bottom, cut.left : cut.right].astype(np.float32)
    shrink = height_px / part.shape[0]
    if shrink < 1:
        size = (max(round(part.shape[1] * shrink), 1), height_px)
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA))
    low = picture.window_center - picture.window_width / 2
    grey = np.clip((part - low) / picture.window_width * 255, 0, 255).astype(np.uint8)
    done, coded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise RuntimeError(f"a picture of {grey.shape} pixels could not be encoded")
    return coded.tobytes()


def picture_words(sheet: Sheet) -> str:
    """What the picture shows, for who cannot see it."""
    side = sheet.study.exam.item.side.word
    result = sheet.study.result
    drawn = {outline.kind for outline in sheet.outlines}
    if isinstance(result, DxrResult):
        edges = f" with the measured edges of the {bone_words(result)} metacarpals"
    else:
        edges = " with what the analysis saw of it" if drawn else ""
    return f"Radiograph of the {side} hand, posteroanterior{edges}."
