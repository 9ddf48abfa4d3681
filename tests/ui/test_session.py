"""The terminal as a process: a failing screen names no patient."""

import asyncio

import pytest

from station.ui.app import Looked, StationApp


@pytest.mark.hazard("wrong-patient")
def test_screens_that_fail_print_where_but_not_whom_they_showed(attend, capsys):
    class Failing(StationApp):
        async def on_looked(self) -> None:
            name = self.whom  # on the stack where it fails
            raise RuntimeError(f"a mistake near {len(name)} letters")

    app = Failing(attend())
    app.whom = "Confidential"[::-1]  # not as it stands in the source that is shown

    async def story() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            app.post_message(Looked())
            await pilot.pause()

    with pytest.raises(RuntimeError, match="a mistake near"):
        asyncio.run(story())
    app._print_error_renderables()
    said = "".join(capsys.readouterr())
    assert "a mistake near" in said
    assert app.whom not in said


@pytest.mark.parametrize("name", ["exam", "review", "outbox", "service", "recorder"])
def test_screens_that_end_while_one_opens_end_in_peace(play, name):
    async def story(t):
        await t.shown()
        t.app.show(name)

    play(story)
