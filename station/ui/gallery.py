"""Pictures of every screen, made by driving a simulated room: `python -m station.ui.gallery FOLDER`.

Written as SVG, as a terminal shows them; `--size 80x24` and `--theme station-light` for others. The README's
are made by `--only worklist,ready-to-prepare,review station/ui/pictures`.
"""

import argparse
import asyncio
import html
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import ExitStack
from pathlib import Path

from rich.cells import cell_len
from textual.pilot import Pilot

from station.assembly import assemble
from station.attended import Attended
from station.config import load_room
from station.liaison import connected
from station.operators import Operator, Role
from station.simulate import demo_hospital
from station.states import State
from station.ui.app import StationApp
from station.ui.session import calibrate_if_missing

_PATIENCE_S = 60.0
_LOOK_S = 0.05
_NAMES = (
    *("worklist", "confirm", "positioning", "ready-to-prepare", "ready", "review", "reject", "accept"),
    *("outbox", "service", "recorder", "help", "locked"),
)
_WEB_FONT = re.compile(r"@font-face\s*{[^}]*}\s*")
_ID = re.compile(r"\bterminal-\d+-")
_SHARP = ' shape-rendering="crispEdges"'
_TEXT = re.compile(
    r'x="(?P<x>[\d.]+)" (?P<y>y="[^"]*") textLength="(?P<length>[\d.]+)"(?P<more>[^>]*)>(?P<text>[^<]*)<'
)
_BLANKS = re.compile(r"<text [^>]*></text>\s*")


class Visitor:
    """Presses keys, waits for the station, and takes pictures."""

    def __init__(self, app: StationApp, pilot: Pilot[None], folder: Path, only: Collection[str]) -> None:
        self.app, self.pilot = app, pilot
        self._folder, self._only = folder, only

    async def press(self, *keys: str) -> None:
        """One key after the other."""
        for key in keys:
            await self.pilot.press(key)
            await self.pilot.pause(_LOOK_S)

    async def until(self, claim: Callable[[], bool]) -> None:
        """Wait until it is so. Raises `TimeoutError`."""
        until_s = time.monotonic() + _PATIENCE_S
        while not claim():
            if time.monotonic() > until_s:
                raise TimeoutError(f"the station stays in {self.app.situation.state}")
            await asyncio.sleep(_LOOK_S)
        await self.pilot.pause(_LOOK_S)

    async def state(self, state: State) -> None:
        """Wait for that state."""
        await self.until(lambda: self.app.situation.state is state)

    def take(self, name: str) -> None:
        """A picture, if it is wanted; whoever opens it asks no other computer for its letters."""
        if name in self._only:
            svg = portable(self.app.export_screenshot())
            (self._folder / f"{name}.svg").write_text(svg, encoding="utf-8")


def portable(svg: str) -> str:
    """Textual's picture, a third smaller, for any viewer: no letters from elsewhere, no text begins blank.

    Some viewers drop blanks at the beginning of a text and draw the rest too far left.
    """
    svg = _ID.sub("t-", _WEB_FONT.sub("", svg))
    svg = svg.replace(_SHARP, "").replace(
        "<style>", "<style>\n    rect:not([rx]) { shape-rendering: crispEdges }", 1
    )
    return _BLANKS.sub("", _TEXT.sub(_without_margins, svg))


def _without_margins(found: re.Match[str]) -> str:
    text = html.unescape(found["text"])
    kept = text.strip("\N{NO-BREAK SPACE}")
    cell = float(found["length"]) / max(len(text), 1)  # Rich counts a wide letter once
    x = float(found["x"]) + cell * (len(text) - len(text.lstrip("\N{NO-BREAK SPACE}")))
    said = html.escape(kept, quote=False)
    return f'x="{x:.1f}" {found["y"]} textLength="{cell * cell_len(kept):.1f}"{found["more"]}>{said}<'


async def exam(visitor: Visitor) -> None:
    """One exam with its pictures."""
    app = visitor.app
    await visitor.state(State.STANDBY)
    await visitor.until(lambda: app.attended.task is None)
    await visitor.until(lambda: bool(app.attended.liaison and app.attended.liaison.worklist.shown().answer))  # type: ignore[union-attr]
    await asyncio.sleep(1.2)
    visitor.take("worklist")
    await visitor.press("enter")
    visitor.take("confirm")
    await visitor.press("l")
    await visitor.state(State.POSITIONING)
    await asyncio.sleep(0.6)
    visitor.take("positioning")
    await visitor.until(lambda: bool((r := app.situation.snapshot.view.readiness) and r.ready))
    await asyncio.sleep(0.3)
    visitor.take("ready-to-prepare")
    await visitor.press("space")
    await visitor.state(State.READY)
    visitor.take("ready")
    await visitor.press("space")
    await visitor.state(State.REVIEW)
    await visitor.until(lambda: app.situation.snapshot.outcome is not None)
    await asyncio.sleep(0.8)
    visitor.take("review")
    await visitor.press("r")
    visitor.take("reject")
    await visitor.press("escape", "a")
    visitor.take("accept")
    await visitor.press("enter")
    await visitor.state(State.STANDBY)
    await asyncio.sleep(1.0)
    for key, name in (("f4", "outbox"), ("f6", "service"), ("f7", "recorder"), ("f1", "help")):
        await visitor.press(key)
        await asyncio.sleep(1.3)
        visitor.take(name)
    await visitor.press("escape", "ctrl+l")
    visitor.take("locked")


async def visit(
    folder: Path,
    size: tuple[int, int],
    theme: str,
    story: Callable[[Visitor], Awaitable[None]],
    only: Collection[str] = _NAMES,
) -> StationApp:
    """Run a story in a fresh simulated room and hospital; the app, ended."""
    with ExitStack() as stack:
        disk = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hospital = stack.enter_context(demo_hospital())
        controller = assemble(load_room("sim"), {}, disk, real_time=True, hospital=hospital)
        parts = controller.parts
        liaison = stack.enter_context(connected(parts.dispatch, parts.journal, disk))
        attended = Attended(controller, liaison, first=calibrate_if_missing)
        stack.enter_context(attended.running())
        app = StationApp(attended)
        async with app.run_test(size=size) as pilot:
            app.theme = theme
            app.use(Operator(id="demo", name="Demo^Technologist", role=Role.TECHNOLOGIST, pin=""))
            await story(Visitor(app, pilot, folder, only))
        return app


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="120x40", help="columns x lines")
    parser.add_argument("--theme", default="station-dark")
    parser.add_argument("--only", default=",".join(_NAMES), help="names, with commas between")
    given = parser.parse_args()
    only = given.only.split(",")
    if unknown := sorted({*only} - {*_NAMES}):
        parser.error(f"there is no picture {', '.join(unknown)}; there are {', '.join(_NAMES)}")
    columns, lines = (int(part) for part in given.size.split("x"))
    given.folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(visit(given.folder, (columns, lines), given.theme, exam, only))


if __name__ == "__main__":
    main()
