"""A picture in a terminal: half cells drawn here, sixel or kitty's graphics where the terminal has them.

Assumes
    `way_of` is asked before the application runs: it asks the terminal, and once Textual reads the keyboard
    the answer would be taken for keys. A cell is about twice as high as wide.
Tolerates
    A picture made for another size (the widget has just been resized): it is fitted until the next one comes.
Method
    A half cell is `▀` with the upper pixel as foreground and the lower one as background. Colours are rounded
    so that neighbours merge and styles are found again; only the part of a line that changed is drawn again,
    so that a still scene costs nothing on a slow line. A live picture keeps what it shows until a pixel has
    changed by most of a step: camera noise never leaves this machine.
    Live pictures are always cells: sixel and kitty send every picture whole, and a terminal may clear the
    place first, which flickers.
Meaning
    What is shown is for the eye: rounded, scaled, perhaps dithered. No measurement reads it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.app import ComposeResult, RenderResult
from textual.events import Resize
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget
from textual_image._terminal import get_cell_size

if TYPE_CHECKING:  # its import asks the terminal, which a terminal that is to show cells is spared
    from textual_image.widget import SixelImage, TGPImage

Rgb = npt.NDArray[np.uint8]  # (rows, columns, 3)
Codes = npt.NDArray[np.int64]  # (lines, columns), one number per cell
Way = Literal["kitty", "sixel", "cells"]
Pictures = Literal["auto", "cells", "sixel", "kitty"]  # what may be asked for

_LEVELS = 64  # per colour of a still: finer than the eye tells apart in cells; derived
_LIVE_LEVELS = 32  # of a live picture: a step is three times the noise of a camera scaled down; derived
_KEPT_STEPS = 0.9  # a live pixel stays until it differs by that part of a step; derived
_MOST_CELLS_KEPT = 40_000  # segments remembered, about 10 MB
_LENGTH_BITS = 12  # of a run within its key: lines have up to 4095 cells
_SHADES = " ░▒▓█"
_INK = Style.from_color(Color.from_rgb(255, 255, 255), Color.from_rgb(0, 0, 0))  # bone bright on any theme
_GAMMA = 0.8  # brightness of shades: a hand must not drown in black where ink is scarce; derived


def way_of(wanted: Pictures) -> Way:
    """How stills are shown; `auto` as the terminal says when it is asked. Before the application runs."""
    if wanted == "cells":
        return wanted
    from textual_image import renderable, widget  # asks: graphics, and how many pixels a cell has

    del widget
    if wanted != "auto":
        return wanted
    if renderable.Image is renderable.TGPImage:
        return "kitty"
    return "sixel" if renderable.Image is renderable.SixelImage else "cells"


class Cells:
    """Half cells of one picture after another: keeps what is shown, says what changed."""

    def __init__(self, *, live: bool = False, shaded: bool = False) -> None:
        self.shaded = shaded
        self._live = live
        levels = _LIVE_LEVELS if live else _LEVELS
        self._step = 255 / (levels - 1)
        self._rounded = np.rint(np.rint(np.arange(256) / self._step) * self._step).astype(np.uint8)
        self._shown: Rgb | None = None
        self._codes: Codes | None = None
        self._segments: dict[int, Segment] = {}
        self.strips: list[Strip] = []

    def show(self, pixels: Rgb) -> list[Region]:
        """Take a picture with an even number of rows; returns what of the cells is drawn anew."""
        codes = _shades(self._steady(pixels)) if self.shaded else _halves(self._steady(pixels))
        before, self._codes = self._codes, codes
        if before is None or before.shape != codes.shape:
            changed = np.ones(codes.shape, np.bool_)
            self.strips = [Strip.blank(codes.shape[1])] * len(codes)
        else:
            changed = codes != before
        lines = np.flatnonzero(changed.any(axis=1))
        if not lines.size:
            return []
        first = changed[lines].argmax(axis=1)
        end = codes.shape[1] - changed[lines, ::-1].argmax(axis=1)
        for line, segments in zip(lines.tolist(), self._runs(codes[lines]), strict=True):
            self.strips[line] = Strip(segments, codes.shape[1])
        found = zip(lines.tolist(), first.tolist(), end.tolist(), strict=True)
        return [Region(left, line, right - left, 1) for line, left, right in found]

    def _steady(self, pixels: Rgb) -> Rgb:
        """The picture in rounded colours; a live one changes only where it changed enough to be told."""
        rounded = cv2.LUT(pixels, self._rounded)
        shown = self._shown
        if self._live and shown is not None and shown.shape == pixels.shape:
            away = cv2.absdiff(pixels, shown).max(axis=2, keepdims=True)
            rounded = np.where(away < self._step * _KEPT_STEPS, shown, rounded)
        self._shown = cast("Rgb", rounded)
        return self._shown

    def _runs(self, codes: Codes) -> Iterator[list[Segment]]:
        """The segments of each line; equal neighbours are one."""
        if len(self._segments) > _MOST_CELLS_KEPT:
            self._segments.clear()
        starts = np.ones(codes.shape, np.bool_)
        starts[:, 1:] = codes[:, 1:] != codes[:, :-1]
        at = np.flatnonzero(starts)
        keys = (codes.ravel()[at] << _LENGTH_BITS) | np.diff(at, append=codes.size)
        known = self._segments
        segments = [known.get(key) or self._segment(key) for key in keys.tolist()]
        done = 0
        for count in starts.sum(axis=1).tolist():
            yield segments[done : done + count]
            done += count

    def _segment(self, key: int) -> Segment:
        code, length = key >> _LENGTH_BITS, key & ((1 << _LENGTH_BITS) - 1)
        if self.shaded:
            made = Segment(_SHADES[code] * length, _INK)
        else:
            upper, lower = code >> 24, code & 0xFFFFFF
            text = " " if upper == lower else "▀"
            made = Segment(text * length, Style.from_color(_colour(upper), _colour(lower)))
        self._segments[key] = made
        return made


def _colour(code: int) -> Color:
    return Color.from_rgb(code >> 16, code >> 8 & 255, code & 255)


def _halves(pixels: Rgb) -> Codes:
    """Both pixels of every cell in one number."""
    wide = pixels.astype(np.int64)
    codes = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return codes[::2] << 24 | codes[1::2]


def _shades(pixels: Rgb) -> Codes:
    """How much ink every cell gets; the brighter of its pixels counts, else thin lines drown."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    ink = np.maximum(grey[::2], grey[1::2]) ** _GAMMA
    return np.rint(ink * (len(_SHADES) - 1)).astype(np.int64)


class Picture(Widget):
    """A picture, or its words while there is none."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    Picture { width: 1fr; height: 1fr; }
    Picture > SixelImage, Picture > TGPImage, Picture > Image { width: 100%; height: 100%; }
    """

    class Resized(Message):
        """The picture must be drawn anew, for this size."""

        def __init__(self, picture: "Picture", size_px: tuple[int, int]) -> None:
            super().__init__()
            self.picture = picture
            self.size_px = size_px  # rows, columns

        @property
        def control(self) -> "Picture":
            return self.picture

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, Picture.Resized) and message.picture is self.picture

    def __init__(
        self,
        *,
        live: bool = False,
        alt: str = "No picture",
        caption: bool = False,
        way: Way = "cells",
        id: str | None = None,  # noqa: A002  Textual's own name for it
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.way: Way = "cells" if live else way
        self._alt = alt
        self._caption = caption
        self._live = live
        self._cells = Cells(live=live)
        self._pixels: Rgb | None = None
        self._announced: tuple[int, int] = (0, 0)
        self._graphics: SixelImage | TGPImage | None = None

    @property
    def alt(self) -> str:
        """The picture in words: shown while there is none, and below it where a caption is wanted."""
        return self._alt

    @alt.setter
    def alt(self, words: str) -> None:
        if words != self._alt:
            self._alt = words
            if self._pixels is None:
                self.refresh()
            elif self._caption and self._lines:
                self.refresh(Region(0, self._lines, self.content_size.width, 1))

    @property
    def size_px(self) -> tuple[int, int]:
        """(rows, columns) that a drawing should have now; (0, 0) before the first layout."""
        columns, lines = self.content_size.width, self._lines
        if self.way == "cells":
            return 2 * lines, columns
        cell = get_cell_size()
        return lines * cell.height, columns * cell.width

    @property
    def _lines(self) -> int:
        """Lines for the picture itself."""
        return max(self.content_size.height - self._caption, 0)

    def show(self, pixels: Rgb | None, alt: str | None = None) -> None:
        """Show a picture, (rows, columns, 3) uint8 RGB; None takes it away, then the words are shown.

        Raises
        ------
        ValueError
            That is no such array.
        """
        if pixels is not None and (pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3):
            raise ValueError(
                f"a picture is (rows, columns, 3) of uint8, got {pixels.shape} of {pixels.dtype}; "
                "make it with station.ui.drawing"
            )
        gone, self._pixels = pixels is None and self._pixels is not None, pixels
        if alt is not None:
            self.alt = alt
        if gone:
            self._cells = Cells(live=self._live, shaded=self._cells.shaded)
            self.refresh()
        self._draw()

    def compose(self) -> ComposeResult:
        if self.way != "cells":
            from textual_image.widget import SixelImage, TGPImage

            self._graphics = SixelImage() if self.way == "sixel" else TGPImage()
            self._graphics.display = False
            yield self._graphics

    def on_mount(self) -> None:
        self._cells.shaded = self.app.no_color
        if self._graphics is not None and self._caption:
            self._graphics.styles.margin = (0, 0, 1, 0)

    def on_resize(self, _event: Resize) -> None:
        if self.size_px != self._announced:
            self._announced = self.size_px
            self._draw()
            if all(self._announced):
                self.post_message(self.Resized(self, self._announced))

    def _draw(self) -> None:
        """Bring the newest picture onto the screen, at the size there is now."""
        size_px = self.size_px
        if self._graphics is not None:
            self._graphics.display = self._pixels is not None
        if self._pixels is None or not all(size_px):
            return
        if self._graphics is not None:
            self._graphics.image = Image.fromarray(_fitted(self._pixels, size_px))
            return
        fresh = not self._cells.strips
        changed = self._cells.show(_fitted(self._pixels, size_px))
        if fresh:
            self.refresh()  # words are wiped away
        elif changed:
            self.refresh(*changed)

    def render(self) -> RenderResult:
        return self._alt

    def render_line(self, y: int) -> Strip:
        if self._pixels is None:
            return super().render_line(y)
        self._dirty_regions.clear()  # as a widget does that renders everything at once; else they pile up
        style = self.visual_style.rich_style
        width = self.content_size.width
        if self._caption and y == self._lines:
            return Strip([Segment(self._alt, style)]).adjust_cell_length(width, style)
        if self._graphics is None and y < min(len(self._cells.strips), self._lines):
            return self._cells.strips[y].adjust_cell_length(width, style)
        return Strip.blank(width, style)


def _fitted(pixels: Rgb, size_px: tuple[int, int]) -> Rgb:
    """The picture at this size; only one made for another size is changed."""
    if pixels.shape[:2] == size_px:
        return pixels
    rows, columns = size_px
    scale = min(rows / pixels.shape[0], columns / pixels.shape[1])
    inner = (max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1))
    fitted = np.zeros((rows, columns, 3), np.uint8)
    top, left = (rows - inner[1]) // 2, (columns - inner[0]) // 2
    fitted[top : top + inner[1], left : left + inner[0]] = cv2.resize(
        pixels, inner, interpolation=cv2.INTER_AREA
    )
    return fitted
