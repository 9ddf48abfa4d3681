"""Pictures of every screen, made by driving a simulated room: `python -m station.ui.gallery FOLDER`.

Written as SVG, as a terminal shows them; `--size 80x24` and `--theme station-light` for others.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

from textual.pilot import Pilot

from station.assembly import assemble
from station.attended import Attended
from station.config import load_room
from station.liaison import connected
from station.simulate import demo_hospital
from station.states import State
from station.ui.app import StationApp
from station.ui.session import calibrate_if_missing

_PATIENCE_S = 60.0
_LOOK_S = 0.05


class Visitor:
    """Presses keys, waits for the station, and takes pictures."""

    def __init__(self, app: StationApp, pilot: Pilot[None], folder: Path) -> None:
        self.app, self.pilot = app, pilot
        self._folder = folder

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
        """A picture."""
        path = self._folder / f"{name}.svg"
        path.write_text(self.app.export_screenshot(), encoding="utf-8")


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
            await story(Visitor(app, pilot, folder))
        return app


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="120x40", help="columns x lines")
    parser.add_argument("--theme", default="station-dark")
    given = parser.parse_args()
    columns, lines = (int(part) for part in given.size.split("x"))
    given.folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(visit(given.folder, (columns, lines), given.theme, exam))


if __name__ == "__main__":
    main()
