"""A person at the terminal of a small simulated station: keys in, what is on the screen out.

The station has no thread here: the story turns it, on a virtual clock, between looks at the screen. So a
story takes the same course on every machine, however busy it is.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any

import pytest
from textual.events import Key
from textual.pilot import Pilot

from station.attended import Attended
from station.clock import RealClock
from station.conduct import Parts
from station.exam import Patient, Side, WorklistItem, new_uid
from station.operators import Operator, Role
from station.orders import Answer, Row
from station.refresh import Shown
from station.result import Reason
from station.states import State
from station.ui.app import StationApp

TURNS = 1000  # of the station before a story gives up: 30 s of its clock
PATIENCE_S = 30.0  # of the machine's clock, for the screen
STEP_S = 0.03  # of the station's clock between turns, as on a busy machine


class Orders:
    """A worklist that nobody has to ask for."""

    def __init__(self, rows):
        self.answer = Answer(tuple(rows), RealClock().wall(), 0.0)
        self.asked = 0

    def shown(self):
        return Shown(self.answer)

    def now(self):
        self.asked += 1


class Hospital:
    """As much of a liaison as a screen looks at."""

    def __init__(self, rows):
        self.worklist = Orders(rows)


def row_of(item: WorklistItem) -> Row:
    patient = item.patient
    return Row(
        item,
        RealClock().wall(),
        patient_id=patient.id,
        patient_name=patient.name,
        accession_number=item.accession_number,
        step_id=item.scheduled_step_id,
        procedure=item.procedure,
    )


UNUSABLE = Row(
    None,
    None,
    (Reason("side-missing", "the order names no side", "have the RIS correct the order"),),
    "P9",
    "Test^Nobody",
    "ACC9",
)


class Terminal:
    """Somebody who works: presses keys, waits, reads."""

    def __init__(self, attended: Attended, app: StationApp, pilot: Pilot[None]) -> None:
        self.attended, self.app, self._pilot = attended, app, pilot
        self.pressed = 0

    @property
    def state(self) -> State:
        return self.attended.snapshot.state

    @property
    def exposures(self) -> int:
        """What the generator has counted."""
        return self.attended.parts.equipment.generator.status().exposures

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.attended.turn()
            self.attended.parts.clock.sleep(STEP_S)

    async def press(self, *keys: str) -> None:
        self.pressed += len(keys)
        await self._pilot.press(*keys)

    async def scan(self, barcode: str) -> None:
        """A scanner: all letters and Enter at once, before anything could follow."""
        for letter in barcode:
            self.app.post_message(Key(letter, letter))
        self.app.post_message(Key("enter", "\r"))

    async def until(self, claim: Callable[[], Any], what: str) -> None:
        """The station goes on until it is so."""
        for turn in range(TURNS):
            if claim():
                return
            self.turn()
            await asyncio.sleep(0)
            if turn % 20 == 0:
                await self._pilot.pause(0)
        snapshot = self.attended.snapshot
        readiness = snapshot.view.readiness
        pytest.fail(
            f"waited for {what}: {snapshot.state}, {snapshot.message or 'no message'},"
            f" {readiness.blocking if readiness else 'no readiness'}"
        )

    async def reach(self, state: State) -> None:
        """The station comes to this state."""
        await self.until(lambda: self.state is state, state)

    async def seen(self, claim: Callable[[], Any], what: str) -> None:
        """The screen comes to show it; the station goes on no faster than the machine's clock."""
        until_s = time.monotonic() + PATIENCE_S
        while not claim():
            if time.monotonic() > until_s:
                pytest.fail(f"waited to see {what}; the screen says:\n{self.text}")
            self.turn()
            await self._pilot.pause(0.01)

    async def sees(self, *texts: str) -> None:
        """All of these stand on the screen."""
        for text in texts:
            await self.seen(lambda text=text: text in self.text, f"'{text}'")

    async def is_told(self, text: str) -> None:
        """A notification says so."""
        await self.seen(lambda: text in self.told, f"a notification '{text}'")

    async def shown(self) -> None:
        """The screen has caught up, without a turn of the station."""
        await self._pilot.pause()

    @property
    def place(self) -> str:
        """Name of the screen, or of the dialog above it."""
        return getattr(self.app.screen, "place", "") or type(self.app.screen).__name__

    async def at(self, place: str) -> None:
        await self.seen(lambda: self.place == place, place)

    @property
    def text(self) -> str:
        """Everything on the screen, line by line."""
        lines = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text for strip in lines)

    @property
    def told(self) -> str:
        """All notifications."""
        return "\n".join(f"{note.title}: {note.message}" for note in self.app._notifications)

    async def open(self, letter: str = "l") -> None:
        """The order under the cursor, with the side that is seen."""
        await self.reach(State.STANDBY)
        await self.sees("TEST, Person")
        await self.press("enter")
        await self.at("Confirm")
        await self.press(letter)

    async def asks_the_person(self, number: int) -> None:
        """One of what the person in the room can be told."""
        await self.press("f9")
        await self.at("Attendant")
        await self.press(*["down"] * (number - 1), "enter")
        await self.seen(lambda: self.place != "Attendant", "the dialog's end")

    async def ready(self) -> None:
        """Nothing stands in the way of an exposure."""
        await self.reach(State.POSITIONING)
        await self.at("exam")

        def is_ready():
            readiness = self.attended.snapshot.view.readiness
            return readiness is not None and readiness.ready

        await self.until(is_ready, "readiness")

    async def expose(self) -> None:
        """Both stages of the switch."""
        await self.press("space")
        await self.reach(State.READY)
        await self.press("space")
        await self.reach(State.REVIEW)
        await self.at("review")
        await self.until(lambda: self.attended.snapshot.outcome, "the measurement")

    async def accept(self) -> None:
        """The image, by the first of the choices."""
        await self.press("a")
        await self.at("Choice")
        await self.press("enter")
        await self.reach(State.STANDBY)
        await self.at("worklist")


Story = Callable[[Terminal], Coroutine[Any, Any, None]]


@pytest.fixture
def orders(item: WorklistItem) -> list[Row]:
    """One for the left hand, one for another person's right one, and one that cannot be used."""
    other = Patient("P2", "Demo^Patient", item.patient.birth_date, item.patient.sex)
    right = replace(
        item, accession_number="ACC2", patient=other, side=Side.RIGHT, study_instance_uid=new_uid()
    )
    return [row_of(item), row_of(right), UNUSABLE]


@pytest.fixture
def worklist(orders: list[Row]) -> Orders:
    """Today's."""
    return Orders(orders)


@pytest.fixture
def attend(make_station, orders) -> Iterator[Callable[..., Attended]]:
    """Makes stations with people at them on one disk; nobody turns them yet."""
    made = []

    def make(*faults: str, connect: Callable[[Parts], Any] | None = None, **how: Any) -> Attended:
        bench = make_station(*faults, start=False, **how)
        liaison = connect(bench.controller.parts) if connect else Hospital(orders)
        attended = Attended(bench.controller, liaison)
        made.append(attended)
        return attended

    yield make
    for attended in made:
        attended.finish()


@pytest.fixture
def attended(attend) -> Attended:
    """One of them."""
    return attend()


def work_at(attended: Attended, story: Story, size: tuple[int, int] = (120, 40), **how: Any) -> None:
    """The story, at the station's terminal."""

    async def play() -> None:
        app = StationApp(attended, **how)
        async with app.run_test(size=size, notifications=True) as pilot:
            await story(Terminal(attended, app, pilot))

    asyncio.run(play())


@pytest.fixture
def play(attend) -> Callable[..., Attended]:
    """Carries out a story at the terminal of a new station."""

    def run(
        story: Story, *faults: str, room: Any = None, hospital: Any = None, connect: Any = None, **how: Any
    ) -> Attended:
        attended = attend(*faults, room=room, hospital=hospital, connect=connect)
        work_at(attended, story, **how)
        return attended

    return run


@pytest.fixture
def sign_in() -> Callable[[str, str], Operator]:
    """Whoever gives a name is a technologist."""

    def let_in(id_: str, pin: str) -> Operator:
        del pin
        return Operator(id=id_, name=id_, role=Role.TECHNOLOGIST, pin="")

    return let_in
