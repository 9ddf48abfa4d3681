"""Days at the terminal, as keys and what is read: nobody here touches the station but through its screen."""

import pytest

from station.states import State


@pytest.mark.parametrize("size", [(120, 40), (80, 24)], ids=["120x40", "80x24"])
def test_a_normal_exam_takes_six_keys_from_the_order_to_the_accepted_image(play, size):
    async def story(t):
        await t.open()
        await t.ready()
        await t.sees("PERSON, ".removesuffix("PERSON, ") + "LEFT HAND", "P1", "1961-05-04")
        await t.expose()
        await t.sees("LEFT HAND", "P1", "1961-05-04")
        await t.press("a")
        await t.at("Choice")
        await t.press("enter")
        await t.reach(State.STANDBY)
        await t.at("worklist")
        assert t.pressed <= 6
        assert t.exposures == 1
        assert t.attended.snapshot.finished.objects

    play(story, size=size)
