"""Orders on the screen: scanned, searched, and why one cannot be used."""

from dataclasses import replace

import pytest

from station.states import State


def test_a_scanned_barcode_opens_exactly_that_order(play):
    async def story(t):
        await t.reach(State.STANDBY)
        await t.sees("TEST, Person", "DEMO, Patient")
        await t.scan("ACC2")
        await t.at("Confirm")
        await t.sees("DEMO, Patient", "RIGHT HAND", "P2")
        await t.press("r")
        await t.reach(State.POSITIONING)
        assert t.attended.snapshot.job.exam.item.accession_number == "ACC2"

    play(story)


@pytest.mark.hazard("wrong-patient")
def test_a_barcode_of_two_orders_opens_none_until_a_row_is_pointed_at(play, orders):
    orders[1] = replace(orders[1], patient_id="P1")

    async def story(t):
        await t.reach(State.STANDBY)
        await t.sees("TEST, Person", "DEMO, Patient")
        await t.scan("P1")
        await t.is_told("stands for 2 rows")
        assert t.place == "worklist"
        await t.press("down", "enter")
        await t.at("Confirm")
        await t.sees("DEMO, Patient")

    play(story)


@pytest.mark.hazard("wrong-side")
def test_a_barcode_that_is_scanned_once_more_answers_no_question(play):
    async def story(t):
        await t.reach(State.STANDBY)
        await t.sees("TEST, Person")
        await t.scan("ACC1")
        await t.at("Confirm")
        await t.scan("LR1L")
        await t.sees("A scan is no answer")
        t.turn(20)
        assert (t.state, t.place) == (State.STANDBY, "Confirm")
        await t.press("l")
        await t.reach(State.POSITIONING)

    play(story)


def test_a_row_that_cannot_be_used_says_why_and_who_mends_it(play):
    async def story(t):
        await t.reach(State.STANDBY)
        await t.sees("TEST, Person")
        await t.press("down", "down")
        await t.sees("× cannot be used: the order names no side → have the RIS correct the order")
        await t.press("enter")
        await t.is_told("This order cannot be used")
        assert t.place == "worklist"

    play(story)


def test_typing_searches_and_what_is_unknown_is_told(play):
    async def story(t):
        await t.reach(State.STANDBY)
        await t.sees("TEST, Person", "DEMO, Patient")
        await t.press(*"de")
        await t.seen(lambda: "TEST, Person" not in t.text, "only the other order")
        assert "DEMO, Patient" in t.text
        await t.press(*"x", "enter")
        await t.is_told("neither accession number")

    play(story)
