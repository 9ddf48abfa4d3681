"""Screens as rows of text with their styles, compared with files; the same noon on every machine.

In all three themes what is written must also stand out from what it is written on.
"""

import asyncio
import difflib
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count, groupby
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.style import Style
from textual.geometry import Region
from textual.widgets import Input

from station.assembly import assemble
from station.calibrate import calibrate
from station.clock import RealClock, VirtualClock
from station.operate import Operator as Hands
from station.operators import Operator, Role
from station.ui.app import THEMES
from station.ui.picture import Picture

FOLDER = Path(__file__).with_name("__snapshots__")
RENEW = bool(os.environ.get("RENEW_SNAPSHOTS"))
NOON = datetime(2031, 3, 12, 12, tzinfo=UTC)
DARK, LIGHT, CONTRAST = (theme.name for theme in THEMES)
SMALL = (80, 24)  # larger: the same colours
IN_EVERY_THEME = {"worklist", "ready", "x-ray-on", "review-measured", "fault"}
PATIENCE_S = 30.0  # of the machine's clock
HIDDEN = "▒"
LEAST = {DARK: 4.5, LIGHT: 4.5, CONTRAST: 7.0}  # WCAG 2.2, 1.4.3 and 1.4.6
LEAST_BEHIND = 3.0  # a dialog: it is not what is asked about
BLANK = {" ", *map(chr, range(0x2500, 0x25A0))}  # frames and blocks draw, they say nothing

Rgb = tuple[int, int, int]


# --- what a person sees --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cell:
    """One place of the terminal."""

    text: str  # empty: the right half of a wide sign
    ink: Rgb
    paper: Rgb
    how: str  # bold, dim, ...

    @property
    def style(self) -> str:
        if self.text == HIDDEN:
            return "picture"
        ink, paper = ("#" + bytes(colour).hex() for colour in (self.ink, self.paper))
        return f"on {paper}" if self.blank else f"{ink} on {paper} {self.how}".strip()

    @property
    def blank(self) -> bool:
        """Nothing of its ink is seen."""
        return not self.text.strip() and self.shows_paper

    @property
    def shows_paper(self) -> bool:
        """And nothing but its paper where there is no letter."""
        return self.text != HIDDEN and not {"reverse", "underline", "strike"} & {*self.how.split()}


Rows = list[list[Cell]]
Boxes = list[Region]
_SHOWS = ("bold", "dim", "italic", "underline", "reverse", "strike")


def seen(app) -> Rows:
    """The whole screen; a picture's cells are hidden, a dialog above them is not."""
    rows = [
        [cell for text, style, _ in strip for cell in cells(text, style)]
        for strip in app.screen._compositor.render_strips()
    ]
    for screen in app.screen_stack:
        for picture in screen.query(Picture):
            if picture._pixels is not None and picture.display and screen.is_attached:
                hide(rows, picture.content_region, boxes_of(app))
    return rows


def boxes_of(app) -> Boxes:
    """Where a dialog's words are."""
    return [box.region for box in app.screen.query(".box")]


def cells(text: str, style: Style | None) -> Iterator[Cell]:
    style = style or Style()
    ink, paper = (
        tuple(colour.get_truecolor(foreground=front)) if colour else (0, 0, 0)
        for colour, front in ((style.color, True), (style.bgcolor, False))
    )
    how = " ".join(name for name in _SHOWS if getattr(style, name))
    for sign in text.replace("\N{NO-BREAK SPACE}", " "):
        yield Cell(sign, ink, paper, how)
        yield from [Cell("", ink, paper, how)] * (cell_len(sign) - 1)


def hide(rows: Rows, region: Region, boxes: Boxes) -> None:
    for y in range(region.y, min(region.bottom, len(rows))):
        for x in range(region.x, min(region.right, len(rows[y]))):
            if not any(box.contains(x, y) for box in boxes):
                rows[y][x] = replace(rows[y][x], text=HIDDEN)


def written(rows: Rows) -> str:
    """A snapshot's text: the rows, then where which style begins; equal rows share a line."""
    width = len(str(len(rows)))
    lines = [f"{n:{width}}│{''.join(cell.text for cell in row)}│" for n, row in enumerate(rows, 1)]
    styles = ["  ".join(changes(row)) for row in rows]
    for said, group in groupby(enumerate(styles, 1), key=lambda pair: pair[1]):
        numbers = [number for number, _ in group]
        span = f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}"
        lines.append(f"{span:>5}: {said}")
    return "\n".join(lines) + "\n"


def changes(row: list[Cell]) -> Iterator[str]:
    """Where a style begins; a blank goes on with its neighbour's where it looks the same."""
    before = None
    for x, cell in enumerate(row):
        goes_on = before is not None and cell.blank and before.shows_paper and before.paper == cell.paper
        if not goes_on and (before is None or cell.style != before.style):
            yield f"{x} {cell.style}"
            before = cell


# --- what can be read ----------------------------------------------------------------------------------


def luminance(colour: Rgb) -> float:
    """WCAG 2.2, relative luminance."""
    linear = [c / 12.92 if (c := part / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for part in colour]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(cell: Cell) -> float:
    """Between 1 and 21; Textual has mixed the colours of dim letters already."""
    bright, dark = sorted((luminance(cell.ink), luminance(cell.paper)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def faint(rows: Rows, boxes: Boxes, theme: str) -> Iterator[str]:
    """What cannot be read well enough in this theme, each pair of colours once."""
    told = set()
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            behind = bool(boxes) and not any(box.contains(x, y) for box in boxes)
            least = LEAST_BEHIND if behind else LEAST[theme]
            if cell.text and cell.text not in BLANK and cell.style not in told and contrast(cell) < least:
                told.add(cell.style)
                words = "".join(one.text for one in row[x : x + 20])
                yield f"{contrast(cell):.1f} < {least}: {cell.style} at {x}, {y}: {words!r}"


# --- the album -----------------------------------------------------------------------------------------


class Album:
    """Compares what is seen with the files; all differences are told at once, at the end."""

    def __init__(self) -> None:
        self.differences: list[str] = []

    async def take(self, t, name: str, *texts: str) -> None:
        """As soon as all of these texts stand there: in every theme, without a turn of the station."""
        columns, lines = t.app.size
        t.app._tell()  # readiness alone is told only now and then
        for theme in (LIGHT, CONTRAST, DARK) if t.app.size == SMALL else (DARK,):
            t.app.theme = theme
            rows = await settled(t, texts)
            self.differences += [f"{name} {theme}: {words}" for words in faint(rows, boxes_of(t.app), theme)]
            if theme == DARK or name in IN_EVERY_THEME:
                self._compare(f"{name}-{columns}x{lines}-{theme.partition('-')[2]}.txt", written(rows))

    def _compare(self, name: str, text: str) -> None:
        path = FOLDER / name
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        if text == before:
            return
        if RENEW:
            path.write_text(text, encoding="utf-8")
            return
        found = difflib.unified_diff(before.splitlines(), text.splitlines(), name, "now", n=0, lineterm="")
        self.differences.append("\n".join(found))


async def settled(t, texts: tuple[str, ...]) -> Rows:
    """What is seen once it says all of it and stays as it is."""
    until_s, before = time.monotonic() + PATIENCE_S, None
    while time.monotonic() < until_s:
        for field in t.app.screen.query(Input):
            field.cursor_blink = False
        await t.shown()
        rows, missing = seen(t.app), [text for text in texts if text not in t.text]
        if rows == before and not missing:
            return rows
        before = rows
        await asyncio.sleep(0.02)
    pytest.fail(f"waited to see {missing or 'a still screen'}; the screen says:\n{t.text}")


@pytest.fixture
def album():
    made = Album()
    yield made
    assert not made.differences, "\n" + "\n".join(made.differences)


# --- the same noon, people and orders on every machine ---------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def noon():
    """It is noon in Greenwich when a station starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        patch.delenv("NO_COLOR", raising=False)
        patch.setattr(RealClock, "wall", lambda _: NOON)
        patch.setattr(VirtualClock, "wall", lambda clock: NOON + timedelta(seconds=clock.now()))
        yield
    time.tzset()


@pytest.fixture(scope="module")
def calibration(noon, small_room, tmp_path_factory):  # noqa: ARG001  made at noon
    """Of the same noon."""
    folder = tmp_path_factory.mktemp("noon")
    controller = assemble(small_room, {}, folder, real_time=False)
    controller.start()
    calibrate(Hands(controller, lambda _: None))
    controller.close()
    controller.parts.journal.close()
    return folder / "calibration"


@pytest.fixture(autouse=True)
def same_names(monkeypatch):
    """Whoever is logged in, whatever is drawn by lot."""
    person = Operator(id="station-1", name="Test^Technologist", role=Role.TECHNOLOGIST, pin="")
    monkeypatch.setattr("station.ui.app.local_operator", lambda: person)
    numbers = count(1)
    monkeypatch.setattr("uuid.uuid4", lambda: uuid.UUID(int=next(numbers) << 96))
