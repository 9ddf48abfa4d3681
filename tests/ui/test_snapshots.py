"""Every screen in the states that matter, as a person sees it: rows of text, and the style of every cell.

A snapshot is a text file in `__snapshots__`, not Textual's SVG: pictures of the hand would make megabytes of
it, and a difference could not be read. Pictures have tests of their own and stand here as `▒`. In all three
themes, at every stop of the stories, what is written must also stand out from what it is written on.

The station turns only when a story says so, on a clock that begins at the same noon on every day and machine.
Renew the snapshots with `RENEW_SNAPSHOTS=1 pytest tests/ui/test_snapshots.py`, then look at `git diff`.
"""

import asyncio
import difflib
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count, groupby, pairwise
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.style import Style
from textual.geometry import Region
from textual.widgets import Input

from station.assembly import assemble
from station.calibrate import calibrate
from station.clock import RealClock, VirtualClock
from station.exam import Side
from station.operate import Operator as Hands
from station.operators import Operator, Role
from station.outbox.job import Job, Kind
from station.result import Bone, DxrResult, Measurement, Reason, Triage
from station.states import State, Trigger
from station.ui.app import THEMES
from station.ui.picture import Picture

FOLDER = Path(__file__).with_name("__snapshots__")
RENEW = bool(os.environ.get("RENEW_SNAPSHOTS"))
NOON = datetime(2031, 3, 12, 12, tzinfo=UTC)
DARK, LIGHT, CONTRAST = (theme.name for theme in THEMES)
SMALL, LARGE = (80, 24), (120, 40)
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
        return f"{ink} on {paper} {self.how}".strip()


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
    styles = [
        "  ".join(
            f"{x} {row[x].style}" for x in range(len(row)) if not x or row[x].style != row[x - 1].style
        )
        for row in rows
    ]
    for said, group in groupby(enumerate(styles, 1), key=lambda pair: pair[1]):
        numbers = [number for number, _ in group]
        span = f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}"
        lines.append(f"{span:>5}: {said}")
    return "\n".join(lines) + "\n"


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
        behind = [bool(boxes) and not any(box.contains(x, y) for box in boxes) for x in range(len(row))]
        for (back, style), group in groupby(zip(behind, row, strict=True), lambda one: (one[0], one[1].style)):
            run = [cell for _, cell in group]
            text = "".join(cell.text for cell in run)
            least = LEAST_BEHIND if back else LEAST[theme]
            if set(text) - BLANK and style not in told and contrast(run[0]) < least:
                told.add(style)
                yield f"{contrast(run[0]):.1f} < {least}: {style}: {text.strip()!r}"


# --- the album -----------------------------------------------------------------------------------------


class Album:
    """Compares what is seen with the files; all differences are told at once, at the end."""

    def __init__(self) -> None:
        self.differences: list[str] = []

    async def take(self, t, name: str, *texts: str) -> None:
        """As soon as all of these texts stand there: in every theme, without a turn of the station."""
        columns, lines = t.app.size
        t.app._tell()  # readiness alone is told only now and then
        for theme in (LIGHT, CONTRAST, DARK):
            t.app.theme = theme
            rows = await settled(t, texts)
            self.differences += [f"{name} {theme}: {words}" for words in faint(rows, boxes_of(t.app), theme)]
            if theme == DARK or ((columns, lines) == SMALL and name in IN_EVERY_THEME):
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
def calibration(noon, small_room, tmp_path_factory):
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


class Beside:
    """As much of a liaison as the outbox looks at, too."""

    def __init__(self, worklist):
        self.worklist = worklist

    def goes_in_s(self, _job):
        return 12.0


TOLD = {"hand": "take the hand away", "left": "lay the left hand", "right": "lay the right hand"}


async def opens(t, item) -> None:
    """Without the dialog, which waits on the machine's clock."""
    await t.reach(State.STANDBY)
    t.attended.open(item, "medium", by="station-1", side_seen="L")
    await t.reach(State.POSITIONING)


async def until_ready(t) -> None:
    await t.until(lambda: (now := t.attended.snapshot.view.readiness) and now.ready, "readiness")


async def squeezes(t, *states: State) -> None:
    for state in states:
        t.attended.switch.squeeze()
        await t.reach(state)


async def exposes(t) -> None:
    await until_ready(t)
    await squeezes(t, State.READY, State.REVIEW)
    await t.until(lambda: t.attended.snapshot.outcome, "the measurement")


def a_result() -> DxrResult:
    """Numbers of nobody: this panel is too coarse to be measured."""

    def of(value: float, u95: float, unit: str = "1") -> Measurement:
        return Measurement(value, unit, u95)

    bones = tuple(
        Bone(number, of(mci, 0.011), of(t, 0.03, "mm"), of(w, 0.05, "mm"), None, 0.97, ((0, 0), (1, 1)), ())
        for number, mci, t, w in ((2, 0.383, 1.67, 8.71), (3, 0.392, 1.71, 8.71), (4, 0.4, 1.46, 7.32))
    )
    limits = Triage("central-dxa-needed", -1.0, -2.5, False, "DXR cannot decide; measure hip and spine", ())
    return DxrResult(
        algorithm="dxr@1",
        side=Side.LEFT,
        scale="absolute",
        bones=bones,
        mci=of(0.392, 0.006),
        t_mm=of(1.61, 0.02, "mm"),
        w_mm=of(8.25, 0.03, "mm"),
        vpa_cm=of(0.13, 0.002, "cm"),
        bmd_g_cm2=of(0.549, 0.007, "g/cm²"),
        bmd_status="derived",
        porosity=None,
        porosity_measured=False,
        t_score=-0.7,
        z_score=0.4,
        reference="reference@1",
        reference_status="derived",
        notes=(Reason("porosity-unmeasured", "porosity was not measured", "read the density as an estimate"),),
        triage=limits,
    )


def measured(t) -> None:
    """The image's outcome becomes that result."""
    now = t.attended.snapshot
    t.attended.snapshot = replace(now, outcome=replace(now.outcome, result=a_result()))
    t.app._tell()


# --- the stories ---------------------------------------------------------------------------------------


def test_the_worklist_its_questions_and_the_lock(play, album):
    async def story(t):
        await t.reach(State.STANDBY)
        await t.shown()
        await t.press("down", "down")
        await album.take(t, "worklist", "× cannot be used")
        await t.press("f1")
        await album.take(t, "help", "Keys of worklist")
        await t.press("escape", "up", "up", "enter")
        await album.take(t, "confirm", "ORDERED: ◀ LEFT HAND")
        await t.press("escape", "ctrl+l")
        await album.take(t, "locked", "Who works here?")

    play(story, size=SMALL)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_an_exam_from_the_wrong_hand_to_its_result(play, album, item, size):
    async def story(t):
        person = t.attended.switch.attendant
        person.move(TOLD["right"])
        await opens(t, item)
        t.turn(20)
        await album.take(t, "blocked", "→ Place the LEFT hand")
        person.move(TOLD["left"])
        await until_ready(t)
        await album.take(t, "to-prepare", "✔ READY")
        await squeezes(t, State.READY)
        await album.take(t, "ready", "READY FOR X-RAY", "Press the hand switch fully")
        await squeezes(t, State.EXPOSING)
        await album.take(t, "x-ray-on", "☢ X-RAY ON")
        await t.until(lambda: t.attended.snapshot.outcome, "the measurement")
        await album.take(t, "review-refused", "NOT MEASURED")
        await t.press("r")
        await album.take(t, "review-reject", "This was exposure 1")
        await t.press("escape")
        measured(t)
        await album.take(t, "review-measured", "DXR-BMD 0.549", *(["at 69 years"] if size == LARGE else []))

    play(story, size=size)


def test_an_image_that_does_not_come_and_a_station_that_falls_silent(play, album, item):
    async def story(t):
        await opens(t, item)
        await until_ready(t)
        await squeezes(t, State.READY, State.EXPOSED_NO_IMAGE)
        await album.take(t, "no-image", "EXPOSED, NO IMAGE")
        t.attended.parts.clock.sleep(5)
        t.app._each_second()
        await album.take(t, "not-live", "NOT LIVE")

    play(story, "detector-line-cut", size=SMALL)


def test_a_fault(play, album, item, mocker):
    async def story(t):
        await opens(t, item)
        await until_ready(t)
        await squeezes(t, State.READY)
        mocker.patch.object(t.attended.controller.conduct, "while_ready", side_effect=OSError("a defect"))
        await t.reach(State.FAULT)
        mocker.stopall()
        await album.take(t, "fault", "✖ FAULT", "a defect")

    play(story, size=SMALL)


def some_jobs(outbox) -> None:
    """One refused for good, one on its way, one kept."""
    names = [f"2.25.{number}" for number in (11111111, 22222222, 33333333)]
    outbox.put(Job(Kind.OBJECT, "2.25.7", "pacs", name, f"spool/{name}.dcm") for name in names)
    parked, _, kept = (job.id for job in outbox.jobs())
    outbox.failed([parked], ("the archive refuses this class", "have it allow dose reports"), park=True)
    outbox.taken({kept: ""}, commits=True)
    outbox.asked([kept], "2.25.9")
    outbox.heard("2.25.9", [names[-1]], {})


def test_outbox_service_and_recorder_after_an_exam(play, album, item, worklist):
    async def story(t):
        await opens(t, item)
        await exposes(t)
        t.attended.submit(Trigger.ACCEPT, by="station-1")
        await t.reach(State.STANDBY)
        some_jobs(t.attended.parts.dispatch.outbox)
        t.app._look_at_outbox()
        t.app.lags_ms.clear()
        for key, name, text in (
            ("f4", "outbox", "1 × PARKED"),
            ("f6", "service", "Refusals and faults"),
            ("f7", "recorder", "step 1 of"),
        ):
            await t.press(key)
            await t.at(name)
            await album.take(t, name, text, "1 not delivered")

    play(story, size=SMALL, connect=lambda _: Beside(worklist))


def test_every_snapshot_belongs_to_a_screen():
    sizes = [("review-measured", LARGE), ("x-ray-on", LARGE)]
    assert all((FOLDER / f"{name}-{w}x{h}-dark.txt").is_file() for name, (w, h) in sizes)
