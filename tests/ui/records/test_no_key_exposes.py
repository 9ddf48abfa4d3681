import asyncio

from station.devices import SwitchStage
from station.keys import key_map, load_keys
from station.operate import Operator
from station.states import State, Trigger
from station.ui.frame import StationScreen

KEYS = key_map(load_keys())
# The simulated switch itself, the two that end something, and the search for actions by name
APART = {KEYS[name] for name in ("exam.squeeze", "everywhere.abort", "everywhere.quit", "everywhere.palette")}


def test_ready_for_x_ray_no_key_of_any_screen_exposes_and_escape_disarms(attended, at_the_desk, job_for):
    person = Operator(attended.controller, lambda _: None)
    generator = attended.parts.equipment.generator

    async def story():
        async with at_the_desk(attended) as desk:
            person.controller.submit(Trigger.OPEN_EXAM, job=job_for(person))
            person.press(SwitchStage.RELEASED)
            person.wait(lambda s: s.view.readiness is not None and s.view.readiness.ready, "readiness")
            person.press(SwitchStage.PREPARE)
            person.wait(lambda s: s.state is State.READY, "ready")
            await desk.until(lambda: desk.app.screen.place == "exam", "the exam's screen")
            for key in sorted({*KEYS.values(), "enter", "x"} - APART):
                await desk.press(key)
                await desk.pilot.pause()
                attended.turn()
                assert attended.snapshot.state is State.READY, key
                if not isinstance(desk.app.screen, StationScreen):  # a dialog: the next key is for the exam
                    desk.app.pop_screen()
                exam = lambda: getattr(desk.app.screen, "place", "") == "exam"  # noqa: E731  one claim
                await desk.until(exam, f"the exam after {key}", turn=False)
            assert generator.status().exposures == 0
            await desk.press(KEYS["everywhere.abort"])
            await desk.until(lambda: attended.snapshot.state is State.POSITIONING, "disarmed")
            assert generator.status().exposures == 0

    asyncio.run(story())
