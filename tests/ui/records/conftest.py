"""The screens that look back, at a small simulated station that the test itself turns."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from textual.widgets import DataTable, Static

from station.attended import Attended
from station.operators import Operator, Role
from station.states import State, Trigger
from station.ui.app import StationApp

_PATIENCE_S = 30.0


class Desk:
    """Somebody at the terminal; the station goes on only while they wait for something."""

    def __init__(self, attended, app, pilot):
        self.attended, self.app, self.pilot = attended, app, pilot
        self.journal = attended.parts.journal

    async def press(self, *keys):
        await self.pilot.press(*keys)

    async def until(self, claim: Callable[[], object], what: str, *, turn: bool = True):
        end_s = time.monotonic() + _PATIENCE_S
        while not claim():
            assert time.monotonic() < end_s, f"never seen: {what}"
            if turn:
                self.attended.turn()
                self.attended.parts.clock.sleep(0.01)
            await self.pilot.pause()
            await asyncio.sleep(0.005)  # what is read beside the loop needs a moment

    async def open(self, key: str, name: str):
        await self.press(key)
        await self.until(lambda: getattr(self.app.screen, "place", "") == name, name)

    def text(self, selector: str) -> str:
        return "\n".join(str(one.content) for one in self.app.screen.query(selector).results(Static))

    def rows(self, selector: str) -> list[list[str]]:
        for table in self.app.screen.query(selector).results(DataTable):
            return [[str(cell) for cell in table.get_row_at(n)] for n in range(table.row_count)]
        return []

    def said(self) -> str:
        return "\n".join(str(one.message) for one in self.app._notifications)

    def deeds(self, kind: str, name: str):
        return [one for one in self.journal.entries() if (one.kind, one.name) == (kind, name)]


@pytest.fixture
def attended(make_station):
    """A started, calibrated station with people at it, without its thread."""
    station = Attended(make_station(start=False).controller)
    station.turn()
    assert station.snapshot.state is State.STANDBY
    return station


@pytest.fixture
def at_the_desk():
    """Opens the terminal for a person of that role."""

    @asynccontextmanager
    async def opened(attended, role=Role.TECHNOLOGIST, size=(120, 40)) -> AsyncIterator[Desk]:
        person = Operator(id="test", name="Test^Person", role=role, pin="")
        app = StationApp(attended)
        async with app.run_test(size=size) as pilot:
            desk = Desk(attended, app, pilot)
            app.use(person)
            signed_in = lambda: (who := attended.snapshot.signed_in) and who.by == "test"  # noqa: E731  one claim
            await desk.until(signed_in, "signed in")
            yield desk

    return opened


@pytest.fixture
def accepted(job_for):
    """Makes one exam from order to accepted image; its UID."""

    def make(bench) -> str:
        job = job_for(bench)
        bench.expose(job)
        bench.wait(lambda s: s.outcome is not None, "the analysis")
        bench.controller.submit(Trigger.ACCEPT, by="test")
        bench.wait(lambda s: s.state is State.STANDBY, "standby")
        return job.exam.uid

    return make
